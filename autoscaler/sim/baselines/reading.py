"""What a law reads of one model out of a view, and the rate at which its requests come in.

Only what a peer would see is here: samples of replicas, their counters, Serve's list. A sample older than the
fleet's `max_age_s` is missing. Absent readings stay absent; each law does with them what its source does.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from autoscaler.core.observation import ReplicaSample, ReplicaState
from autoscaler.core.spec import ModelSpec
from autoscaler.sim.controller import View


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelReading:
    """One model as a law sees it in one tick."""

    spec: ModelSpec
    target: int
    """Serve's replica target."""
    running: frozenset[str]
    """Ids of the replicas that run."""
    samples: tuple[ReplicaSample, ...]
    """Fresh samples of running replicas; a running replica without one is missing."""

    @property
    def in_flight(self) -> int:
        """Requests in all sampled replicas, waiting ones included."""
        return sum(sample.in_flight for sample in self.samples)

    def clamped(self, count: int) -> int:
        return min(max(count, self.spec.min_replicas), self.spec.max_replicas)


def readings(view: View) -> dict[str, ModelReading | None]:
    """Every model of the spec by name; None where its deployment could not be seen."""
    oldest_s = view.now_s - view.spec.policy.max_age_s
    deployments = {seen.model: seen for seen in view.seen.deployments if seen.at_s >= oldest_s}
    running: dict[str, set[str]] = {
        name: {replica.replica_id for replica in seen.replicas if replica.state is ReplicaState.RUNNING}
        for name, seen in deployments.items()
    }
    samples: dict[str, list[ReplicaSample]] = {name: [] for name in deployments}
    for sample in view.seen.replicas:
        if sample.at_s >= oldest_s and sample.replica_id in running.get(sample.model, ()):
            samples[sample.model].append(sample)
    return {
        spec.name: ModelReading(
            spec=spec,
            target=deployments[spec.name].target,
            running=frozenset(running[spec.name]),
            samples=tuple(samples[spec.name]),
        )
        if spec.name in deployments
        else None
        for spec in view.spec.models
    }


def whole(count: float) -> int:
    """The next whole count, 3 for 3.0000000000000004: a rounding error must not cost a replica."""
    return math.ceil(count - 1e-9)


class OfferedRate:
    """Requests that came in per second over the last `window_s`, from differences of replicas' counters.

    A request came in when it ended or is still there. What was refused before any replica saw it is not counted. A
    replica that restarted counts from zero again. One that leaves takes what it counted after its last sample along.
    """

    def __init__(self, *, window_s: float) -> None:
        self._window_s = window_s
        self._counted: dict[str, int] = {}
        self._total = 0
        self._points: deque[tuple[float, int]] = deque()

    def add(self, now_s: float, samples: Sequence[ReplicaSample]) -> None:
        """Take in this tick's samples; a tick without any says nothing and is left out."""
        if not samples:
            return
        for sample in samples:
            counters = sample.counters
            arrived = counters.answered + counters.refused + counters.failed + sample.in_flight
            before = self._counted.get(sample.replica_id)
            if before is None:
                # What a replica held when it was first seen came in before the window, unless the window has begun.
                grown = arrived if self._points else 0
            else:
                grown = arrived - before if arrived >= before else arrived
            self._counted[sample.replica_id] = arrived
            self._total += grown
        self._points.append((now_s, self._total))
        while len(self._points) > 2 and self._points[1][0] <= now_s - self._window_s:
            self._points.popleft()

    def per_s(self) -> float | None:
        """The rate, None before two ticks were seen."""
        if len(self._points) < 2:
            return None
        (from_s, before), (to_s, after) = self._points[0], self._points[-1]
        return (after - before) / (to_s - from_s)
