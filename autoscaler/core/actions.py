"""Decided counts -> the actions that make them true, from whatever is there now.

Level-triggered: every tick compares what is decided with what is seen, so a lost action is found again. A model's
target is never raised beyond the ready workers left for it, and never lowered because workers look unready. A worker
goes only when no replica lives in it and nothing in its pool is on the move.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from autoscaler.core.decision import Action, Decision, SetReplicas, SetWorkers, rank
from autoscaler.core.observation import DeploymentSeen, PoolSeen, ReplicaState
from autoscaler.core.spec import FleetSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """What is decided and what is freshly seen; a model or pool that could not be read is absent."""

    spec: FleetSpec
    decisions: Mapping[str, Decision]
    deployments: Mapping[str, DeploymentSeen]
    pools: Mapping[str, PoolSeen]


def plan_actions(
    fleet: Fleet,
    preferred_nodes: Mapping[str, tuple[str, ...]],
    surplus_since_s: Mapping[str, float],
    now_s: float,
) -> tuple[tuple[Action, ...], dict[str, float]]:
    """The ordered actions of this tick, and since when each pool has had workers to spare."""
    actions: list[Action] = []
    surplus: dict[str, float] = {}
    for pool in fleet.spec.pools:
        targets = _replica_targets(fleet, pool.name)
        actions += [
            SetReplicas(model=model, before=fleet.deployments[model].target, count=target)
            for model, target in targets.items()
            if target != fleet.deployments[model].target
        ]
        seen = fleet.pools.get(pool.name)
        if seen is None:
            continue
        needed = _workers_needed(fleet, seen)
        if needed > seen.wanted:
            nodes = preferred_nodes.get(pool.name, ())
            actions.append(SetWorkers(pool=pool.name, before=seen.wanted, count=needed, preferred_nodes=nodes))
        elif needed < seen.wanted and _at_rest(fleet, seen, targets):
            surplus[pool.name] = surplus_since_s.get(pool.name, now_s)
            if now_s - surplus[pool.name] >= fleet.spec.guardrails.worker_keep_s:
                actions += _shrink(fleet, seen, needed)
    return tuple(sorted(actions, key=rank)), surplus


def _replica_targets(fleet: Fleet, pool: str) -> dict[str, int]:
    """The target each readable model of the pool should be given now, in the order of priority."""
    models = [model.name for model in fleet.spec.models_of(pool)]
    readable = [model for model in models if model in fleet.deployments and model in fleet.decisions]
    targets = {model: fleet.deployments[model].target for model in readable}
    for model in readable:
        targets[model] = min(targets[model], _lowest_safe(fleet, model))
    for model in readable:
        spare = _workers_to_spare(fleet, pool, model, models, targets)
        targets[model] = max(targets[model], min(fleet.decisions[model].count, spare))
    return targets


def _lowest_safe(fleet: Fleet, model: str) -> int:
    """The decided count, but with readings missing never below what runs, whoever decided it and when."""
    decision, seen = fleet.decisions[model], fleet.deployments[model]
    spec = next(spec for spec in fleet.spec.models if spec.name == model)
    blind = decision.signals is None or bool(decision.signals.gaps)
    running = min(seen.count(ReplicaState.RUNNING), spec.max_replicas) if blind else 0
    return max(decision.count, running)


def _workers_to_spare(fleet: Fleet, pool: str, model: str, models: list[str], targets: Mapping[str, int]) -> int:
    """Ready workers that neither another model holds or is promised nor this model's stopping replicas still fill."""
    seen = fleet.pools.get(pool)
    if seen is None:
        return 0
    spare = seen.ready_count - fleet.deployments[model].count(ReplicaState.STOPPING)
    for other in models:
        if other == model:
            continue
        if other in targets:
            spare -= max(targets[other], len(fleet.deployments[other].replicas))
        elif other in fleet.decisions:
            spare -= fleet.decisions[other].count
        else:
            return 0  # nothing is known about a model that shares these workers
    return spare


def _workers_needed(fleet: Fleet, seen: PoolSeen) -> int:
    """A worker for every decided replica; what there is, while a model of the pool is undecided."""
    models = fleet.spec.models_of(seen.pool)
    if any(model.name not in fleet.decisions for model in models):
        return seen.wanted
    return sum(fleet.decisions[model.name].count for model in models)


def _at_rest(fleet: Fleet, seen: PoolSeen, targets: Mapping[str, int]) -> bool:
    """Every model of the pool is readable and has its target, and it is known in which worker each replica lives."""
    for model in fleet.spec.models_of(seen.pool):
        deployment = fleet.deployments.get(model.name)
        if deployment is None or targets.get(model.name) != deployment.target:
            return False
        if any(replica.worker is None for replica in deployment.replicas):
            return False
    return True


def _shrink(fleet: Fleet, seen: PoolSeen, needed: int) -> list[Action]:
    """Remove workers that hold no replica, those that are not ready first; ask no pod that does not exist to go."""
    held = {replica.worker for deployment in fleet.deployments.values() for replica in deployment.replicas}
    idle = sorted(
        (worker for worker in seen.live if worker.pod not in held), key=lambda worker: (worker.ready, worker.pod)
    )
    surplus = seen.wanted - needed
    not_created = max(0, seen.wanted - len(seen.live))
    victims = tuple(worker.pod for worker in idle[: max(0, surplus - not_created)])
    count = seen.wanted - min(surplus, not_created + len(victims))
    if count == seen.wanted:
        return []
    return [SetWorkers(pool=seen.pool, before=seen.wanted, count=count, victims=victims)]
