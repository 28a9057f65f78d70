"""What is seen at one tick: the fleet once, and each model with what its own replicas show.

Samples enter windows, and windows give signals.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autoscaler.core import foreign, waking
from autoscaler.core.capacity import Cards
from autoscaler.core.choosing import Homes
from autoscaler.core.contention import Contention, measure
from autoscaler.core.decision import Step
from autoscaler.core.leaving import Leaving
from autoscaler.core.observation import DeploymentSeen, Missing, Observation, PoolSeen, ReplicaSample
from autoscaler.core.record import replace
from autoscaler.core.replicas import FreshReplica, read_replicas
from autoscaler.core.signals import ModelSignals, read_signals
from autoscaler.core.situation import Situation
from autoscaler.core.spec import FleetSpec, ModelSpec, PoolSpec
from autoscaler.core.state import ModelState, State
from vgpu.core.inventory import Inventory


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """What is known this tick, the same for every model."""

    spec: FleetSpec
    seen: Observation
    contention: Contention
    cards: Cards
    deployments: Mapping[str, DeploymentSeen | Missing]
    pools: Mapping[str, PoolSeen | Missing]
    samples: Mapping[str, Sequence[ReplicaSample]]
    """By model."""
    specs: Mapping[str, PoolSpec]
    """By pool."""
    homes: Homes
    leaving: Leaving
    now_s: float

    def pools_of(self, model: ModelSpec) -> tuple[PoolSpec, ...]:
        return tuple([self.specs[pool] for pool in model.pools])


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What is known of one model whose deployment could be read."""

    deployment: DeploymentSeen
    decided: int
    """Decided last, with those that were to stay only until their successors run."""
    reset: tuple[Step, ...]
    """A step where somebody else had set the target."""
    situation: Situation
    fresh: tuple[FreshReplica, ...]
    """Running replicas that could be read."""
    lives: Mapping[str, str]
    """Of a model on several slot types: its running replicas and their pools."""


def look(spec: FleetSpec, state: State, seen: Observation, inventory: Inventory, now_s: float) -> Tick:
    """Put everything that was seen where every model will look for it."""
    max_age_s = spec.policy.max_age_s
    contention = measure(inventory, seen, spec.policy, now_s, state.usual)
    pools = {pool.name: seen.pool(pool.name, now_s=now_s, max_age_s=max_age_s) for pool in spec.pools}
    leaving = Leaving.of(inventory, seen.pools, pools)
    workers = frozenset([worker.pod for pool in seen.pools for worker in pool.live]) - seen.lived_in
    workers -= leaving.workers.keys()
    taken = frozenset([sample.slot_id for sample in seen.replicas if sample.slot_id] if workers else ())
    samples: dict[str, list[ReplicaSample]] = {}
    for sample in seen.replicas:
        samples.setdefault(sample.model, []).append(sample)
    return Tick(
        spec=spec,
        seen=seen,
        contention=contention,
        cards=Cards.of(inventory, contention, workers, taken),
        deployments=seen.deployments_of((m.name for m in spec.models), now_s=now_s, max_age_s=max_age_s),
        pools=pools,
        samples=samples,
        specs={pool.name: pool for pool in spec.pools},
        homes=Homes.of(spec, seen, inventory, leaving.workers),
        leaving=leaving,
        now_s=now_s,
    )


def sighted(tick: Tick, spec: ModelSpec, known: ModelState | None, deployment: DeploymentSeen) -> Sight:
    """Read one model's replicas."""
    fleet = tick.spec
    state = known or ModelState.start(spec, deployment.target, tick.now_s)
    reset = foreign.reset_step(deployment, state)
    decided, state = state.decided, tick.leaving.noticed(spec, deployment, state, tick.now_s)
    state = state.with_target(deployment, tick.now_s).with_deployment(deployment, fleet.guardrails, tick.now_s)
    state, lives = tick.homes.settled(spec, deployment, state, known, tick.now_s)
    state, signals, fresh = _signals(tick, spec, state)
    situation = Situation(
        now_s=tick.now_s, spec=spec, policy=fleet.policy, guardrails=fleet.guardrails, signals=signals, state=state
    )
    return Sight(
        deployment=deployment,
        decided=decided,
        reset=reset,
        situation=situation,
        fresh=fresh,
        lives=lives,
    )


def _signals(
    tick: Tick, spec: ModelSpec, state: ModelState
) -> tuple[ModelState, ModelSignals, tuple[FreshReplica, ...]]:
    settings = tick.spec.policy
    windows = state.windows_with(tick.samples.get(spec.name, ()), settings.window_s)
    fresh, gaps = read_replicas(state.running_ids, windows, tick.seen, settings, tick.now_s, state.windows)
    measured = read_signals(spec, settings, fresh, gaps, tick.contention, state.running)
    heard, signals = waking.listen(state, measured, fresh, tick.seen, settings, tick.now_s)
    state = replace(
        state, windows=windows, knocks=heard.knocks, asked_s=heard.asked_s, quiet_since_s=heard.quiet_since_s
    )
    return state, signals, fresh
