"""Ray Serve over REST: reads deployments and Ray nodes, sets replica targets by the external-scaler call.

Does not import Ray. The scale call (alpha in 2.60) accepts any count, also one that can never be placed, and answers
before anything has happened; the deployment's status word stays HEALTHY meanwhile. So the caller bounds the count, and
only the states of single replicas are read here. A token file turns Ray's authentication on by itself: a client must
always be able to send one.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from autoscaler.core.observation import DeploymentSeen, ReplicaSeen, ReplicaState
from autoscaler.ports import Unavailable
from vgpu.core import names

Json = Any

APPLICATIONS = "/api/serve/applications/"
NODES = "/api/v0/nodes?detail=true&limit=10000"
DEPLOYMENT = "replica"
STATES: Mapping[str, ReplicaState] = {
    "RUNNING": ReplicaState.RUNNING,
    "PENDING_MIGRATION": ReplicaState.RUNNING,  # still answers while its substitute starts
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

    def read(self, models: Sequence[str], now_s: float) -> tuple[DeploymentSeen, ...]:
        """Read each model's deployment that exists, with the worker pod of each replica. Raises `Unavailable`."""
        # In this order: whatever Ray node a replica lives on, it has joined by now.
        answer = self._ask("GET", APPLICATIONS)
        workers = self.workers_by_ray_node()
        with _understood(APPLICATIONS):
            found = {model: answer["applications"].get(model, {}).get("deployments", {}) for model in models}
            return tuple(
                self._deployment(model, deployments[DEPLOYMENT], workers, now_s)
                for model, deployments in found.items()
                if DEPLOYMENT in deployments
            )

    def set_replicas(self, model: str, count: int) -> None:
        """Post a replica target. Raises `Unavailable` with the remedy."""
        path = f"/api/v1/applications/{model}/deployments/{DEPLOYMENT}/scale"
        self._ask("POST", path, {"target_num_replicas": count})

    def workers_by_ray_node(self) -> dict[str, str]:
        """Ray nodes that are alive, by id, with the worker pod each runs in (empty for the head)."""
        answer = self._ask("GET", NODES)
        with _understood(NODES):
            return {
                node["node_id"]: (node.get("labels") or {}).get(names.LABEL_WORKER, "")
                for node in answer["data"]["result"]["result"]
                if node["state"] == "ALIVE"
            }

    def _deployment(self, model: str, said: Json, workers: Mapping[str, str], now_s: float) -> DeploymentSeen:
        replicas = []
        for entry in said["replicas"]:
            if entry["state"] == "STOPPED":
                continue
            pod = workers.get(entry.get("node_id") or "")
            replicas.append(
                ReplicaSeen(
                    replica_id=entry["replica_id"],
                    # STARTING, UPDATING, RECOVERING, or a word of a later Ray: there, and not to be counted on.
                    state=STATES.get(entry["state"], ReplicaState.STARTING),
                    worker=f"{self._namespace}/{pod}" if pod else None,
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
