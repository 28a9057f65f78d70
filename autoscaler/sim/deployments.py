"""Ray Serve's deployments in a modelled fleet: targets, and replicas that start, run and stop.

Level-triggered as Serve's own controller: `step` compares each target with the replicas there are. Replicas on draining
workers run on; `MIGRATION_S` after the drain they no longer count, so substitutes start, and once more run than the
target asks for, those on draining workers leave first. Source: Ray 2.60, serve/_private/deployment_state.py.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np

from autoscaler.core.observation import ReplicaState
from autoscaler.sim.engine import Engine
from autoscaler.sim.pods import Worker, lognormal
from autoscaler.sim.world import SimModel

MIGRATION_S = 1.0
"""A target that falls within this after a drain needs no substitute."""
POLL_S = 1.0
"""How often a replica that should stop is asked whether it has finished."""


@dataclass(slots=True, kw_only=True, eq=False)
class Replica:
    """One replica; its number gives the order of creation in the whole fleet."""

    replica_id: str
    model: int
    number: int
    state: ReplicaState = ReplicaState.STARTING
    worker: Worker | None = None
    """None while it waits for one."""
    due_s: float = math.inf
    """When it will be loaded, or may be gone if it has finished."""

    @property
    def slot(self) -> int:
        """The slot it runs on; ValueError while it has none."""
        if self.worker is None or self.worker.slot is None:
            raise ValueError(f"{self.replica_id} has no slot; only a replica that has a worker has one")
        return self.worker.slot

    @property
    def is_drained(self) -> bool:
        return self.worker is not None and self.worker.draining

    def migrates(self, now_s: float) -> bool:
        """It runs on a worker that was drained a while ago: Serve wants a substitute."""
        return self.is_drained and self.worker is not None and self.worker.drained_s + MIGRATION_S <= now_s


class Deployment:
    """One model's deployment."""

    def __init__(self, index: int, model: SimModel, engine: Engine, *, numbers: "count[int]", drain_s: float) -> None:
        self.model = model
        self.target = model.start_replicas
        self.replicas: list[Replica] = []
        """In the order of their creation."""
        self.changes = 0
        """Grows with whatever can be seen of it."""
        self._index = index
        self._engine = engine
        self._numbers = numbers
        self._drain_s = drain_s

    def of(self, state: ReplicaState) -> list[Replica]:
        return [replica for replica in self.replicas if replica.state is state]

    def step(self, now_s: float) -> None:
        """Let finish what has finished, run what is loaded, then start and stop what the target asks for."""
        for replica in [replica for replica in self.replicas if replica.due_s <= now_s]:
            if replica.state is ReplicaState.STARTING:
                self.run(replica)
            elif self._engine.in_flight[replica.slot]:
                replica.due_s = now_s + POLL_S
            else:
                self.remove(replica)
        for replica in [replica for replica in self.of(ReplicaState.STARTING) if replica.is_drained]:
            self.remove(replica)
        self._reconcile(now_s)

    def _reconcile(self, now_s: float) -> None:
        running = self.of(ReplicaState.RUNNING)
        missing = self.target - sum(not replica.migrates(now_s) for replica in running)
        starting = self.of(ReplicaState.STARTING)
        # Those that wait for a worker go before those that load, then the newest.
        cancelled = sorted(starting, key=lambda replica: (replica.worker is not None, -replica.number))
        for replica in cancelled[: max(0, len(starting) - max(0, missing))]:
            self.remove(replica)
        for _ in range(missing - len(starting)):
            self.create()
        leaving = sorted(running, key=lambda replica: (not replica.is_drained, -replica.number))
        for replica in leaving[: max(0, len(running) - self.target)]:
            self._stop(replica, now_s)

    def create(self) -> Replica:
        """A new replica, which waits for a worker."""
        number = next(self._numbers)
        replica = Replica(replica_id=f"{self.model.name}#{number:05d}", model=self._index, number=number)
        self.replicas.append(replica)
        self.changes += 1
        return replica

    def load(self, replica: Replica, worker: Worker, now_s: float, rng: np.random.Generator) -> None:
        """Begin to load the model in `worker`."""
        replica.worker, worker.is_free = worker, False
        replica.due_s = now_s + lognormal(rng, self.model.cold_start.load_s, self.model.cold_start.spread_ratio)
        self.changes += 1

    def run(self, replica: Replica) -> None:
        """It answers from now on."""
        replica.state, replica.due_s = ReplicaState.RUNNING, math.inf
        self._engine.open(replica.slot, self._index)
        self.changes += 1

    def kill(self, worker: Worker) -> None:
        """The worker is lost and with it the replica in it, if there is one."""
        for replica in [replica for replica in self.replicas if replica.worker is worker]:
            if replica.state is not ReplicaState.STARTING:
                self._engine.kill(replica.slot)
            self.remove(replica)

    def remove(self, replica: Replica) -> None:
        self.replicas.remove(replica)
        if replica.worker is not None:
            replica.worker.is_free = True
        self.changes += 1

    def _stop(self, replica: Replica, now_s: float) -> None:
        replica.state, replica.due_s = ReplicaState.STOPPING, now_s + self._drain_s
        self._engine.close(replica.slot)
        self.changes += 1

    def wakes_s(self, now_s: float) -> Iterable[float]:
        """When something is due next, for each replica that waits for something."""
        for replica in self.replicas:
            yield replica.due_s
            if replica.worker is not None and replica.is_drained and not replica.migrates(now_s):
                yield replica.worker.drained_s + MIGRATION_S


def waiting(deployments: Sequence[Deployment]) -> list[tuple[Deployment, Replica]]:
    """Replicas of all deployments that have no worker yet, oldest first."""
    found = [(each, replica) for each in deployments for replica in each.replicas if replica.worker is None]
    return sorted(found, key=lambda pair: pair[1].number)
