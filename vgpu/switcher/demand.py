"""On demand: which layout of a GPU would seat what waits now, and for how long that has been so.

Rule: all that has a seat keeps one, and more of what waits is seated than before. A maximum flow tells both: whoever is
seated by a flow stays so in every larger one, so it suffices that the seated fit alone, and that the whole grows.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vgpu.core import names
from vgpu.core.layout import Difference, Guest
from vgpu.core.objects import slots_requested
from vgpu.core.profile import ProfileError
from vgpu.core.seats import Demand, seat
from vgpu.core.slot_type import parse_slot_type

Json = Mapping[str, Any]


def waiting_pods(pods: Iterable[Json]) -> tuple[Demand, ...]:
    """Pods that no node has taken and that ask, by their node selector, for slots of one type; workers are none.

    A worker waits for a slot because a replica does, and that is counted where the autoscaler says so.
    """
    counts: dict[str, int] = {}
    for pod in pods:
        spec, labels = pod["spec"], pod["metadata"].get("labels") or {}
        label = (spec.get("nodeSelector") or {}).get(names.LABEL_PROFILE)
        if spec.get("nodeName") or not label or names.LABEL_POOL in labels or "deletionTimestamp" in pod["metadata"]:
            continue
        try:
            count = slots_requested(pod)
            kind = parse_slot_type(label).label
        except (ProfileError, ValueError):
            continue  # no node could take it in any layout
        counts[kind] = counts.get(kind, 0) + count
    return tuple(
        Demand(name=f"pods for {label}", count=count, slot_types=(label,)) for label, count in counts.items() if count
    )


def slots_of(guests: Iterable[Guest]) -> dict[str, int]:
    """Slots by type."""
    counted: dict[str, int] = {}
    for guest in guests:
        counted[guest.profile.label] = counted.get(guest.profile.label, 0) + guest.slots
    return counted


def after(capacity: Mapping[str, int], change: Difference) -> dict[str, int]:
    """The fleet's slots once a GPU has changed; `capacity` is that without those who leave or come."""
    coming = slots_of(change.coming)
    return {label: capacity.get(label, 0) + coming.get(label, 0) for label in {*capacity, *coming}}


def helps(
    seated: Sequence[Demand], waiting: Sequence[Demand], *, before: Mapping[str, int], later: Mapping[str, int]
) -> bool:
    """Whether more of what waits has a seat later than before, and all that has one keeps one."""
    if not waiting or seat(seated, later):
        return False
    everything = (*seated, *waiting)
    short_now = sum(seat(everything, before).values()) - sum(seat(seated, before).values())
    return sum(seat(everything, later).values()) < short_now


@dataclass(slots=True)
class Patience:
    """Since when a layout of a GPU has been wanted without a break. One that is no longer wanted begins anew."""

    _since_s: dict[tuple[str, str], float] = field(default_factory=dict)

    def note(self, gpu: str, layouts: Iterable[str], *, now_s: float) -> dict[str, float]:
        """Note which layouts of a GPU would help now; return for how long each has been wanted."""
        wanted = set(layouts)
        for key in [key for key in self._since_s if key[0] == gpu and key[1] not in wanted]:
            del self._since_s[key]
        for layout in wanted:  # where clocks went back it begins anew
            self._since_s[gpu, layout] = min(self._since_s.get((gpu, layout), now_s), now_s)
        return {layout: now_s - self._since_s[gpu, layout] for layout in sorted(wanted)}
