"""Ray Serve's default autoscaling law (Ray 2.60: `serve/autoscaling_policy.py`, `_private/autoscaling_state.py`).

Ongoing requests, averaged over a look-back window, divided by a target; a rise or fall is done when it was wanted for
a whole delay, and then to the count of that last instant. The information is old: a handle samples every fifth of the
look-back and pushes its series every 10 s, and the last value is held until the next push.

Here one ingress stands for all handles, so its samples are the sum of in-flight requests over the replicas seen. As in
Ray a report older than 20 s is dropped and counts as no load at all. Serve's loop runs each 0.1 s; one step each 2 s
meets every sample (6 s) and push (10 s) and rounds a delay up to 2 s. Scaling to and from zero is left out: a replica
always stays.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from autoscaler.sim.baselines.reading import ModelReading, readings, whole
from autoscaler.sim.controller import View
from autoscaler.sim.world import World

SAMPLES_PER_LOOK_BACK = 5
REPORT_LIFETIME_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RayServeSettings:
    """Defaults are those of `AutoscalingConfig`."""

    target_ongoing: float = 2.0
    """Requests one replica should hold."""
    look_back_s: float = 30.0
    push_s: float = 10.0
    up_delay_s: float = 30.0
    down_delay_s: float = 600.0
    up_factor: float = 1.0
    """A rise is this many times the missing count, a fall `down_factor` times the surplus."""
    down_factor: float = 1.0
    interval_s: float = 2.0

    def law(self, world: World, arrivals: Mapping[str, NDArray[np.float64]]) -> "RayServe":
        return RayServe(self)


@dataclass(slots=True, kw_only=True)
class _Handle:
    """The ingress' own memory: samples taken, and the series the controller has of it."""

    next_sample_s: float
    next_push_s: float
    taken: list[tuple[float, int]] = field(default_factory=list)
    pushed: list[tuple[float, int]] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class _Deployment:
    target: int
    handle: _Handle
    since_s: float | None = None
    """When the present direction was first wanted."""
    direction: int = 0


class RayServe:
    """The law; its own target is compared with, not the count that runs."""

    def __init__(self, settings: RayServeSettings | None = None) -> None:
        self.settings = settings or RayServeSettings()
        self.interval_s = self.settings.interval_s
        self._deployments: dict[str, _Deployment] = {}

    def want(self, view: View) -> Mapping[str, int]:
        """Wanted replicas by model; a model that cannot be seen keeps its target."""
        wanted: dict[str, int] = {}
        for name, reading in readings(view).items():
            if reading is None:
                known = self._deployments.get(name)
                if known is not None:
                    wanted[name] = known.target
                continue
            deployment = self._deployments.get(name)
            if deployment is None:
                handle = _Handle(next_sample_s=view.now_s, next_push_s=view.now_s + self.settings.push_s)
                deployment = self._deployments[name] = _Deployment(target=reading.target, handle=handle)
            load = self._load(deployment.handle, reading, view.now_s)
            if load is not None:
                self._step(deployment, reading, load, view.now_s)
            deployment.target = wanted[name] = reading.clamped(deployment.target)
        return wanted

    def _load(self, handle: _Handle, reading: ModelReading, now_s: float) -> float | None:
        """Time-weighted mean of the pushed series up to now, its last value held; None before the first report."""
        settings = self.settings
        if now_s >= handle.next_sample_s:
            handle.next_sample_s = _next_due(handle.next_sample_s, now_s, settings.look_back_s / SAMPLES_PER_LOOK_BACK)
            if reading.samples or not reading.running:
                handle.taken.append((now_s, reading.in_flight))
        if now_s >= handle.next_push_s:
            handle.next_push_s = _next_due(handle.next_push_s, now_s, settings.push_s)
            handle.taken = [point for point in handle.taken if point[0] >= now_s - settings.look_back_s]
            if handle.taken:
                handle.pushed = list(handle.taken)
        if not handle.pushed:
            return None
        if now_s - handle.pushed[-1][0] > REPORT_LIFETIME_S:
            return 0.0
        return _time_weighted_mean(handle.pushed, now_s)

    def _step(self, deployment: _Deployment, reading: ModelReading, load: float, now_s: float) -> None:
        running = len(reading.running)
        if running == 0:
            return  # nothing known: Serve keeps the target
        want = self._desired(load / self.settings.target_ongoing, running)
        direction = (want > deployment.target) - (want < deployment.target)
        if direction != deployment.direction:
            deployment.direction, deployment.since_s = direction, None
        if direction == 0:
            return
        if deployment.since_s is None:
            deployment.since_s = now_s
        delay_s = self.settings.up_delay_s if direction > 0 else self.settings.down_delay_s
        if now_s - deployment.since_s >= delay_s:
            deployment.target = max(1, want)  # the count of this instant, not of the wait; and never at once to zero
            deployment.since_s = None

    def _desired(self, raw: float, running: int) -> int:
        factor = self.settings.up_factor if raw > running else self.settings.down_factor
        want = whole(running + factor * (raw - running))
        # A small factor rounds every fall up to where it is; then one replica goes, so that it is never stuck.
        return running - 1 if whole(raw) < running and want == running else want


def _next_due(due_s: float, now_s: float, every_s: float) -> float:
    """The next time on the grid of `due_s`: what was slept through is not made up for."""
    return due_s + every_s * (int((now_s - due_s) / every_s) + 1)


def _time_weighted_mean(points: list[tuple[float, int]], now_s: float) -> float:
    ends_s = [*(at_s for at_s, _ in points[1:]), now_s]
    area = sum(value * (end_s - at_s) for (at_s, value), end_s in zip(points, ends_s, strict=True))
    span_s = now_s - points[0][0]
    return area / span_s if span_s > 0 else float(points[-1][1])
