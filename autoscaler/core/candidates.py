"""The candidates for headroom and hold, and what each has shown so far, of many models at once.

What a candidate has shown is four numbers: the requests it answered late, its backlog, the replicas it asks for, and
what they have cost. A model's table has a row for each of the four and a column for each candidate. The tables of all
models lie behind one another, so that a tick works out a whole fleet with a few operations on arrays.
"""

import math
from collections.abc import Sequence
from itertools import chain, product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from autoscaler.core.bearable import Bearable

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]

FACTORS = (1.0, 1.1, 1.25, 1.45, 1.8, 2.4)
HOLDS_S = (30.0, 120.0, 300.0, 900.0, 2700.0)
READINGS = ("fast", "slow", "trend")
TRACKS = len(READINGS) * len(HOLDS_S)
"""A track is a reading with a hold."""
CANDIDATES = tuple(product(range(TRACKS), FACTORS))
"""(track, factor)"""
LATE, BACKLOG, COUNT, COST = range(4)
"""The rows of a table: requests, requests, replicas and replica-seconds; late requests and costs fade with MEMORY_S."""
MEMORY_S = 3600.0
"""What happened this long ago weighs 1/e: long enough for a burst every half hour, short enough to follow a new day."""
PRIOR_S = 120.0
"""The opinion held before anything was seen weighs as much as so many seconds of load."""
PRIOR = 3
_PRIOR_LATE = (0.14, 0.11, 0.08, 0.045, 0.03, 0.02)
_PRIOR_HOLD = (0.03, 0.015, 0.0, 0.0, 0.0)
LONGEST_BACKLOG_S = 10.0
"""A backlog of more seconds of work than this is refused or given up by its clients."""
LATE_AT_CAPACITY = 0.6
"""Part of the requests that are late when the offered rate just equals what all replicas can do."""
LATE_WORTH = 10.0
"""A late request beyond the promise weighs as much as the replica time of ten answers: to save one percent of its
requests a fleet that is busy to two thirds may grow by a fifteenth, and not more. Spikes that nothing announces are
then answered as fast as a start allows and not bought off with slots that stand idle between them."""
START_S = 20.0
"""Each start is charged with so much replica time, for loading and for the unrest of counts that flutter."""
SWITCH_RATIO = 0.97
"""Another candidate must be this much cheaper: two that cost the same must not take turns."""


def table_of(shown: bytes) -> Floats:
    """One model's table, 4 x candidates, of the bytes in which it is kept: a value that can be compared and copied."""
    return np.frombuffer(shown).reshape(4, len(CANDIDATES))


def prior(offered_per_s: float, held_per_s: float, bearable: Bearable) -> bytes:
    """The table before anything was seen: every candidate has asked for the rate held."""
    weight = max(offered_per_s, 1.0) * PRIOR_S
    late = [
        weight * (_PRIOR_LATE[FACTORS.index(factor)] + _PRIOR_HOLD[track % len(HOLDS_S)])
        for track, factor in CANDIDATES
    ]
    counts = [bearable.count(factor * held_per_s) for _, factor in CANDIDATES]
    costs = [PRIOR_S * bearable.count(factor * offered_per_s) for _, factor in CANDIDATES]
    return np.array([late, [0.0] * len(CANDIDATES), counts, costs]).tobytes()


class Ticks(NamedTuple):
    """What one tick brings to each of some models."""

    over_s: Sequence[float]
    offered_per_s: Sequence[float]
    bearables: Sequence[Bearable]
    firm_per_s: Sequence[Sequence[float]]
    """By model and track: the rate for which replicas are ready now, having been wanted for a cold start."""
    held_per_s: Sequence[Sequence[float]]
    """By model and track: the rate for which they are wanted now."""


class Played(NamedTuple):
    """What the candidates of each model have shown after a tick."""

    shown: list[bytes]
    offered: list[float]
    """Requests so far, fading as late ones do."""
    chosen: list[int]


def play(shown: Sequence[bytes], offered: Sequence[float], chosen: Sequence[int], ticks: Ticks) -> Played:
    """Let the candidates of every model play one tick; the cheapest of each that keeps the promise is chosen."""
    tables = np.frombuffer(b"".join(shown)).reshape(len(shown), 4, len(CANDIDATES))
    over_s, offered_per_s = _column(ticks.over_s), _column(ticks.offered_per_s)
    keeps = [math.exp(-lasted_s / MEMORY_S) for lasted_s in ticks.over_s]
    keep, came = _column(keeps), offered_per_s * over_s
    ready, asked = _counts(ticks)
    later = np.empty_like(tables)
    ratios, later[:, BACKLOG] = _served(tables[:, BACKLOG], ready, ticks)
    later[:, LATE] = tables[:, LATE] * keep + ratios * came
    more = asked - tables[:, COUNT]
    later[:, COUNT] = asked
    later[:, COST] = tables[:, COST] * keep + asked * over_s + np.where(more > 0.0, more * START_S, 0.0)
    totals = [
        past * kept + rate_per_s * lasted_s
        for past, kept, rate_per_s, lasted_s in zip(offered, keeps, ticks.offered_per_s, ticks.over_s, strict=True)
    ]
    width, laid = 4 * len(CANDIDATES) * later.itemsize, later.tobytes()
    return Played(
        shown=[laid[at : at + width] for at in range(0, len(laid), width)],
        offered=totals,
        chosen=_choices(np.array(chosen), later, totals, ticks.bearables),
    )


def _column(values: Sequence[float]) -> Floats:
    """A number of each model, beside the candidates of each."""
    return np.array(values, dtype=float)[:, np.newaxis]


def _counts(ticks: Ticks) -> tuple[Ints, Floats]:
    """By model and candidate: the replicas that are ready, and those that are asked for."""
    rates_per_s = np.array([ticks.firm_per_s, ticks.held_per_s])
    wanted_per_s = (rates_per_s[..., np.newaxis] * FACTORS).reshape(2, len(ticks.over_s), len(CANDIDATES))
    found = np.empty(wanted_per_s.shape, dtype=np.intp)
    for model, bearable in enumerate(ticks.bearables):
        found[:, model] = np.array(bearable.rates_per_s[:-1]).searchsorted(wanted_per_s[:, model])
    return found[0], found[1].astype(float)


def _served(backlogs: Floats, ready: Ints, ticks: Ticks) -> tuple[Floats, Floats]:
    """By model and candidate: the part of the tick's requests that were late, and the backlog that is left.

    Candidates share few counts: what a count does is worked out once for each model.
    """
    sizes = [len(bearable.rates_per_s) for bearable in ticks.bearables]
    begins = np.cumsum([0, *sizes[:-1]])[:, np.newaxis]
    borne_per_s = np.fromiter(chain.from_iterable([each.rates_per_s for each in ticks.bearables]), dtype=float)
    limits_per_s = np.fromiter(chain.from_iterable([each.limits_per_s for each in ticks.bearables]), dtype=float)
    places = begins + ready
    ratios = np.zeros(len(borne_per_s))
    ratios[places] = 1.0
    used = np.flatnonzero(ratios)
    owners = np.repeat(np.arange(len(sizes)), sizes)[used].tolist()
    ratios[used] = [
        late_ratio(borne, limit, ticks.offered_per_s[model], ticks.bearables[model].allowed_late_ratio)
        for model, borne, limit in zip(owners, borne_per_s[used].tolist(), limits_per_s[used].tolist(), strict=True)
    ]
    late, limit_per_s, offered_per_s = ratios[places], limits_per_s[places], _column(ticks.offered_per_s)
    left = backlogs + (offered_per_s - limit_per_s) * _column(ticks.over_s)
    left = np.where(left <= 0.0, 0.0, np.minimum(left, limit_per_s * LONGEST_BACKLOG_S))
    waiting = (left > 0.0) & (borne_per_s[places] > 0.0)
    if waiting.any():
        patient = limit_per_s * _column([bearable.slack_s for bearable in ticks.bearables])
        waits = np.divide(left, patient, out=np.zeros_like(left), where=waiting)
        keeping_pace = offered_per_s < limit_per_s
        late = np.where(waiting & keeping_pace, np.maximum(late, np.minimum(1.0, waits)), late)
        late = np.where(waiting & ~keeping_pace & (left > patient), 1.0, late)
    return late, left


def _choices(chosen: Ints, tables: Floats, offered: Sequence[float], bearables: Sequence[Bearable]) -> list[int]:
    """By model, the candidate with the least cost in replica-seconds, each late request beyond the promise charged for.

    A promise that hardly any headroom can keep is not bought at any price: see LATE_WORTH.
    """
    charge_s = [LATE_WORTH * (len(each.limits_per_s) - 1) / each.limits_per_s[-1] for each in bearables]
    allowed = [each.allowed_late_ratio * total for each, total in zip(bearables, offered, strict=True)]
    late, beyond = tables[:, LATE], tables[:, LATE] - _column(allowed)
    prices = tables[:, COST] + np.where(beyond > 0.0, _column(charge_s) * beyond, 0.0)
    models = np.arange(len(chosen))
    bars, lowest = SWITCH_RATIO * prices[models, chosen], prices.min(axis=1)
    # Of those that cost the same the one with the fewest late requests, and of those the first.
    cheapest = np.where(prices == lowest[:, np.newaxis], late, np.inf).argmin(axis=1)
    return [int(place) for place in np.where(lowest < bars, cheapest, chosen)]


def late_ratio(borne_per_s: float, limit_per_s: float, offered_per_s: float, allowed_late_ratio: float) -> float:
    """The part of a tick's requests that replicas answer late which bear one rate and get through another, when no
    backlog waits before them.

    Lateness grows with a power of the load: from the allowed part at the bearable rate to LATE_AT_CAPACITY at capacity.
    """
    if borne_per_s <= 0.0:
        return 1.0
    if offered_per_s >= limit_per_s:
        return LATE_AT_CAPACITY
    steepness = 1.0
    if limit_per_s > borne_per_s:
        steepness = math.log(LATE_AT_CAPACITY / allowed_late_ratio) / math.log(limit_per_s / borne_per_s)
    return min(1.0, allowed_late_ratio * math.pow(offered_per_s / borne_per_s, steepness))
