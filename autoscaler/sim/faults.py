"""What can go wrong in a simulation, each a record with the time when it does. Times are seconds from the start.

Spans begin at `from_s` and end before `to_s`. `share` of the replicas or slots is hit, always the same ones for one
seed, so that a fault stays with whom it befell.
"""

import math
from dataclasses import dataclass
from hashlib import blake2b


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A fault that lasts."""

    from_s: float
    to_s: float

    def __post_init__(self) -> None:
        if not 0 <= self.from_s < self.to_s:
            raise ValueError(f"from_s is {self.from_s} and to_s is {self.to_s}; a fault begins at 0 or later and ends")

    def covers(self, at_s: float) -> bool:
        return self.from_s <= at_s < self.to_s


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedSpan(Span):
    """A fault that lasts and hits a part of all."""

    share: float = 1.0

    def __post_init__(self) -> None:
        super(SharedSpan, self).__post_init__()  # named, because slots=True makes the class anew
        if not 0 < self.share <= 1:
            raise ValueError(f"share is {self.share}; above 0, at most 1")

    def hits(self, name: str, at_s: float, seed: int) -> bool:
        """Whether it hits `name` (a replica or a slot) at `at_s`."""
        if not self.covers(at_s):
            return False
        place = int.from_bytes(blake2b(f"{seed}/{name}".encode(), digest_size=4).digest())
        return place < self.share * 2**32


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A fault that happens once."""

    at_s: float

    def __post_init__(self) -> None:
        if self.at_s < 0:
            raise ValueError(f"at_s is {self.at_s}; a fault happens at 0 or later")


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsMissing(SharedSpan):
    """Replicas whose /metrics cannot be reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsFrozen(SharedSpan):
    """Replicas whose /metrics answer with what they said first in the span: fresh to look at, and standing still."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsGarbage(SharedSpan):
    """Slots whose exporter says `busy_ratio`. As the live scraper does, above 1 is read as 1, and what is negative or
    no finite number makes the exporter's answer worthless: the reading is missing."""

    busy_ratio: float = 7.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotReadingsMissing(SharedSpan):
    """Slots whose exporter cannot be reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerKilled(Moment):
    """A worker pod that has a slot, picked at random, is gone from one moment to the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodsNeverStart(Span):
    """Worker pods that get their slot in the span never become ready; they must be removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodesLeave(Span):
    """The nodes of `of_slots` are said to leave, and cordoned, until the span ends. From `gone_s` on they are gone, and
    whatever still runs on them is lost; with no such time the word is taken back."""

    of_slots: tuple[int, ...]
    gone_s: float = math.inf

    def __post_init__(self) -> None:
        super(NodesLeave, self).__post_init__()
        if self.gone_s < self.from_s:
            raise ValueError(f"gone_s is {self.gone_s}; nodes are gone at from_s, {self.from_s}, or later")

    def takes(self, at_s: float) -> bool:
        """Whether the nodes are gone at `at_s`."""
        return self.covers(at_s) and self.gone_s <= at_s


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetReset(Moment):
    """A redeploy resets Ray Serve's target of `model`, of every model where that is None."""

    count: int
    model: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignWrite(Moment):
    """Somebody else sizes every worker pool to `count`."""

    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoscalerRestart(Moment):
    """The controller starts anew and remembers nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiAway(Span):
    """Kubernetes cannot be read or written; Ray Serve, the workers and the scrapes go on.

    The live loop also waits up to 30 s longer before it asks a failing API again: make `to_s` later for that.
    """


Fault = (
    MetricsMissing
    | MetricsFrozen
    | MetricsGarbage
    | SlotReadingsMissing
    | WorkerKilled
    | PodsNeverStart
    | NodesLeave
    | TargetReset
    | ForeignWrite
    | AutoscalerRestart
    | ApiAway
)
