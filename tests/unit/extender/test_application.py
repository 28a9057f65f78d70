"""The paths, in process: what is wrong with a body is said in an answer of 200 where the scheduler asks."""

import asyncio
from typing import Any

import httpx
import orjson
import pytest

from tests.unit.extender import build
from tests.unit.extender.cluster import MemoryCluster
from tests.unit.extender.test_wire import extender
from vgpu.extender import application
from vgpu.extender.application import Application


def ask(method: str, path: str, *, content: bytes = b"", given: Any = None) -> httpx.Response:
    """One request to an application of three nodes."""

    async def asking() -> httpx.Response:
        cluster = MemoryCluster()
        cluster.api.create(build.share("known", 500))
        made = Application(extender(), cluster)
        transport = httpx.ASGITransport(made.routes())
        async with httpx.AsyncClient(transport=transport, base_url="http://extender") as client:
            body = orjson.dumps(given) if given is not None else content
            answer = await client.request(method, path, content=body)
        made.close()
        return answer

    return asyncio.run(asking())


WRONG: dict[str, tuple[str, Any]] = {
    "filter": ("the body is no JSON", lambda answer: answer["Error"]),
    "bind": ("the body is no JSON", lambda answer: answer["Error"]),
    "prioritize": ("[]", str),
    "preempt": ("{'NodeNameToMetaVictims': {}}", str),
    "mutate": ("the body is no JSON", lambda answer: answer["response"]["status"]["message"]),
}


@pytest.mark.parametrize("verb", WRONG)
def test_a_body_that_is_none_is_answered_with_200(verb: str) -> None:
    begins, said = WRONG[verb]
    answer = ask("POST", f"/{verb}", content=b"{")
    assert answer.status_code == 200
    assert said(answer.json()).startswith(begins)


def of(**spec: Any) -> Any:
    return {"metadata": {"name": "p", "uid": "u", "namespace": "d"}, "spec": spec}


MALFORMED: dict[str, tuple[Any, str]] = {
    "containers of no list": (of(containers="x"), "containers must be a list"),
    "containers of no objects": (of(containers=[1]), "each of containers must be an object"),
    "a container without a name": (of(initContainers=[{}]), "name is missing in initContainers"),
    "resources of no object": (
        of(containers=[{"name": "a", "resources": "x"}]), "resources of a container must be an object",
    ),
    "limits of no object": (
        of(containers=[{"name": "a", "resources": {"limits": [1]}}]), "limits of a container must be an object",
    ),
    "env of no names": (
        of(containers=[{"name": "a", "env": [{"name": []}]}]), "name is missing in env of a container",
    ),
    "a selector of no object": (of(containers=[], nodeSelector=[1]), "nodeSelector must be an object"),
}  # fmt: skip
QUIET = {"prioritize": b"[]", "preempt": b'{"NodeNameToMetaVictims":{}}'}


@pytest.mark.parametrize(("pod", "why"), MALFORMED.values(), ids=MALFORMED)
def test_a_pod_of_the_wrong_types_is_said_and_never_a_failure(pod: Any, why: str) -> None:
    answers = {verb: ask("POST", f"/{verb}", given={"Pod": pod, "NodeNames": ["n0"]}) for verb in ("filter", *QUIET)}
    answers["mutate"] = ask("POST", "/mutate", given={"request": {"uid": "r", "object": pod}})
    assert {answer.status_code for answer in answers.values()} == {200}
    assert answers["filter"].json()["Error"] == why
    assert {verb: answers[verb].content for verb in QUIET} == QUIET
    assert answers["mutate"].json()["response"]["status"]["message"] == why
    for path, given in (("/explain", pod), ("/what-if", {"Pod": pod})):
        answer = ask("POST", path, given=given)
        assert (answer.status_code, answer.json()) == (422, {"error": why})


@pytest.mark.parametrize("entry", [{"NumPDBViolations": "x"}, {"Pods": 3}, {"Pods": [{"metadata": "x"}]}, "x"])
def test_victims_of_the_wrong_types_leave_no_node(entry: Any) -> None:
    pod = POD | {"metadata": {"name": "p", "uid": "u"}}
    answer = ask("POST", "/preempt", given={"Pod": pod, "NodeNameToMetaVictims": {"n0": entry}})
    assert (answer.status_code, answer.content) == (200, QUIET["preempt"])


def test_a_pod_without_a_spec_is_let_in_unchanged() -> None:
    answer = ask("POST", "/mutate", given={"request": {"uid": "r", "object": {"metadata": {"name": "p"}}}})
    assert answer.json()["response"] == {"uid": "r", "allowed": True}


def test_a_body_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(application, "MOST_BODY_BYTES", 1 << 20)
    answer = ask("POST", "/filter", content=b" " * ((1 << 20) + 1))
    assert answer.json()["Error"] == "the body is above 1 MiB; set nodeCacheCapable: true"


POD = {"metadata": {"name": "p"}, "spec": build.share("p", 500)["spec"]}
QUESTIONS: dict[str, tuple[str, str, Any, int, str]] = {
    "a pod by name": ("GET", "/explain?pod=default/known", None, 200, "large"),
    "a pod by manifest": ("POST", "/explain", POD, 200, "large"),
    "no pod": ("GET", "/explain", None, 422, "add ?pod=NAMESPACE/NAME, or post the pod's manifest"),
    "an unknown pod": ("GET", "/explain?pod=default/nobody", None, 404, "GET pod: no such pod"),
    "a pod of no units": (
        "POST", "/explain", {"metadata": {"name": "q"}, "spec": {}}, 422,
        "pod default/q asks for no units; any node may take it",
    ),
    "a manifest of nothing": ("POST", "/explain", {}, 422, "metadata of the pod must be an object"),
    "no count": ("POST", "/what-if", {"Pod": POD, "Count": 0}, 422, "Count is 0; 1 to 1000 pods can be asked about"),
    "nodes of no kind": ("POST", "/what-if", {"Pod": POD, "Nodes": 1}, 422, "Nodes must be a list of node objects"),
    "nodes without a name": (
        "POST", "/what-if", {"Pod": POD, "Nodes": [{"metadata": {}}]}, 422, "metadata.name of a node is missing",
    ),
    "labels of no texts": (
        "POST", "/what-if", {"Pod": POD, "Nodes": [{"metadata": {"name": "k", "labels": {"vgpu.type": 5}}}]}, 422,
        "labels of a node must be texts",
    ),
    "a status of no object": (
        "POST", "/what-if", {"Pod": POD, "Nodes": [{"metadata": {"name": "k"}, "status": "x"}]}, 422,
        "status must be an object",
    ),
    "no pod to ask about": ("POST", "/what-if", {"Count": 1}, 422, "Pod must be an object"),
}  # fmt: skip


@pytest.mark.parametrize(("method", "path", "given", "status", "said"), QUESTIONS.values(), ids=QUESTIONS)
def test_questions_of_people(method: str, path: str, given: Any, status: int, said: str) -> None:
    answer = ask(method, path, given=given)
    body = answer.json()
    assert answer.status_code == status
    assert (body["chosen"]["node"] if status == 200 else body["error"]) == said


def test_what_if_counts() -> None:
    body = ask("POST", "/what-if", given={"pod": POD, "count": 7}).json()
    assert (body["placed"], body["missing"]) == (6, 1)


def test_advice_on_fragments_is_asked_with_a_goal() -> None:
    assert ask("GET", "/defragmentation?goal=host&most_moves=3").json()["goal"] == "host"
    assert ask("GET", "/defragmentation").json()["report"] == ["no move would free a gpu: 3 GPUs are idle"]
    wrong = [ask("GET", f"/defragmentation?{query}").json()["error"] for query in ("goal=peace", "most_moves=0")]
    assert wrong == [
        "goal is 'peace'; one of gpu, host",
        "most_moves is '0'; a whole number above 0, or leave it out",
    ]


def test_probes_and_metrics_answer() -> None:
    assert [ask("GET", path).status_code for path in ("/healthz", "/readyz", "/metrics")] == [200, 200, 200]
