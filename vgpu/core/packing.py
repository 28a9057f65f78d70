"""Which free slots new workers get: one greedy loop, and orderings as a table of key functions.

The autoscaler plans with the same loop that places pods, so a plan never disagrees with the placement. Ties fall to
node name, then slot index: the answer depends on the inventory alone, never on the order in which it was listed.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from vgpu.core.inventory import Inventory, Node, Slot
from vgpu.core.profile import Profile
from vgpu.core.share import Share

Need = Profile | Share
"""What one worker asks for: slots of exactly this profile (a node selector), or any slot at least this large."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A slot that fits, with what an ordering may look at."""

    slot: Slot
    leftover_units: int
    held_on_gpu: int
    """Slots of its card that are held, those chosen earlier in this placement included."""
    free_on_gpu: int
    """Slots of its card that this placement could still use, this one included."""


Ordering = Callable[[Candidate], tuple[float, ...]]
"""Smaller is better. An ordering chooses among slots that fit; it never decides whether one fits."""


class Blocked(StrEnum):
    """Why a node takes no (further) worker."""

    NOT_READY = "not_ready"
    CORDONED = "cordoned"
    NO_SLOTS_OF_TYPE = "no_slots_of_type"
    ALL_SLOTS_HELD = "all_slots_held"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """`slots` in the order in which they were chosen; `blocked` says per node why `unplaced` workers found none."""

    slots: tuple[Slot, ...]
    unplaced: int
    blocked: tuple[tuple[str, Blocked], ...] = ()


def best_fit(candidate: Candidate) -> tuple[float, ...]:
    """Waste least of the slot, then fill cards already in use, then those with least room left."""
    return (candidate.leftover_units, candidate.held_on_gpu == 0, candidate.free_on_gpu)


ORDERINGS: dict[str, Ordering] = {
    "best-fit": best_fit,
}


def fits(slot: Slot, need: Need) -> bool:
    """Say whether the slot, free or not, is what the need asks for."""
    if isinstance(need, Profile):
        return slot.profile == need
    return slot.profile.units >= need.units and slot.profile.framebuffer_mib >= need.framebuffer_mib


def accept_all(_slot: Slot) -> bool:
    return True


def place(
    inventory: Inventory,
    need: Need,
    count: int,
    *,
    ordering: Ordering = best_fit,
    accept: Callable[[Slot], bool] = accept_all,
) -> Placement:
    """Choose up to `count` free slots for equal needs, best first; `accept` may refuse slots that would fit."""
    if count < 0:
        raise ValueError(f"count is {count}; place 0 or more")
    free = [slot for slot in inventory.free_slots if fits(slot, need) and accept(slot)]
    held_on_gpu = Counter(slot.gpu_key for slot in inventory.slots if slot.holder is not None)
    free_on_gpu = Counter(slot.gpu_key for slot in free)

    def key(slot: Slot) -> tuple[float, ...]:
        return ordering(
            Candidate(
                slot=slot,
                leftover_units=slot.profile.units - need.units,
                held_on_gpu=held_on_gpu[slot.gpu_key],
                free_on_gpu=free_on_gpu[slot.gpu_key],
            )
        )

    keys = [key(slot) for slot in free]
    chosen: list[Slot] = []
    while free and len(chosen) < count:
        # index finds the first of equals, and an inventory lists nodes by name and slots by number.
        best = keys.index(min(keys))
        slot = free.pop(best)
        del keys[best]
        chosen.append(slot)
        held_on_gpu[slot.gpu_key] += 1
        free_on_gpu[slot.gpu_key] -= 1
        # Only the keys of this card's other slots have changed.
        keys = [key(other) if other.gpu_key == slot.gpu_key else old for other, old in zip(free, keys, strict=True)]
    unplaced = count - len(chosen)
    blocked = tuple((node.name, _why_blocked(node, need, accept)) for node in inventory.nodes) if unplaced else ()
    return Placement(slots=tuple(chosen), unplaced=unplaced, blocked=blocked)


def _why_blocked(node: Node, need: Need, accept: Callable[[Slot], bool]) -> Blocked:
    if not node.ready:
        return Blocked.NOT_READY
    if not node.schedulable:
        return Blocked.CORDONED
    fitting = [slot for slot in node.slots if fits(slot, need)]
    if not fitting:
        return Blocked.NO_SLOTS_OF_TYPE
    refused = any(slot.holder is None and not accept(slot) for slot in fitting)
    return Blocked.REFUSED if refused else Blocked.ALL_SLOTS_HELD
