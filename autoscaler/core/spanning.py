"""A model that may live on several slot types: what its replicas do on each, for what the slot costs.

A batch costs other times on another board, so costs are learned by board; what a profile changes is the entitled share,
and the formulas of `capacity` know that from the card. A board where little was seen is taken for like the others. All
orders here are by what a replica adds for the cost of its slot: that is how the next one is chosen, and who leaves.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from autoscaler.core.capacity import Cards, OwnByCard, Reach, gain_beside, own_by_card, paced, summed
from autoscaler.core.contention import Contention
from autoscaler.core.need import choose
from autoscaler.core.replicas import FreshReplica
from autoscaler.core.service import Demand, Service, learn
from autoscaler.core.spec import ModelSpec, PoolSpec
from vgpu.core.inventory import Slot
from vgpu.core.slot_type import SlotType

IN_TIME_RATIO, LATE_RATIO = 0.6, 0.85
"""A lone batch that takes this part of the objective is in time as a rule, or late as a rule: it may have to wait for
another one, and its time varies by a third or so."""
LATE_WORTH = 0.01
"""A slot on which every answer is late is worth so much of what it does: it is never taken, and given up first."""
UNKNOWN_WORTH = 0.25
"""While nothing is known of a model, a card that is not saturated has at least so much left for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotOption:
    """One slot type, as one model meets it."""

    pool: str
    profile: SlotType
    cost: float
    """Of one slot."""
    demand: Demand | None = None
    """What a batch costs there; None while nothing is known of the model."""
    worth: float = 1.0
    """What of its work counts, for answers that are late anyway are none; 1 on the type where they are soonest."""

    @property
    def solo_per_s(self) -> float:
        """Requests per second of one replica alone on a card; 1 while nothing is known."""
        return 1.0 if self.demand is None else self.demand.items / self.demand.solo_s

    def gain(self, cards: Cards, gpu: str, own: OwnByCard) -> float:
        """Requests per second in time that one more replica on a card adds to the model's own there.

        While nothing is known: the part of the engine that is left.
        """
        if self.demand is None:
            is_saturated = cards.contention.gpus[gpu].saturated
            return 0.0 if is_saturated else max(UNKNOWN_WORTH, 1.0 - cards.contention.crowding(gpu))
        return self.worth * gain_beside(cards, self.demand, gpu, own)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """Requests per second of the replica worth least for its cost, alone on its card, and on the best free slot."""

    here_per_s: float
    solo_per_s: float
    there_per_s: float


def with_lessons(
    boards: Mapping[str, Service], news: Iterable[FreshReplica], contention: Contention, warm: frozenset[str]
) -> Mapping[str, Service]:
    """Take in what the warm replicas did, each for its board."""
    by_board: dict[str, list[FreshReplica]] = {}
    for replica in news:
        slot = contention.directory.slots.get(replica.slot_id or "")
        if slot is not None:
            by_board.setdefault(slot.profile.board, []).append(replica)
    learned = {
        board: learn(boards.get(board, Service()), replicas, contention, warm) for board, replicas in by_board.items()
    }
    return {**boards, **learned}


def slot_options(
    model: ModelSpec, pools: Iterable[PoolSpec], boards: Mapping[str, Service], anywhere: Service
) -> tuple[SlotOption, ...]:
    """The model's slot types by the name of their pool; `anywhere` is what was learned without regard to the board."""
    demands: dict[str, Demand | None] = {}
    mine = sorted(pools, key=lambda pool: pool.name)
    for pool in mine:
        service = boards.get(pool.profile.board, anywhere)
        known = service if service.is_known else anywhere
        demands[pool.name] = choose(known, model) if known.is_known else None
    soonest = max(_worth(demand, model) for demand in demands.values())
    return tuple(
        SlotOption(
            pool=pool.name,
            profile=pool.profile,
            cost=pool.slot_cost,
            demand=demands[pool.name],
            worth=_worth(demands[pool.name], model) / soonest,
        )
        for pool in mine
    )


def _worth(demand: Demand | None, model: ModelSpec) -> float:
    """1 where a lone batch is in time, LATE_WORTH where it is late, and a straight line between."""
    if demand is None:
        return 1.0
    taken_ratio = demand.solo_s * 1000 / model.objective_p95_ms
    return min(1.0, max(LATE_WORTH, (LATE_RATIO - taken_ratio) / (LATE_RATIO - IN_TIME_RATIO)))


def usual_demand(types: Sequence[SlotOption], placed: Iterable[str | None], contention: Contention) -> Demand:
    """What a batch costs the model's replicas in the mean, by where they run; with none that runs, over all types."""
    slots = [slot for slot_id in placed if (slot := contention.directory.slots.get(slot_id or "")) is not None]
    met = [_type_of(types, slot) for slot in slots] or list(types)
    chosen = [each.demand for each in met if each.worth > 0.5 and each.demand is not None]
    chosen = chosen or [each.demand for each in types if each.worth > 0.5 and each.demand is not None]
    if all(demand is chosen[0] for demand in chosen):
        return chosen[0]
    return Demand(
        away_s=sum(demand.away_s for demand in chosen) / len(chosen),
        engine_s=sum(demand.engine_s for demand in chosen) / len(chosen),
        items=sum(demand.items for demand in chosen) / len(chosen),
    )


def reach(
    cards: Cards, types: Sequence[SlotOption], placed: Sequence[str | None], *, most: int, least_gain_ratio: float
) -> Reach:
    """As `capacity.reach` over several slot types: running replicas first, then the slots that add most for their cost.

    Every demand of `types` is known. A slot is useful that adds enough of what a lone replica does on its own type.
    """
    homes = _homes(types, cards.contention, placed)
    slow = min(types, key=lambda each: each.solo_per_s)
    slowest = slow.solo_per_s
    own = own_by_card(cards.contention, placed)
    unknown = len(placed) - sum(count for count, _ in own.values())
    running = [(slowest / slow.cost, slowest, slowest)] * unknown
    for (gpu, _), home in homes.items():
        running += _entries(cards, home.of, gpu, home.counts, home)
    running.sort(reverse=True)
    offers = []
    slots = len(running)
    for each in types:
        for card in cards.free.get(each.profile, ())[: max(0, most - len(running))]:
            mine, own_ratio = own.get(card.gpu, (0, 0.0))
            home = _Home(of=each, counts=range(mine, mine + card.slots), own=mine, own_ratio=own_ratio)
            slots += card.slots
            found = _entries(cards, each, card.gpu, home.counts, home)
            offers += [entry for entry in found if entry[1] >= least_gain_ratio * each.solo_per_s]
    offers.sort(reverse=True)
    gains = [(gain, lone) for _, gain, lone in (*running, *offers)]
    useful = len(gains)
    average = sum(gain for gain, _ in gains) / useful if gains else slowest
    alone = sum(lone for _, lone in gains) / useful if gains else slowest
    further = max(average, least_gain_ratio * slowest)
    gains += [(further, max(further, alone))] * (most - useful)
    return Reach(
        rates_per_s=summed([gain for gain, _ in gains[:most]]),
        lone_per_s=summed([lone for _, lone in gains[:most]]),
        useful=useful,
        slots=slots,
    )


def useful_slots(
    cards: Cards, types: Iterable[SlotOption], placed: Iterable[str | None], *, least_gain_ratio: float, most: int
) -> dict[str, int]:
    """By pool: free slots on cards where one more replica adds what a slot is worth, counted up to `most`."""
    own = own_by_card(cards.contention, placed)
    useful: dict[str, int] = {}
    for each in types:
        found = 0
        for card in cards.free.get(each.profile, ()):
            if found >= most:
                break
            if each.gain(cards, card.gpu, own) >= least_gain_ratio * each.solo_per_s:
                found += card.slots
        useful[each.pool] = min(most, found)
    return useful


def expendable(
    cards: Cards, types: Sequence[SlotOption], placed: Mapping[str, str | None], yields_in: frozenset[str] = frozenset()
) -> tuple[str, ...]:
    """The replicas (id -> slot), those first that add least for what their slot costs.

    Those in the pools `yields_in` go before any other: somebody waits for a slot there.
    """
    homes = _homes(types, cards.contention, placed.values())
    entries = {key: _entries(cards, home.of, key[0], home.counts, home) for key, home in homes.items()}
    ranked = []
    for replica_id in sorted(placed):
        slot = cards.contention.directory.slots.get(placed[replica_id] or "")
        pool = None if slot is None else _type_of(types, slot).pool
        worth = 0.0 if slot is None or pool is None else round(entries[slot.gpu_key, pool].pop()[0], 2)
        ranked.append((pool not in yields_in, worth, cards.sharers.get(placed[replica_id] or "", 0), replica_id))
    return tuple(entry[-1] for entry in sorted(ranked))


def exchange(cards: Cards, types: Sequence[SlotOption], placed: Sequence[str | None]) -> Exchange | None:
    """The replica that is worth least for its cost, and the best free slot if that is worth more for its own."""
    homes = _homes(types, cards.contention, placed)
    own = own_by_card(cards.contention, placed)
    here = [
        (rate * home.of.worth / home.own / home.of.cost, home.of)
        for (gpu, _), home in homes.items()
        if home.of.demand is not None
        for rate in cards.rates(home.of.demand, gpu, range(home.own, home.own), own=home.own, own_ratio=home.own_ratio)
    ]
    there = [
        (each.gain(cards, free[0].gpu, own) / each.cost, each)
        for each in types
        if (free := cards.free.get(each.profile, ()))
    ]
    if not here or not there:
        return None
    worst, best = min(here, key=lambda pair: pair[0]), max(there, key=lambda pair: pair[0])
    if best[0] <= worst[0]:
        return None
    return Exchange(
        here_per_s=worst[0] * worst[1].cost, solo_per_s=worst[1].solo_per_s, there_per_s=best[0] * best[1].cost
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Home:
    """The model's replicas of one type on a card that may have slots of several types."""

    of: SlotOption
    counts: range
    """Their places among the model's own on the card."""
    own: int
    """The model's own on the card, of whatever type."""
    own_ratio: float
    """What those usually use of it."""


def _homes(
    types: Sequence[SlotOption], contention: Contention, placed: Iterable[str | None]
) -> dict[tuple[str, str], _Home]:
    """By card and pool."""
    placed = tuple(placed)
    own = own_by_card(contention, placed)
    begun: Counter[str] = Counter()
    homes: dict[tuple[str, str], _Home] = {}
    slots = [slot for slot_id in placed if (slot := contention.directory.slots.get(slot_id or "")) is not None]
    counts = Counter((slot.gpu_key, _type_of(types, slot).pool) for slot in slots)
    by_pool = {each.pool: each for each in types}
    for (gpu, pool), count in sorted(counts.items()):
        first = begun[gpu]
        begun[gpu] += count
        total, own_ratio = own[gpu]
        homes[gpu, pool] = _Home(of=by_pool[pool], counts=range(first, first + count), own=total, own_ratio=own_ratio)
    return homes


def _type_of(types: Sequence[SlotOption], slot: Slot) -> SlotOption:
    """The type of a slot; of a slot that is none of the model's, the one most like it."""
    return next(
        (each for each in types if each.profile == slot.profile),
        next((each for each in types if each.profile.board == slot.profile.board), types[0]),
    )


def _entries(cards: Cards, each: SlotOption, gpu: str, counts: range, home: _Home) -> list[tuple[float, float, float]]:
    """What each replica beyond `counts.start` adds on a card: for its cost, as it is, and alone there."""
    if each.demand is None:
        return [(1.0 / each.cost, 1.0, 1.0)] * len(counts)
    worth = each.worth
    pairs = paced(cards, each.demand, gpu, counts, home.own, home.own_ratio)
    return [(worth * gain / each.cost, worth * gain, worth * lone) for gain, lone in pairs]
