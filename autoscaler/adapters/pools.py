"""Worker pools as the cluster adapter needs them, whatever object of Kubernetes asks for a pool's pods."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from vgpu.adapters import kube
from vgpu.adapters.kube_verbs import Json, Verbs
from vgpu.core import request


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolsSeen:
    """One reading of the objects that ask for workers."""

    counts: Mapping[str, int]
    """By pool: how many pods it is asked for. A pool that cannot be sized is absent."""
    leaving: frozenset[str] = frozenset()
    """Pods (namespace/name) that are told to go and may not have been deleted yet."""
    problems: tuple[str, ...] = ()


class Pools(Protocol):
    """Who asks for a pool's workers. Each method raises `ports.Unavailable` or one of the failures of `kube`."""

    def read(self, pools: Sequence[str], pods: Sequence[Json]) -> PoolsSeen:
        """Read the counts of these pools; `pods` are all that were there a moment before."""

    def pool_of(self, pod: Json) -> str | None:
        """The pool that a pod is a worker of; None for any other pod."""

    def set_count(self, pool: str, count: int, *, preferred_nodes: Sequence[str], victims: Sequence[str]) -> None:
        """Size one pool. As many workers leave as it has too many, victims (namespace/name) first."""

    def replace(self, pool: str, victims: Sequence[str]) -> None:
        """Delete these workers, with their grace; whoever asks for the pool's pods makes new ones."""

    @property
    def is_untidy(self) -> bool:
        """Whether the last reading showed something to tidy."""

    def tidy(self) -> None:
        """Take back what earlier changes left behind and nobody needs any more."""


def delete_pods(client: Verbs, namespace: str, *, labels: str, victims: Sequence[str]) -> None:
    """Delete those of the labelled pods that are victims (namespace/name) and not on their way out."""
    for pod in client.list(kube.PODS, namespace, labels=labels):
        about = pod["metadata"]
        if request.pod_key(pod) in victims and "deletionTimestamp" not in about:
            # By uid as well: a pod of this name that was made since has done nothing to be deleted for.
            client.delete(kube.PODS, about["name"], namespace, uid=about["uid"])


def is_ready(pod: Json) -> bool:
    """Whether a pod says of itself that it can serve."""
    conditions = pod["status"].get("conditions") or ()
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def has_ended(pod: Json) -> bool:
    """Whether a pod has run to its end, and counts for nothing."""
    return pod["status"].get("phase") in ("Succeeded", "Failed")
