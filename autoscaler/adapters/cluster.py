"""Kubernetes as the loop sees it: nodes and slots, workers, and the sizes of worker pools, whoever makes their pods."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from autoscaler.adapters.deployment_pools import DeploymentPools
from autoscaler.adapters.pools import Pools, PoolsSeen, has_ended, is_ready
from autoscaler.adapters.raycluster_pools import RayClusterPools
from autoscaler.core.observation import PoolSeen, WorkerSeen
from autoscaler.core.spec import FleetSpec
from autoscaler.ports import ClusterSeen, Endpoint, Unavailable
from vgpu.adapters import kube
from vgpu.adapters.kube_verbs import Json
from vgpu.core import cuts, names, objects, request
from vgpu.core.slot_type import Fraction

WORKER_METRICS_PORT = 9105
EXPORTER_METRICS_PORT = 9400


class KubernetesCluster:
    """The loop's cluster: nodes and pods are read here, `pools` are sized by whoever owns their count."""

    def __init__(self, client: kube.Kube, pools: Pools) -> None:
        self._client = client
        self._pools = pools

    def read(self, spec: FleetSpec, now_s: float) -> ClusterSeen:
        """Read nodes, every pod bound to them, and the pools' sizes. Raises `Unavailable`.

        A pool that cannot be sized is a problem of that pool alone: the others go on.
        """
        with _unavailable():
            nodes = self._client.list(kube.NODES)
            pods = self._client.list(kube.PODS)
            asked = self._pools.read([pool.name for pool in spec.pools], pods)
        sizes = {pool.profile for pool in spec.pools if isinstance(pool.profile, Fraction)}
        parsed = objects.parse_inventory(nodes, pods, sizes)
        workers = [(pool, pod) for pod in pods if (pool := self._pools.pool_of(pod)) is not None]
        return ClusterSeen(
            inventory=parsed.inventory,
            pools=tuple(
                _pool(pool, asked, [pod for owner, pod in workers if owner == pool], now_s) for pool in asked.counts
            ),
            workers=tuple(
                Endpoint(name=request.pod_key(pod), url=_metrics_url(address, WORKER_METRICS_PORT))
                for _, pod in workers
                if is_ready(pod) and (address := pod["status"].get("podIP"))
            ),
            exporters=tuple(
                Endpoint(name=node["metadata"]["name"], url=_metrics_url(address, EXPORTER_METRICS_PORT))
                for node in nodes
                if _has_slots(node) and objects.is_awake(node) and (address := _address(node))
            ),
            problems=(*(f"{entry.kind} {entry.name}: {entry.message}" for entry in parsed.problems), *asked.problems),
        )

    def set_workers(self, pool: str, count: int, *, preferred_nodes: Sequence[str], victims: Sequence[str]) -> None:
        """Size one pool: where workers should come, which should go, and how many. Raises `Unavailable`."""
        with _unavailable():
            self._pools.set_count(pool, count, preferred_nodes=preferred_nodes, victims=victims)

    def replace_workers(self, pool: str, victims: Sequence[str]) -> None:
        """Delete pods, with their grace, and have new ones made. Raises `Unavailable`."""
        with _unavailable():
            self._pools.replace(pool, victims)

    @property
    def is_untidy(self) -> bool:
        """Whether the last reading showed something to tidy."""
        return self._pools.is_untidy

    def tidy(self) -> None:
        """Take back what earlier changes left behind. Raises `Unavailable`."""
        with _unavailable():
            self._pools.tidy()


def open_cluster(client: kube.Kube, *, namespace: str, ray_cluster: str | None) -> KubernetesCluster:
    """The cluster with the worker groups of a RayCluster as its pools, or without one, with Deployments."""
    if ray_cluster is None:
        return KubernetesCluster(client, DeploymentPools(client, namespace=namespace))
    return KubernetesCluster(client, RayClusterPools(client, namespace=namespace, name=ray_cluster))


@contextmanager
def _unavailable() -> Iterator[None]:
    """Turn every way in which Kubernetes says no into the loop's own."""
    try:
        yield
    except (kube.Unavailable, kube.NotFound, kube.Conflict) as error:
        raise Unavailable(error.what, error.why) from error


def _pool(name: str, asked: PoolsSeen, pods: Sequence[Json], now_s: float) -> PoolSeen:
    return PoolSeen(
        pool=name,
        at_s=now_s,
        wanted=asked.counts[name],
        workers=tuple(
            WorkerSeen(
                pod=request.pod_key(pod),
                node=pod["spec"].get("nodeName"),
                ready=is_ready(pod),
                deleting="deletionTimestamp" in pod["metadata"] or request.pod_key(pod) in asked.leaving,
            )
            for pod in pods
            if not has_ended(pod)
        ),
    )


def _has_slots(node: Json) -> bool:
    return names.LABEL_PROFILE in (node["metadata"].get("labels") or {}) or cuts.shares_by_units(node)


def _address(node: Json) -> str | None:
    addresses = node["status"].get("addresses") or ()
    return next((entry["address"] for entry in addresses if entry["type"] == "InternalIP"), None)


def _metrics_url(address: str, port: int) -> str:
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}:{port}/metrics"
