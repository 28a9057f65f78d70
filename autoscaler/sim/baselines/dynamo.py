"""A planner of the form of NVIDIA Dynamo's SLA planner: a slow loop that forecasts, a fast loop that reads engines.

Slow loop, each 180 s: the forecast rate over the rate one engine sustains within its objective, as profiled alone; the
result is a floor for the fast loop. Fast loop, each 5 s: one more engine when *all* of them are expected beyond the
objective; one less when, with their load spread over one fewer, all of them stay under 0.8 of it. Nothing new while
the last change is pending. Without traffic there is nothing to forecast or fit and the count stays.

Simplified: one kind of engine, no prefill and decode and no sequence lengths. Its fitted regressions are one line
through the origin, latency = seconds busy per answer x (requests in the engine + 1), fitted over a minute to all
engines together. The forecast is the last interval's mean rate, plus `trend_ratio` of the change since the interval
before; the default keeps the rate constant.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from autoscaler.sim.baselines.queueing import Profile, rate_within
from autoscaler.sim.baselines.reading import ModelReading, OfferedRate, readings, whole
from autoscaler.sim.controller import View
from autoscaler.sim.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class DynamoSettings:
    """Intervals and the 0.8 are those of the planner's defaults."""

    slow_interval_s: float = 180.0
    interval_s: float = 5.0
    """Of the fast loop."""
    sla_ratio: float = 1.0
    """The fast loop's limit as a part of the objective: lower is more headroom."""
    down_ratio: float = 0.8
    capacity_ratio: float = 1.0
    """Part of its profiled capacity that the slow loop counts on."""
    trend_ratio: float = 0.0
    fit_s: float = 60.0

    def law(self, world: World, arrivals: Mapping[str, NDArray[np.float64]]) -> "Dynamo":
        return Dynamo(self, {model.name: Profile.of(model) for model in world.models})


@dataclass(slots=True, kw_only=True)
class _Plan:
    count: int
    next_slow_s: float
    rate: OfferedRate
    floor: int = 1
    last_rate_per_s: float | None = None
    work: dict[str, tuple[int, float]] = field(default_factory=dict)
    """Of each engine: answers and seconds busy when last seen."""
    fitted: deque[tuple[float, int, float]] = field(default_factory=deque)
    """(time, answers, seconds busy) of all engines, a tick each."""


class Dynamo:
    """The law; `profiles` by model."""

    def __init__(self, settings: DynamoSettings, profiles: Mapping[str, Profile]) -> None:
        self.settings = settings
        self.interval_s = settings.interval_s
        self._profiles = dict(profiles)
        self._plans: dict[str, _Plan] = {}

    def want(self, view: View) -> Mapping[str, int]:
        """Wanted replicas by model; a model that cannot be seen keeps its count."""
        wanted: dict[str, int] = {}
        for name, reading in readings(view).items():
            if reading is not None:
                plan = self._plans.get(name)
                if plan is None:
                    next_slow_s = view.now_s + self.settings.slow_interval_s
                    rate = OfferedRate(window_s=self.settings.slow_interval_s)
                    plan = _Plan(count=reading.target, next_slow_s=next_slow_s, rate=rate)
                    self._plans[name] = plan
                self._step(plan, reading, self._profiles[name], view.now_s)
                plan.count = reading.clamped(plan.count)
            if name in self._plans:
                wanted[name] = self._plans[name].count
        return wanted

    def _step(self, plan: _Plan, reading: ModelReading, profile: Profile, now_s: float) -> None:
        plan.rate.add(now_s, reading.samples)
        busy_s = self._fit(plan, reading, now_s)
        if now_s >= plan.next_slow_s:
            plan.next_slow_s += self.settings.slow_interval_s
            self._forecast(plan, profile)
        if len(reading.running) != plan.count:
            return
        change = self._fast(reading, profile.objective_s * self.settings.sla_ratio, busy_s)
        plan.count = reading.clamped(max(plan.count + change, plan.floor))

    def _forecast(self, plan: _Plan, profile: Profile) -> None:
        rate_per_s, capacity_per_s = plan.rate.per_s(), rate_within(1, profile) * self.settings.capacity_ratio
        if not rate_per_s:
            return
        last_per_s = rate_per_s if plan.last_rate_per_s is None else plan.last_rate_per_s
        plan.last_rate_per_s = rate_per_s
        ahead_per_s = max(0.0, rate_per_s + self.settings.trend_ratio * (rate_per_s - last_per_s))
        if capacity_per_s > 0:
            plan.floor = whole(ahead_per_s / capacity_per_s)

    def _fit(self, plan: _Plan, reading: ModelReading, now_s: float) -> float | None:
        """Seconds busy per answer over the last `fit_s`, all engines together; None while nothing was answered."""
        answers, busy_s = 0, 0.0
        for sample in reading.samples:
            counters = sample.counters
            answered_before, busy_before_s = plan.work.get(sample.replica_id, (0, 0.0))
            if counters.answered >= answered_before and counters.engine_busy_s >= busy_before_s:
                answers += counters.answered - answered_before
                busy_s += counters.engine_busy_s - busy_before_s
            plan.work[sample.replica_id] = (counters.answered, counters.engine_busy_s)
        plan.fitted.append((now_s, answers, busy_s))
        while plan.fitted[0][0] <= now_s - self.settings.fit_s:
            plan.fitted.popleft()
        total = sum(point[1] for point in plan.fitted)
        return sum(point[2] for point in plan.fitted) / total if total else None

    def _fast(self, reading: ModelReading, limit_s: float, busy_s: float | None) -> int:
        """+1, 0 or -1; every running engine must have been seen."""
        samples, running = reading.samples, len(reading.running)
        if busy_s is None or not running or len(samples) < running:
            return 0
        if all(busy_s * (sample.in_flight + 1) > limit_s for sample in samples):
            return 1
        if running < 2:
            return 0
        spread = running / (running - 1)
        fits = all(busy_s * (sample.in_flight * spread + 1) < self.settings.down_ratio * limit_s for sample in samples)
        return -1 if fits else 0
