"""Worker pools that are the worker groups of one RayCluster (`ray.io/v1`), each group named like its pool.

KubeRay's operator makes and deletes the pods. A fall is one patch, the lower count and the names of those who leave;
with the count alone it would choose by itself. A name stays until its pod is gone, for the operator would count a pod
that is still being deleted as a worker, and delete another; then `tidy` takes it out.

A count outside a group's minReplicas and maxReplicas is set as near as they allow, and told with every reading until
another count is asked for.
"""

from collections.abc import Callable, Iterable, Sequence

from autoscaler.adapters import raycluster
from autoscaler.adapters.pools import PoolsSeen, delete_pods
from autoscaler.adapters.raycluster import Group
from autoscaler.ports import Unavailable
from vgpu.adapters import kube
from vgpu.adapters.kube_verbs import Json, Verbs
from vgpu.core import names

TRIES = 10  # the operator writes the status about once for each pod that starts


class RayClusterPools:
    """The worker groups of one RayCluster."""

    def __init__(self, client: Verbs, *, namespace: str, name: str) -> None:
        self._client = client
        self._namespace = namespace
        self._name = name
        self._beyond: dict[str, str] = {}
        """By pool: which bound kept it from the count that was asked for last."""
        self._stale: frozenset[str] = frozenset()
        """Pools whose group names pods that are gone, as last read."""

    def read(self, pools: Sequence[str], pods: Sequence[Json]) -> PoolsSeen:
        """What is wrong with one group is a problem of that pool alone: the others go on."""
        self._stale = frozenset()
        try:
            cluster = self._client.read(kube.RAYCLUSTERS, self._name, self._namespace)
        except kube.NotFound:
            return PoolsSeen(counts={}, problems=(f"{self._what()}: {_ABSENT}",))
        if why := raycluster.refusal(cluster):
            return PoolsSeen(counts={}, problems=(f"{self._what()}: {why}",))
        found = {pool: raycluster.find_group(cluster, pool) for pool in pools}
        groups = {pool: group for pool, group in found.items() if isinstance(group, Group)}
        there = {pod["metadata"]["name"] for pod in pods if self.pool_of(pod) is not None}
        self._stale = frozenset(pool for pool, group in groups.items() if not there.issuperset(group.named))
        return PoolsSeen(
            counts={pool: group.count for pool, group in groups.items()},
            leaving=frozenset(f"{self._namespace}/{name}" for group in groups.values() for name in group.named),
            problems=(
                *(f"{self._what(pool)}: {why}" for pool, why in found.items() if isinstance(why, str)),
                *(f"{self._what(pool)}: {why}" for pool, why in self._beyond.items() if pool in groups),
            ),
        )

    def pool_of(self, pod: Json) -> str | None:
        """The group's label says it, on a worker of this RayCluster: by these labels the operator counts too."""
        about = pod["metadata"]
        labels = about.get("labels") or {}
        is_worker = labels.get(names.LABEL_RAY_NODE_TYPE) == "worker"
        if about["namespace"] != self._namespace or labels.get(names.LABEL_RAY_CLUSTER) != self._name or not is_worker:
            return None
        pool: str | None = labels.get(names.LABEL_RAY_GROUP)
        return pool

    def set_count(self, pool: str, count: int, *, preferred_nodes: Sequence[str], victims: Sequence[str]) -> None:
        """One patch of the count, the names of those who leave and the preferred nodes; nothing where all is so."""

        def change(cluster: Json) -> Iterable[Json]:
            group = self._group(cluster, pool)
            near = self._within_bounds(group, pool, count)
            named = raycluster.to_delete(group, self._pods(pool), near, victims)
            yield from raycluster.preferring(cluster, pool, preferred_nodes)
            yield from raycluster.resized(group, near, named)

        self._amend(change)

    def replace(self, pool: str, victims: Sequence[str]) -> None:
        """Delete pods; the operator makes new ones when they are gone.

        Not by `workersToDelete`: the operator would leave the whole group alone until the pod is gone.
        """
        delete_pods(self._client, self._namespace, labels=self._selector(pool), victims=victims)

    @property
    def is_untidy(self) -> bool:
        """Whether a group still names pods that are gone."""
        return bool(self._stale)

    def tidy(self) -> None:
        """Take the names of pods that are gone out of their groups' lists."""

        def change(cluster: Json) -> Iterable[Json]:
            for pool in sorted(self._stale):
                group = self._group(cluster, pool)
                there = {pod["metadata"]["name"] for pod in self._pods(pool)}
                yield from raycluster.resized(group, group.asked, [name for name in group.named if name in there])

        self._amend(change)

    def _amend(self, change: Callable[[Json], Iterable[Json]]) -> None:
        """Read the RayCluster, then what the change looks at, and patch what was read; again when it has changed."""
        for _ in range(TRIES):
            cluster = self._client.read(kube.RAYCLUSTERS, self._name, self._namespace)
            if not (operations := list(change(cluster))):
                return
            try:
                self._client.amend(kube.RAYCLUSTERS, cluster, operations)
            except kube.Conflict:
                continue
            return
        raise Unavailable(self._what(), f"it changed {TRIES} times while it was being changed")

    def _group(self, cluster: Json, pool: str) -> Group:
        if why := raycluster.refusal(cluster):
            raise Unavailable(self._what(), why)
        group = raycluster.find_group(cluster, pool)
        if isinstance(group, str):
            raise Unavailable(self._what(pool), group)
        return group

    def _within_bounds(self, group: Group, pool: str, count: int) -> int:
        """The nearest count that the operator would run; a difference is kept to be told."""
        near = group.clamp(count)
        self._beyond.pop(pool, None)
        if near != count:
            bound, way = ("minReplicas", "less") if near > count else ("maxReplicas", "more")
            self._beyond[pool] = f"{count} workers asked for, and {bound} is {near}; set {bound} to {count} or {way}"
        return near

    def _pods(self, pool: str) -> Sequence[Json]:
        return self._client.list(kube.PODS, self._namespace, labels=self._selector(pool))

    def _selector(self, pool: str) -> str:
        return f"{names.LABEL_RAY_CLUSTER}={self._name},{names.LABEL_RAY_GROUP}={pool}"

    def _what(self, pool: str | None = None) -> str:
        group = "" if pool is None else f", group {pool}"
        return f"RayCluster {self._namespace}/{self._name}{group}"


_ABSENT = (
    "there is none; create it, with KubeRay's CRDs and operator installed, or use plain Deployments "
    "with --workers deployments"
)
