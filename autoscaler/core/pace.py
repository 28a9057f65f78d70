"""What the replicas of one model do on a best-effort card, whose engine is handed round among those with work.

`left_ratio` is what others usually leave of the engine. As most cards of a tick are such cards, the closed network of
`queueing.closed_rates` is written out here.
"""

from collections.abc import Iterable, Sequence

from autoscaler.core.queueing import FULL
from autoscaler.core.service import Demand


def left_beside(others_ratio: float) -> float:
    """What others who use so much leave; they may use a little below 0, which is what rounding makes of nothing."""
    if others_ratio <= 0.0:
        return 1.0
    return 1 - (others_ratio if others_ratio < FULL else FULL)


def lone_per_s(demand: Demand, left_ratio: float) -> float:
    """Requests per second of one replica that has no other of its model on the card."""
    return demand.items / (demand.away_s + demand.engine_s / left_ratio)


def all_lone_per_s(demand: Demand, left_ratios: Iterable[float]) -> list[float]:
    """`lone_per_s` on each of several cards: a tick asks this of thousands."""
    items, away_s, engine_s = demand.items, demand.away_s, demand.engine_s
    return [items / (away_s + engine_s / left_ratio) for left_ratio in left_ratios]


def gains_per_s(demand: Demand, left_ratio: float, start: int, stop: int) -> list[tuple[float, float]]:
    """What each of the replicas after the first `start`, up to `stop`, adds beside those before it; and what it would
    do without them."""
    if stop == 1:
        lone = lone_per_s(demand, left_ratio)
        return [(lone, lone)]
    items, away_s = demand.items, demand.away_s
    demand_s = demand.engine_s / left_ratio
    lone = items * (1 / (away_s + demand_s))
    pairs, queue, before_per_s = [], 0.0, 0.0
    for count in range(1, stop + 1):
        stay_s = demand_s * (1 + queue)
        rate = count / (away_s + stay_s)
        queue = rate * stay_s
        per_s = items * rate
        if count > start:
            gain = per_s - before_per_s
            pairs.append((gain if gain > 0.0 else 0.0, gain if gain > lone else lone))
        before_per_s = per_s
    return pairs


def firsts_per_s(demand: Demand, free: Sequence[tuple[int, float]], least_per_s: float) -> list[float] | None:
    """What one replica does on each of these empty cards, (free slots, what is left), the best first: all that matters
    where no second one on any of them is worth more. None where a second one may be, or a first one adds less than
    `least_per_s`.
    """
    items, away_s, engine_s = demand.items, demand.away_s, demand.engine_s
    firsts = [
        # In the very order of `gains_per_s`: decisions must not hang on how something is worked out.
        items / (away_s + engine_s / left) if slots == 1 else items * (1 / (away_s + engine_s / left))
        for slots, left in free
    ]
    firsts.sort(reverse=True)
    if firsts:
        # Beside one of its own a replica adds most where most is left, and the third on a card less than the second.
        second_per_s = gains_per_s(demand, max([left for _, left in free]), 1, 2)[0][0]
        if firsts[-1] < max(second_per_s, least_per_s):
            return None
    return firsts
