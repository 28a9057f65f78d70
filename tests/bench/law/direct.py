"""Single runs in which more is looked at than a row tells: what was decided when, and what was seen then."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from autoscaler.core.decision import Action, Plan, SetReplicas, SetWorkers
from autoscaler.core.observation import ReplicaState
from autoscaler.sim.baselines import LAWS
from autoscaler.sim.controller import Controller, Ours, View
from autoscaler.sim.faults import Fault
from autoscaler.sim.simulation import Outcome, Timeline, run
from autoscaler.sim.world import SimModel, World, default_world

Floats = NDArray[np.float64]


def steady(rate_per_s: float, span_s: float, seed: int) -> Floats:
    """Poisson arrivals of a constant rate."""
    return stepped([(0.0, rate_per_s)], span_s, seed)


def stepped(steps: Sequence[tuple[float, float]], span_s: float, seed: int) -> Floats:
    """Poisson arrivals whose rate changes at each (from_s, rate_per_s)."""
    generator = np.random.default_rng(seed)
    ends_s = [from_s for from_s, _ in steps[1:]] + [span_s]
    parts = [
        from_s + generator.random(generator.poisson(rate_per_s * (end_s - from_s))) * (end_s - from_s)
        for (from_s, rate_per_s), end_s in zip(steps, ends_s, strict=True)
    ]
    return np.sort(np.concatenate(parts))


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One tick as the controller met it."""

    now_s: float
    targets: Mapping[str, int]
    """Ray Serve's, before the tick."""
    running: Mapping[str, int]
    workers_wanted: int
    """Of all pools, before the tick."""
    actions: tuple[Action, ...]
    homes: tuple[str, ...]
    """Nodes of the workers in which replicas run."""


class Watched:
    """A controller with a diary."""

    def __init__(self, controller: Controller) -> None:
        self.interval_s = controller.interval_s
        self.moments: list[Moment] = []
        self._controller = controller

    @property
    def plans(self) -> list[Plan]:
        return self._controller.plans if isinstance(self._controller, Ours) else []

    def tick(self, view: View) -> Sequence[Action]:
        actions = tuple(self._controller.tick(view))
        nodes = {worker.pod: worker.node for pool in view.seen.pools for worker in pool.workers}
        running = [replica for seen in view.seen.deployments for replica in seen.replicas]
        self.moments.append(
            Moment(
                now_s=view.now_s,
                targets={seen.model: seen.target for seen in view.seen.deployments},
                running={seen.model: len(seen.running_ids) for seen in view.seen.deployments},
                workers_wanted=sum(pool.wanted for pool in view.seen.pools),
                actions=actions,
                homes=tuple(
                    node
                    for replica in running
                    if (node := nodes.get(replica.worker or "")) is not None and replica.state is ReplicaState.RUNNING
                ),
            )
        )
        return actions

    def reset(self) -> None:
        self._controller.reset()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """An outcome and its diary."""

    outcome: Outcome
    moments: tuple[Moment, ...]
    plans: tuple[Plan, ...]

    def before(self, at_s: float) -> Moment:
        """The last tick before a time."""
        return [moment for moment in self.moments if moment.now_s < at_s][-1]

    def since(self, at_s: float, until_s: float = np.inf) -> list[Moment]:
        return [moment for moment in self.moments if at_s <= moment.now_s < until_s]


def watch(
    world: World,
    arrivals: Mapping[str, Floats],
    controller: Controller | None = None,
    *,
    seed: int,
    span_s: float,
    warm_up_s: float = 0.0,
    faults: Sequence[Fault] = (),
) -> Seen:
    """One run; ours with its plans where no controller is given."""
    watched = Watched(controller or Ours(keep_plans=True))
    outcome = run(world, arrivals, watched, seed=seed, span_s=span_s, warm_up_s=warm_up_s, faults=faults)
    return Seen(outcome=outcome, moments=tuple(watched.moments), plans=tuple(watched.plans))


def shipped(policy: str, world: World, arrivals: Mapping[str, Floats], *, place: int = 0) -> Controller:
    """A baseline with a setting of its grid, by place; the first is its source's own."""
    return LAWS[policy].grid[place].controller(world, arrivals)


def usual(**changes: object) -> World:
    """The default fleet with its model changed: fields of SimModel."""
    world = default_world()
    return replace(world, models=(replace(world.models[0], **changes),))  # type: ignore[arg-type]  # checked by itself


def the_model(world: World) -> SimModel:
    return world.models[0]


def replica_actions(moment: Moment) -> list[SetReplicas]:
    return [action for action in moment.actions if isinstance(action, SetReplicas)]


def worker_actions(moment: Moment) -> list[SetWorkers]:
    return [action for action in moment.actions if isinstance(action, SetWorkers)]


def attained(timeline: Timeline, from_s: float, to_s: float) -> float:
    """Of the requests that came in [from_s, to_s); nan where none did."""
    inside = (timeline.time_s >= from_s) & (timeline.time_s < to_s)
    offered = timeline.offered_per_s[inside]
    within = float(np.nansum(timeline.attainment_ratio[inside] * offered))
    return within / float(offered.sum()) if offered.sum() else np.nan


def recovered_s(timeline: Timeline, from_s: float, to_s: float, *, goal_ratio: float = 0.95, windows: int = 6) -> float:
    """Seconds from `from_s` until so many 10 s windows in a row met the goal; to the end where that never happened.

    Where no window missed it, 0.
    """
    inside = (timeline.time_s >= from_s) & (timeline.time_s < to_s)
    missed = timeline.attainment_ratio[inside] < goal_ratio
    times_s = timeline.time_s[inside]
    if not missed.any():
        return 0.0
    for place in range(len(missed) - windows + 1):
        # The window in which it begins is not a recovery: nothing may have gone wrong yet.
        if place > int(missed.argmax()) and not missed[place : place + windows].any():
            return float(times_s[place] - from_s)
    return to_s - from_s
