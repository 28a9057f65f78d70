"""Decided counts -> the actions that make them true, from whatever is there now.

Level-triggered: every tick compares what is decided with what is seen, so a lost action is found again. A model's
target is never raised beyond the ready workers left for it, and never lowered because workers look unready. A worker
goes only when no replica lives in it and nothing in its pool is on the move.

Which replica leaves is decided by draining its worker right before the target falls. A drained worker cannot be used
again: it is nobody's ready worker, a replica that still lives in it needs another one, and once it is empty it goes at
once, or is replaced where its place is needed. All of that follows from the drained workers that are seen, whoever
drained them: an autoscaler that starts anew finishes what another one began, and needs no note of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autoscaler.core.decision import Action, Decision, DrainWorkers, SetReplicas, SetWorkers, rank
from autoscaler.core.observation import DeploymentSeen, PoolSeen, ReplicaSeen, ReplicaState
from autoscaler.core.spec import FleetSpec, ModelSpec


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
        seen = fleet.pools.get(pool.name)
        targets = _replica_targets(fleet, pool.name)
        draining = None if seen is None else frozenset(worker.pod for worker in seen.workers if worker.draining)
        for model, target in targets.items():
            actions += _retarget(fleet.deployments[model], target, fleet.decisions[model].victims, draining)
        if seen is None:
            continue
        needed = _workers_needed(fleet, seen)
        if needed > seen.wanted:
            nodes = preferred_nodes.get(pool.name, ())
            actions.append(SetWorkers(pool=pool.name, before=seen.wanted, count=needed, preferred_nodes=nodes))
        if drained := _drained_and_empty(fleet, seen):
            actions += _give_up(seen, drained, needed)
        elif needed < seen.wanted and _at_rest(fleet, seen, targets):
            surplus[pool.name] = surplus_since_s.get(pool.name, now_s)
            if now_s - surplus[pool.name] >= fleet.spec.guardrails.worker_keep_s:
                actions += _shrink(fleet, seen, needed)
    return tuple(sorted(actions, key=rank)), surplus


def _retarget(
    seen: DeploymentSeen, target: int, victims: Sequence[str], draining: frozenset[str] | None
) -> tuple[DrainWorkers | SetReplicas, ...]:
    """The model's new target; before a fall, the drain of the workers whose replicas shall leave.

    `draining` are the pool's workers that drain already; None where the pool could not be read.
    """
    if target == seen.target:
        return ()
    change = SetReplicas(model=seen.model, before=seen.target, count=target)
    workers = _to_drain(seen, target, victims, draining) if draining is not None and target < seen.target else ()
    return (DrainWorkers(model=seen.model, workers=workers), change) if workers else (change,)


def _to_drain(seen: DeploymentSeen, target: int, victims: Sequence[str], draining: frozenset[str]) -> tuple[str, ...]:
    """The workers to drain for a fall; none where Ray Serve is to choose, for some victim's worker is not known.

    Ray Serve cancels replicas that do not run yet first, and then stops those on drained workers.
    """
    running = {replica.replica_id: replica for replica in seen.replicas if replica.state is ReplicaState.RUNNING}
    ordered: list[ReplicaSeen] = sorted(
        (running[victim] for victim in victims if victim in running), key=lambda replica: replica.worker not in draining
    )
    leaving = [replica.worker for replica in ordered[: max(0, len(running) - target)]]
    workers = tuple(worker for worker in leaving if worker is not None and worker not in draining)
    return () if None in leaving else workers[: seen.target - target]


def _replica_targets(fleet: Fleet, pool: str) -> dict[str, int]:
    """The target each readable model of the pool should be given now, in the order of priority."""
    specs = {model.name: model for model in fleet.spec.models_of(pool)}
    models = list(specs)
    readable = [model for model in models if model in fleet.deployments and model in fleet.decisions]
    targets = {model: fleet.deployments[model].target for model in readable}
    for model in readable:
        targets[model] = min(targets[model], _lowest_safe(fleet, specs[model]))
    seen = fleet.pools.get(pool)
    if seen is None or any(model not in targets and model not in fleet.decisions for model in models):
        return targets
    held = _held_by_model(fleet, readable, seen)
    claims = {
        model: max(targets[model], held[model]) if model in targets else fleet.decisions[model].count
        for model in models
    }
    spare = sum(worker.ready and not worker.draining for worker in seen.live) - sum(claims.values())
    for model in readable:
        # What others hold or are promised is not this model's; what it holds or is promised itself is.
        targets[model] = max(targets[model], min(fleet.decisions[model].count, spare + claims[model]))
        spare += claims[model] - max(targets[model], held[model])
    return targets


def _held_by_model(fleet: Fleet, models: Sequence[str], seen: PoolSeen) -> dict[str, int]:
    """Workers that each model's replicas fill, those of replicas that stop included, drained ones not."""
    draining = {worker.pod for worker in seen.workers if worker.draining}
    return {
        model: sum([replica.worker not in draining for replica in fleet.deployments[model].replicas])
        for model in models
    }


def _lowest_safe(fleet: Fleet, spec: ModelSpec) -> int:
    """The decided count, but with readings missing never below what runs, whoever decided it and when."""
    decision, seen = fleet.decisions[spec.name], fleet.deployments[spec.name]
    blind = decision.signals is None or bool(decision.signals.gaps)
    running = min(seen.count(ReplicaState.RUNNING), spec.max_replicas) if blind else 0
    return max(decision.count, running)


def _workers_needed(fleet: Fleet, seen: PoolSeen) -> int:
    """A worker for every decided replica; what there is, while a model of the pool is undecided.

    A drained worker with a replica in it comes on top, for it is still one of the pool and no use to anybody.
    """
    models = fleet.spec.models_of(seen.pool)
    if any(model.name not in fleet.decisions for model in models):
        return seen.wanted
    held = _held(fleet)
    occupied = sum(worker.draining and worker.pod in held for worker in seen.live)
    return sum(fleet.decisions[model.name].count for model in models) + occupied


def _held(fleet: Fleet) -> frozenset[str | None]:
    return frozenset(replica.worker for seen in fleet.deployments.values() for replica in seen.replicas)


def _drained_and_empty(fleet: Fleet, seen: PoolSeen) -> tuple[str, ...]:
    """Drained workers that certainly hold no replica: every model that could live there is readable."""
    if any(model.name not in fleet.deployments for model in fleet.spec.models_of(seen.pool)):
        return ()
    held = _held(fleet)
    return tuple(worker.pod for worker in seen.live if worker.draining and worker.pod not in held)


def _give_up(seen: PoolSeen, drained: tuple[str, ...], needed: int) -> list[Action]:
    """Remove drained workers, those for good that nobody needs; the others are replaced by new ones.

    A Deployment that shrinks takes pods that are not ready before any other, whatever they are marked. While there are
    such pods, a drained one is replaced too, and what is then too many goes as any surplus does.
    """
    staying = [worker for worker in seen.live if worker.pod not in drained]
    exact = len(seen.live) == seen.wanted and all(worker.ready or worker.draining for worker in staying)
    surplus = min(len(drained), max(0, seen.wanted - needed)) if exact else 0
    wanted, actions = seen.wanted - surplus, list[Action]()
    if surplus:
        actions.append(SetWorkers(pool=seen.pool, before=seen.wanted, count=wanted, victims=drained[:surplus]))
    if drained[surplus:]:
        size = max(wanted, needed)
        actions.append(SetWorkers(pool=seen.pool, before=size, count=size, victims=drained[surplus:]))
    return actions


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
    held = _held(fleet)
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
