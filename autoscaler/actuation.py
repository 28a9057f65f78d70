"""Carries a plan's actions out, in their order, each under a lease that was renewed right before it."""

from collections.abc import Sequence
from dataclasses import dataclass

from autoscaler.core.decision import Action, DrainWorkers, SetReplicas, SetWorkers
from autoscaler.ports import Clock, Cluster, Endpoint, Leadership, Serving, Unavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class Actuator:
    """Everything that changes the world goes through here."""

    cluster: Cluster
    serving: Serving
    leadership: Leadership
    clock: Clock

    def carry_out(self, actions: Sequence[Action], workers: Sequence[Endpoint]) -> list[str]:
        """Do the actions; the first that fails ends it, and is told. What was not done is found again by the next plan.

        `workers` are those that can be reached.
        """
        for action in actions:
            try:
                self._claim()
                self._apply(action, workers)
            except Unavailable as error:
                # What follows may rest on it: replicas on workers, workers on replicas that have left.
                return [str(error)]
        return []

    def _claim(self) -> None:
        """Renew the lead: who has lost it since the tick began must not write. Raises `Unavailable`."""
        if not self.leadership.is_held(self.clock.now_s()):
            raise Unavailable("lease", "another autoscaler has taken over; what is left of this plan is left to it")

    def _apply(self, action: Action, workers: Sequence[Endpoint]) -> None:
        match action:
            case SetWorkers() if action.before == action.count:
                self.cluster.replace_workers(action.pool, action.victims)
            case SetWorkers():
                self.cluster.set_workers(
                    action.pool, action.count, preferred_nodes=action.preferred_nodes, victims=action.victims
                )
            case DrainWorkers():
                self.serving.drain_workers([_endpoint(worker, workers) for worker in action.workers])
            case SetReplicas():
                self.serving.set_replicas(action.model, action.count)


def _endpoint(worker: str, workers: Sequence[Endpoint]) -> Endpoint:
    for endpoint in workers:
        if endpoint.name == worker:
            return endpoint
    raise Unavailable(f"worker {worker}", "it has no address, for its pod is not ready; it cannot be drained now")
