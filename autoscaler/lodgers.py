"""Worker pools as far as they are there for their models: without the workers in which others' replicas live.

Ray may still run a model that the models file names no more, or has on another slot type now, or run one already that
is not known here. Its workers are not empty, not spare and no victims. So pools are decided on without them, and the
actions are put back on the whole pool before they are carried out. Pure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from autoscaler.core.decision import Plan, SetWorkers
from autoscaler.core.observation import DeploymentSeen, PoolSeen
from autoscaler.core.spec import FleetSpec


def without(
    pools: Sequence[PoolSeen], lent: frozenset[str], deployments: Sequence[DeploymentSeen], spec: FleetSpec
) -> tuple[tuple[PoolSeen, ...], dict[str, int]]:
    """The pools without the workers that hold others' replicas, and how many that are of each pool that has any.

    Others in a pool are the applications behind `lent`, and models of ours that are to live elsewhere since their slot
    type was changed. A worker that also holds a replica of one of the pool's own models stays: the other one is about
    to leave it. So does one that is being deleted, for its pool counts it no more.
    """
    models = {model.name: model.pools for model in spec.models}
    homes = [(models.get(seen.model, ()), replica.worker) for seen in deployments for replica in seen.replicas]
    ours, counts = [], {}
    for pool in pools:
        own = {worker for names, worker in homes if pool.pool in names}
        moved = {worker for names, worker in homes if pool.pool not in names}
        taken = [worker.pod for worker in pool.live if worker.pod in (lent | moved) - own]
        kept = tuple(worker for worker in pool.workers if worker.pod not in taken)
        ours.append(replace(pool, wanted=max(0, pool.wanted - len(taken)), workers=kept) if taken else pool)
        if taken:
            counts[pool.pool] = len(taken)
    return tuple(ours), counts


def put_back(plan: Plan, lent: Mapping[str, int], *, is_unread: bool = False) -> Plan:
    """The plan with its pools sized for the lent workers as well.

    With `is_unread` Ray Serve could not be asked just now who lives where: then no worker goes. Replicas of ours would
    still be where they were seen, for only we let them grow; others' may have come into any worker since.
    """
    actions = tuple(
        replace(action, before=action.before + lent.get(action.pool, 0), count=action.count + lent.get(action.pool, 0))
        if isinstance(action, SetWorkers)
        else action
        for action in plan.actions
        if not (is_unread and isinstance(action, SetWorkers) and action.count <= action.before)
    )
    return plan if actions == plan.actions else replace(plan, actions=actions)
