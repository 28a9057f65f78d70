"""Decided counts -> the actions that make them true, from whatever is there now.

Level-triggered: every tick compares what is decided with what is seen, so a lost action is found again. A model's
target is never raised beyond the ready workers left for it, and never lowered because workers look unready. A worker
goes only when no replica lives in it and nothing in its pool is on the move.

Which replica leaves is decided by draining its worker right before the target falls. A drained worker cannot be used
again: it is nobody's ready worker, a replica that still lives in it needs another one, and once it is empty it goes at
once, or is replaced where its place is needed. All of that follows from the drained workers that are seen, whoever
drained them: an autoscaler that starts anew finishes what another one began, and needs no note of it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autoscaler.core import seating
from autoscaler.core.decision import Action, Decision, SetWorkers, rank
from autoscaler.core.drains import retarget
from autoscaler.core.observation import DeploymentSeen, PoolSeen, ReplicaSeen, ReplicaState, WorkerSeen
from autoscaler.core.seating import Party
from autoscaler.core.spec import FleetSpec, ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """What is decided and what is freshly seen; a model or pool that could not be read is absent."""

    spec: FleetSpec
    decisions: Mapping[str, Decision]
    deployments: Mapping[str, DeploymentSeen]
    pools: Mapping[str, PoolSeen]
    absent: frozenset[str] = frozenset()
    """Models that Ray Serve was read without: they need nothing yet, and nothing shrinks where they are to live."""
    closing: frozenset[str] = frozenset()
    """Pools with empty workers on leaving nodes. Ray Serve does not know that these go, so no target rises there."""


def plan_actions(
    fleet: Fleet,
    preferred_nodes: Mapping[str, tuple[str, ...]],
    surplus_since_s: Mapping[str, float],
    now_s: float,
) -> tuple[tuple[Action, ...], dict[str, float]]:
    """The ordered actions of this tick, and since when each pool has had workers to spare."""
    actions: list[Action] = []
    surplus: dict[str, float] = {}
    pools = _pools(fleet)
    for names in fleet.spec.joined_pools:
        targets = _replica_targets(fleet, pools[names[0]]) if len(names) == 1 else _joined_targets(fleet, names)
        draining = _draining(pools, names)
        if not fleet.closing.isdisjoint(names):
            targets = {model: min(target, fleet.deployments[model].target) for model, target in targets.items()}
        for model, target in targets.items():
            actions += retarget(fleet.deployments[model], target, fleet.decisions[model], draining)
        for name in names:
            nodes, before_s = preferred_nodes.get(name, ()), surplus_since_s.get(name)
            sized, since_s = _resize(fleet, pools[name], targets, nodes, before_s, now_s)
            actions += sized
            if since_s is not None:
                surplus[name] = since_s
    return tuple(sorted(actions, key=rank)), surplus


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pool:
    """One pool, with what all its models ask about its workers."""

    seen: PoolSeen | None
    models: Sequence[ModelSpec]
    """Those whose replicas may live here, in the order of priority."""
    live: Sequence[WorkerSeen]
    draining: frozenset[str]
    """All that drain, those on their way out too."""
    held: frozenset[str | None]
    """Workers of all pools that hold a replica; None is among them where some replica's is not known."""


def _pools(fleet: Fleet) -> dict[str, _Pool]:
    """Look at every pool once: a fleet has thousands of workers, and hundreds of models that ask about them."""
    models: dict[str, list[ModelSpec]] = {pool.name: [] for pool in fleet.spec.pools}
    for model in fleet.spec.by_priority:
        for name in model.pools:
            models[name].append(model)
    held = frozenset([replica.worker for seen in fleet.deployments.values() for replica in seen.replicas])
    pools: dict[str, _Pool] = {}
    for name, mine in models.items():
        seen = fleet.pools.get(name)
        live = () if seen is None else seen.live
        draining = frozenset(() if seen is None else [worker.pod for worker in seen.workers if worker.draining])
        pools[name] = _Pool(seen=seen, models=mine, live=live, draining=draining, held=held)
    return pools


def _draining(pools: Mapping[str, _Pool], names: Sequence[str]) -> frozenset[str] | None:
    """Workers of these pools that drain; None where one of the pools could not be read."""
    if any(pools[name].seen is None for name in names):
        return None
    return frozenset[str]().union(*[pools[name].draining for name in names])


def _replica_targets(fleet: Fleet, pool: _Pool) -> dict[str, int]:
    """The target each readable model of the pool should be given now, in the order of priority."""
    specs = {model.name: model for model in pool.models if model.name not in fleet.absent}
    models = list(specs)
    readable = [model for model in models if model in fleet.deployments and model in fleet.decisions]
    targets = {model: fleet.deployments[model].target for model in readable}
    for model in readable:
        targets[model] = min(targets[model], _lowest_safe(fleet, specs[model]))
    if pool.seen is None or any(model not in targets and model not in fleet.decisions for model in models):
        return targets
    held = {model: len(_replicas(fleet.deployments[model], pool.draining)) for model in readable}
    claims = {
        model: max(targets[model], held[model]) if model in targets else fleet.decisions[model].count
        for model in models
    }
    spare = sum([worker.ready and not worker.draining for worker in pool.live]) - sum(claims.values())
    for model in readable:
        # What others hold or are promised is not this model's; what it holds or is promised itself is.
        targets[model] = max(targets[model], min(fleet.decisions[model].count, spare + claims[model]))
        spare += claims[model] - max(targets[model], held[model])
    return targets


def _joined_targets(fleet: Fleet, names: Sequence[str]) -> dict[str, int]:
    """As `_replica_targets`, for pools that are joined by models which may live in several of them.

    With a pool unread its models keep their targets at most, and the others rise by what those leave.
    """
    there = [model for model in fleet.spec.by_priority if model.name not in fleet.absent]
    models = {model.name: model for model in there if not set(names).isdisjoint(model.pools)}
    readable = [name for name in models if name in fleet.deployments and name in fleet.decisions]
    lowered = {name: min(fleet.deployments[name].target, _lowest_safe(fleet, models[name])) for name in readable}
    if any(name not in fleet.decisions for name in models):
        return lowered
    read = [name for name in names if name in fleet.pools]
    homes = {worker.pod: name for name in read for worker in fleet.pools[name].workers}
    draining = {worker.pod for name in read for worker in fleet.pools[name].workers if worker.draining}
    parties = []
    for name, model in models.items():
        pools = tuple([pool for pool in model.pools if pool in fleet.pools])
        if not pools:
            continue
        replicas = [] if name not in lowered else fleet.deployments[name].replicas
        replicas = [seen for seen in replicas if seen.worker not in draining]
        count, target = fleet.decisions[name].count, lowered.get(name)
        claim = count if target is None else max(target, len(replicas))
        if len(pools) < len(model.pools):
            # It cannot rise; whatever of it may still sit down might do so in the pools that could be read.
            claim, target = max(claim, count) - sum(_runs_outside(seen, homes) for seen in replicas), None
        held = Counter(homes[seen.worker] for seen in replicas if seen.worker in homes)
        parties.append(Party(model=name, pools=pools, claim=claim, held=held, target=target, count=count))
    ready = {name: sum(w.ready and not w.draining for w in fleet.pools[name].live) for name in read}
    risen = seating.targets(parties, ready)
    moving = [each for each in parties if fleet.decisions[each.model].leaving and each.count > sum(each.held.values())]
    late = {each.model for each in parties if any(_could_displace(each, other) for other in moving)}
    return {**lowered, **{name: lowered[name] if name in late else target for name, target in risen.items()}}


def _could_displace(party: Party, other: Party) -> bool:
    """Whether a replica that has a choice could sit down where another one has to, whose node leaves."""
    return len(party.pools) > len(other.pools) and not set(party.pools).isdisjoint(other.pools)


def _runs_outside(seen: ReplicaSeen, homes: Mapping[str, str]) -> bool:
    """Whether a replica runs in a worker of a pool that could not be read; one that waits may still sit down here."""
    return seen.state is ReplicaState.RUNNING and seen.worker is not None and seen.worker not in homes


def _replicas(seen: DeploymentSeen, draining: frozenset[str]) -> Sequence[ReplicaSeen]:
    """A model's replicas, those that stop included, but none in a worker that drains."""
    return [replica for replica in seen.replicas if replica.worker not in draining] if draining else seen.replicas


def _lowest_safe(fleet: Fleet, spec: ModelSpec) -> int:
    """The decided count, but with readings missing never below what runs, whoever decided it and when."""
    decision, seen = fleet.decisions[spec.name], fleet.deployments[spec.name]
    blind = decision.signals is None or bool(decision.signals.gaps)
    running = min(seen.count(ReplicaState.RUNNING) - decision.released, spec.max_replicas) if blind else 0
    return max(decision.count, running)


def _resize(
    fleet: Fleet,
    pool: _Pool,
    targets: Mapping[str, int],
    nodes: tuple[str, ...],
    surplus_since_s: float | None,
    now_s: float,
) -> tuple[list[Action], float | None]:
    """Size one pool; and since when it has had workers to spare. A pool that could not be read is left as it is."""
    actions, seen = list[Action](), pool.seen
    if seen is None:
        return actions, None
    needed = _workers_needed(fleet, pool, seen)
    if needed > seen.wanted:
        actions.append(SetWorkers(pool=seen.pool, before=seen.wanted, count=needed, preferred_nodes=nodes))
    if drained := _drained_and_empty(fleet, pool):
        return [*actions, *_give_up(seen, drained, needed)], None
    if needed >= seen.wanted or not _at_rest(fleet, pool, targets):
        return actions, None
    since_s = now_s if surplus_since_s is None else surplus_since_s
    if now_s - since_s >= fleet.spec.guardrails.worker_keep_s:
        actions += _shrink(pool, seen, needed)
    return actions, since_s


def _workers_needed(fleet: Fleet, pool: _Pool, seen: PoolSeen) -> int:
    """A worker for every decided replica; what there is, while a model of the pool is undecided though it may be there.

    A drained worker with a replica in it comes on top, for it is still one of the pool and no use to anybody. So does
    one for each replica that Ray Serve starts before it stops another, to replace it by one with other settings.
    """
    needed = 0
    for model in pool.models:
        if model.name in fleet.absent:
            continue
        decision = fleet.decisions.get(model.name)
        mine = None if decision is None else _meant_for(seen.pool, model, decision)
        if mine is None:
            return seen.wanted
        needed += mine + _successors(fleet, pool, model, decision)
    return needed + sum([worker.draining and worker.pod in pool.held for worker in pool.live])


def _successors(fleet: Fleet, pool: _Pool, model: ModelSpec, decision: Decision | None) -> int:
    """Replicas beyond a target that nobody changes, those that leave aside; 0 where they may live in other pools."""
    seen = fleet.deployments.get(model.name)
    if seen is None or decision is None or model.further_pools or seen.target != decision.count:
        return 0
    if not seen.target or len(seen.replicas) <= seen.target:
        return 0
    staying = sum([each.state is not ReplicaState.STOPPING for each in _replicas(seen, pool.draining)])
    return max(0, staying - seen.target)


def _meant_for(pool: str, model: ModelSpec, decision: Decision) -> int | None:
    """How many of the decided replicas are for this pool; None while nobody has decided that."""
    if not model.further_pools:
        return decision.count
    spread = dict(decision.spread)
    return spread.get(pool, 0) if sum(spread.values()) == decision.count else None


def _drained_and_empty(fleet: Fleet, pool: _Pool) -> tuple[str, ...]:
    """Drained workers that certainly hold no replica: every model that could live there is readable, or absent."""
    if not pool.draining or any(
        model.name not in fleet.deployments and model.name not in fleet.absent for model in pool.models
    ):
        return ()
    return tuple([worker.pod for worker in pool.live if worker.draining and worker.pod not in pool.held])


def _give_up(seen: PoolSeen, drained: tuple[str, ...], needed: int) -> list[Action]:
    """Remove drained workers, those for good that nobody needs; the others are replaced by new ones.

    A Deployment that shrinks takes pods that are not ready before any other, whatever they are marked. While there are
    such pods, a drained one is replaced too, and what is then too many goes as any surplus does.
    """
    live, going = seen.live, frozenset(drained)
    staying = [worker for worker in live if worker.pod not in going]
    exact = len(live) == seen.wanted and all(worker.ready or worker.draining for worker in staying)
    surplus = min(len(drained), max(0, seen.wanted - needed)) if exact else 0
    wanted, actions = seen.wanted - surplus, list[Action]()
    if surplus:
        actions.append(SetWorkers(pool=seen.pool, before=seen.wanted, count=wanted, victims=drained[:surplus]))
    if drained[surplus:]:
        size = max(wanted, needed)
        actions.append(SetWorkers(pool=seen.pool, before=size, count=size, victims=drained[surplus:]))
    return actions


def _at_rest(fleet: Fleet, pool: _Pool, targets: Mapping[str, int]) -> bool:
    """Every model of the pool is readable and has its target, and it is known in which worker each replica lives."""
    for model in pool.models:
        deployment = fleet.deployments.get(model.name)
        if deployment is None or targets.get(model.name) != deployment.target:
            return False
        if any(replica.worker is None for replica in deployment.replicas):
            return False
    return True


def _shrink(pool: _Pool, seen: PoolSeen, needed: int) -> list[Action]:
    """Remove workers that hold no replica, those that are not ready first; ask no pod that does not exist to go."""
    idle = sorted(
        (worker for worker in pool.live if worker.pod not in pool.held), key=lambda worker: (worker.ready, worker.pod)
    )
    surplus = seen.wanted - needed
    not_created = max(0, seen.wanted - len(pool.live))
    victims = tuple(worker.pod for worker in idle[: max(0, surplus - not_created)])
    count = seen.wanted - min(surplus, not_created + len(victims))
    if count == seen.wanted:
        return []
    return [SetWorkers(pool=seen.pool, before=seen.wanted, count=count, victims=victims)]
