"""Decided counts and the inventory -> which slots the new workers should get, for all models together.

Models are served in priority order, three times round: what runs or must run, what was decided before, then growth.
Growth takes no slot on a saturated card, for a replica there would slow its neighbours by what it gains. A placement
never takes a worker from a running replica. The slots come from the same `place` that the scheduler uses.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autoscaler.core.contention import Contention
from autoscaler.core.decision import Reason
from vgpu.core import packing
from vgpu.core.inventory import Inventory, Slot
from vgpu.core.profile import Profile
from vgpu.core.share import SchedulerPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """How many replicas one model shall have, and how many of them are not up for discussion."""

    model: str
    pool: str
    profile: Profile
    count: int
    current: int
    """Decided before: these may still go to a saturated card, since half of them may be on their way there."""
    firm: int
    """Running replicas and the operator's minimum: granted even without a slot, which then shows as unplaced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """How many of the wanted replicas have a worker or a slot for one."""

    model: str
    count: int
    unplaced: int = 0
    reason: Reason | None = None
    blocked: tuple[tuple[str, packing.Blocked], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetPlacement:
    grants: Mapping[str, Grant]
    """By model."""
    nodes: Mapping[str, tuple[str, ...]]
    """By pool: where new workers help most, best first."""


def place_models(
    wants: Sequence[Want], bound: Mapping[str, int], inventory: Inventory, contention: Contention
) -> FleetPlacement:
    """Find slots for every wanted replica, in the given order of models.

    `bound` is how many workers of each pool sit on a node already; a pool that could not be read is left out of it,
    and its models keep what they have.
    """
    have = dict(bound)
    slots: dict[str, list[Slot]] = {}
    placed = {want.model: 0 for want in wants}
    blocked: dict[str, tuple[tuple[str, packing.Blocked], ...]] = {}

    def take(want: Want, upto: int, *, even_saturated: bool) -> None:
        nonlocal inventory
        missing = max(0, upto - placed[want.model])
        from_workers = min(missing, max(0, have[want.pool]))
        have[want.pool] -= from_workers
        placed[want.model] += from_workers
        if missing == from_workers:
            return
        found = packing.place(
            inventory,
            want.profile,
            missing - from_workers,
            ordering=_least_crowded(contention),
            accept=lambda slot: even_saturated or not contention.gpus[slot.gpu_key].saturated,
        )
        inventory = inventory.with_holders({slot.slot_id: f"planned for {want.model}" for slot in found.slots})
        slots.setdefault(want.pool, []).extend(found.slots)
        placed[want.model] += len(found.slots)
        if found.unplaced:
            blocked[want.model] = found.blocked

    known = [want for want in wants if want.pool in bound]
    for want in known:
        take(want, min(want.count, want.firm), even_saturated=True)
    for want in known:
        take(want, min(want.count, max(want.current, want.firm)), even_saturated=True)
    for want in known:
        take(want, want.count, even_saturated=False)
    return FleetPlacement(
        grants={want.model: _grant(want, want in known, placed[want.model], blocked, inventory) for want in wants},
        nodes={pool: tuple(dict.fromkeys(slot.node for slot in chosen)) for pool, chosen in slots.items()},
    )


def _grant(
    want: Want,
    known: bool,
    placed: int,
    blocked: Mapping[str, tuple[tuple[str, packing.Blocked], ...]],
    left: Inventory,
) -> Grant:
    if not known:
        kept = min(want.count, max(want.current, want.firm))
        short = kept < want.count
        return Grant(model=want.model, count=kept, reason=Reason.WORKERS_UNREADABLE if short else None)
    if placed >= want.count:
        return Grant(model=want.model, count=want.count)
    free_but_refused = bool(packing.place(left, want.profile, 1).slots)
    return Grant(
        model=want.model,
        count=max(placed, min(want.count, want.firm)),
        unplaced=want.count - placed,
        reason=Reason.SATURATED if free_but_refused else Reason.NO_SLOTS,
        blocked=blocked.get(want.model, ()),
    )


def _least_crowded(contention: Contention) -> packing.Ordering:
    """Order slots by what a new replica would meet on their card, then by best fit.

    What this plan has put on a card already counts there as one more neighbour, although it cannot be measured yet.
    """

    def key(candidate: packing.Candidate) -> tuple[float, ...]:
        load = contention.gpus[candidate.slot.gpu_key]
        planned = candidate.held_on_gpu - load.held
        neighbours = 0.0 if load.policy is SchedulerPolicy.FIXED_SHARE else planned / load.slots
        return (contention.crowding(load.gpu) + neighbours, *packing.best_fit(candidate))

    return key
