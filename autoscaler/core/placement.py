"""Decided counts and the inventory -> which slots the new workers should get, for all models together.

Models are served in priority order, four times round: what runs or must run, what was decided before, growth up to
each model's share of a short pool, then growth beyond. A model on several slot types takes, one after the other, the
worker or slot that adds most for its cost; what was meant for a pool before stays meant for it while that can be.
Growth takes no slot on a saturated card, for a replica there would slow its neighbours by what it gains. A placement
never takes a worker from a running replica. The slots come from the same `place` that the scheduler uses.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from autoscaler.core.capacity import Cards, gain_beside, own_by_card
from autoscaler.core.choosing import Chooser, Stock
from autoscaler.core.contention import Contention
from autoscaler.core.decision import Reason
from autoscaler.core.service import Demand
from autoscaler.core.spanning import SlotOption
from vgpu.core import packing, seats
from vgpu.core.inventory import Inventory
from vgpu.core.packing import Packer
from vgpu.core.share import SchedulerPolicy
from vgpu.core.slot_type import SlotType


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """How many replicas one model shall have, and how many of them are not up for discussion."""

    model: str
    pool: str
    profile: SlotType
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
    types: tuple[SlotOption, ...] = ()
    """Of a model on several slot types: all of them. `pool`, `profile` and `share` then say nothing."""
    lives: Mapping[str, int] = field(default_factory=dict)
    """By pool, of such a model: the running replicas that stay."""
    meant: Mapping[str, int] = field(default_factory=dict)
    """By pool: replicas that were to be there before."""
    room: Mapping[str, int] = field(default_factory=dict)
    """By pool that is short: growth up to this many comes before anybody's growth beyond."""

    leaving: int = 0
    """Running replicas on nodes that will be taken away. `count` is for nodes that stay, and these serve meanwhile."""
    shunned: frozenset[str] = frozenset()
    """Pools where replicas did not start."""

    @property
    def pools(self) -> tuple[str, ...]:
        return tuple(pool for pool, _ in self.profiles)

    @property
    def profiles(self) -> tuple[tuple[str, SlotType], ...]:
        """By pool: its slot type."""
        return tuple((each.pool, each.profile) for each in self.types) or ((self.pool, self.profile),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """How many of the wanted replicas have a worker or a slot for one."""

    model: str
    count: int
    unplaced: int = 0
    reason: Reason | None = None
    blocked: tuple[tuple[str, packing.Blocked], ...] = ()
    spread: tuple[tuple[str, int], ...] = ()
    """Of a model on several slot types: how many are for each pool. Where some leave: of the `seats`."""
    seats: int = 0
    """Of a model of which some leave: how many have a place on nodes that stay; those that leave have theirs still."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetPlacement:
    grants: Mapping[str, Grant]
    """By model."""
    nodes: Mapping[str, tuple[str, ...]]
    """By pool: where new workers help most, best first."""


def place_models(
    wants: Sequence[Want],
    bound: Mapping[str, int],
    inventory: Inventory,
    cards: Cards,
    vacant: Mapping[str, Sequence[str]] | None = None,
) -> FleetPlacement:
    """Find slots for every wanted replica, in the given order of models.

    `bound` is how many workers of each pool sit on a node already; a pool that could not be read is left out of it,
    and its models keep what they have. `vacant` has the cards of those workers that hold no replica, by pool; of pools
    where nobody has a choice it is not needed.
    """
    unread = {want.model for want in wants if not all(pool in bound for pool in want.pools)}
    known = [want for want in wants if want.model not in unread]
    packer = Packer(inventory, _grading(cards.contention))
    cards_by_pool = {pool: list(gpus) for pool, gpus in (vacant or {}).items()}
    desk = _Desk(stock=Stock(packer=packer, cards=cards, workers=dict(bound), vacant=cards_by_pool))
    for want in known:
        if want.types:
            desk.seat(want)
    if any(want.leaving for want in known):  # else it is what `firm` says, and nobody's successor takes its worker
        for want in known:
            desk.keep(want, min(want.count, want.firm - want.leaving))
        desk.succeed([want for want in known if want.leaving])
    for want in known:
        desk.keep(want, min(want.count, want.firm))
    for want in known:
        desk.keep(want, min(want.count, max(want.current, want.firm)))
    for want in known:
        upto = want.count if want.share is None or want.types else min(want.count, want.share)
        desk.grow(want, upto, within_room=True)
    for want in known:
        desk.grow(want, want.count)
    return FleetPlacement(
        grants={want.model: _unread(want) if want.model in unread else desk.grant(want) for want in wants},
        nodes={pool: tuple(dict.fromkeys(slot.node for slot in chosen)) for pool, chosen in desk.stock.slots.items()},
    )


@dataclass(slots=True, kw_only=True)
class _Desk:
    """What is left to hand out while one placement is made; lives no longer than that."""

    stock: Stock
    placed: Counter[str] = field(default_factory=Counter)
    blocked: dict[str, tuple[tuple[str, packing.Blocked], ...]] = field(default_factory=dict)
    choosers: dict[str, Chooser] = field(default_factory=dict)
    """By model on several slot types."""

    def seat(self, want: Want) -> None:
        """Let a model on several slot types begin with its running replicas where they are."""
        chooser = self.choosers[want.model] = Chooser(
            types=sorted(want.types, key=lambda each: each.pool),
            own=dict(own_by_card(self.stock.cards.contention, want.placed)),
            meant=want.meant,
            room=want.room,
            shunned=want.shunned,
            least_gain_ratio=want.least_gain_ratio,
            price=lambda each: lambda grade: _price(grade, each.demand),
        )
        chooser.seat(want.lives, self.stock)

    def keep(self, want: Want, upto: int) -> None:
        """Raise the model to `upto` placed replicas, even on saturated cards."""
        if want.types:
            self.choosers[want.model].keep(upto, self.stock)
        else:
            self._serve(want, upto, even_saturated=True)

    def succeed(self, wants: Sequence[Want]) -> None:
        """Place successors of models on several slot types, each where as many of all the others still find a place:
        who has a choice must not take what is somebody's only one."""
        demands = {want.model: max(0, min(want.count, want.firm) - self._count(want)) for want in wants}
        for want in [want for want in wants if want.types]:
            while demands[want.model]:
                left = {pool: self.stock.left(pool, profile) for each in wants for pool, profile in each.profiles}
                short = _short(wants, demands, left)
                demands[want.model] -= 1
                harmless = {
                    pool
                    for pool in want.pools
                    if left[pool] and _short(wants, demands, {**left, pool: left[pool] - 1}) <= short
                }
                count = self._count(want)
                self.choosers[want.model].keep(count + 1, self.stock, harmless)
                if self._count(want) == count:
                    break

    def _count(self, want: Want) -> int:
        return self.choosers[want.model].by_pool.total() if want.types else self.placed[want.model]

    def grow(self, want: Want, upto: int, *, within_room: bool = False) -> None:
        """Raise the model to `upto` placed replicas where one more helps."""
        if want.types:
            self.choosers[want.model].grow(upto, self.stock, within_room=within_room)
        else:
            self._serve(want, upto, even_saturated=False)

    def _serve(self, want: Want, upto: int, *, even_saturated: bool) -> None:
        """Warm workers first, then free slots, as far as there are any."""
        missing = max(0, upto - self.placed[want.model])
        warm = min(missing, self.stock.workers[want.pool])
        self.stock.workers[want.pool] -= warm
        self.placed[want.model] += warm
        if missing == warm:
            return
        found = self.stock.packer.place(
            want.profile,
            missing - warm,
            price=lambda grade: _price(grade, want.demand),
            accept=_accept_all if even_saturated else self._helping(want),
        )
        if found.slots:
            self.stock.slots.setdefault(want.pool, []).extend(found.slots)
            self.placed[want.model] += len(found.slots)
        if found.unplaced:
            self.blocked[want.model] = found.blocked

    def _helping(self, want: Want) -> Callable[[str], bool]:
        """Whether one more replica on a card gains what a slot is worth."""
        cards, demand = self.stock.cards, want.demand
        if demand is None:
            return lambda gpu: not cards.contention.gpus[gpu].saturated
        own = own_by_card(cards.contention, want.placed)
        least_per_s = want.least_gain_ratio * demand.items / demand.solo_s
        return lambda gpu: gain_beside(cards, demand, gpu, own) >= least_per_s

    def grant(self, want: Want) -> Grant:
        chooser = self.choosers.get(want.model)
        placed = self._count(want)
        count = want.count if placed >= want.count else min(want.count, max(placed + want.leaving, want.firm))
        seats = placed if want.leaving else 0
        spread = () if chooser is None else chooser.spread(seats if want.leaving else count)
        if placed >= want.count:
            return Grant(model=want.model, count=count, spread=spread, seats=seats)
        blocked = self.blocked[want.model] if chooser is None else chooser.blocked(self.stock)
        if placed + want.leaving >= want.count:
            return Grant(model=want.model, count=count, blocked=blocked, spread=spread, seats=seats)
        is_free = any(self.stock.packer.free_count(profile) for _, profile in want.profiles)
        return Grant(
            model=want.model,
            count=count,
            unplaced=want.count - placed - want.leaving,
            reason=Reason.SATURATED if is_free else Reason.NO_SLOTS,
            blocked=blocked,
            spread=spread,
            seats=seats,
        )


def _unread(want: Want) -> Grant:
    kept = min(want.count, max(want.current, want.firm))
    return Grant(
        model=want.model,
        count=kept,
        reason=Reason.WORKERS_UNREADABLE if kept < want.count else None,
        spread=tuple(sorted(want.meant.items())) if sum(want.meant.values()) == kept else (),
    )


def _short(wants: Sequence[Want], demands: Mapping[str, int], left: Mapping[str, int]) -> int:
    """How many of these find no place at the best."""
    asked = [seats.Demand(name=each.model, count=demands[each.model], slot_types=each.pools) for each in wants]
    return sum(seats.seat(asked, left).values())


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
