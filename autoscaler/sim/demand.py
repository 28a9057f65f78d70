"""What is asked of a modelled fleet: a part of a trace or a shape, at a scale, as each model's arrivals by seed."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoscaler.refusal import Refused
from autoscaler.sim import shapes
from autoscaler.sim.arrivals import arrivals, fitting_scale
from autoscaler.sim.baselines.crowding import SEGMENT_S, Crowding, foreign_load
from autoscaler.sim.baselines.queueing import Profile
from autoscaler.sim.trace import Trace
from autoscaler.sim.world import World

HOUR_S = 3600.0
# Draws of one seed: a shape's own, then one for each model.
STREAMS = 64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Demand:
    """A trace, the same for every seed, or a shape, drawn anew for each; in both the arrivals are drawn by seed."""

    source: Trace | str
    """A trace, or the name of a shape."""
    span_s: float = HOUR_S
    """Of a shape; a trace has its own."""
    from_text: str | None = None
    """The part that is used, as `Trace.offset_s` reads it: seconds, 12h, a date."""
    to_text: str | None = None

    @property
    def name(self) -> str:
        return self.source if isinstance(self.source, str) else self.source.name

    def trace(self, seed: int) -> Trace:
        """The part of the trace that is used. Raises `Refused`."""
        source = self.source
        whole = shapes.shape(source, seed=seed, span_s=self.span_s) if isinstance(source, str) else source
        from_s = 0.0 if self.from_text is None else whole.offset_s(self.from_text)
        to_s = None if self.to_text is None else whole.offset_s(self.to_text)
        return whole if from_s == 0 and to_s is None else whole.cut(from_s, to_s)


def capacity_per_s(world: World, span_s: float) -> Mapping[str, float]:
    """Requests/s of each model that all our slots answer within the objective when they serve nothing else.

    An estimate with foreign tenants at their mean load over `span_s`: good enough to choose a scale by. Raises
    `Refused` for a model whose objective no slot can keep.
    """
    load = foreign_load(world, max(1, round(span_s / SEGMENT_S))).mean(axis=0, keepdims=True)
    capacities = {}
    for model in world.models:
        crowding = Crowding(world=world, profile=Profile.of(model), load=load)
        capacities[model.name] = float(crowding.rates_within(world.most_replicas(model))[-1, 0])
        if capacities[model.name] <= 0:
            raise Refused(
                f"model {model.name}: no slot answers within {model.objective_p95_ms} ms, for a lone request takes "
                f"{model.service.solo_ms():g} ms on an idle card; give a larger --objective-ms or a --scale of your own"
            )
    return capacities


def fitting_scales(demand: Demand, world: World, *, seed: int) -> Mapping[str, float]:
    """Scales by model at which the busiest minute needs 80 % of what all slots can bear; models share them evenly."""
    trace = demand.trace(seed)
    return {
        name: fitting_scale(trace, capacity / len(world.models))
        for name, capacity in capacity_per_s(world, trace.span_s).items()
    }


def draw(
    demand: Demand, world: World, scales: Mapping[str, float], *, seed: int
) -> tuple[Mapping[str, NDArray[np.float64]], float]:
    """Each model's sorted arrival times of one seed, and how long they go on, s."""
    trace = demand.trace(seed)
    times = {
        model.name: arrivals(trace, scale=scales[model.name], seed=STREAMS * seed + 1 + index)
        for index, model in enumerate(world.models)
    }
    return times, trace.span_s
