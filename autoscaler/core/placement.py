"""Decided counts and the inventory -> which slots the new workers should get, for all models together.

Models are served in priority order, three times round: what runs or must run, what was decided before, then growth.
Growth takes no slot on a saturated card, for a replica there would slow its neighbours by what it gains. A placement
never takes a worker from a running replica. The slots come from the same `place` that the scheduler uses.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

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
    known = [want for want in wants if want.pool in bound]
    desk = _Desk(inventory=inventory, contention=contention, workers=dict(bound))
    for want in known:
        desk.serve(want, min(want.count, want.firm), even_saturated=True)
    for want in known:
        desk.serve(want, min(want.count, max(want.current, want.firm)), even_saturated=True)
    for want in known:
        desk.serve(want, want.count, even_saturated=False)
    return FleetPlacement(
        grants={want.model: desk.grant(want) if want.pool in bound else _unread(want) for want in wants},
        nodes={pool: tuple(dict.fromkeys(slot.node for slot in chosen)) for pool, chosen in desk.slots.items()},
    )


@dataclass(slots=True, kw_only=True)
class _Desk:
    """What is left to hand out while one placement is made; lives no longer than that."""

    inventory: Inventory
    contention: Contention
    workers: dict[str, int]
    """By pool: bound workers not yet counted for a replica."""
    slots: dict[str, list[Slot]] = field(default_factory=dict)
    placed: Counter[str] = field(default_factory=Counter)
    blocked: dict[str, tuple[tuple[str, packing.Blocked], ...]] = field(default_factory=dict)

    def serve(self, want: Want, upto: int, *, even_saturated: bool) -> None:
        """Raise the model to `upto` placed replicas: warm workers first, then free slots, as far as there are any."""
        missing = max(0, upto - self.placed[want.model])
        warm = min(missing, self.workers[want.pool])
        self.workers[want.pool] -= warm
        self.placed[want.model] += warm
        if missing == warm:
            return
        found = packing.place(
            self.inventory,
            want.profile,
            missing - warm,
            ordering=_least_crowded(self.contention),
            accept=lambda slot: even_saturated or not self.contention.gpus[slot.gpu_key].saturated,
        )
        if found.slots:
            planned = {slot.slot_id: f"planned for {want.model}" for slot in found.slots}
            self.inventory = self.inventory.with_holders(planned)
            self.slots.setdefault(want.pool, []).extend(found.slots)
            self.placed[want.model] += len(found.slots)
        if found.unplaced:
            self.blocked[want.model] = found.blocked

    def grant(self, want: Want) -> Grant:
        placed = self.placed[want.model]
        if placed >= want.count:
            return Grant(model=want.model, count=want.count)
        free_but_refused = any(packing.fits(slot, want.profile) for slot in self.inventory.free_slots)
        return Grant(
            model=want.model,
            count=max(placed, min(want.count, want.firm)),
            unplaced=want.count - placed,
            reason=Reason.SATURATED if free_but_refused else Reason.NO_SLOTS,
            blocked=self.blocked[want.model],
        )


def _unread(want: Want) -> Grant:
    kept = min(want.count, max(want.current, want.firm))
    return Grant(model=want.model, count=kept, reason=Reason.WORKERS_UNREADABLE if kept < want.count else None)


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
