"""Kubernetes as the loop sees it: nodes and slots, and worker pools as plain Deployments.

The pool's Deployment carries the nodes where the next worker helps most, best first, for the scheduler to follow; a
scheduler that does not know the annotation places workers as it always does, and the loop sees where they came to be.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from autoscaler.core.observation import PoolSeen, WorkerSeen
from autoscaler.core.spec import FleetSpec
from autoscaler.ports import ClusterSeen, Endpoint, Unavailable
from vgpu.adapters import kube
from vgpu.adapters.kube_verbs import Json
from vgpu.core import cuts, names, objects, request
from vgpu.core.slot_type import Fraction

WORKER_METRICS_PORT = 9105
EXPORTER_METRICS_PORT = 9400
FIRST_TO_GO = "-1000"


class DeploymentCluster:
    """Worker pools that are Deployments of one namespace, each named like its pool."""

    def __init__(self, client: kube.Kube, *, namespace: str) -> None:
        self._client = client
        self._namespace = namespace

    def read(self, spec: FleetSpec, now_s: float) -> ClusterSeen:
        """Read nodes, every pod bound to them, and the pools' sizes. Raises `Unavailable`.

        A pool without a Deployment is a problem of that pool alone: the others go on.
        """
        with _unavailable():
            nodes = self._client.list(kube.NODES)
            pods = self._client.list(kube.PODS)
            wanted = {pool.name: self._wanted(pool.name) for pool in spec.pools}
        sizes = {pool.profile for pool in spec.pools if isinstance(pool.profile, Fraction)}
        parsed = objects.parse_inventory(nodes, pods, sizes)
        workers = [
            pod
            for pod in pods
            if names.LABEL_POOL in (pod["metadata"].get("labels") or {})
            and pod["metadata"]["namespace"] == self._namespace
        ]
        absent = tuple(
            f"Deployment {self._namespace}/{pool}: there is none; create the worker pool"
            for pool, count in wanted.items()
            if count is None
        )
        return ClusterSeen(
            inventory=parsed.inventory,
            pools=tuple(_pool(name, count, workers, now_s) for name, count in wanted.items() if count is not None),
            workers=tuple(
                Endpoint(name=request.pod_key(pod), url=_metrics_url(address, WORKER_METRICS_PORT))
                for pod in workers
                if _is_ready(pod) and (address := pod["status"].get("podIP"))
            ),
            exporters=tuple(
                Endpoint(name=node["metadata"]["name"], url=_metrics_url(address, EXPORTER_METRICS_PORT))
                for node in nodes
                if _has_slots(node) and (address := _address(node))
            ),
            problems=(*(f"{entry.kind} {entry.name}: {entry.message}" for entry in parsed.problems), *absent),
        )

    def set_workers(self, pool: str, count: int, *, preferred_nodes: Sequence[str], victims: Sequence[str]) -> None:
        """Size one pool: mark where workers should come or which should go, then scale. Raises `Unavailable`."""
        with _unavailable():
            if victims:
                self._mark(pool, victims)
            if preferred_nodes:
                annotations = {names.ANNOTATION_PREFERRED_NODES: ",".join(preferred_nodes)}
                self._client.annotate(kube.DEPLOYMENTS, pool, annotations, self._namespace)
            self._client.set_replicas(pool, self._namespace, count)

    def replace_workers(self, pool: str, victims: Sequence[str]) -> None:
        """Delete pods, with their grace, and let the Deployment make new ones. Raises `Unavailable`."""
        with _unavailable():
            for pod in self._client.list(kube.PODS, self._namespace, labels=f"{names.LABEL_POOL}={pool}"):
                about = pod["metadata"]
                if request.pod_key(pod) in victims and "deletionTimestamp" not in about:
                    # By uid as well: a pod of this name that was made since has done nothing to be deleted for.
                    self._client.delete(kube.PODS, about["name"], self._namespace, uid=about["uid"])

    def _mark(self, pool: str, victims: Sequence[str]) -> None:
        """Make the victims, and them alone, the cheapest pods to delete.

        A mark whose scaling failed stays on a pod that may hold a replica by now, and would cost that one its life.
        """
        for pod in self._client.list(kube.PODS, self._namespace, labels=f"{names.LABEL_POOL}={pool}"):
            is_victim = request.pod_key(pod) in victims
            is_marked = names.ANNOTATION_DELETION_COST in (pod["metadata"].get("annotations") or {})
            if is_victim != is_marked:
                cost = {names.ANNOTATION_DELETION_COST: FIRST_TO_GO if is_victim else None}
                self._client.annotate(kube.PODS, pod["metadata"]["name"], cost, self._namespace)

    def _wanted(self, pool: str) -> int | None:
        try:
            return self._client.read_replicas(pool, self._namespace)
        except kube.NotFound:
            return None


@contextmanager
def _unavailable() -> Iterator[None]:
    """Turn every way in which Kubernetes says no into the loop's own."""
    try:
        yield
    except (kube.Unavailable, kube.NotFound, kube.Conflict) as error:
        raise Unavailable(error.what, error.why) from error


def _pool(name: str, wanted: int, workers: Sequence[Json], now_s: float) -> PoolSeen:
    mine = [
        pod
        for pod in workers
        if pod["metadata"]["labels"][names.LABEL_POOL] == name
        and pod["status"].get("phase") not in ("Succeeded", "Failed")
    ]
    return PoolSeen(
        pool=name,
        at_s=now_s,
        wanted=wanted,
        workers=tuple(
            WorkerSeen(
                pod=request.pod_key(pod),
                node=pod["spec"].get("nodeName"),
                ready=_is_ready(pod),
                deleting="deletionTimestamp" in pod["metadata"],
            )
            for pod in mine
        ),
    )


def _has_slots(node: Json) -> bool:
    return names.LABEL_PROFILE in (node["metadata"].get("labels") or {}) or cuts.shares_by_units(node)


def _is_ready(pod: Json) -> bool:
    conditions = pod["status"].get("conditions") or ()
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def _address(node: Json) -> str | None:
    addresses = node["status"].get("addresses") or ()
    return next((entry["address"] for entry in addresses if entry["type"] == "InternalIP"), None)


def _metrics_url(address: str, port: int) -> str:
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}:{port}/metrics"
