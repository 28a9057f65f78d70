"""Who decides in a simulation: our own core, or another law behind the usual plumbing of Kubernetes and Ray.

A controller sees what `observe` shows and answers with the core's actions; `simulation.run` calls it every
`interval_s` and carries the actions out in their order.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from autoscaler.config import pool_name
from autoscaler.core.decide import decide
from autoscaler.core.decision import Action, Plan, SetReplicas, SetWorkers, rank
from autoscaler.core.observation import DeploymentSeen, Missing, Observation, PoolSeen
from autoscaler.core.spec import FleetSpec, ModelSpec, PoolSpec
from autoscaler.core.state import State
from autoscaler.sim.world import World
from autoscaler.uncollected import uncollected
from vgpu.core.inventory import Inventory

INTERVAL_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What a controller is shown in one tick; times inside `seen` are on the same clock as `now_s`."""

    now_s: float
    seen: Observation
    inventory: Inventory
    spec: FleetSpec


class Controller(Protocol):
    """Anything that can steer a modelled fleet."""

    interval_s: float

    def tick(self, view: View) -> Sequence[Action]:
        """What to do now, in order."""

    def reset(self) -> None:
        """Lose all memory, as a restarted process does."""


class Law(Protocol):
    """A control law that only counts: a pure step over what it sees and what it kept for itself."""

    interval_s: float

    def want(self, view: View) -> Mapping[str, int]:
        """Wanted replicas by model; a model that is left out keeps its target."""


def spec_of(world: World) -> FleetSpec:
    """What an operator would have written for this world: objectives, bounds and priorities; the rest is default."""
    pools = tuple(PoolSpec(name=pool_name(group.profile.label), profile=group.profile) for group in world.groups)
    models = tuple(
        ModelSpec(
            name=model.name,
            pool=pool_name(world.labels_of(model)[0]),
            further_pools=tuple(map(pool_name, world.labels_of(model)[1:])),
            objective_p95_ms=model.objective_p95_ms,
            min_replicas=model.min_replicas,
            idle_s=model.idle_s,
            max_replicas=world.most_replicas(model),
            max_batch_size=model.service.max_batch,
            priority=model.priority,
        )
        for model in world.models
    )
    return FleetSpec(pools=pools, models=models)


class Ours:
    """The control law of `autoscaler.core`, called as the live loop calls it."""

    def __init__(self, *, interval_s: float = INTERVAL_S, keep_plans: bool = False) -> None:
        self.interval_s = interval_s
        self.plans: list[Plan] = []
        """Every plan in order, where `keep_plans` asks for it."""
        self._keep_plans = keep_plans
        self._state = State()

    def tick(self, view: View) -> Sequence[Action]:
        with uncollected():
            self._state, plan = decide(view.spec, self._state, view.seen, view.inventory, view.now_s)
        if self._keep_plans:
            self.plans.append(plan)
        return plan.actions

    def reset(self) -> None:
        self._state = State()


class Plain:
    """A law's counts, clamped to the model's bounds and carried out as a stock cluster does.

    Replica targets are set at once. Workers grow to the targets and shrink by those that hold no replica, as Ray's own
    autoscaler removes idle nodes; nobody says where a worker should come or which replica should go. Of several slot
    types a model has the first.
    """

    def __init__(self, law: Law, *, remake: Callable[[], Law] | None = None) -> None:
        """`remake` makes the law anew after a restart; without it a restart loses nothing."""
        self.interval_s = law.interval_s
        self._law = law
        self._remake = remake

    def tick(self, view: View) -> Sequence[Action]:
        wanted = self._law.want(view)
        actions: list[Action] = []
        for pool in view.spec.pools:
            models = [model for model in view.spec.models_of(pool.name) if model.pool == pool.name]
            seen = {m.name: _deployment(view, m.name) for m in models}
            targets = {m.name: _target(m, wanted, seen[m.name]) for m in models}
            actions += [
                SetReplicas(model=name, before=deployment.target, count=target)
                for name, target in targets.items()
                if (deployment := seen[name]) is not None and target is not None and target != deployment.target
            ]
            actions += _workers(view, pool.name, seen, targets)
        return sorted(actions, key=rank)

    def reset(self) -> None:
        if self._remake is not None:
            self._law = self._remake()


def _deployment(view: View, model: str) -> DeploymentSeen | None:
    read = view.seen.deployment(model, now_s=view.now_s, max_age_s=view.spec.policy.max_age_s)
    return None if isinstance(read, Missing) else read


def _target(spec: ModelSpec, wanted: Mapping[str, int], deployment: DeploymentSeen | None) -> int | None:
    """The count to have, None where nobody knows: neither the law wants one nor can the present one be read."""
    if spec.name in wanted:
        return min(max(wanted[spec.name], spec.min_replicas, 1), spec.max_replicas)  # nobody would wake it for a law
    return None if deployment is None else deployment.target


def _workers(
    view: View, pool: str, seen: Mapping[str, DeploymentSeen | None], targets: Mapping[str, int | None]
) -> list[SetWorkers]:
    """The pool at the size of its targets; it shrinks by no worker in which a replica lives, stopping ones included,
    and by none while Ray does not say where each replica lives (it does not for one that starts)."""
    read = view.seen.pool(pool, now_s=view.now_s, max_age_s=view.spec.policy.max_age_s)
    known = [target for target in targets.values() if target is not None]
    if isinstance(read, Missing) or len(known) < len(targets):
        return []
    needed = sum(known)
    if needed > read.wanted:
        return [SetWorkers(pool=pool, before=read.wanted, count=needed)]
    deployments = [deployment for deployment in seen.values() if deployment is not None]
    everywhere_known = len(deployments) == len(seen) and all(
        replica.worker is not None for deployment in deployments for replica in deployment.replicas
    )
    if needed == read.wanted or not everywhere_known:
        return []
    surplus = read.wanted - needed
    not_created = max(0, read.wanted - len(read.live))
    victims = _idle(read, deployments)[: max(0, surplus - not_created)]
    count = read.wanted - min(surplus, not_created + len(victims))
    return [SetWorkers(pool=pool, before=read.wanted, count=count, victims=victims)] if count < read.wanted else []


def _idle(pool: PoolSeen, deployments: Sequence[DeploymentSeen]) -> tuple[str, ...]:
    """Workers that hold no replica, those without a node and those not ready first."""
    held = {replica.worker for deployment in deployments for replica in deployment.replicas}
    idle = [worker for worker in pool.live if worker.pod not in held]
    return tuple(w.pod for w in sorted(idle, key=lambda worker: (worker.node is not None, worker.ready, worker.pod)))
