"""Memory of what the ingress counted of one model: requests that found no replica.

The count belongs to the ingress' process, and that is replaced whenever a replica comes or goes. A process seen for the
first time has counted all it shows since the sample before; only what the very first sample shows is of unknown age.
"""

import math
from dataclasses import dataclass

from autoscaler.core.observation import IngressSample
from autoscaler.core.record import replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Knocks:
    """Requests of one model that found no replica, over the window."""

    heard_s: float = 0.0
    """When the last sample was taken; before the first, when listening began."""
    last: IngressSample | None = None
    points: tuple[tuple[float, int], ...] = ()
    """(time, requests since listening began), times rising; at least the last two there were."""

    def with_sample(self, sample: IngressSample, span_s: float) -> "Knocks":
        """Take in one sample and keep those of the last `span_s`; a sample seen before is ignored."""
        last = self.last
        if last is None:
            return replace(self, heard_s=sample.at_s, last=sample, points=((sample.at_s, 0),))
        if sample.at_s <= last.at_s:
            return self
        goes_on = sample.process == last.process and sample.unanswered >= last.unanswered
        came = sample.unanswered - last.unanswered if goes_on else sample.unanswered
        since_s = sample.at_s - span_s
        kept = tuple(point for point in self.points if point[0] >= since_s) or self.points[-1:]
        points = (*kept, (sample.at_s, self.points[-1][1] + came))
        return replace(self, heard_s=sample.at_s, last=sample, points=points)

    @property
    def came(self) -> int:
        """Requests in the window."""
        return self.points[-1][1] - self.points[0][1] if self.points else 0

    @property
    def over_s(self) -> float:
        return self.points[-1][0] - self.points[0][0] if self.points else 0.0

    @property
    def just_came(self) -> int:
        """Requests between the last two samples."""
        return self.points[-1][1] - self.points[-2][1] if len(self.points) > 1 else 0

    def leapt_per_s(self, variation: float) -> float:
        """The rate between the last two samples where it is beyond what chance does to the window's; 0 otherwise."""
        if len(self.points) < 2:
            return 0.0
        just_s = self.points[-1][0] - self.points[-2][0]
        usual = self.came / self.over_s * just_s
        return self.just_came / just_s if self.just_came > usual + 3 * math.sqrt(variation * max(usual, 1.0)) else 0.0
