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
from collections.abc import Iterable
from typing import NamedTuple

from autoscaler.core.bearable import Bearable
from autoscaler.core.candidates import (
    CANDIDATES,
    FACTORS,
    HOLDS_S,
    PRIOR,
    PRIOR_S,
    READINGS,
    TRACKS,
    Ticks,
    play,
    prior,
)

SLOW_S = 60.0
TREND_S = 120.0

Points = tuple[tuple[float, float], ...]
"""(time, rate), times rising."""


class Rehearsal(NamedTuple):
    """What the candidates have shown. Tracks and candidates in the order of their tables in `candidates`."""

    at_s: float | None = None
    slow_per_s: float = 0.0
    trend_per_s2: float = 0.0
    peaks: tuple[Points, ...] = ()
    """By reading: the rates that none since has reached, falling. The largest of any hold is the first of its time."""
    held: tuple[float, ...] = ()
    """By track: the largest rate of its hold."""
    before: tuple[Points, ...] = ()
    """By track: held rates of the last cold start below all that came later, each with its last time; rising."""
    shown: bytes = b""
    """By candidate: see `candidates.table_of`."""
    offered: float = 0.0
    """Requests so far, fading as those that were late do."""
    chosen: int = 0

    @classmethod
    def begin(cls, at_s: float, offered_per_s: float, borne_per_s: float, bearable: Bearable) -> "Rehearsal":
        """The opinion before anything was seen: some headroom, and what is there now is held for a while."""
        rate_per_s = max(offered_per_s, borne_per_s / FACTORS[PRIOR])
        return cls(
            at_s=at_s,
            slow_per_s=offered_per_s,
            peaks=(((at_s, rate_per_s),),) * len(READINGS),
            held=(rate_per_s,) * TRACKS,
            before=((),) * TRACKS,
            shown=prior(offered_per_s, rate_per_s, bearable),
            offered=max(offered_per_s, 1.0) * PRIOR_S,
            chosen=CANDIDATES.index((HOLDS_S.index(300.0), FACTORS[PRIOR])),
        )

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


class Trial(NamedTuple):
    """One tick of one model."""

    known: Rehearsal
    """What its ticks so far have shown; nothing before the first."""
    at_s: float
    offered_per_s: float
    """The rate that came in."""
    horizon_s: float
    """A replica asked for now would be ready after so long."""
    bearable: Bearable
    desired: int
    """Replicas there now or on their way: before the first tick they count as needed."""

    def begun(self) -> "Trial":
        """The same with something known."""
        if self.known.at_s is not None:
            return self
        rates_per_s = self.bearable.rates_per_s
        borne_per_s = max(0.0, rates_per_s[min(self.desired, len(rates_per_s) - 1)])
        return self._replace(known=Rehearsal.begin(self.at_s, self.offered_per_s, borne_per_s, self.bearable))

    @property
    def over_s(self) -> float:
        return self.at_s - (self.known.at_s or 0.0)


class _Tracks(NamedTuple):
    """How the tracks of one model go on."""

    slow_per_s: float
    trend_per_s2: float
    peaks: tuple[Points, ...]
    held: tuple[float, ...]
    before: tuple[Points, ...]
    firm: tuple[float, ...]
    """By track: the smallest held rate of the last cold start, for which replicas are ready."""


def rehearse(trials: Iterable[Trial]) -> list[Rehearsal]:
    """Rehearse one tick of each model. A tick that was seen before changes nothing."""
    begun = [trial.begun() for trial in trials]
    places = [place for place, trial in enumerate(begun) if trial.over_s > 0]
    rehearsed = [trial.known for trial in begun]
    if not places:
        return rehearsed
    fresh = [begun[place] for place in places]
    tracks = [_gone_on(trial) for trial in fresh]
    ticks = Ticks(
        over_s=[trial.over_s for trial in fresh],
        offered_per_s=[trial.offered_per_s for trial in fresh],
        bearables=[trial.bearable for trial in fresh],
        firm_per_s=[each.firm for each in tracks],
        held_per_s=[each.held for each in tracks],
    )
    known = [trial.known for trial in fresh]
    played = play([one.shown for one in known], [one.offered for one in known], [one.chosen for one in known], ticks)
    for place, trial, each, *results in zip(places, fresh, tracks, *played, strict=True):
        at_s, (slow_per_s, trend_per_s2, peaks, held, before, _) = trial.at_s, each
        rehearsed[place] = Rehearsal(at_s, slow_per_s, trend_per_s2, peaks, held, before, *results)
    return rehearsed


def _gone_on(trial: Trial) -> _Tracks:
    known, at_s, last_s = trial.known, trial.at_s, trial.known.at_s or 0.0
    slow_per_s, trend_per_s2 = _read(known, trial.over_s, trial.offered_per_s)
    readings = (trial.offered_per_s, slow_per_s, max(0.0, slow_per_s + trend_per_s2 * trial.horizon_s))
    peaks = tuple([_peaks(points, at_s, rate) for points, rate in zip(known.peaks, readings, strict=True)])
    held, since_s = _held(peaks, at_s), at_s - trial.horizon_s
    before = tuple(
        [
            points
            if now == last and not (points and points[0][0] < since_s)
            else _lows(points, last_s, last, now, since_s)
            for points, last, now in zip(known.before, known.held, held, strict=True)
        ]
    )
    firm = tuple([points[0][1] if points else now for points, now in zip(before, held, strict=True)])
    return _Tracks(slow_per_s, trend_per_s2, peaks, held, before, firm)


def _read(known: Rehearsal, over_s: float, offered_per_s: float) -> tuple[float, float]:
    """Level and trend of the rate (Holt's linear smoothing, with times instead of factors)."""
    near = 1 - math.exp(-over_s / SLOW_S)
    slow = known.slow_per_s + near * (offered_per_s - known.slow_per_s)
    turn = 1 - math.exp(-over_s / TREND_S)
    return slow, known.trend_per_s2 + turn * ((slow - known.slow_per_s) / over_s - known.trend_per_s2)


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
