"""Ray's REST API as the dashboard of 2.60 answers it, over a `FakeServing` that is its memory."""

from collections.abc import Callable, Mapping

from autoscaler.core.observation import ReplicaSeen, ReplicaState
from autoscaler.ports import Endpoint, Unavailable
from tests.fakes.serving import FakeServing
from tests.fakes.web import Answer, Asked, as_json
from vgpu.core import names


class RayDashboard:
    """Routes for `tests.fakes.web`. A Ray node has the id of the worker it runs in; an empty drained one has left."""

    def __init__(self, memory: FakeServing) -> None:
        self._memory = memory

    def routes(self) -> Mapping[str, Answer | Callable[[Asked], Answer]]:
        scale = {f"/api/v1/applications/{model}/deployments/replica/scale": self._scale for model in self._models()}
        # What each worker answers on a port of its own, by its name here.
        drain = {f"/{worker}/drain": self._drain for worker in self._memory.workers()}
        return {"/api/serve/applications/": self._applications, "/api/v0/nodes": self._nodes, **scale, **drain}

    def _models(self) -> list[str]:
        return list(self._memory.targets)

    def _applications(self, _: Asked) -> Answer:
        try:
            seen = self._memory.read(self._models(), 0.0)
        except Unavailable:
            return Answer(b"Serve controller is not available", 503)
        applications = {
            deployment.model: {
                "name": deployment.model,
                "status": "RUNNING",
                "deployments": {
                    "replica": {
                        "status": "HEALTHY",
                        "target_num_replicas": deployment.target,
                        "replicas": [
                            {
                                "replica_id": replica.replica_id,
                                "state": self._state(replica),
                                **({"node_id": replica.worker} if replica.state is ReplicaState.RUNNING else {}),
                            }
                            for replica in deployment.replicas
                        ],
                    }
                },
            }
            for deployment in seen.deployments
        }
        return as_json({"applications": applications})

    def _state(self, replica: ReplicaSeen) -> str:
        migrates = replica.state is ReplicaState.RUNNING and replica.worker in self._memory.drained
        return "PENDING_MIGRATION" if migrates else replica.state.upper()

    def _nodes(self, _: Asked) -> Answer:
        nodes: list[dict[str, object]] = [{"node_id": "head", "state": "ALIVE", "state_message": None, "labels": {}}]
        for worker in self._memory.workers():
            has_left = worker in self._memory.drained and worker not in self._memory.running
            nodes.append(
                {
                    "node_id": worker,
                    "state": "DEAD" if has_left else "ALIVE",
                    "state_message": f"Terminated due to preemption: {names.RAY_DRAINED}" if has_left else None,
                    "labels": {names.LABEL_WORKER: worker.partition("/")[2]},
                }
            )
        return as_json({"data": {"result": {"result": nodes}}})

    def _drain(self, asked: Asked) -> Answer:
        worker = asked.path.removeprefix("/").removesuffix("/drain")
        try:
            self._memory.drain_workers([Endpoint(name=worker, url="")])
        except Unavailable:
            return as_json({"error": "Ray could not be asked"}, 503)
        return as_json({"draining": True})

    def _scale(self, asked: Asked) -> Answer:
        try:
            self._memory.set_replicas(asked.path.split("/")[4], asked.json["target_num_replicas"])
        except Unavailable:
            return Answer(b"Serve controller is not available", 503)
        return as_json({"message": "Scaling request received. Deployment will get scaled asynchronously."})
