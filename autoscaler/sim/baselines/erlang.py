"""A plain queueing planner: measured rate, Erlang's formula, service time as profiled on an idle card.

It knows nothing of interference and nothing of places: the ablation that shows what those two are worth. The count is
the fewest replicas for which at most 5 % of requests are late at `headroom_ratio` times the measured rate, held for
`hold_s`. Without a reading the count stays.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoscaler.core.window import SlidingMax
from autoscaler.sim.baselines.queueing import Profile, replicas_for
from autoscaler.sim.baselines.reading import ModelReading, OfferedRate, readings
from autoscaler.sim.controller import View
from autoscaler.sim.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class ErlangSettings:
    """No peer's: a window as long as Ray's look-back, a hold as long as HPA's."""

    headroom_ratio: float = 1.0
    hold_s: float = 300.0
    window_s: float = 30.0
    interval_s: float = 5.0

    def law(self, world: World, arrivals: Mapping[str, NDArray[np.float64]]) -> "Erlang":
        return Erlang(self, {model.name: Profile.of(model) for model in world.models})


@dataclass(slots=True, kw_only=True)
class _Plan:
    count: int
    rate: OfferedRate
    held: SlidingMax


class Erlang:
    """The law; `profiles` by model."""

    def __init__(self, settings: ErlangSettings, profiles: Mapping[str, Profile]) -> None:
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
                    rate = OfferedRate(window_s=self.settings.window_s)
                    held = SlidingMax(span_s=self.settings.hold_s)
                    plan = self._plans[name] = _Plan(count=reading.target, rate=rate, held=held)
                self._step(plan, reading, self._profiles[name], view.now_s)
            if name in self._plans:
                wanted[name] = self._plans[name].count
        return wanted

    def _step(self, plan: _Plan, reading: ModelReading, profile: Profile, now_s: float) -> None:
        plan.rate.add(now_s, reading.samples)
        rate_per_s = plan.rate.per_s()
        if rate_per_s is not None and reading.samples:
            asked_per_s = rate_per_s * self.settings.headroom_ratio
            need = replicas_for(asked_per_s, profile, most=reading.spec.max_replicas)
            plan.held = plan.held.with_value(now_s, need)
            plan.count = plan.held.largest(now_s) or need
        plan.count = reading.clamped(plan.count)
