"""A model's new target, and the workers to drain with it, so that the right replicas leave."""

from collections.abc import Iterable, Mapping

from autoscaler.core.decision import Decision, DrainWorkers, SetReplicas
from autoscaler.core.observation import DeploymentSeen, ReplicaState


def retarget(
    seen: DeploymentSeen, target: int, decision: Decision, draining: frozenset[str] | None
) -> tuple[DrainWorkers | SetReplicas, ...]:
    """The model's new target; before a fall, the drain of the workers whose replicas shall leave.

    `draining` are the pool's workers that drain already; None where the pool could not be read. Those on leaving nodes
    whose successors run are drained whatever becomes of the target.
    """
    workers: tuple[str, ...] = ()
    if draining is not None and (target < seen.target or decision.released):
        running = {each.replica_id: each.worker for each in seen.replicas if each.state is ReplicaState.RUNNING}
        if decision.released:
            workers = _to_drain(running, decision.leaving, decision.released, draining)
        if target < seen.target:
            falling = _to_drain(running, decision.victims, len(running) - target, draining)[: seen.target - target]
            workers = tuple(dict.fromkeys((*workers, *falling)))
    drains = (DrainWorkers(model=seen.model, workers=workers),) if workers else ()
    if target == seen.target:
        return drains
    return (*drains, SetReplicas(model=seen.model, before=seen.target, count=target))


def _to_drain(
    running: Mapping[str, str | None], victims: Iterable[str], count: int, draining: frozenset[str]
) -> tuple[str, ...]:
    """The workers of so many victims that are still to be drained, given all that run (id -> worker); none where Ray
    Serve is to choose, for some victim's worker is not known.

    Ray Serve cancels replicas that do not run yet first, and then stops those on drained workers.
    """
    homes = [running[victim] for victim in victims if victim in running]
    if draining:
        homes.sort(key=lambda worker: worker not in draining)
    leaving = homes[: max(0, count)]
    if None in leaving:
        return ()
    return tuple([worker for worker in leaving if worker is not None and worker not in draining])
