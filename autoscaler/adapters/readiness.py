"""How long a replica takes from the decision to add it until it runs, worked out from ticks. Pure.

A worker belongs to no model until a replica lives in it. But Ray Serve's target never rises beyond the ready workers
that are left for the model: so the worker of the n-th replica is ready when the target reaches n, and the replica is
there when n of them run. A wish that is given up, or that another autoscaler sees to, is forgotten untold.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from autoscaler.core.decision import Decision, SetReplicas
from autoscaler.core.observation import DeploymentSeen, ReplicaState
from autoscaler.ports import Tick


class Stage(StrEnum):
    """A part of the way from the decision to the replica that runs."""

    WORKER = "worker"
    REPLICA = "replica"
    TOTAL = "total"


@dataclass(frozen=True, slots=True, kw_only=True)
class Took:
    """One stage of one replica that was added."""

    model: str
    stage: Stage
    duration_s: float


@dataclass(slots=True, kw_only=True)
class _Wish:
    """A replica that was decided on and does not run yet."""

    decided_s: float
    worker_s: float | None = None
    """When its worker was ready."""


@dataclass(slots=True)
class Readiness:
    """Follows the replicas on their way, from tick to tick."""

    _wishes: dict[str, dict[int, _Wish]] = field(default_factory=dict)
    """By model, and by the count that the replica makes full."""

    def took(self, tick: Tick) -> tuple[Took, ...]:
        """Take in one tick: the stages that ended with it, in seconds by the loop's clock."""
        if tick.plan is None:
            return ()
        if tick.dry_run:
            self._wishes.clear()
            return ()
        deployments = {seen.model: seen for seen in tick.seen.deployments}
        posted = {action.model: action.count for action in tick.plan.actions if isinstance(action, SetReplicas)}
        targets = {} if tick.failed_actions else posted
        decisions = {decision.model: decision for decision in tick.plan.decisions}
        self._wishes = {model: wishes for model, wishes in self._wishes.items() if model in decisions}
        told: list[Took] = []
        for model, decision in decisions.items():
            if (seen := deployments.get(model)) is not None:
                self._wish(decision, seen, tick.plan.at_s)
                told += self._progress(seen, targets.get(model, 0), tick.plan.at_s)
        return tuple(told)

    def _wish(self, decision: Decision, seen: DeploymentSeen, now_s: float) -> None:
        """Remember what was decided now; what does not run and is not wanted any more is forgotten."""
        running = seen.count(ReplicaState.RUNNING)
        most = max(decision.count, running)
        wishes = {number: wish for number, wish in self._wishes.get(seen.model, {}).items() if number <= most}
        for number in range(max(decision.current, running) + 1, decision.count + 1):
            wishes.setdefault(number, _Wish(decided_s=now_s))
        self._wishes[seen.model] = wishes

    def _progress(self, seen: DeploymentSeen, posted: int, now_s: float) -> Iterator[Took]:
        """What has come true by now. A worker that stood by took no time to come."""
        wishes, running = self._wishes[seen.model], seen.count(ReplicaState.RUNNING)
        for number, wish in sorted(wishes.items()):
            if wish.worker_s is None and max(seen.target, posted, running) >= number:
                wish.worker_s = now_s
                yield Took(model=seen.model, stage=Stage.WORKER, duration_s=now_s - wish.decided_s)
            if wish.worker_s is not None and running >= number:
                yield Took(model=seen.model, stage=Stage.REPLICA, duration_s=now_s - wish.worker_s)
                yield Took(model=seen.model, stage=Stage.TOTAL, duration_s=now_s - wish.decided_s)
                del wishes[number]
