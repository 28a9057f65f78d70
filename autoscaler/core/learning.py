"""What one model's ticks have taught: cost of a batch, shape of the load, time of a start, trust in the formulas."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from autoscaler.core.record import replace
from autoscaler.core.rehearsal import Rehearsal
from autoscaler.core.replicas import Arrivals
from autoscaler.core.service import Service

WARM_UP_S = 20.0
"""A replica teaches nothing for so long after it was first seen running: caches, compilation, first batches."""
KEPT_STARTS = 10
LEAST_VARIATION, MOST_VARIATION = 0.7, 4.0
_VARIATION_S = 300.0
JUDGED_S = 60.0
GOAL_RATIO = 0.025
"""Fewer late requests than this, half of what is promised, are not the formulas' fault: some are late by themselves."""
WORST_JUDGED_RATIO = 0.2
"""A tick in which more came late says no more about the formulas: something else has happened."""
TRIM_UP_PER_S, TRIM_DOWN_PER_S = 0.1, 0.03
"""Per part of late requests beyond the foretold: 2 % too many raise the trim by 13 % a minute, 2 % too few lower it by
4 %."""
LEAST_TRIM, MOST_TRIM = 0.75, 1.6


class Jumps(NamedTuple):
    """How much the number of requests of a tick jumps about."""

    variation: float = 1.0
    """Variance of the arrivals of a tick as a part of their mean: 1 for Poisson's."""
    came: float | None = None
    """In the last tick, to compare the next with."""

    def with_arrivals(self, arrivals: Arrivals) -> "Jumps":
        """Take in how many requests came since the last tick, for how much that number jumps about."""
        over_s = arrivals.over_s
        if over_s <= 0:
            return self
        came = float(max(0, arrivals.came))
        if self.came is None or came + self.came < 10:
            return self._replace(came=came)
        # Half the squared difference of neighbours is the variance without the slow swing.
        jump = min(4 * MOST_VARIATION, (came - self.came) ** 2 / (came + self.came))
        near = 1 - math.exp(-over_s / _VARIATION_S)
        variation = self.variation + near * (jump - self.variation)
        return Jumps(min(MOST_VARIATION, max(LEAST_VARIATION, variation)), came)


class Trust(NamedTuple):
    """How far the formulas are believed."""

    trim: float = 1.0
    """By how much replicas bear less than the formulas say; 1 is exactly as much."""
    at_s: float | None = None
    missed_ratio: float = 0.0
    """The part of requests that came late beyond the foretold, while nothing was on its way, over about a minute."""

    def judged(self, late_ratio: float | None, foretold_ratio: float, now_s: float) -> "Trust":
        """Trust the formulas less where more requests come late than they foretell, and more where fewer do.

        In proportion, so that it comes to rest where they tell the truth. A fleet with little to do teaches nothing
        that way: none late were foretold, and none are. Judged over about a minute: of the 300 requests of one window
        a few more than foretold are late by chance. None: nothing can be said.
        """
        over_s = 0.0 if self.at_s is None else min(now_s - self.at_s, 10.0)
        if late_ratio is None:
            return self._replace(at_s=now_s)
        near = 1 - math.exp(-over_s / JUDGED_S)
        late, foretold = min(late_ratio, WORST_JUDGED_RATIO), min(foretold_ratio, WORST_JUDGED_RATIO)
        beyond = max(0.0, late - max(foretold, GOAL_RATIO)) if late > foretold else late - foretold
        missed = self.missed_ratio + near * (beyond - self.missed_ratio)
        grown = self.trim * math.exp((TRIM_UP_PER_S if missed > 0 else TRIM_DOWN_PER_S) * missed * over_s)
        return Trust(min(MOST_TRIM, max(LEAST_TRIM, grown)), now_s, missed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """Replaced at every tick; losing it costs some minutes of caution."""

    service: Service = field(default_factory=Service)
    rehearsal: Rehearsal = field(default_factory=Rehearsal)
    trust: Trust = field(default_factory=Trust)
    jumps: Jumps = field(default_factory=Jumps)
    since_s: Mapping[str, float] = field(default_factory=dict)
    """When each running replica was first seen running."""
    asked: tuple[tuple[float, int], ...] = ()
    """Wishes not yet fulfilled: when, and for which count."""
    starts_s: tuple[float, ...] = ()
    """The last times from wish to running."""

    @property
    def slowest_start_s(self) -> float:
        """About the 90th percentile of the starts seen; 0 before the first."""
        return sorted(self.starts_s)[math.ceil(0.9 * len(self.starts_s)) - 1] if self.starts_s else 0.0

    def warm(self, now_s: float) -> frozenset[str]:
        """Replicas that have run long enough to tell their cost."""
        return frozenset([key for key, since_s in self.since_s.items() if now_s - since_s >= WARM_UP_S])

    def with_running(self, running: Sequence[str], now_s: float) -> "Learned":
        """Take in which replicas run; wishes that came true tell how long a start takes."""
        if not self.asked and tuple(self.since_s) == tuple(running):
            return self
        since_s = {replica_id: self.since_s.get(replica_id, now_s) for replica_id in running}
        done = tuple(now_s - asked_s for asked_s, count in self.asked if count <= len(running))
        open_ = tuple(wish for wish in self.asked if wish[1] > len(running))
        if since_s == self.since_s and not done:
            return self
        return replace(self, since_s=since_s, asked=open_, starts_s=(*self.starts_s, *done)[-KEPT_STARTS:])

    def with_asked(self, count: int, running: int, now_s: float) -> "Learned":
        """Remember a wish for more; a wish for fewer forgets those beyond it."""
        kept = tuple(wish for wish in self.asked if wish[1] <= count)
        if count > running and all(wish[1] != count for wish in kept):
            kept = (*kept, (now_s, count))
        return replace(self, asked=kept)
