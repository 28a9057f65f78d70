"""Carries a plan's actions out, in their order, each under a lease that was renewed right before it."""

from collections.abc import Sequence
from dataclasses import dataclass

from autoscaler.core.decision import Action, DrainWorkers, SetReplicas, SetWorkers
from autoscaler.ports import Acted, Clock, Cluster, Endpoint, Leadership, Serving, Unavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a plan's actions."""

    acted: tuple[Acted, ...] = ()
    """Those that were carried out or tried, in order; a call that failed took its time as well."""
    failed: tuple[str, ...] = ()
    """Why it ended early; empty when everything was done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Actuator:
    """Everything that changes the world goes through here."""

    cluster: Cluster
    serving: Serving
    leadership: Leadership
    clock: Clock

    def carry_out(self, actions: Sequence[Action], workers: Sequence[Endpoint]) -> Outcome:
        """Do the actions; the first that fails ends it, and is told. What was not done is found again by the next plan.

        `workers` are those that can be reached.
        """
        acted: list[Acted] = []
        for action in actions:
            try:
                self._claim()
                began_s = self.clock.now_s()
                try:
                    self._apply(action, workers)
                finally:
                    acted.append(Acted(action=_verb(action), duration_s=self.clock.now_s() - began_s))
            except Unavailable as error:
                # What follows may rest on it: replicas on workers, workers on replicas that have left.
                return Outcome(acted=tuple(acted), failed=(str(error),))
        return Outcome(acted=tuple(acted), failed=self._tidied())

    def _tidied(self) -> tuple[str, ...]:
        """Take back what earlier changes left behind; why it failed, if it did."""
        try:
            if self.cluster.is_untidy:
                self._claim()
                self.cluster.tidy()
        except Unavailable as error:
            return (str(error),)
        return ()

    def _claim(self) -> None:
        """Renew the lead: who has lost it since the tick began must not write. Raises `Unavailable`."""
        if not self.leadership.is_held(self.clock.now_s()):
            raise Unavailable("lease", "another autoscaler has taken over; what is left of this plan is left to it")

    def _apply(self, action: Action, workers: Sequence[Endpoint]) -> None:
        match action:
            case SetWorkers() if _replaces(action):
                self.cluster.replace_workers(action.pool, action.victims)
            case SetWorkers():
                self.cluster.set_workers(
                    action.pool, action.count, preferred_nodes=action.preferred_nodes, victims=action.victims
                )
            case DrainWorkers():
                self.serving.drain_workers([_endpoint(worker, workers) for worker in action.workers])
            case SetReplicas():
                self.serving.set_replicas(action.model, action.count)


def _replaces(action: SetWorkers) -> bool:
    """Whether the pool keeps its size: new workers in the place of some."""
    return action.before == action.count


def _verb(action: Action) -> str:
    """The action by the name of the call that it makes."""
    match action:
        case SetWorkers():
            return "replace_workers" if _replaces(action) else "set_workers"
        case DrainWorkers():
            return "drain_workers"
        case SetReplicas():
            return "set_replicas"


def _endpoint(worker: str, workers: Sequence[Endpoint]) -> Endpoint:
    for endpoint in workers:
        if endpoint.name == worker:
            return endpoint
    raise Unavailable(f"worker {worker}", "it has no address, for its pod is not ready; it cannot be drained now")
