"""Knative's pod autoscaler (KPA; `serving/pkg/autoscaler/scaling/autoscaler.go`).

Requests in flight averaged over a stable window of 60 s and a panic window of 6 s, divided by a target per pod. When
the panic value asks for twice the ready pods, it panics: the count only rises until the threshold was not met for a
whole stable window.

The collector's sample each second is here one each tick of 2 s: the mean gauge of the replicas seen times those that
run, as Knative extrapolates from the pods it could reach. With no reading the count stays. The activator, its burst
capacity and scaling to zero are left out: a replica always stays.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from autoscaler.core.window import SlidingMax
from autoscaler.sim.baselines.reading import ModelReading, readings, whole
from autoscaler.sim.controller import View
from autoscaler.sim.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class KpaSettings:
    """Defaults are those of the `config-autoscaler` ConfigMap."""

    target_in_flight: float = 100.0
    """`container-concurrency-target-default`."""
    target_ratio: float = 0.7
    """`container-concurrency-target-percentage`: a pod is aimed at this part of the target; 1 sets it hard."""
    stable_window_s: float = 60.0
    panic_window_ratio: float = 0.1
    panic_threshold: float = 2.0
    max_up_rate: float = 1000.0
    max_down_rate: float = 2.0
    scale_down_delay_s: float = 0.0
    interval_s: float = 2.0

    def law(self, world: World, arrivals: Mapping[str, NDArray[np.float64]]) -> "Kpa":
        return Kpa(self)


@dataclass(slots=True, kw_only=True)
class _Revision:
    count: int
    delayed: SlidingMax
    panic_since_s: float | None = None
    most_in_panic: int = 0
    in_flight: deque[tuple[float, float]] = field(default_factory=deque)
    """(time, requests in flight in all pods), the last stable window."""


class Kpa:
    """The law."""

    def __init__(self, settings: KpaSettings | None = None) -> None:
        self.settings = settings or KpaSettings()
        self.interval_s = self.settings.interval_s
        self._revisions: dict[str, _Revision] = {}

    def want(self, view: View) -> Mapping[str, int]:
        """Wanted replicas by model; a model that cannot be seen keeps its count."""
        wanted: dict[str, int] = {}
        for name, reading in readings(view).items():
            if reading is not None:
                revision = self._revisions.get(name) or self._fresh(reading, view.now_s)
                self._revisions[name] = revision
                if reading.samples:
                    count = self._tick(revision, reading, view.now_s)
                    revision.count = reading.clamped(count)
            if name in self._revisions:
                wanted[name] = self._revisions[name].count
        return wanted

    def in_panic(self, model: str) -> bool:
        return self._revisions[model].panic_since_s is not None

    def _fresh(self, reading: ModelReading, now_s: float) -> _Revision:
        """A new autoscaler that finds several pods starts in panic, so that its own restart sheds none of them."""
        running = len(reading.running)
        revision = _Revision(count=reading.target, delayed=SlidingMax(span_s=self.settings.scale_down_delay_s))
        if running > 1:
            revision.panic_since_s, revision.most_in_panic = now_s, running
        return revision

    def _tick(self, revision: _Revision, reading: ModelReading, now_s: float) -> int:
        settings = self.settings
        stable, panic = self._averages(revision, reading, now_s)
        per_pod = settings.target_in_flight * settings.target_ratio
        ready = max(1, len(reading.running))
        least, most = int(ready / settings.max_down_rate), whole(settings.max_up_rate * ready)
        for_stable = min(max(whole(stable / per_pod), least), most)
        for_panic = min(max(whole(panic / per_pod), least), most)
        if whole(panic / per_pod) / ready >= settings.panic_threshold:
            revision.panic_since_s = now_s  # also when it panics already: the exit clock starts again
        elif revision.panic_since_s is not None and now_s - revision.panic_since_s > settings.stable_window_s:
            revision.panic_since_s, revision.most_in_panic = None, 0
        count = for_stable
        if revision.panic_since_s is not None:
            revision.most_in_panic = max(revision.most_in_panic, for_stable, for_panic)
            count = revision.most_in_panic
        revision.delayed = revision.delayed.with_value(now_s, count)
        return revision.delayed.largest(now_s) or count

    def _averages(self, revision: _Revision, reading: ModelReading, now_s: float) -> tuple[float, float]:
        """Requests in flight over the stable and the panic window; a young revision uses what exists."""
        points, settings = revision.in_flight, self.settings
        points.append((now_s, reading.in_flight / len(reading.samples) * len(reading.running)))
        while points[0][0] <= now_s - settings.stable_window_s:
            points.popleft()
        since_s = now_s - settings.stable_window_s * settings.panic_window_ratio
        recent = [value for at_s, value in points if at_s > since_s]
        return sum(value for _, value in points) / len(points), sum(recent) / len(recent)
