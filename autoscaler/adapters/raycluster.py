"""A RayCluster's JSON: what its worker groups ask for, and the JSON patch that changes it. Pure.

Fields as in `ray-operator/apis/ray/v1/raycluster_types.go` of KubeRay; what its operator makes of them, in
`ray-operator/controllers/ray/raycluster_controller.go` (both read at 1.7):

- it runs `replicas` pods, kept within `minReplicas` and `maxReplicas`, times `numOfHosts`;
- it deletes every pod in `scaleStrategy.workersToDelete`, whatever `replicas` says, in every pass while the name is
  there, and never takes a name out;
- then it counts. A pod that is being deleted counts as a worker, unless it is named. Too many, and it deletes those
  that it happens to list first;
- a group whose pod it has deleted is left alone until that pod is gone, for as long as the pod's grace.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from autoscaler.adapters.pools import has_ended, is_ready
from vgpu.adapters.kube_verbs import Json
from vgpu.core import names, request

MOST = 2**31 - 1  # the CRD's default of maxReplicas


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One entry of `spec.workerGroupSpecs`."""

    index: int
    asked: int
    least: int
    most: int
    named: tuple[str, ...]
    """`workersToDelete`: names of pods, without their namespace."""
    has_strategy: bool

    @property
    def count(self) -> int:
        """How many pods the operator runs for it."""
        return self.clamp(self.asked)

    def clamp(self, count: int) -> int:
        """A count as the operator would have it; where the bounds contradict each other the lower one wins."""
        return self.least if count < self.least else min(count, self.most)


def refusal(cluster: Json) -> str | None:
    """Why none of a RayCluster's groups can be sized, and the remedy; or None."""
    spec = cluster["spec"]
    if "deletionTimestamp" in cluster["metadata"]:
        return "it is being deleted; create it anew"
    if spec.get("enableInTreeAutoscaling"):
        return (
            "enableInTreeAutoscaling is true, and a worker group has one owner of its size; set it to false, "
            "or run the autoscaler on other workers"
        )
    if spec.get("suspend"):
        return "it is suspended; set spec.suspend to false"
    return None


def find_group(cluster: Json, name: str) -> Group | str:
    """The worker group of a name, or why it cannot be sized, with the remedy."""
    specs = cluster["spec"].get("workerGroupSpecs") or ()
    found = [(index, entry) for index, entry in enumerate(specs) if entry["groupName"] == name]
    if len(found) != 1:
        there = ", ".join(sorted(entry["groupName"] for entry in specs)) or "none"
        return f"{len(found) or 'no'} worker groups of this name (there: {there}); give it one with groupName: {name}"
    ((index, entry),) = found
    if entry.get("suspend"):
        return "the group is suspended; set its suspend to false"
    if (hosts := entry.get("numOfHosts") or 1) != 1:
        return f"numOfHosts is {hosts}, and a worker is one pod; set it to 1"
    strategy = entry.get("scaleStrategy")
    most = entry.get("maxReplicas")
    return Group(
        index=index,
        asked=entry.get("replicas") or 0,
        least=entry.get("minReplicas") or 0,
        most=MOST if most is None else most,
        named=tuple((strategy or {}).get("workersToDelete") or ()),
        has_strategy=strategy is not None,
    )


def to_delete(group: Group, pods: Sequence[Json], count: int, victims: Sequence[str]) -> tuple[str, ...]:
    """The names to have in `workersToDelete` along with a count, so that the operator has nobody left to choose.

    `pods` are all the group has, `victims` are namespace/name. Names of pods that are gone drop out.
    """
    there = [pod for pod in pods if not has_ended(pod)]  # the operator deletes those that ended before it counts
    doomed = [pod for pod in there if _name(pod) in group.named]
    others = [pod for pod in there if _name(pod) not in group.named]
    ending = [pod for pod in others if "deletionTimestamp" in pod["metadata"]]
    staying = sorted((pod for pod in others if pod not in ending), key=lambda pod: _worth(pod, victims))
    leaving = staying[: max(0, len(staying) - count)]
    if len(staying) - len(leaving) + len(ending) > count:
        # They would count as workers, and somebody else would go for them.
        leaving = [*leaving, *ending]
    return tuple(sorted(_name(pod) for pod in (*doomed, *leaving)))


def _worth(pod: Json, victims: Sequence[str]) -> tuple[bool, bool, bool, str]:
    """Who goes first: victims, what has no node, what is not ready; of equals a name decides."""
    return (request.pod_key(pod) not in victims, "nodeName" in pod["spec"], is_ready(pod), _name(pod))


def _name(pod: Json) -> str:
    name: str = pod["metadata"]["name"]
    return name


def resized(group: Group, count: int, named: Sequence[str]) -> Iterator[Json]:
    """The operations that give a group a count and a list of names; none where it has them.

    By the group's index, so that no other field of any group is written: a merge patch replaces the whole list.
    """
    path = f"/spec/workerGroupSpecs/{group.index}"
    if count != group.asked:
        yield {"op": "add", "path": f"{path}/replicas", "value": count}
    if sorted(named) == sorted(group.named):
        return
    if group.has_strategy:
        yield {"op": "add", "path": f"{path}/scaleStrategy/workersToDelete", "value": list(named)}
    else:
        yield {"op": "add", "path": f"{path}/scaleStrategy", "value": {"workersToDelete": list(named)}}


def preferring(cluster: Json, group: str, nodes: Sequence[str]) -> Iterator[Json]:
    """The operations that note where a group's next worker should come, best node first.

    On the RayCluster itself: in the group's pod template it would be a new template, and with the upgrade strategy
    Recreate the operator then deletes every pod of the cluster.
    """
    annotations, value = cluster["metadata"].get("annotations"), ",".join(nodes)
    key = f"{names.ANNOTATION_PREFIX_PREFERRED_NODES}{group}"
    if not nodes or (annotations or {}).get(key) == value:
        return
    if annotations is None:
        yield {"op": "add", "path": "/metadata/annotations", "value": {key: value}}
    else:
        yield {"op": "add", "path": f"/metadata/annotations/{key.replace('/', '~1')}", "value": value}
