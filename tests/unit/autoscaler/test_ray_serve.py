"""Ray's REST API as 2.60 answers it (recorded), and every way in which it says no."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autoscaler.adapters.ray_serve import RayServe
from autoscaler.core.observation import DeploymentSeen, ReplicaSeen, ReplicaState
from autoscaler.ports import Endpoint, ServingSeen, Unavailable
from tests.fakes import web as webs
from tests.fakes.web import Answer, Web, as_json

GOLDENS = Path(__file__).parents[2] / "goldens" / "autoscaler"
APPLICATIONS, NODES = "/api/serve/applications/", "/api/v0/nodes"
SCALE = "/api/v1/applications/minilm/deployments/replica/scale"


def recorded(name: str) -> Any:
    return json.loads((GOLDENS / f"ray_{name}.json").read_text())


def with_replicas(*replicas: dict[str, Any], target: int = 1) -> Any:
    """The recorded applications with other replicas."""
    document = recorded("applications")
    deployment = document["applications"]["minilm"]["deployments"]["replica"]
    deployment.update(replicas=list(replicas), target_num_replicas=target)
    return document


@pytest.fixture
def ray() -> Iterator[Web]:
    routes = {
        APPLICATIONS: as_json(recorded("applications")),
        NODES: as_json(recorded("nodes")),
        SCALE: as_json({"message": "Scaling request received. Deployment will get scaled asynchronously."}),
    }
    with webs.serve(routes) as web:
        yield web


def client(web: Web, *, token_file: Path | None = None, timeout_s: float = 5.0) -> RayServe:
    return RayServe(web.url, token_file=token_file, namespace="default", timeout_s=timeout_s)


def refusal(web: Web, **options: Any) -> str:
    """What reading is refused with."""
    with pytest.raises(Unavailable) as caught:
        client(web, **options).read(["minilm"], 0.0)
    return str(caught.value)


def test_replicas_are_seen_in_the_workers_they_live_in(ray: Web) -> None:
    def replica(replica_id: str, worker: str) -> ReplicaSeen:
        return ReplicaSeen(
            replica_id=replica_id, state=ReplicaState.RUNNING, worker=f"default/workers-v100-8q-8gb-{worker}"
        )

    assert client(ray).read(["minilm", "unheard-of"], 5.0).deployments == (
        DeploymentSeen(
            model="minilm",
            at_s=5.0,
            target=3,
            replicas=(replica("oll1o59j", "vw2t7"), replica("a9sgwpnp", "c9prv"), replica("5ngl57ic", "ghwzg")),
        ),
    )


def test_workers_hold_others_replicas_in_whatever_state_and_deployment(ray: Web) -> None:
    nodes = recorded("nodes")["data"]["result"]["result"]
    alive = [entry["node_id"] for entry in nodes if (entry.get("labels") or {}).get("vgpu-serve.io/worker")]
    head = next(entry["node_id"] for entry in nodes if not (entry.get("labels") or {}).get("vgpu-serve.io/worker"))

    def deployment(*replicas: tuple[str, str | None]) -> dict[str, Any]:
        return {"replicas": [{"replica_id": "x", "state": state, "node_id": home} for state, home in replicas]}

    document = recorded("applications")
    document["applications"]["gateway"] = {"deployments": {"gateway": deployment(("RUNNING", head))}}
    document["applications"]["removed"] = {
        "deployments": {"replica": deployment(("STOPPING", alive[0]), ("STARTING", None), ("STOPPED", alive[2]))}
    }
    document["applications"]["failed"] = {"deployments": {}}
    document["applications"]["minilm"]["deployments"]["second"] = deployment(("A_WORD_OF_A_LATER_RAY", alive[1]))
    ray.routes[APPLICATIONS] = as_json(document)
    pods = {entry["node_id"]: entry["labels"]["vgpu-serve.io/worker"] for entry in nodes if entry["node_id"] in alive}
    read = client(ray).read(["minilm"], 0.0)
    assert read.lent == {f"default/{pods[alive[0]]}", f"default/{pods[alive[1]]}"}
    assert [seen.model for seen in read.deployments] == ["minilm"]


def test_the_head_is_a_ray_node_without_a_worker(ray: Web) -> None:
    workers = client(ray).workers_by_ray_node()
    assert sorted(workers.values()) == [
        "", "workers-v100-8q-8gb-c9prv", "workers-v100-8q-8gb-ghwzg", "workers-v100-8q-8gb-vw2t7",
    ]  # fmt: skip


def test_a_dead_ray_node_is_nobodys_home(ray: Web) -> None:
    nodes = recorded("nodes")
    for node in nodes["data"]["result"]["result"]:
        node["state"] = "DEAD"
    ray.routes[NODES] = as_json(nodes)
    (seen,) = client(ray).read(["minilm"], 0.0).deployments
    assert [replica.worker for replica in seen.replicas] == [None, None, None]


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ("RUNNING", ReplicaState.RUNNING),
        ("PENDING_MIGRATION", ReplicaState.RUNNING),
        ("STARTING", ReplicaState.STARTING),
        ("UPDATING", ReplicaState.STARTING),
        ("RECOVERING", ReplicaState.STARTING),
        ("STOPPING", ReplicaState.STOPPING),
        ("A_WORD_OF_A_LATER_RAY", ReplicaState.STARTING),
    ],
)
def test_each_state_of_a_replica_is_one_of_three(ray: Web, said: str, state: ReplicaState) -> None:
    """A state nobody knows keeps the worker held: it must not look idle and be removed."""
    ray.routes[APPLICATIONS] = as_json(with_replicas({"replica_id": "r1", "state": said}))
    (seen,) = client(ray).read(["minilm"], 0.0).deployments
    assert seen.replicas == (ReplicaSeen(replica_id="r1", state=state),)


def test_a_starting_replica_has_no_node_yet(ray: Web) -> None:
    without = {"replica_id": "r1", "state": "STARTING"}
    ray.routes[APPLICATIONS] = as_json(with_replicas(without, {**without, "node_id": None}, target=2))
    (seen,) = client(ray).read(["minilm"], 0.0).deployments
    assert [replica.worker for replica in seen.replicas] == [None, None]


def node(worker: str, state: str, message: str | None = None) -> dict[str, Any]:
    labels = {"vgpu-serve.io/worker": worker}
    return {"node_id": f"{worker}-{state}", "state": state, "state_message": message, "labels": labels}


def drained(web: Web, nodes: list[dict[str, Any]], *replicas: dict[str, Any]) -> frozenset[str]:
    web.routes[NODES] = as_json({"data": {"result": {"result": nodes}}})
    web.routes[APPLICATIONS] = as_json(with_replicas(*replicas))
    return client(web).read(["minilm"], 0.0).draining


def test_a_worker_whose_replica_is_to_migrate_is_drained(ray: Web) -> None:
    nodes = [node("w1", "ALIVE"), node("w2", "ALIVE")]
    migrating = {"replica_id": "r1", "state": "PENDING_MIGRATION", "node_id": "w1-ALIVE"}
    running = {"replica_id": "r2", "state": "RUNNING", "node_id": "w2-ALIVE"}
    assert drained(ray, nodes, migrating, running) == {"default/w1"}


def test_a_worker_whose_node_left_because_of_our_drain_is_drained(ray: Web) -> None:
    left = node("w1", "DEAD", "Terminated due to preemption: vgpu-serve: this worker gives up its slot")
    crashed = node("w2", "DEAD", "Terminated unexpectedly: node health check failed")
    head = {"node_id": "head", "state": "DEAD", "state_message": left["state_message"], "labels": None}
    assert drained(ray, [left, crashed, head]) == {"default/w1"}


def test_a_worker_that_was_started_again_after_its_drain_is_not_drained(ray: Web) -> None:
    left = node("w1", "DEAD", "Terminated due to preemption: vgpu-serve: this worker gives up its slot")
    assert drained(ray, [left, node("w1", "ALIVE")]) == frozenset()


def test_each_worker_is_asked_beside_its_metrics_with_rays_token(ray: Web, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret")
    ray.routes |= {"/w1/drain": as_json({"draining": True}), "/w2/drain": as_json({"draining": True})}
    workers = [Endpoint(name=name, url=f"{ray.url}/{name}/metrics") for name in ("w1", "w2")]
    client(ray, token_file=token).drain_workers(workers)
    assert [(asked.method, asked.path, asked.headers["Authorization"]) for asked in ray.asked] == [
        ("POST", "/w1/drain", "Bearer secret"), ("POST", "/w2/drain", "Bearer secret"),
    ]  # fmt: skip


def test_a_worker_that_cannot_drain_ends_the_draining_with_its_reason(ray: Web) -> None:
    ray.routes["/w1/drain"] = as_json({"error": "Ray refused: no"}, 503)
    workers = [Endpoint(name=name, url=f"{ray.url}/{name}/metrics") for name in ("w1", "w2")]
    with pytest.raises(Unavailable, match=r"w1/drain: answered 503: .*Ray refused: no"):
        client(ray).drain_workers(workers)
    assert [asked.path for asked in ray.asked] == ["/w1/drain"]


def test_a_stopped_replica_is_gone(ray: Web) -> None:
    ray.routes[APPLICATIONS] = as_json(with_replicas({"replica_id": "r1", "state": "STOPPED"}))
    (seen,) = client(ray).read(["minilm"], 0.0).deployments
    assert seen.replicas == ()


def test_a_model_that_is_being_deployed_has_no_deployment_yet(ray: Web) -> None:
    document = recorded("applications")
    document["applications"]["minilm"]["deployments"] = {}
    ray.routes[APPLICATIONS] = as_json(document)
    assert client(ray).read(["minilm"], 0.0) == ServingSeen(deployments=(), draining=frozenset())


def test_a_target_is_posted_to_the_scale_call(ray: Web) -> None:
    client(ray).set_replicas("minilm", 3)
    (asked,) = ray.asked
    assert (asked.method, asked.path, asked.json) == ("POST", SCALE, {"target_num_replicas": 3})


def test_without_a_token_file_no_token_is_sent(ray: Web) -> None:
    client(ray).read(["minilm"], 0.0)
    assert all("Authorization" not in asked.headers for asked in ray.asked)


def test_the_token_is_read_anew_for_every_call(ray: Web, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    serve = client(ray, token_file=file)
    serve.set_replicas("minilm", 1)
    file.write_text("second")
    serve.set_replicas("minilm", 1)
    assert [asked.headers["Authorization"] for asked in ray.asked] == ["Bearer first", "Bearer second"]


def test_a_token_file_that_is_not_there_is_said(ray: Web, tmp_path: Path) -> None:
    assert "No such file" in refusal(ray, token_file=tmp_path / "none")


@pytest.mark.parametrize("content", ["", "two\nlines", "☃"])
def test_a_token_that_no_header_can_hold_is_said(ray: Web, tmp_path: Path, content: str) -> None:
    file = tmp_path / "token"
    file.write_text(content)
    assert refusal(ray, token_file=file).startswith("Ray Serve /api/serve/applications/: ")


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (401, b"Unauthorized: Missing authentication token", "answered 401: give Ray's token with --ray-token-file"),
        (403, b"Forbidden: Invalid authentication token", "answered 403: Ray refuses this token"),
        (404, b"", "answered 404: no such application or deployment; deploy the models file first"),
        (412, b"", "answered 412: deploy the application with an external scaler (external_scaler_enabled)"),
        (503, b"Serve controller is not available", "answered 503: Serve controller is not available"),
        (500, b"x" * 5000, "answered 500: " + "x" * 200),
        (302, b"", "answered 302: "),
    ],
)
def test_an_answer_that_is_none_carries_its_remedy(ray: Web, status: int, body: bytes, why: str) -> None:
    ray.routes[APPLICATIONS] = ray.routes[SCALE] = Answer(body, status)
    assert refusal(ray).startswith(f"Ray Serve {APPLICATIONS}: {why}")
    with pytest.raises(Unavailable, match=f"answered {status}"):
        client(ray).set_replicas("minilm", 2)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"<html>a login page</html>", b"[]", b"null", b"{}", b'{"applications": null}', b'{"applications": []}',
        b'{"applications": {"minilm": null}}', b'{"applications": {"minilm": {"deployments": {"replica": {}}}}}',
        b'{"applications": {"minilm": {"deployments": {"replica": {"replicas": 1, "target_num_replicas": 1}}}}}',
        b'{"applications": {"minilm": {"deployments": {"replica": {"replicas": [], "target_num_replicas": "x"}}}}}',
        b'{"applications": {"minilm": {"deployments": {"replica": {"replicas": [{}], "target_num_replicas": 1}}}}}',
        b"\xff\xfe",
    ],
)  # fmt: skip
def test_an_answer_that_makes_no_sense_is_said_to_be_so(ray: Web, body: bytes) -> None:
    ray.routes[APPLICATIONS] = Answer(body)
    assert "is this the URL of Ray's dashboard?" in refusal(ray)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"data": {"result": {"result": [{"node_id": "n"}]}}}'])
def test_nodes_that_make_no_sense_are_said_to_be_so(ray: Web, body: bytes) -> None:
    ray.routes[NODES] = Answer(body)
    assert refusal(ray).startswith(f"Ray Serve {NODES}: the answer is not Ray 2.60's")


def test_an_answer_that_does_not_come_is_given_up(ray: Web) -> None:
    released = threading.Event()
    ray.routes[APPLICATIONS] = Answer(b"{}", held=released)
    assert "ReadTimeout" in refusal(ray, timeout_s=0.1)
    released.set()


def test_an_answer_that_breaks_off_is_said(ray: Web) -> None:
    ray.routes[APPLICATIONS] = Answer(b'{"applications": ', length=5000)
    assert "RemoteProtocolError" in refusal(ray)


def test_a_dashboard_that_is_not_there_is_said() -> None:
    with webs.serve() as web:
        gone = web
    assert "ConnectError" in refusal(gone)


def test_a_url_that_is_none_is_said() -> None:
    assert "Ray Serve /api/serve/applications/: " in refusal(Web(url="localhost:8265"))


def test_a_proxy_from_the_environment_is_not_used(ray: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    assert len(client(ray).read(["minilm"], 0.0).deployments) == 1
