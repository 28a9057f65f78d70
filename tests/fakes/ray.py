"""Ray's REST API as the dashboard of 2.60 answers it, over a `FakeServing` that is its memory."""

from collections.abc import Callable, Mapping

from autoscaler.core.observation import ReplicaState
from autoscaler.ports import Unavailable
from tests.fakes.serving import FakeServing
from tests.fakes.web import Answer, Asked, as_json
from vgpu.core import names


class RayDashboard:
    """Routes for `tests.fakes.web`. A Ray node has the id of the worker it runs in."""

    def __init__(self, memory: FakeServing) -> None:
        self._memory = memory

    def routes(self) -> Mapping[str, Answer | Callable[[Asked], Answer]]:
        scale = {f"/api/v1/applications/{model}/deployments/replica/scale": self._scale for model in self._models()}
        return {"/api/serve/applications/": self._applications, "/api/v0/nodes": self._nodes, **scale}

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
                                "state": replica.state.upper(),
                                **({"node_id": replica.worker} if replica.state is ReplicaState.RUNNING else {}),
                            }
                            for replica in deployment.replicas
                        ],
                    }
                },
            }
            for deployment in seen
        }
        return as_json({"applications": applications})

    def _nodes(self, _: Asked) -> Answer:
        nodes = [{"node_id": "head", "state": "ALIVE", "labels": {}}]
        for worker in self._memory.workers():
            labels = {names.LABEL_WORKER: worker.partition("/")[2]}
            nodes.append({"node_id": worker, "state": "ALIVE", "labels": labels})
        return as_json({"data": {"result": {"result": nodes}}})

    def _scale(self, asked: Asked) -> Answer:
        try:
            self._memory.set_replicas(asked.path.split("/")[4], asked.json["target_num_replicas"])
        except Unavailable:
            return Answer(b"Serve controller is not available", 503)
        return as_json({"message": "Scaling request received. Deployment will get scaled asynchronously."})
