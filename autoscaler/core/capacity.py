"""What a model's replicas can do where they are, and what one more would add on each card that has a free slot.

Replicas of one card share its engine, so the second adds less than the first, and nothing once the card is full. What
others use of a card is taken as it usually is, smoothed over a minute. Rates are those of replicas that always have
work; how much of that may be used within the objective is a matter of queueing.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from operator import sub
from typing import NamedTuple

from autoscaler.core.contention import Contention
from autoscaler.core.interference import card_rate
from autoscaler.core.pace import all_lone_per_s, firsts_per_s, gains_per_s, left_beside
from autoscaler.core.queueing import closed_rates
from autoscaler.core.service import Demand
from vgpu.core.inventory import Inventory
from vgpu.core.share import SchedulerPolicy
from vgpu.core.slot_type import Fraction, SlotType


class FreeCard(NamedTuple):
    """A card with free slots of one profile, on nodes that take workers now."""

    gpu: str
    slots: int
    left: float | None
    """What is usually left of its engine; None under a policy by which that makes no difference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cards:
    """The fleet's cards at one tick; made once, asked by every model."""

    contention: Contention
    free: Mapping[SlotType, tuple[FreeCard, ...]]
    """By profile, the emptiest cards first."""
    waiting: Mapping[str, int]
    """By card: workers without a replica. They are going, or the next replica's own: no neighbours of it."""
    sharers: Mapping[str, int]
    """By slot that is a fraction: how many hold a part of its card."""

    @classmethod
    def of(
        cls, inventory: Inventory, contention: Contention, workers: frozenset[str], taken: frozenset[str]
    ) -> "Cards":
        """Group the free slots by profile and card; a slot whose worker holds no replica yet is as good as free."""
        counted: dict[SlotType, Counter[str]] = {}
        waiting = Counter[str]()
        directory, usual, gpus = inventory.directory, contention.usual_by_gpu, contention.gpus
        for gpu, card in directory.cards.items():
            for profile, slots in card.free.items():
                counted.setdefault(profile, Counter())[gpu] = slots
        for slot_id, slot in directory.slots.items() if workers else ():
            if slot.holder in workers and slot_id not in taken:
                gpu = directory.card_of[slot_id]
                counted.setdefault(slot.profile, Counter())[gpu] += 1
                waiting[gpu] += 1
        free = {
            profile: tuple(
                FreeCard(
                    gpu, slots, left_beside(usual[gpu]) if gpus[gpu].policy is SchedulerPolicy.BEST_EFFORT else None
                )
                # In tenths: the noise of a reading must not reorder the fleet at every tick.
                for gpu, slots in sorted(counts.items(), key=lambda entry: (round(usual[entry[0]], 1), entry[0]))
            )
            for profile, counts in counted.items()
        }
        sharers = {
            slot_id: card.held
            for card in directory.cards.values()
            if card.has_fractions
            for slot_id, slot in card.slots.items()
            if isinstance(slot.profile, Fraction)
        }
        return cls(contention=contention, free=free, waiting=waiting, sharers=sharers)

    def rates(self, demand: Demand, gpu: str, counts: range, *, own: int, own_ratio: float) -> list[float]:
        """Requests per second of so many replicas on one card, for each count and the one that `counts` ends before.

        `own` of them are there now and use `own_ratio`.
        """
        contention = self.contention
        load = contention.gpus[gpu]
        others_ratio = max(0.0, contention.usual_on(gpu) - own_ratio)
        if load.policy is SchedulerPolicy.BEST_EFFORT:  # one pass gives all counts: most of a tick's cards are these
            rates = closed_rates(counts.stop, demand.away_s, demand.engine_s, others_ratio)
            if counts.start:
                del rates[: counts.start]
        else:
            most = max(contention.directory.cards[gpu].mosts[0], load.slots)
            rates = [
                card_rate(
                    load.policy,
                    replicas=count,
                    away_s=demand.away_s,
                    engine_s=demand.engine_s,
                    others_ratio=others_ratio,
                    attached=load.held - self.waiting.get(gpu, 0) - own + count,
                    most=most,
                )
                if count
                else 0.0
                for count in range(counts.start, counts.stop + 1)
            ]
        return rates if demand.items == 1 else [demand.items * rate for rate in rates]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Requests per second that 0, 1, 2 … replicas can do, the running ones first, then the best free slots."""

    rates_per_s: tuple[float, ...]
    """While all of them always have work, and so wait for one another on the cards they share."""
    lone_per_s: tuple[float, ...]
    """As if each were the only one of the model on its card."""
    useful: int
    """Up to this many each adds something worth its slot."""
    slots: int
    """Up to this many there is a slot."""
    here: Mapping[str, Sequence[float]] = field(default_factory=dict, compare=False)
    """By card, of one slot type: what each of the model's replicas there adds, the last one last."""


def reach(
    cards: Cards, demand: Demand, placed: Sequence[str | None], profile: SlotType, *, most: int, least_gain_ratio: float
) -> Reach:
    """Extend the running replicas, given by slot, over the best free slots up to `most` replicas.

    Beyond the last useful slot the curve goes on as if further slots like the average one existed: the count it asks
    for is then the honest need, and placement says what stands in its way.
    """
    solo_per_s = demand.items / demand.solo_s
    least_per_s, free = least_gain_ratio * solo_per_s, cards.free.get(profile, ())
    if reached := _unshared(cards.contention, demand, placed, free, most, least_per_s):
        return reached
    running, unknown = _own(cards.contention, placed)
    gains, here = [(solo_per_s, solo_per_s)] * unknown, dict[str, list[float]]()
    for gpu, (own, own_ratio) in running.items():
        each = paced(cards, demand, gpu, range(own), own, own_ratio)
        here[gpu] = [gain for gain, _ in each]
        gains += each
    gains.sort(reverse=True)
    offers: list[tuple[float, float]] = []
    for card in free[: max(0, most - len(gains))]:
        own, own_ratio = running.get(card.gpu, (0, 0.0))
        offers += paced(cards, demand, card.gpu, range(own, own + card.slots), own, own_ratio)
    slots = len(gains) + len(offers)
    offers = [offer for offer in offers if offer[0] >= least_per_s]
    offers.sort(reverse=True)
    gains += offers
    useful = len(gains)
    if useful < most:
        average = sum([gain for gain, _ in gains]) / useful if gains else solo_per_s
        alone = sum([lone for _, lone in gains]) / useful if gains else solo_per_s
        further = max(average, least_per_s)
        gains += [(further, max(further, alone))] * (most - useful)
    del gains[most:]
    return Reach(
        rates_per_s=summed([gain for gain, _ in gains]),
        lone_per_s=summed([lone for _, lone in gains]),
        useful=useful,
        slots=slots,
        here=here,
    )


def _unshared(  # what is there, what there is room for, and how many at most
    contention: Contention,
    demand: Demand,
    placed: Sequence[str | None],
    free: Sequence[FreeCard],
    most: int,
    least_per_s: float,
) -> Reach | None:
    """The reach of replicas that share no card among themselves, all on known best-effort cards, as nearly all are,
    where the best free slots are on further such cards, or there are none. None where it is not as simple as that."""
    left, slots = contention.left, [slot_id or "" for slot_id in placed]
    lefts = [ratio for ratio in map(left.get, slots) if ratio is not None]
    if not lefts or len(lefts) < len(slots):
        return None
    gains = all_lone_per_s(demand, lefts)
    here = dict(zip(map(contention.directory.card_of.__getitem__, slots), zip(gains, strict=True), strict=True))
    if len(here) < len(slots):
        return None
    gains.sort(reverse=True)
    free = free[: max(0, most - len(gains))]
    room = [(card.slots, card.left) for card in free if card.left is not None and card.gpu not in here]
    firsts = firsts_per_s(demand, room, least_per_s)
    if firsts is None or len(room) < len(free) or (free and len(free) < most - len(gains)):
        return None
    gains += firsts
    useful, there = len(gains), len(here) + sum([card.slots for card in free])
    if useful < most:
        gains += [max(sum(gains) / useful, least_per_s)] * (most - useful)
    rates_per_s = summed(gains[:most])
    return Reach(rates_per_s=rates_per_s, lone_per_s=rates_per_s, useful=useful, slots=there, here=here)


def expendable(cards: Cards, here: Mapping[str, Sequence[float]], placed: Mapping[str, str | None]) -> tuple[str, ...]:
    """The replicas (id -> slot) in the order in which the model can best do without them; `here` as in its `Reach`.

    On cards shared by units, of those that are worth the same the one with the fewest neighbours goes first: whole
    cards become free that way, for whoever needs one, and not only units here and there.
    """
    card_of, sharers = cards.contention.directory.card_of, cards.sharers
    gpus = [card_of.get(slot_id or "", "") for slot_id in placed.values()]
    if len(here) == len(gpus) and here.keys() == set(gpus):
        gains = [here[gpu][0] for gpu in gpus]
    else:
        gains = _in_turn(here, dict(zip(placed, gpus, strict=True)))
    beside = [sharers.get(slot_id or "", 0) for slot_id in placed.values()]
    # In hundredths; of equals the earlier name goes first.
    ranked = sorted(zip([round(gain * 100) for gain in gains], beside, placed, strict=True))
    return tuple([replica_id for _, _, replica_id in ranked])


def _in_turn(here: Mapping[str, Sequence[float]], gpus: Mapping[str, str]) -> list[float]:
    """What each replica (id -> card, "" where that is not known) takes along: of several on one card the first one to
    go, by name, what the last one there adds."""
    left = {gpu: len(gains) for gpu, gains in here.items()}
    gains = dict.fromkeys(gpus, 0.0)
    for replica_id, gpu in sorted(gpus.items()):
        if gpu:
            left[gpu] -= 1
            gains[replica_id] = here[gpu][left[gpu]]
    return list(gains.values())


OwnByCard = Mapping[str, tuple[int, float]]
"""By card: how many replicas of one model run there, and what they usually use of it."""


def own_by_card(contention: Contention, placed: Iterable[str | None]) -> OwnByCard:
    """Where a model's replicas are, given by slot; those nobody knows where are left out."""
    return _own(contention, placed)[0]


def gain_beside(cards: Cards, demand: Demand, gpu: str, running: OwnByCard) -> float:
    """Requests per second that one more replica on a card adds to the model's own that run there."""
    own, own_ratio = running.get(gpu, (0, 0.0))
    return card_gains(cards, demand, gpu, range(own, own + 1), own=own, own_ratio=own_ratio)[0]


def _own(contention: Contention, placed: Iterable[str | None]) -> tuple[dict[str, tuple[int, float]], int]:
    """By card: how many replicas and what they usually use; and how many sit nobody knows where."""
    counts: dict[str, tuple[int, float]] = {}
    unknown = 0
    card_of, usual = contention.directory.card_of, contention.usual
    for slot_id in placed:
        gpu = card_of.get(slot_id or "")
        if gpu is None or slot_id is None:
            unknown += 1
        elif gpu in counts:
            count, ratio = counts[gpu]
            counts[gpu] = (count + 1, ratio + usual.get(slot_id, 0.0))
        else:
            counts[gpu] = (1, usual.get(slot_id, 0.0))
    return counts, unknown


def card_gains(cards: Cards, demand: Demand, gpu: str, counts: range, *, own: int, own_ratio: float) -> list[float]:
    """What each replica beyond `counts.start` adds on a card."""
    return [gain for gain, _ in paced(cards, demand, gpu, counts, own, own_ratio)]


def paced(  # a card, a range of counts on it, and what is there
    cards: Cards, demand: Demand, gpu: str, counts: range, own: int, own_ratio: float
) -> list[tuple[float, float]]:
    """What each replica beyond `counts.start` adds beside the others of its model, and what it would do without them.

    Under equal and fixed share the others' work makes no difference, and both are the same.
    """
    contention = cards.contention
    if contention.gpus[gpu].policy is SchedulerPolicy.BEST_EFFORT:
        left_ratio = left_beside(contention.usual_by_gpu[gpu] - own_ratio)
        return gains_per_s(demand, left_ratio, counts.start, counts.stop)
    rates = cards.rates(demand, gpu, counts, own=own, own_ratio=own_ratio)
    return [(gain, gain) if gain > 0.0 else (0.0, 0.0) for gain in map(sub, rates[1:], rates)]


def summed(gains: Iterable[float]) -> tuple[float, ...]:
    """What 0, 1, 2 … of them are together."""
    return tuple(accumulate(gains, initial=0.0))
