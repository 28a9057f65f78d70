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
from dataclasses import dataclass, field, replace
from itertools import product

FACTORS = (1.0, 1.1, 1.25, 1.45, 1.8, 2.4)
HOLDS_S = (30.0, 120.0, 300.0, 900.0, 2700.0)
READINGS = ("fast", "slow", "trend")
CANDIDATES = tuple(product(range(len(READINGS) * len(HOLDS_S)), FACTORS))
"""(track, factor); a track is a reading with a hold."""
SLOW_S = 60.0
TREND_S = 120.0
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """What the candidates have shown. Tracks and candidates in the order of the tables above."""

    at_s: float | None = None
    slow_per_s: float = 0.0
    trend_per_s2: float = 0.0
    held: tuple[Points, ...] = ()
    firm: tuple[Points, ...] = ()
    backlogs: tuple[float, ...] = ()
    late: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    costs: tuple[float, ...] = ()
    offered: float = 0.0
    time_s: float = 0.0
    chosen: int = field(default=0)

    @classmethod
    def begin(cls, at_s: float, offered_per_s: float, borne_per_s: float, bearable: Bearable) -> "Rehearsal":
        """The opinion before anything was seen: some headroom, and what is there now is held for a while."""
        tracks = len(READINGS) * len(HOLDS_S)
        points = (((at_s, max(offered_per_s, borne_per_s / FACTORS[PRIOR])),),) * tracks
        weight = max(offered_per_s, 1.0) * PRIOR_S
        late = tuple(
            weight * (_PRIOR_LATE[FACTORS.index(factor)] + _PRIOR_HOLD[track % len(HOLDS_S)])
            for track, factor in CANDIDATES
        )
        first = cls(
            at_s=at_s,
            slow_per_s=offered_per_s,
            held=points,
            firm=points,
            backlogs=(0.0,) * len(CANDIDATES),
            late=late,
            counts=tuple(bearable.count(factor * points[track][0][1]) for track, factor in CANDIDATES),
            costs=tuple(PRIOR_S * bearable.count(factor * offered_per_s) for _, factor in CANDIDATES),
            offered=weight,
            time_s=PRIOR_S,
        )
        return replace(first, chosen=CANDIDATES.index((HOLDS_S.index(300.0), FACTORS[PRIOR])))

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
    def reading(self) -> str:
        return READINGS[CANDIDATES[self.chosen][0] // len(HOLDS_S)]

    @property
    def need_per_s(self) -> float:
        """The rate to be ready for, by the chosen candidate; 0 before the first tick."""
        if not self.held:
            return 0.0
        track, factor = CANDIDATES[self.chosen]
        return factor * self.held[track][0][1]

    def with_rate(self, at_s: float, offered_per_s: float, *, horizon_s: float, bearable: Bearable) -> "Rehearsal":
        """Rehearse one tick: `offered_per_s` came in, a replica asked for now would be ready after `horizon_s`."""
        if self.at_s is None:
            raise ValueError("with_rate goes on with what `begin` began")
        over_s = at_s - self.at_s
        if over_s <= 0:
            return self
        read = self._read(over_s, offered_per_s)
        readings = (offered_per_s, read.slow_per_s, max(0.0, read.slow_per_s + read.trend_per_s2 * horizon_s))
        held = tuple(
            _pushed(points, at_s, readings[track // len(HOLDS_S)], HOLDS_S[track % len(HOLDS_S)], largest=True)
            for track, points in enumerate(self.held)
        )
        firm = tuple(
            _pushed(points, at_s, held[track][0][1], horizon_s, largest=False) for track, points in enumerate(self.firm)
        )
        return replace(read, at_s=at_s, held=held, firm=firm)._judged(over_s, offered_per_s, bearable)

    def _read(self, over_s: float, offered_per_s: float) -> "Rehearsal":
        """Level and trend of the rate (Holt's linear smoothing, with times instead of factors)."""
        near = 1 - math.exp(-over_s / SLOW_S)
        slow = self.slow_per_s + near * (offered_per_s - self.slow_per_s)
        turn = 1 - math.exp(-over_s / TREND_S)
        trend = self.trend_per_s2 + turn * ((slow - self.slow_per_s) / over_s - self.trend_per_s2)
        return replace(self, slow_per_s=slow, trend_per_s2=trend)

    def _judged(self, over_s: float, offered_per_s: float, bearable: Bearable) -> "Rehearsal":
        """Charge every candidate with its replicas and its late requests of this tick."""
        keep = math.exp(-over_s / MEMORY_S)
        came = offered_per_s * over_s
        backlogs, late, counts, costs = [], [], [], []
        rates, limits, most = bearable.rates_per_s, bearable.limits_per_s, len(bearable.rates_per_s) - 1
        held = [points[0][1] for points in self.held]
        firm = [points[0][1] for points in self.firm]
        # Candidates share few counts: what a count does to a tick is worked out once.
        ratios: dict[int, float] = {}
        before = zip(CANDIDATES, self.backlogs, self.late, self.counts, self.costs, strict=True)
        for (track, factor), backlog, late_before, count_before, cost in before:
            ready = bisect_left(rates, factor * firm[track], 0, most)
            limit_per_s = limits[ready]
            backlog += (offered_per_s - limit_per_s) * over_s
            backlog = 0.0 if backlog <= 0.0 else min(backlog, limit_per_s * LONGEST_BACKLOG_S)
            ratio = ratios.get(ready)
            if ratio is None:
                ratio = ratios[ready] = _late_ratio(ready, offered_per_s, bearable)
            if backlog > 0.0 and rates[ready] > 0.0:
                waits = backlog / (limit_per_s * bearable.slack_s)
                if offered_per_s < limit_per_s:
                    ratio = max(ratio, min(1.0, waits))
                elif backlog > limit_per_s * bearable.slack_s:
                    ratio = 1.0
            backlogs.append(backlog)
            late.append(late_before * keep + ratio * came)
            count = bisect_left(rates, factor * held[track], 0, most)
            counts.append(count)
            costs.append(cost * keep + count * over_s + max(0, count - count_before) * START_S)
        judged = replace(
            self,
            backlogs=tuple(backlogs),
            late=tuple(late),
            counts=tuple(counts),
            costs=tuple(costs),
            offered=self.offered * keep + came,
            time_s=self.time_s * keep + over_s,
        )
        return replace(judged, chosen=judged._choice(bearable))

    def _choice(self, bearable: Bearable) -> int:
        """The candidate with the least cost in replica-seconds, each late request beyond the promise charged for.

        A promise that hardly any headroom can keep is not bought at any price: see LATE_WORTH.
        """
        charge_s = LATE_WORTH * (len(bearable.limits_per_s) - 1) / bearable.limits_per_s[-1]
        allowed = bearable.allowed_late_ratio * self.offered
        prices = [cost + charge_s * max(0.0, late - allowed) for cost, late in zip(self.costs, self.late, strict=True)]
        best = min(zip(prices, self.late, range(len(prices)), strict=True))[2]
        return self.chosen if prices[best] >= SWITCH_RATIO * prices[self.chosen] else best


def _late_ratio(count: int, offered_per_s: float, bearable: Bearable) -> float:
    """The part of a tick's requests that so many replicas answer late when no backlog waits before them."""
    borne = bearable.rates_per_s[count]
    if borne <= 0.0:
        return 1.0
    if offered_per_s >= bearable.limits_per_s[count]:
        return LATE_AT_CAPACITY
    ratio: float = bearable.allowed_late_ratio * (offered_per_s / borne) ** _steepness(count, bearable)
    return min(1.0, ratio)


def _steepness(count: int, bearable: Bearable) -> float:
    """The power by which lateness grows: from the allowed part at the bearable rate to LATE_AT_CAPACITY at capacity."""
    borne, limit = bearable.rates_per_s[count], bearable.limits_per_s[count]
    if borne <= 0 or limit <= borne:
        return 1.0
    return math.log(LATE_AT_CAPACITY / bearable.allowed_late_ratio) / math.log(limit / borne)


def _pushed(points: Points, at_s: float, value: float, span_s: float, *, largest: bool) -> Points:
    """A window's extreme first: drop what is too old and what the new value makes irrelevant."""
    since_s = at_s - span_s
    # Times rise and values fall (rise, for the smallest): what goes is at the two ends.
    start, stop = 0, len(points)
    while start < stop and points[start][0] < since_s:
        start += 1
    while start < stop and (points[stop - 1][1] <= value if largest else points[stop - 1][1] >= value):
        stop -= 1
    return (*points[start:stop], (at_s, value))
