"""Worker pools that are plain Deployments of one namespace, each named like its pool.

The Deployment carries the nodes where the next worker helps most, best first, for the scheduler to follow; a scheduler
that does not know the annotation places workers as it always does, and the loop sees where they came to be.
"""

from collections.abc import Sequence

from autoscaler.adapters.pools import PoolsSeen, delete_pods
from vgpu.adapters import kube
from vgpu.adapters.kube_verbs import Json, Verbs
from vgpu.core import names, request

FIRST_TO_GO = "-1000"


class DeploymentPools:
    """A Deployment per pool; its pods carry the pool's name as a label."""

    is_untidy = False
    """A mark that stays on a pod is corrected by the next change of its pool, and does nothing until then."""

    def __init__(self, client: Verbs, *, namespace: str) -> None:
        self._client = client
        self._namespace = namespace

    def read(self, pools: Sequence[str], pods: Sequence[Json]) -> PoolsSeen:
        """A pool without a Deployment is a problem of that pool alone: the others go on."""
        wanted = {pool: self._wanted(pool) for pool in pools}
        return PoolsSeen(
            counts={pool: count for pool, count in wanted.items() if count is not None},
            problems=tuple(
                f"Deployment {self._namespace}/{pool}: there is none; create the worker pool"
                for pool, count in wanted.items()
                if count is None
            ),
        )

    def pool_of(self, pod: Json) -> str | None:
        """The pool's label says it, in our namespace."""
        about = pod["metadata"]
        pool: str | None = (about.get("labels") or {}).get(names.LABEL_POOL)
        return pool if about["namespace"] == self._namespace else None

    def set_count(self, pool: str, count: int, *, preferred_nodes: Sequence[str], victims: Sequence[str]) -> None:
        """Mark where workers should come or which should go, then scale."""
        if victims:
            self._mark(pool, victims)
        if preferred_nodes:
            annotations = {names.ANNOTATION_PREFERRED_NODES: ",".join(preferred_nodes)}
            self._client.annotate(kube.DEPLOYMENTS, pool, annotations, self._namespace)
        self._client.set_replicas(pool, self._namespace, count)

    def replace(self, pool: str, victims: Sequence[str]) -> None:
        """Delete pods; the Deployment makes new ones at once."""
        delete_pods(self._client, self._namespace, labels=_selector(pool), victims=victims)

    def tidy(self) -> None:
        """Nothing is ever left behind."""

    def _mark(self, pool: str, victims: Sequence[str]) -> None:
        """Make the victims, and them alone, the cheapest pods to delete.

        A mark whose scaling failed stays on a pod that may hold a replica by now, and would cost that one its life.
        """
        for pod in self._client.list(kube.PODS, self._namespace, labels=_selector(pool)):
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


def _selector(pool: str) -> str:
    return f"{names.LABEL_POOL}={pool}"
