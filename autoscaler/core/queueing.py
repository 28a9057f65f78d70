"""How often requests come late to a group of servers, and how much load the group bears. Pure formulas, no memory.

Waiting: Erlang C for the chance to wait at all, an exponential tail for how long, scaled for arrivals and service
times that are more or less regular than Poisson's (Allen and Cunneen, 1978; Kingman's exponent).
Sharing one engine: exact mean value analysis of a closed network with one processor-sharing station (Reiser and
Lavenberg, 1980); an open load beside it stretches the demand by 1 / (1 - load) (mixed networks, Zahorjan and Wong,
1981).
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]

_STEPS = 14
"""Halvings when searching for a load: 1/16,000 of the capacity, far finer than anything measured."""
_EXACT_SERVERS, _MOST_SERVERS = 16, 1024
_EXACT_PATIENCE, _MOST_TENTHS = 20, 10_000
_SPREAD = ((0.70, 1 / 6), (0.98, 2 / 3), (1.38, 1 / 6))
"""A service time with a spread of 1/5 of its mean as three points (factor, weight): lognormal, Gauss-Hermite."""
FULL = 0.95
"""An open load beyond this leaves a closed customer a twentieth of the engine, not nothing: time slices come round."""


def waiting_ratio(servers: int, load: float) -> float:
    """Erlang C: the part of arrivals that finds all servers busy; `load` is the offered work in servers."""
    if servers < 1:
        raise ValueError(f"servers is {servers}; at least 1")
    if load >= servers:
        return 1.0
    blocked = 1.0
    for count in range(1, servers + 1):
        blocked = load * blocked / (count + load * blocked)
    return blocked / (1 - load / servers * (1 - blocked))


def late_ratio(servers: int, busy_ratio: float, patience: float, variation: float) -> float:
    """The part of requests that takes longer than `patience` mean service times.

    `busy_ratio` is offered work per server; `variation` is (ca² + cs²) / 2: 1 for Poisson arrivals and exponential
    service, less for regular service, more for bursts.
    """
    if busy_ratio >= 1:
        return 1.0
    waits = waiting_ratio(servers, busy_ratio * servers)
    drain = servers * (1 - busy_ratio) / variation
    return sum(
        weight * (1.0 if factor >= patience else waits * math.exp(-drain * (patience - factor)))
        for factor, weight in _SPREAD
    )


class Tolerance(NamedTuple):
    """How many requests may be late, how much arrivals and service vary; rounded, so that answers are remembered."""

    variation_tenths: int
    late_thousandths: int

    @classmethod
    def of(cls, variation: float, allowed_late_ratio: float) -> "Tolerance":
        """Variation is rounded to tenths up to 5 and halves above; it is (ca² + cs²) / 2 as in `late_ratio`."""
        tenths = round(variation * 10) or 1 if variation < 5 else min(500, round(variation * 2) * 5)
        return cls(tenths, round(allowed_late_ratio * 1000))


def busy_ratios(servers: Ints, patience: Floats, kinds: Ints, tolerances: Sequence[Tolerance]) -> Floats:
    """How busy each group of servers may be, 0 to 1; 0 where even a lone request is late too often.

    `patience` is that of each group, in mean service times, and `kinds` the place of each group's tolerance. Patience
    is rounded down to tenths below 20 and the whole above, and more than 16 servers to a power of two: a tick asks of
    tens of thousands of groups, which share a few hundred answers.
    """
    _, exponents = np.frexp(servers)
    known = np.minimum(np.where(servers <= _EXACT_SERVERS, servers, 1 << (exponents - 1)), _MOST_SERVERS)
    rounded = np.where(patience < _EXACT_PATIENCE, patience * 10, np.floor(patience) * 10)
    tenths = np.clip(rounded, 0, _MOST_TENTHS).astype(int)
    same = {tolerance: kind for kind, tolerance in enumerate(dict.fromkeys(tolerances))}
    kind = np.array([same[tolerance] for tolerance in tolerances])[kinds]
    keys = (kind * (_MOST_SERVERS + 1) + known) * (_MOST_TENTHS + 1) + tenths
    asked, places = np.unique(keys, return_inverse=True)
    named, tenths_asked = np.divmod(asked, _MOST_TENTHS + 1)
    kinds_asked, servers_asked = np.divmod(named, _MOST_SERVERS + 1)
    known_tolerances = tuple(same)
    answers = [
        _bearable_ratio(count, tenth, known_tolerances[kind])
        for count, tenth, kind in zip(servers_asked.tolist(), tenths_asked.tolist(), kinds_asked.tolist(), strict=True)
    ]
    return np.array(answers)[places]


@lru_cache(maxsize=65536)
def _bearable_ratio(servers: int, patience_tenths: int, tolerance: Tolerance) -> float:
    patience, variation = patience_tenths / 10, tolerance.variation_tenths / 10
    allowed = tolerance.late_thousandths / 1000
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if late_ratio(servers, middle, patience, variation) <= allowed:
            low = middle
        else:
            high = middle
    return low


def closed_rate(customers: int, away_s: float, engine_s: float, open_ratio: float = 0.0) -> float:
    """Cycles per second of `customers` that spend `away_s` elsewhere and `engine_s` on one shared engine, in turn.

    `open_ratio` is what others use of the engine meanwhile, 0 to 1.
    """
    return closed_rates(customers, away_s, engine_s, open_ratio)[-1]


def closed_rates(customers: int, away_s: float, engine_s: float, open_ratio: float = 0.0) -> list[float]:
    """`closed_rate` of 0, 1, 2 … customers; each follows from the one before."""
    demand_s = open_demand_s(engine_s, open_ratio)
    queue = 0.0
    rates = [0.0]
    for count in range(1, customers + 1):
        stay_s = demand_s * (1 + queue)
        rate = count / (away_s + stay_s)
        queue = rate * stay_s
        rates.append(rate)
    return rates


def open_demand_s(engine_s: float, open_ratio: float) -> float:
    """How long the engine work of one takes beside an open load, which is what others use of the engine."""
    return engine_s / (1 - (open_ratio if open_ratio < FULL else FULL))


def companies(customers: Ints, used_ratios: Floats, own_ratios: Floats) -> Floats:
    """How many of `customers` one more finds at an engine, on average, when it comes there; of several engines.

    Together they use `used_ratios` of it beside the one who uses `own_ratios`. From that follows how long they are away
    between two visits, each the same; and by the arrival theorem the newcomer finds what would be there without it.
    Ratios are rounded to hundredths so that answers can be remembered.
    """
    used, own = np.rint(used_ratios * 100).astype(int), np.rint(own_ratios * 100).astype(int)
    asked, places = np.unique(customers << 40 | used << 20 | own, return_inverse=True)
    mask = (1 << 20) - 1
    each = zip((asked >> 40).tolist(), (asked >> 20 & mask).tolist(), (asked & mask).tolist(), strict=True)
    return np.array([_company(*numbers) for numbers in each])[places.ravel()].reshape(used.shape)


@lru_cache(maxsize=65536)
def _company(customers: int, used_hundredths: int, own_hundredths: int) -> float:
    used_ratio, own_ratio = used_hundredths / 100, own_hundredths / 100
    if customers < 1 or used_ratio <= 0:
        return 0.0
    shortest, longest = 0.0, customers / used_ratio
    for _ in range(_STEPS):
        away = (shortest + longest) / 2
        if _used(customers, away, own_ratio) >= used_ratio:
            shortest = away
        else:
            longest = away
    return customers - closed_rate(customers, shortest, 1.0) * shortest


def _used(customers: int, away: float, own_ratio: float) -> float:
    """What `customers` use of an engine beside one who uses `own_ratio`; times are in visits of their own.

    Mean value analysis of two classes, the second with one customer, whose time away follows from its use.
    """
    if own_ratio <= 0:
        return closed_rate(customers, away, 1.0)
    without = customers - closed_rate(customers, away, 1.0) * away
    own_away = max(0.0, 1 / own_ratio - 1 - without)
    rate, queue, beside = 0.0, 0.0, 0.0
    own = 1 / (own_away + 1)
    for count in range(1, customers + 1):
        stay = 1 + queue + own
        rate = count / (away + stay)
        queue = rate * stay
        visit = 1 + beside
        beside = count * visit / (away + visit)
        own = (1 + beside) / (own_away + 1 + beside)
    return rate
