"""The bound: it knows every arrival to come, the tenants' loads and how long a cold start takes.

For each 10 s step it takes the smallest count that answers the load of that step within the objective, by a quick
queueing estimate with the replicas on the best cards (`crowding`). It asks for a replica one cold start before it is
needed; a gap in the need that is shorter than a cold start is not worth a fall, for the slot would be paid for again
while it starts. Not optimal, only far better informed than any law can be; `headroom_ratio` is tuned until
the attainment is the one asked for, and then the slots it took are the fewest to compare with.

Several models are planned one by one, each with the others' engine load spread evenly over all cards.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from autoscaler.sim.baselines.crowding import SEGMENT_S, Crowding, foreign_load
from autoscaler.sim.baselines.queueing import Profile
from autoscaler.sim.controller import View
from autoscaler.sim.world import ColdStart, SimModel, World

STEP_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClairvoyantSettings:
    """One knob: the coming rate is multiplied by it."""

    headroom_ratio: float = 1.0
    interval_s: float = 5.0

    def law(self, world: World, arrivals: Mapping[str, NDArray[np.float64]]) -> "Clairvoyant":
        return Clairvoyant(self, world, arrivals)


class Clairvoyant:
    """The law; `arrivals` are each model's sorted times in seconds."""

    def __init__(
        self, settings: ClairvoyantSettings, world: World, arrivals: Mapping[str, NDArray[np.float64]]
    ) -> None:
        self.settings = settings
        self.interval_s = settings.interval_s
        end_s = max((float(times[-1]) for times in arrivals.values() if len(times)), default=0.0)
        segments = int(end_s // SEGMENT_S) + 1
        self.span_s = end_s
        """The time of the last arrival."""
        self._world = world
        self._wanted = {
            model.name: self._schedule(model, arrivals, segments) for model in world.models if model.name in arrivals
        }

    def want(self, view: View) -> Mapping[str, int]:
        """Wanted replicas by model; after the last arrival the last count."""
        step = int(view.now_s // STEP_S)
        wanted: dict[str, int] = {}
        for spec in view.spec.models:
            schedule = self._wanted.get(spec.name)
            count = 0 if schedule is None else int(schedule[min(step, len(schedule) - 1)])
            wanted[spec.name] = min(max(count, spec.min_replicas), spec.max_replicas)
        return wanted

    def schedule(self, model: str) -> NDArray[np.int64]:
        """Wanted replicas of `model` for each step of 10 s."""
        return self._wanted[model].copy()

    def _schedule(
        self, model: SimModel, arrivals: Mapping[str, NDArray[np.float64]], segments: int
    ) -> NDArray[np.int64]:
        others = np.zeros(segments)
        for other in self._world.models:
            if other.name != model.name and other.name in arrivals:
                rates = rate_by_step(arrivals[other.name], SEGMENT_S, segments)
                others += rates * Profile.of(other).engine_s / self._world.cards
        limits = _rates_within(self._world, model.name, tuple(others.tolist()))
        steps = segments * int(SEGMENT_S / STEP_S)
        asked = rate_by_step(arrivals[model.name], STEP_S, steps) * self.settings.headroom_ratio
        by_step = np.repeat(limits, int(SEGMENT_S / STEP_S), axis=1)
        need = 1 + (by_step < asked).sum(axis=0)
        return ahead(np.minimum(need, len(limits)), math.ceil(lead_s(model.cold_start) / STEP_S))


def rate_by_step(times_s: NDArray[np.float64], step_s: float, steps: int) -> NDArray[np.float64]:
    """Requests per second in each step from time 0 on: [steps]; what comes later is left out."""
    counts = np.bincount((times_s // step_s).astype(np.int64), minlength=steps)[:steps]
    return counts / step_s


def lead_s(cold_start: ColdStart) -> float:
    """How long before the need to ask: a cold start that one in about fifty exceeds, with spread of both its parts."""
    mean_s = cold_start.worker_s + cold_start.load_s
    return mean_s + 2 * cold_start.spread_ratio * math.hypot(cold_start.worker_s, cold_start.load_s)


def ahead(need: NDArray[np.int64], steps: int) -> NDArray[np.int64]:
    """The largest need from each step to `steps` later, that one included."""
    padded = np.concatenate([need, np.full(steps, need[-1])])
    largest: NDArray[np.int64] = np.lib.stride_tricks.sliding_window_view(padded, steps + 1).max(axis=1)
    return largest


@lru_cache(maxsize=64)
def _rates_within(world: World, model_name: str, others: tuple[float, ...]) -> NDArray[np.float64]:
    """Kept, for a comparison asks for the same world under many seeds and headrooms: [most replicas, segments]."""
    model = world.models[world.model_index(model_name)]
    load = foreign_load(world, len(others)) + np.array(others)[:, None]
    return Crowding(world=world, profile=Profile.of(model), load=load).rates_within(world.most_replicas(model))
