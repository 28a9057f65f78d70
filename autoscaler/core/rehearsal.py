"""How much headroom and how long a hold this load needs: candidates rehearsed side by side on the rate that came.

A candidate is a reading of the rate (fast, slow, or slow with its trend over the cold start), a factor above it, and a
time for which the largest need is held. Each tick every candidate is asked how many replicas it would have ready now,
given that a replica it asks for comes a cold start later, and what part of this tick's requests would have come late.
The cheapest candidate that has kept the promise so far sets the need. So a smooth load gets little headroom and a
bursty one much, without a setting: the choice that others tune on a grid by hand is made here on the load itself.

The readiness of a candidate needs no memory of its own: a replica is ready when it has been wanted without a break for
a cold start, so `ready` is the count for the smallest held rate of the last cold start.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, product
from typing import NamedTuple

FACTORS = (1.0, 1.1, 1.25, 1.45, 1.8, 2.4)
HOLDS_S = (30.0, 120.0, 300.0, 900.0, 2700.0)
READINGS = ("fast", "slow", "trend")
CANDIDATES = tuple(product(range(len(READINGS) * len(HOLDS_S)), FACTORS))
"""(track, factor); a track is a reading with a hold."""
_PLACES = range(len(CANDIDATES))
SLOW_S = 60.0
TREND_S = 120.0
MEMORY_S = 3600.0
"""What happened this long ago weighs 1/e: long enough for a burst every half hour, short enough to follow a new day."""
PRIOR_S = 120.0
"""The opinion held before anything was seen weighs as much as so many seconds of load."""
PRIOR = 3
_NO_BACKLOGS = (0.0,) * len(CANDIDATES)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Bearable:
    """What 0, 1, 2 … replicas bear within the objective, and what they get through at most, in requests/s."""

    rates_per_s: tuple[float, ...]
    limits_per_s: tuple[float, ...]
    slack_s: float
    """The wait that still leaves a request in time."""
    allowed_late_ratio: float

    def count(self, rate_per_s: float) -> int:
        """The fewest replicas that bear a rate; the most there is an entry for where none does."""
        return min(bisect_left(self.rates_per_s, rate_per_s), len(self.rates_per_s) - 1)


Points = tuple[tuple[float, float], ...]
"""(time, rate), times rising."""


class Rehearsal(NamedTuple):
    """What the candidates have shown. Tracks and candidates in the order of the tables above."""

    at_s: float | None = None
    slow_per_s: float = 0.0
    trend_per_s2: float = 0.0
    peaks: tuple[Points, ...] = ()
    """By reading: the rates that none since has reached, falling. The largest of any hold is the first of its time."""
    held: tuple[float, ...] = ()
    """By track: the largest rate of its hold."""
    before: tuple[Points, ...] = ()
    """By track: held rates of the last cold start below all that came later, each with its last time; rising."""
    backlogs: tuple[float, ...] = ()
    late: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    costs: tuple[float, ...] = ()
    offered: float = 0.0
    chosen: int = 0

    @classmethod
    def begin(cls, at_s: float, offered_per_s: float, borne_per_s: float, bearable: Bearable) -> "Rehearsal":
        """The opinion before anything was seen: some headroom, and what is there now is held for a while."""
        tracks = len(READINGS) * len(HOLDS_S)
        rate_per_s = max(offered_per_s, borne_per_s / FACTORS[PRIOR])
        weight = max(offered_per_s, 1.0) * PRIOR_S
        late = tuple(
            weight * (_PRIOR_LATE[FACTORS.index(factor)] + _PRIOR_HOLD[track % len(HOLDS_S)])
            for track, factor in CANDIDATES
        )
        return cls(
            at_s=at_s,
            slow_per_s=offered_per_s,
            peaks=(((at_s, rate_per_s),),) * len(READINGS),
            held=(rate_per_s,) * tracks,
            before=((),) * tracks,
            backlogs=_NO_BACKLOGS,
            late=late,
            counts=tuple(bearable.count(factor * rate_per_s) for _, factor in CANDIDATES),
            costs=tuple(PRIOR_S * bearable.count(factor * offered_per_s) for _, factor in CANDIDATES),
            offered=weight,
            chosen=CANDIDATES.index((HOLDS_S.index(300.0), FACTORS[PRIOR])),
        )

    @property
    def late_ratio(self) -> float:
        """The part of requests that the chosen candidate would have answered late."""
        return self.late[self.chosen] / self.offered if self.offered > 0 else 0.0

    @property
    def factor(self) -> float:
        return CANDIDATES[self.chosen][1]

    @property
    def hold_s(self) -> float:
        return HOLDS_S[CANDIDATES[self.chosen][0] % len(HOLDS_S)]

    @property
    def need_per_s(self) -> float:
        """The rate to be ready for, by the chosen candidate; 0 before the first tick."""
        if not self.held:
            return 0.0
        track, factor = CANDIDATES[self.chosen]
        return factor * self.held[track]

    def with_rate(self, at_s: float, offered_per_s: float, *, horizon_s: float, bearable: Bearable) -> "Rehearsal":
        """Rehearse one tick: `offered_per_s` came in, a replica asked for now would be ready after `horizon_s`."""
        if self.at_s is None:
            raise ValueError("with_rate goes on with what `begin` began")
        over_s = at_s - self.at_s
        if over_s <= 0:
            return self
        slow_per_s, trend_per_s2 = self._read(over_s, offered_per_s)
        readings = (offered_per_s, slow_per_s, max(0.0, slow_per_s + trend_per_s2 * horizon_s))
        peaks = tuple(_peaks(points, at_s, rate) for points, rate in zip(self.peaks, readings, strict=True))
        held, since_s = _held(peaks, at_s), at_s - horizon_s
        before = tuple(
            [
                points
                if now == last and not (points and points[0][0] < since_s)
                else _lows(points, self.at_s, last, now, since_s)
                for points, last, now in zip(self.before, self.held, held, strict=True)
            ]
        )
        firm = [points[0][1] if points else now for points, now in zip(before, held, strict=True)]
        rows = _rows(bearable.rates_per_s, {*firm, *held})
        backlogs, charges = self._served([rows[rate] for rate in firm], over_s, offered_per_s, bearable)
        keep = math.exp(-over_s / MEMORY_S)
        late = tuple([past * keep + charge for past, charge in zip(self.late, charges, strict=True)])
        counts, costs = self._charged([rows[rate] for rate in held], keep, over_s)
        offered = self.offered * keep + offered_per_s * over_s
        return Rehearsal(
            at_s=at_s,
            slow_per_s=slow_per_s,
            trend_per_s2=trend_per_s2,
            peaks=peaks,
            held=held,
            before=before,
            backlogs=backlogs,
            late=late,
            counts=counts,
            costs=costs,
            offered=offered,
            chosen=_choice(self.chosen, costs, late, offered, bearable),
        )

    def _read(self, over_s: float, offered_per_s: float) -> tuple[float, float]:
        """Level and trend of the rate (Holt's linear smoothing, with times instead of factors)."""
        near = 1 - math.exp(-over_s / SLOW_S)
        slow = self.slow_per_s + near * (offered_per_s - self.slow_per_s)
        turn = 1 - math.exp(-over_s / TREND_S)
        return slow, self.trend_per_s2 + turn * ((slow - self.slow_per_s) / over_s - self.trend_per_s2)

    def _charged(
        self, asked: Iterable[tuple[int, ...]], keep: float, over_s: float
    ) -> tuple[tuple[int, ...], tuple[float, ...]]:
        """How many replicas each candidate asks for, given those of each track, and what it has cost with them: starts
        of those it did not have too."""
        counts = tuple(chain.from_iterable(asked))
        costs = [
            cost * keep + count * over_s + ((count - past) * START_S if count > past else 0.0)
            for cost, count, past in zip(self.costs, counts, self.counts, strict=True)
        ]
        return counts, tuple(costs)

    def _served(
        self, ready: Sequence[tuple[int, ...]], over_s: float, offered_per_s: float, bearable: Bearable
    ) -> tuple[tuple[float, ...], Iterable[float]]:
        """The backlog that each candidate is left with, and how many of this tick's requests it answered late.

        `ready` holds, by track, what its candidates have. They share few counts: what a count does is worked out once.
        """
        limits, came, rows = bearable.limits_per_s, offered_per_s * over_s, set(ready)
        ratios = foretold_late_ratios(set(chain.from_iterable(rows)), offered_per_s, bearable)
        if self.backlogs == _NO_BACKLOGS and offered_per_s <= min([limits[count] for count in ratios]):
            charges = {row: [ratios[count] * came for count in row] for row in rows}
            return self.backlogs, chain.from_iterable([charges[row] for row in ready])
        backlogs, late = [], []
        for count, backlog in zip(chain.from_iterable(ready), self.backlogs, strict=True):
            limit_per_s, ratio = limits[count], ratios[count]
            backlog += (offered_per_s - limit_per_s) * over_s
            backlog = 0.0 if backlog <= 0.0 else min(backlog, limit_per_s * LONGEST_BACKLOG_S)
            if backlog > 0.0 and bearable.rates_per_s[count] > 0.0:
                waits = backlog / (limit_per_s * bearable.slack_s)
                if offered_per_s < limit_per_s:
                    ratio = max(ratio, min(1.0, waits))
                elif backlog > limit_per_s * bearable.slack_s:
                    ratio = 1.0
            backlogs.append(backlog)
            late.append(ratio * came)
        return tuple(backlogs), late


def _rows(rates_per_s: Sequence[float], held: Iterable[float]) -> dict[float, tuple[int, ...]]:
    """By held rate, of which most tracks have the same few: how many replicas the candidates of a track ask for."""
    below_most = rates_per_s[:-1]
    return {rate: tuple([bisect_left(below_most, factor * rate) for factor in FACTORS]) for rate in held}


def _choice(chosen: int, costs: Sequence[float], late: Sequence[float], offered: float, bearable: Bearable) -> int:
    """The candidate with the least cost in replica-seconds, each late request beyond the promise charged for.

    A promise that hardly any headroom can keep is not bought at any price: see LATE_WORTH.
    """
    charge_s = LATE_WORTH * (len(bearable.limits_per_s) - 1) / bearable.limits_per_s[-1]
    allowed = bearable.allowed_late_ratio * offered
    bar = SWITCH_RATIO * (costs[chosen] + charge_s * max(0.0, late[chosen] - allowed))
    # The charge only adds: what costs as much without it need not be looked at.
    cheaper = [
        (price, missed, place)
        for place, cost, missed in zip(_PLACES, costs, late, strict=True)
        if cost < bar
        if (price := cost + charge_s * (missed - allowed) if missed > allowed else cost) < bar
    ]
    return min(cheaper)[-1] if cheaper else chosen


def foretold_late_ratio(count: int, offered_per_s: float, bearable: Bearable) -> float:
    """The part of a tick's requests that so many replicas answer late when no backlog waits before them."""
    return foretold_late_ratios((count,), offered_per_s, bearable)[count]


def foretold_late_ratios(counts: Iterable[int], offered_per_s: float, bearable: Bearable) -> dict[int, float]:
    """The same for several counts."""
    rates, limits, allowed = bearable.rates_per_s, bearable.limits_per_s, bearable.allowed_late_ratio
    # The power by which lateness grows: from the allowed part at the bearable rate to LATE_AT_CAPACITY at capacity.
    growth, ratios = math.log(LATE_AT_CAPACITY / allowed), {}
    for count in counts:
        borne, limit = rates[count], limits[count]
        if borne <= 0.0:
            ratio = 1.0
        elif offered_per_s >= limit:
            ratio = LATE_AT_CAPACITY
        else:
            steepness = growth / math.log(limit / borne) if limit > borne else 1.0
            ratio = allowed * (offered_per_s / borne) ** steepness
        ratios[count] = ratio if ratio < 1.0 else 1.0
    return ratios


def _peaks(points: Points, at_s: float, rate_per_s: float) -> Points:
    """Take in the rate of now, which hides those before it that are not larger; drop what no hold reaches back to."""
    since_s = at_s - HOLDS_S[-1]
    start, stop = 0, len(points)
    while start < stop and points[start][0] < since_s:
        start += 1
    while start < stop and points[stop - 1][1] <= rate_per_s:
        stop -= 1
    return (*points[start:stop], (at_s, rate_per_s))


def _held(peaks: Iterable[Points], at_s: float) -> tuple[float, ...]:
    """By track: the largest rate of its hold, of peaks the last of which is of now."""
    since_s = [at_s - hold_s for hold_s in HOLDS_S]
    held = [
        points[0][1] if points[0][0] >= begin_s else points[bisect_left(points, (begin_s,))][1]
        for points in peaks
        for begin_s in since_s
    ]
    return tuple(held)


def _lows(points: Points, last_s: float, last_per_s: float, now_per_s: float, since_s: float) -> Points:
    """Take in the held rate of the tick before; drop what is before `since_s` and all that now's is not above."""
    points = (*points, (last_s, last_per_s))
    start, stop = 0, len(points)
    while start < stop and points[start][0] < since_s:
        start += 1
    while start < stop and points[stop - 1][1] >= now_per_s:
        stop -= 1
    return points[start:stop]
