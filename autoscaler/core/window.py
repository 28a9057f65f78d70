"""Memory over time: the last samples of one replica, and the largest of a number's recent values.

Nothing here reads a clock: every sample and every value carries its time. When a counter falls, the process behind it
was restarted and everything remembered of the old one is dropped, so no difference ever spans two processes.
"""

from dataclasses import dataclass
from typing import NamedTuple

from autoscaler.core.observation import Counters, ReplicaSample

Window = tuple[ReplicaSample, ...]
"""The samples of one replica over the last seconds, oldest first, times rising, all of one process."""


class Increase(NamedTuple):
    """What one replica did from the first of its samples to the last: two or more, rising in time, of one process.

    Every number is worked out when asked for: a tick makes thousands of these and looks at a few numbers of each. For
    the same reason this is a tuple, made in half of a dataclass' time, and a window is nothing but its samples.
    """

    samples: Window

    @property
    def first(self) -> Counters:
        return self.samples[0].counters

    @property
    def last(self) -> Counters:
        return self.samples[-1].counters

    @property
    def over_s(self) -> float:
        return self.samples[-1].at_s - self.samples[0].at_s

    @property
    def counters(self) -> Counters:
        """What was counted, latencies included."""
        counted = self.last.minus(self.first)
        if counted is None:
            raise AssertionError("a window keeps samples of one process only")
        return counted

    @property
    def answered(self) -> int:
        return self.samples[-1].counters.answered - self.samples[0].counters.answered

    @property
    def ended(self) -> int:
        return self.samples[-1].counters.ended - self.samples[0].counters.ended

    @property
    def refused(self) -> int:
        return self.last.refused - self.first.refused

    @property
    def batches(self) -> int:
        return self.last.batches - self.first.batches

    @property
    def engine_busy_s(self) -> float:
        return self.samples[-1].counters.engine_busy_s - self.samples[0].counters.engine_busy_s

    @property
    def in_flight_mean(self) -> float:
        return sum([sample.in_flight for sample in self.samples]) / len(self.samples)

    @property
    def arrived(self) -> int:
        """Requests that came in: those that ended, and those that were taken in and are still there."""
        return self.samples[-1].arrived - self.samples[0].arrived


def with_sample(window: Window, sample: ReplicaSample, span_s: float) -> Window:
    """The window with one sample more and without those that are more than `span_s` older than that.

    A scrape seen before is ignored: the window comes back itself. A restarted process starts the window anew.
    """
    if not window:
        return (sample,)
    last, at_s = window[-1], sample.at_s
    if at_s <= last.at_s:
        return window
    if not sample.counters.follows(last.counters):
        return (sample,)
    since_s = at_s - span_s
    if window[0].at_s < since_s:  # nearly always that one alone
        window = _since(window, since_s) if len(window) > 1 and window[1].at_s < since_s else window[1:]
    return (*window, sample)


def increase(window: Window, last_s: float | None = None) -> Increase | None:
    """What happened over the window, or over its last seconds; None when that holds fewer than two samples."""
    if window and last_s is not None:
        window = _since(window, window[-1].at_s - last_s)
    return Increase(window) if len(window) > 1 else None


def _since(samples: Window, at_s: float) -> Window:
    """Those not older than `at_s`; samples rise in time, so the few that are too old come first."""
    start = 0
    for sample in samples:
        if sample.at_s >= at_s:
            break
        start += 1
    return samples[start:]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlidingMax:
    """The largest value of the last `span_s`; keeps only values that can still become the largest."""

    span_s: float
    points: tuple[tuple[float, int], ...] = ()
    """(time, value), times rising, values falling."""

    def with_value(self, at_s: float, value: int) -> "SlidingMax":
        since_s = at_s - self.span_s
        kept = [point for point in self.points if point[0] >= since_s and point[1] > value]
        return SlidingMax(span_s=self.span_s, points=(*kept, (at_s, value)))

    def largest(self, now_s: float) -> int | None:
        """The largest value no older than `span_s`; None when there is none."""
        return next((value for at_s, value in self.points if at_s >= now_s - self.span_s), None)
