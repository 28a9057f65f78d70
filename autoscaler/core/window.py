"""Memory over time: the last samples of one replica, and the largest of a number's recent values.

Nothing here reads a clock: every sample and every value carries its time. When a counter falls, the process behind it
was restarted and everything remembered of the old one is dropped, so no difference ever spans two processes.
"""

from dataclasses import dataclass, replace

from autoscaler.core.observation import Counters, ReplicaSample


@dataclass(frozen=True, slots=True, kw_only=True)
class Increase:
    """What one replica did over a window."""

    over_s: float
    counters: Counters
    in_flight_change: int
    in_flight_mean: float
    queued_mean: float

    @property
    def arrived(self) -> int:
        """Requests that came in: those that ended, and those that were taken in and are still there."""
        return self.counters.ended + self.in_flight_change


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The samples of one replica over the last `span_s`, oldest first."""

    span_s: float
    samples: tuple[ReplicaSample, ...] = ()

    def with_sample(self, sample: ReplicaSample) -> "Window":
        """Take in one sample; a scrape seen before is ignored, a restarted process starts the window anew."""
        if self.samples and sample.at_s <= self.samples[-1].at_s:
            return self
        if self.samples and sample.counters.minus(self.samples[-1].counters) is None:
            return replace(self, samples=(sample,))
        kept = tuple(old for old in self.samples if old.at_s >= sample.at_s - self.span_s)
        return replace(self, samples=(*kept, sample))

    def increase(self, last_s: float | None = None) -> Increase | None:
        """What happened over the window, or over its last seconds; None when that holds fewer than two samples."""
        since_s = self.samples[-1].at_s - (self.span_s if last_s is None else last_s) if self.samples else 0.0
        samples = [sample for sample in self.samples if sample.at_s >= since_s]
        if len(samples) < 2:
            return None
        first, last = samples[0], samples[-1]
        counters = last.counters.minus(first.counters)
        if counters is None:
            raise AssertionError("with_sample keeps samples of one process only")
        return Increase(
            over_s=last.at_s - first.at_s,
            counters=counters,
            in_flight_change=last.in_flight - first.in_flight,
            in_flight_mean=sum(sample.in_flight for sample in samples) / len(samples),
            queued_mean=sum(sample.queued for sample in samples) / len(samples),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SlidingMax:
    """The largest value of the last `span_s`; keeps only values that can still become the largest."""

    span_s: float
    points: tuple[tuple[float, int], ...] = ()
    """(time, value), times rising, values falling."""

    def with_value(self, at_s: float, value: int) -> "SlidingMax":
        kept = tuple(point for point in self.points if point[0] >= at_s - self.span_s and point[1] > value)
        return replace(self, points=(*kept, (at_s, value)))

    def largest(self, now_s: float) -> int | None:
        """The largest value no older than `span_s`; None when there is none."""
        return next((value for at_s, value in self.points if at_s >= now_s - self.span_s), None)
