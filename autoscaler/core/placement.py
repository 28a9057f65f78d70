"""Decided counts and the inventory -> which slots the new workers should get, for all models together.

Models are served in priority order, four times round: what runs or must run, what was decided before, growth up to
each model's share of a short pool, then growth beyond.
Growth takes no slot on a saturated card, for a replica there would slow its neighbours by what it gains. A placement
never takes a worker from a running replica. The slots come from the same `place` that the scheduler uses.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from autoscaler.core.capacity import Cards, gain_beside, own_by_card
from autoscaler.core.contention import Contention
from autoscaler.core.decision import Reason
from autoscaler.core.service import Demand
from vgpu.core import packing
from vgpu.core.inventory import Inventory, Slot
from vgpu.core.packing import Packer
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
    share: int | None = None
    """Growth up to this many comes before anybody's growth beyond; None: all of it."""
    demand: Demand | None = None
    """What a batch costs, once that is known: growth then goes only where it gains something."""
    placed: tuple[str | None, ...] = ()
    """The slots of its running replicas."""
    least_gain_ratio: float = 0.2


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


def place_models(wants: Sequence[Want], bound: Mapping[str, int], inventory: Inventory, cards: Cards) -> FleetPlacement:
    """Find slots for every wanted replica, in the given order of models.

    `bound` is how many workers of each pool sit on a node already; a pool that could not be read is left out of it,
    and its models keep what they have.
    """
    known = [want for want in wants if want.pool in bound]
    packer = Packer(inventory, _grading(cards.contention))
    desk = _Desk(packer=packer, cards=cards, workers=dict(bound))
    for want in known:
        desk.serve(want, min(want.count, want.firm), even_saturated=True)
    for want in known:
        desk.serve(want, min(want.count, max(want.current, want.firm)), even_saturated=True)
    for want in known:
        desk.serve(want, want.count if want.share is None else min(want.count, want.share), even_saturated=False)
    for want in known:
        desk.serve(want, want.count, even_saturated=False)
    return FleetPlacement(
        grants={want.model: desk.grant(want) if want.pool in bound else _unread(want) for want in wants},
        nodes={pool: tuple(dict.fromkeys(slot.node for slot in chosen)) for pool, chosen in desk.slots.items()},
    )


@dataclass(slots=True, kw_only=True)
class _Desk:
    """What is left to hand out while one placement is made; lives no longer than that."""

    packer: Packer
    cards: Cards
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
        found = self.packer.place(
            want.profile,
            missing - warm,
            price=lambda grade: _price(grade, want.demand),
            accept=_accept_all if even_saturated else self._helping(want),
        )
        if found.slots:
            self.slots.setdefault(want.pool, []).extend(found.slots)
            self.placed[want.model] += len(found.slots)
        if found.unplaced:
            self.blocked[want.model] = found.blocked

    def _helping(self, want: Want) -> Callable[[str], bool]:
        """Whether one more replica on a card gains what a slot is worth."""
        cards, demand = self.cards, want.demand
        if demand is None:
            return lambda gpu: not cards.contention.gpus[gpu].saturated
        own = own_by_card(cards.contention, want.placed)
        least_per_s = want.least_gain_ratio * demand.items / demand.solo_s
        return lambda gpu: gain_beside(cards, demand, gpu, own) >= least_per_s

    def grant(self, want: Want) -> Grant:
        placed = self.placed[want.model]
        if placed >= want.count:
            return Grant(model=want.model, count=want.count)
        return Grant(
            model=want.model,
            count=max(placed, min(want.count, want.firm)),
            unplaced=want.count - placed,
            reason=Reason.SATURATED if self.packer.free_count(want.profile) else Reason.NO_SLOTS,
            blocked=self.blocked[want.model],
        )


def _unread(want: Want) -> Grant:
    kept = min(want.count, max(want.current, want.firm))
    return Grant(model=want.model, count=kept, reason=Reason.WORKERS_UNREADABLE if kept < want.count else None)


def _accept_all(_gpu: str) -> bool:
    return True


def _grading(contention: Contention) -> Callable[[str, int], packing.Grade]:
    """What a new replica would meet on a card: (crowding, neighbours that this plan has put there, the card's slots).

    What was planned counts although it cannot be measured yet; under fixed share it costs a newcomer nothing.
    """
    crowding: dict[str, float] = {}

    def grade(gpu: str, held: int) -> packing.Grade:
        load = contention.gpus[gpu]
        if gpu not in crowding:
            crowding[gpu] = contention.crowding(gpu)
        planned = 0 if load.policy is SchedulerPolicy.FIXED_SHARE else held - load.held
        return (crowding[gpu], planned, load.slots)

    return grade


def _price(grade: packing.Grade, demand: Demand | None) -> float:
    """The crowding as one more replica would find it: a planned neighbour takes the engine's part of this demand."""
    crowding, planned, slots = grade
    each = 1 / slots if demand is None else demand.engine_s / demand.solo_s
    return crowding + planned * each
