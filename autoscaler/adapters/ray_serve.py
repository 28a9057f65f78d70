"""Ray Serve over REST: reads deployments and Ray nodes, sets replica targets by the external-scaler call.

Does not import Ray. The scale call (alpha in 2.60) accepts any count, also one that can never be placed, and answers
before anything has happened; the deployment's status word stays HEALTHY meanwhile. So the caller bounds the count, and
only the states of single replicas are read here. A token file turns Ray's authentication on by itself: a client must
always be able to send one.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from autoscaler.core.observation import DeploymentSeen, ReplicaSeen, ReplicaState
from autoscaler.ports import Unavailable
from vgpu.core import names

DEPLOYMENT = "replica"
STATES: Mapping[str, ReplicaState] = {
    "RUNNING": ReplicaState.RUNNING,
    "PENDING_MIGRATION": ReplicaState.RUNNING,  # still answers while its substitute starts
    "STOPPING": ReplicaState.STOPPING,
    "STARTING": ReplicaState.STARTING,
    "UPDATING": ReplicaState.STARTING,
    "RECOVERING": ReplicaState.STARTING,
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
        self._client = httpx.Client(base_url=url, timeout=timeout_s)

    def close(self) -> None:
        """Close idle connections."""
        self._client.close()

    def read(self, models: Sequence[str], now_s: float) -> tuple[DeploymentSeen, ...]:
        """Read each model's deployment that exists, with the worker pod of each replica. Raises `Unavailable`."""
        applications = self._ask("GET", "/api/serve/applications/")["applications"]
        workers = {node: worker for node, worker in self.workers_by_ray_node().items() if worker}
        seen = []
        for model in models:
            deployment = applications.get(model, {}).get("deployments", {}).get(DEPLOYMENT)
            if deployment is not None:
                seen.append(self._parse(model, deployment, workers, now_s))
        return tuple(seen)

    def set_replicas(self, model: str, count: int) -> None:
        """Post a replica target. Raises `Unavailable` with the remedy."""
        path = f"/api/v1/applications/{model}/deployments/{DEPLOYMENT}/scale"
        self._ask("POST", path, {"target_num_replicas": count})

    def workers_by_ray_node(self) -> dict[str, str]:
        """Ray nodes that are alive, by id, with the worker pod each runs in (empty for the head)."""
        result = self._ask("GET", "/api/v0/nodes?detail=true&limit=10000")["data"]["result"]["result"]
        return {
            node["node_id"]: (node.get("labels") or {}).get(names.LABEL_WORKER, "")
            for node in result
            if node["state"] == "ALIVE"
        }

    def _parse(self, model: str, deployment: Any, workers: Mapping[str, str], now_s: float) -> DeploymentSeen:  # noqa: ANN401  # JSON
        replicas = []
        for entry in deployment["replicas"]:
            if (state := STATES.get(entry["state"])) is None:
                continue
            pod = workers.get(entry.get("node_id") or "")
            worker = f"{self._namespace}/{pod}" if pod else None
            replicas.append(ReplicaSeen(replica_id=entry["replica_id"], state=state, worker=worker))
        return DeploymentSeen(
            model=model, at_s=now_s, target=deployment["target_num_replicas"], replicas=tuple(replicas)
        )

    def _ask(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Any:  # noqa: ANN401  # JSON
        what = f"Ray Serve {method} {path.partition('?')[0]}"
        try:
            answer = self._client.request(method, path, json=body, headers=self._headers())
            if answer.status_code != httpx.codes.OK:
                remedy = REMEDIES.get(answer.status_code, answer.text.strip()[:200])
                raise Unavailable(what, f"answered {answer.status_code}: {remedy}")
            return answer.json()
        except (httpx.HTTPError, ValueError, OSError) as error:
            raise Unavailable(what, f"{type(error).__name__}: {error}") from error

    def _headers(self) -> dict[str, str]:
        if self._token_file is None:
            return {}
        # Read at each call: a rotated Secret is a changed file.
        return {"Authorization": f"Bearer {self._token_file.read_text().strip()}"}
