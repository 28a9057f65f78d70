"""One pod's hold on a node, and how sure it is. The books of all holds are `vgpu.core.ledger`."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from vgpu.core import allocation, names, request
from vgpu.core.allocation import Allocation
from vgpu.core.offer import Offer
from vgpu.core.request import PodRequest, RequestRefused

Json = Mapping[str, Any]

_FINISHED = ("Succeeded", "Failed")


class State(StrEnum):
    """How sure an entry is."""

    ASSUMED = "assumed"
    BINDING = "binding"
    BOUND = "bound"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """What one pod takes of one node. `doubt` says why its units cannot be told; empty where they can.

    One that is doubted though it has an allocation contradicts its node or other pods; it may be true later.
    """

    uid: str
    pod: str
    node: str
    allocation: Allocation | None = None
    cpu_milli: int = 0
    memory_mib: int = 0
    whole_gpus: int = 0
    doubt: str = ""

    @property
    def kept_units(self) -> tuple[tuple[str, int], ...]:
        """Units by GPU key as its annotations name it; see `units_on` for the node's own name. None where doubted."""
        return self.allocation.kept_units if self.allocation and not self.doubt else ()

    @property
    def is_share(self) -> bool:
        """Tell whether it has units, or may have some that nobody can tell."""
        return bool(self.kept_units) or bool(self.doubt and not self.whole_gpus)

    def units_on(self, offer: Offer | None) -> Mapping[str, int]:
        """Units by the key that the node's GPU has now; raise ValueError where it has no such GPU.

        A UUID names a card. Where one of the two sides does not know it (a node is labelled first and annotated with
        UUIDs later), the index does. Without an offer the keys are taken as they are.
        """
        if offer is None or offer.refusal:
            return dict(self.kept_units)
        offered = {gpu.key: gpu for gpu in offer.gpus}
        granted = self.allocation.grants if self.allocation else ()
        places = {gpu.key: gpu for grant in granted for gpu in grant.gpus}
        found: dict[str, int] = {}
        for key, units in self.kept_units:
            gpu, place = offered.get(key), places.get(key)
            if gpu is None and place is not None and place.index < len(offer.gpus):
                gpu = offer.gpus[place.index]
                gpu = gpu if gpu.uuid is None or place.uuid is None else None
            if gpu is None:
                raise ValueError(f"GPU {key} is not on node {self.node}, which has {', '.join(offered) or 'none'}")
            found[gpu.key] = found.get(gpu.key, 0) + units
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A hold and how sure it is."""

    hold: Hold
    state: State
    since_s: float
    deadline_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Where the ledger and the annotations disagree about one pod."""

    uid: str
    pod: str
    in_ledger: Hold | None
    in_annotations: Hold | None


def do_agree(mine: Hold | None, wanted: Hold | None) -> bool:
    """Tell whether two pictures of a pod take the same: a doubt of ours that the annotations do not show counts."""
    if mine is None or wanted is None:
        return mine is wanted
    return (mine.node, mine.kept_units) == (wanted.node, wanted.kept_units)


def is_finished(pod: Json) -> bool:
    """Tell whether a pod has ended: it holds nothing any more."""
    return (pod.get("status") or {}).get("phase") in _FINISHED


def hold_of(pod: Json) -> Hold | None:
    """Read what a pod holds as the API server says it; None where it is bound to no node or has ended."""
    node = (pod.get("spec") or {}).get("nodeName")
    if not node or is_finished(pod):
        return None
    key, uid = request.pod_key(pod), str(pod["metadata"].get("uid") or "")
    try:
        asked = request.parse_request(pod)
    except RequestRefused as refusal:
        return Hold(uid=uid, pod=key, node=node, doubt=str(refusal))
    plain = plain_hold(asked, node)
    if not asked.asks:
        return plain
    try:
        found = allocation.parse_allocation(asked, pod)
    except RequestRefused as refusal:
        return Hold(
            uid=uid, pod=key, node=node, cpu_milli=asked.cpu_milli, memory_mib=asked.memory_mib, doubt=str(refusal)
        )
    return Hold(uid=uid, pod=key, node=node, allocation=found, cpu_milli=asked.cpu_milli, memory_mib=asked.memory_mib)


def plain_hold(asked: PodRequest, node: str) -> Hold:
    """Say what a pod without units takes; one with whole GPUs of NVIDIA's plugin takes cards that nobody names."""
    doubt = ""
    if asked.whole_gpus:
        doubt = f"pod {asked.pod} holds {names.RESOURCE_GPU} there and nothing says which GPUs those are"
    return Hold(
        uid=asked.uid,
        pod=asked.pod,
        node=node,
        cpu_milli=asked.cpu_milli,
        memory_mib=asked.memory_mib,
        whole_gpus=asked.whole_gpus,
        doubt=doubt,
    )
