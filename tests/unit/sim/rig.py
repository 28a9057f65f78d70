"""A small fleet without spread, driven by hand: workers start in 10 s, models load in 30 s, stops take 5 s."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoscaler.core.decision import Action, DrainWorkers, SetReplicas, SetWorkers
from autoscaler.core.observation import ReplicaState
from autoscaler.sim.controller import View
from autoscaler.sim.engine import Engine
from autoscaler.sim.fleet import Fleet
from autoscaler.sim.observe import edges_of
from autoscaler.sim.world import ColdStart, ServiceTime, SimModel, World

POOL = "workers-v100d-8q-8gb"


def model(name: str = "m0", *, host_ms: float = 60.0, max_queue: int = 200, **fields: Any) -> SimModel:
    return SimModel(
        **{
            "name": name,
            "service": ServiceTime(host_ms=host_ms, engine_ms=0.0, spread_ratio=0.0, max_queue=max_queue),
            "objective_p95_ms": 300,
            "cold_start": ColdStart(worker_s=10.0, load_s=30.0, spread_ratio=0.0),
            **fields,
        }
    )


def world(*models: SimModel, **fields: Any) -> World:
    return World(**{"models": models or (model(),), "cards": 1, **fields})


def pod(number: int) -> str:
    return f"serving/{POOL}-{number:04d}"


def evenly(rate_per_s: float, from_s: float, to_s: float) -> NDArray[np.float64]:
    """Requests at equal distances, the first half a distance after `from_s`."""
    count = round((to_s - from_s) * rate_per_s)
    return from_s + (np.arange(count) + 0.5) / rate_per_s


class Rig:
    """A fleet with its engine and a clock."""

    def __init__(self, of: World, times: Mapping[str, Any] | None = None, *, seed: int = 1, **fields: Any) -> None:
        arrivals = {name: np.array(each, dtype=np.float64) for name, each in (times or {}).items()}
        self.engine = Engine(of, arrivals, seed=seed, edges_s=edges_of(of))
        self.fleet = Fleet(of, self.engine, seed=seed, **fields)

    def to(self, until_s: float) -> "Rig":
        """Let everything happen up to and including `until_s`."""
        while self.fleet.next_s <= until_s:
            self.engine.advance(self.fleet.next_s)
            self.fleet.step(self.fleet.next_s)
        self.engine.advance(until_s)
        return self

    def workers(self, count: int, *, prefer: Sequence[str] = (), victims: Sequence[str] = ()) -> "Rig":
        before = self.fleet.pool.wanted
        return self.do(
            SetWorkers(pool=POOL, before=before, count=count, preferred_nodes=tuple(prefer), victims=tuple(victims))
        )

    def replicas(self, count: int, name: str = "m0") -> "Rig":
        return self.do(SetReplicas(model=name, before=self.fleet.deployment(name).target, count=count))

    def drain(self, *pods: str) -> "Rig":
        return self.do(DrainWorkers(model="m0", workers=pods))

    def do(self, action: Action) -> "Rig":
        assert self.fleet.apply(action, self.engine.now_s)
        return self

    def homes(self, name: str = "m0") -> dict[str, tuple[str, str | None]]:
        """By replica: its state and the last digits of its worker's name."""
        return {
            replica.replica_id: (replica.state.value, None if replica.worker is None else replica.worker.pod[-4:])
            for replica in self.fleet.deployment(name).replicas
        }

    def pods(self) -> dict[str, str]:
        """By the last digits of a worker's name: pending, starting, ready, draining or deleting."""
        return {
            worker.pod[-4:]: "deleting"
            if worker.deleting
            else "draining"
            if worker.draining
            else "ready"
            if worker.ready
            else "pending"
            if worker.slot is None
            else "starting"
            for worker in self.fleet.pool.workers
        }

    def running(self) -> int:
        return sum(len(each.of(ReplicaState.RUNNING)) for each in self.fleet.deployments)


@dataclass
class Schedule:
    """A law that follows a list of (from when, how many replicas), the same for every model."""

    steps: Sequence[tuple[float, int]]
    interval_s: float = 5.0
    views: list[View] = field(default_factory=list)

    def want(self, view: View) -> Mapping[str, int]:
        self.views.append(view)
        count = next((count for from_s, count in reversed(self.steps) if from_s <= view.now_s), None)
        return {} if count is None else {spec.name: count for spec in view.spec.models}
