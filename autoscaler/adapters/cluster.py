"""Kubernetes as the loop sees it: nodes and slots, and worker pools as plain Deployments.

The pool's Deployment carries the nodes where the next worker helps most, best first, for the scheduler to follow; a
scheduler that does not know the annotation places workers as it always does, and the loop sees where they came to be.
"""

from collections.abc import Sequence

from autoscaler.core.observation import PoolSeen, WorkerSeen
from autoscaler.core.spec import FleetSpec
from autoscaler.ports import ClusterSeen, Endpoint, Unavailable
from vgpu.adapters import kube
from vgpu.adapters.kube_verbs import Json
from vgpu.core import names, objects

WORKER_METRICS_PORT = 9105
EXPORTER_METRICS_PORT = 9400
FIRST_TO_GO = "-1000"


class DeploymentCluster:
    """Worker pools that are Deployments of one namespace, each named like its pool."""

    def __init__(self, client: kube.Kube, *, namespace: str) -> None:
        self._client = client
        self._namespace = namespace

    def read(self, spec: FleetSpec, now_s: float) -> ClusterSeen:
        """Read nodes, every pod bound to them, and the pools' sizes. Raises `Unavailable`."""
        try:
            nodes = self._client.list(kube.NODES)
            pods = self._client.list(kube.PODS)
            wanted = {pool.name: self._client.read_replicas(pool.name, self._namespace) for pool in spec.pools}
        except (kube.Unavailable, kube.NotFound, kube.Conflict) as error:
            raise Unavailable(error.what, error.why) from error
        parsed = objects.parse_inventory(nodes, pods)
        workers = [pod for pod in pods if names.LABEL_POOL in (pod["metadata"].get("labels") or {})]
        return ClusterSeen(
            inventory=parsed.inventory,
            pools=tuple(self._pool(name, count, workers, now_s) for name, count in wanted.items()),
            workers=tuple(
                Endpoint(
                    name=objects.pod_key(pod), url=f"http://{pod['status']['podIP']}:{WORKER_METRICS_PORT}/metrics"
                )
                for pod in workers
                if _is_ready(pod) and pod["status"].get("podIP")
            ),
            exporters=tuple(
                Endpoint(name=node["metadata"]["name"], url=f"http://{address}:{EXPORTER_METRICS_PORT}/metrics")
                for node in nodes
                if names.LABEL_PROFILE in (node["metadata"].get("labels") or {}) and (address := _address(node))
            ),
            problems=tuple(f"{problem.kind} {problem.name}: {problem.message}" for problem in parsed.problems),
        )

    def set_workers(self, pool: str, count: int, *, preferred_nodes: Sequence[str], victims: Sequence[str]) -> None:
        """Size one pool: mark where workers should come or which should go, then scale. Raises `Unavailable`."""
        try:
            for victim in victims:
                namespace, _, name = victim.partition("/")
                self._client.annotate(kube.PODS, name, {names.ANNOTATION_DELETION_COST: FIRST_TO_GO}, namespace)
            if preferred_nodes:
                annotations = {names.ANNOTATION_PREFERRED_NODES: ",".join(preferred_nodes)}
                self._client.annotate(kube.DEPLOYMENTS, pool, annotations, self._namespace)
            self._client.set_replicas(pool, self._namespace, count)
        except (kube.Unavailable, kube.NotFound, kube.Conflict) as error:
            raise Unavailable(error.what, error.why) from error

    def _pool(self, name: str, wanted: int, workers: Sequence[Json], now_s: float) -> PoolSeen:
        mine = [
            pod
            for pod in workers
            if pod["metadata"]["labels"][names.LABEL_POOL] == name
            and pod["metadata"].get("namespace") == self._namespace
            and pod["status"].get("phase") not in ("Succeeded", "Failed")
        ]
        return PoolSeen(
            pool=name,
            at_s=now_s,
            wanted=wanted,
            workers=tuple(
                WorkerSeen(
                    pod=objects.pod_key(pod),
                    node=pod["spec"].get("nodeName"),
                    ready=_is_ready(pod),
                    deleting="deletionTimestamp" in pod["metadata"],
                )
                for pod in mine
            ),
        )


def _is_ready(pod: Json) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def _address(node: Json) -> str | None:
    addresses = (node.get("status") or {}).get("addresses") or ()
    return next((entry["address"] for entry in addresses if entry["type"] == "InternalIP"), None)
