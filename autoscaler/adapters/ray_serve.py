"""Ray Serve over REST: reads deployments and Ray nodes, sets replica targets by the external-scaler call.

Does not import Ray. The scale call (alpha in 2.60) accepts any count, also one that can never be placed, and answers
before anything has happened; the deployment's status word stays HEALTHY meanwhile. So the caller bounds the count, and
only the states of single replicas are read here. A token file turns Ray's authentication on by itself: a client must
always be able to send one.

Which replica leaves is Ray Serve's own choice, but for one thing: replicas on a drained Ray node go first (2.60). Ray's
REST API has no drain, so the worker does that itself on request (`serving.drain`), guarded by Ray's own token. That a
node is drained is nowhere in that API either. It shows in what becomes of it: its replica is PENDING_MIGRATION, and the
node leaves by itself once it is empty, dead of the reason that the drain gave. So Ray keeps the record of a drain, and
an autoscaler that starts anew finds it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx

from autoscaler.core.observation import DeploymentSeen, ReplicaSeen, ReplicaState
from autoscaler.ports import Endpoint, ServingSeen, Unavailable
from vgpu.core import names

Json = Any

APPLICATIONS = "/api/serve/applications/"
NODES = "/api/v0/nodes?detail=true&limit=10000"
DEPLOYMENT = "replica"
DRAIN = "drain"  # beside the worker's /metrics
MIGRATING = "PENDING_MIGRATION"
STATES: Mapping[str, ReplicaState] = {
    "RUNNING": ReplicaState.RUNNING,
    MIGRATING: ReplicaState.RUNNING,  # still answers while its substitute starts
    "STOPPING": ReplicaState.STOPPING,
}
REMEDIES = {
    401: "give Ray's token with --ray-token-file",
    403: "Ray refuses this token; give the cluster's own with --ray-token-file",
    404: "no such application or deployment; deploy the models file first",
    412: "deploy the application with an external scaler (external_scaler_enabled) and without autoscaling_config",
}


class RayServe:
    """One Ray cluster's dashboard."""

    def __init__(self, url: str, *, token_file: Path | None, namespace: str, timeout_s: float = 5.0) -> None:
        self._token_file = token_file
        self._namespace = namespace
        # No proxy from the environment: the dashboard is next door.
        self._client = httpx.Client(base_url=url, timeout=timeout_s, trust_env=False)

    def close(self) -> None:
        """Close idle connections."""
        self._client.close()

    def read(self, models: Sequence[str], now_s: float) -> ServingSeen:
        """Read each model's deployment that exists, with the worker pod of each replica, and where others' replicas
        live. Raises `Unavailable`."""
        # In this order: whatever Ray node a replica lives on, it has joined by now.
        answer = self._ask("GET", APPLICATIONS)
        nodes = self._nodes()
        with _understood(APPLICATIONS):
            found = {model: answer["applications"].get(model, {}).get("deployments", {}) for model in models}
            listed = {
                model: deployments[DEPLOYMENT] for model, deployments in found.items() if DEPLOYMENT in deployments
            }
            others = [
                said
                for application, entry in answer["applications"].items()
                for name, said in (entry.get("deployments") or {}).items()
                if not (application in listed and name == DEPLOYMENT)
            ]
            return ServingSeen(
                deployments=tuple(self._deployment(model, said, nodes, now_s) for model, said in listed.items()),
                draining=frozenset(self._worker(pod) for pod in nodes.drained | _migrating(listed.values(), nodes)),
                lent=frozenset(self._worker(pod) for pod in _homes(others, nodes)),
            )

    def set_replicas(self, model: str, count: int) -> None:
        """Post a replica target. Raises `Unavailable` with the remedy."""
        path = f"/api/v1/applications/{model}/deployments/{DEPLOYMENT}/scale"
        self._ask("POST", path, {"target_num_replicas": count})

    def drain_workers(self, workers: Sequence[Endpoint]) -> None:
        """Have each worker drain its own Ray node; the next reconciliation of Serve knows. Raises `Unavailable`.

        Serve reads which nodes are drained at the start of each of its passes and takes in new targets only between
        two passes (2.60), so a target that is posted after this always finds the drain.
        """
        for worker in workers:
            self._ask("POST", urljoin(worker.url, DRAIN))

    def workers_by_ray_node(self) -> dict[str, str]:
        """Ray nodes that are alive, by id, with the worker pod each runs in (empty for the head)."""
        return dict(self._nodes().workers)

    def _nodes(self) -> "_RayNodes":
        answer = self._ask("GET", NODES)
        with _understood(NODES):
            alive: dict[str, str] = {}
            drained: set[str] = set()
            for node in answer["data"]["result"]["result"]:
                worker = (node.get("labels") or {}).get(names.LABEL_WORKER, "")
                if node["state"] == "ALIVE":
                    alive[node["node_id"]] = worker
                elif names.RAY_DRAINED in (node.get("state_message") or ""):
                    drained.add(worker)
            # A container that was started again since has a Ray node that was never drained.
            return _RayNodes(alive, frozenset(drained - set(alive.values()) - {""}))

    def _worker(self, pod: str) -> str:
        return f"{self._namespace}/{pod}"

    def _deployment(self, model: str, said: Json, nodes: "_RayNodes", now_s: float) -> DeploymentSeen:
        replicas = []
        for entry in said["replicas"]:
            if entry["state"] == "STOPPED":
                continue
            pod = nodes.home(entry)
            replicas.append(
                ReplicaSeen(
                    replica_id=entry["replica_id"],
                    # STARTING, UPDATING, RECOVERING, or a word of a later Ray: there, and not to be counted on.
                    state=STATES.get(entry["state"], ReplicaState.STARTING),
                    worker=self._worker(pod) if pod else None,
                )
            )
        target = int(said["target_num_replicas"])
        return DeploymentSeen(model=model, at_s=now_s, target=target, replicas=tuple(replicas))

    def _ask(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Json:
        try:
            answer = self._client.request(method, path, json=body, headers=self._headers())
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError) as error:
            raise Unavailable(_named(path), f"{type(error).__name__}: {error}") from error
        if answer.status_code != httpx.codes.OK:
            remedy = REMEDIES.get(answer.status_code, answer.text.strip()[:200])
            raise Unavailable(_named(path), f"answered {answer.status_code}: {remedy}")
        with _understood(path):
            return answer.json()

    def _headers(self) -> dict[str, str]:
        if self._token_file is None:
            return {}
        # Read at each call: a rotated Secret is a changed file.
        return {"Authorization": f"Bearer {self._token_file.read_text().strip()}"}


@dataclass(frozen=True, slots=True)
class _RayNodes:
    """Worker pods, without their namespace: by the id of their live Ray node, and those whose drained node has left."""

    workers: Mapping[str, str]
    drained: frozenset[str]

    def home(self, replica: Json) -> str:
        """The worker pod that a replica lives in; empty where it has none, or none that is known."""
        return self.workers.get(replica.get("node_id") or "", "")


def _migrating(deployments: Iterable[Json], nodes: _RayNodes) -> frozenset[str]:
    """Worker pods that a replica is to leave, for its node is drained."""
    replicas = (replica for said in deployments for replica in said["replicas"] if replica["state"] == MIGRATING)
    return frozenset(pod for replica in replicas if (pod := nodes.home(replica)))


def _homes(deployments: Iterable[Json], nodes: _RayNodes) -> frozenset[str]:
    """Worker pods in which a replica of these deployments lives, whatever its state."""
    replicas = (replica for said in deployments for replica in said["replicas"] if replica["state"] != "STOPPED")
    return frozenset(pod for replica in replicas if (pod := nodes.home(replica)))


@contextmanager
def _understood(path: str) -> Iterator[None]:
    """Turn an answer that is shaped otherwise than expected into `Unavailable`."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        why = f"the answer is not Ray 2.60's ({type(error).__name__}: {error}); is this the URL of Ray's dashboard?"
        raise Unavailable(_named(path), why) from error


def _named(path: str) -> str:
    return f"Ray Serve {path.partition('?')[0]}"
