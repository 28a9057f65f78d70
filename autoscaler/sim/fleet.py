"""The control plane of a modelled fleet: worker pods, Ray Serve and the scheduler, obeying the core's actions.

The world is level-triggered: an action changes a wish, and `step` makes true what is due, at its time. The engine must
have been advanced to the time of every call. `next_s` says when `step` is needed again.

A worker that is deleted while a replica lives in it kills the replica and fails what it holds: a law must avoid that.
"""

import math
from collections.abc import Sequence
from itertools import count

import numpy as np

from autoscaler.core.decision import Action, DrainWorkers, SetReplicas, SetWorkers
from autoscaler.core.observation import ReplicaState
from autoscaler.sim.deployments import Deployment, Replica, waiting
from autoscaler.sim.engine import Engine
from autoscaler.sim.faults import PodsNeverStart
from autoscaler.sim.pods import Pool, Worker
from autoscaler.sim.world import World

DRAIN_S = 5.0
"""A replica that stops is asked to leave the router first and is there at least this long."""


class Fleet:
    """All of it; begins with every model's `start_replicas` running in random slots."""

    def __init__(
        self,
        world: World,
        engine: Engine,
        *,
        seed: int,
        drain_s: float = DRAIN_S,
        never_start: Sequence[PodsNeverStart] = (),
    ) -> None:
        self.world = world
        self.pool = Pool(world, engine, seed=seed, never_start=never_start)
        numbers = count(1)
        self.deployments = tuple(
            Deployment(index, model, engine, numbers=numbers, drain_s=drain_s)
            for index, model in enumerate(world.models)
        )
        self.target_changes = 0
        """How often an action gave a model another target."""
        self.killed = 0
        """Replicas that died with their worker, because it was deleted or lost."""
        self._load_rng = np.random.default_rng((seed, 2))
        self._now_s = 0.0
        self._wakes_s: list[float] = []
        self._begin()

    def apply(self, action: Action, now_s: float) -> bool:
        """Carry out one action; False where that is impossible, and then the rest of a plan is to be dropped.

        Raises `ValueError` for a pool or model that this world does not have.
        """
        match action:
            case SetWorkers():
                self._check_pool(action.pool)
                going = self.pool.resize(
                    action.count, preferred_nodes=action.preferred_nodes, victims=action.victims, now_s=now_s
                )
                self._lose(going)
            case DrainWorkers():
                if not self._drain(action.workers, now_s):
                    return False
            case SetReplicas():
                deployment = self.deployment(action.model)
                self.target_changes += deployment.target != action.count
                self.reset_target(action.model, action.count)
        self.step(now_s)
        return True

    def deployment(self, model: str) -> Deployment:
        """The deployment of `model`; ValueError when there is none."""
        return self.deployments[self.world.model_index(model)]

    def reset_target(self, model: str, target: int) -> None:
        """Give `model` a target, whoever wants it."""
        deployment = self.deployment(model)
        if target < 0:
            raise ValueError(f"target of {model} is {target}; at least 0")
        deployment.changes += deployment.target != target
        deployment.target = target

    def kill_worker(self, now_s: float) -> str | None:
        """Lose one random worker that has a slot; its pod, None where there is none."""
        lost = self.pool.lose_one(now_s)
        if lost is not None:
            self._lose([lost])
            self.step(now_s)
        return None if lost is None else lost.pod

    def step(self, now_s: float) -> None:
        """Make true whatever is due at `now_s`."""
        self._now_s = now_s
        self.pool.step(now_s)
        for deployment in self.deployments:
            deployment.step(now_s)
        free = [worker for worker in self.pool.workers if worker.takes_replicas]
        for (deployment, replica), worker in zip(waiting(self.deployments), free, strict=False):
            deployment.load(replica, worker, now_s, self._load_rng)
        self._wakes_s = [*self.pool.wakes_s()]
        for deployment in self.deployments:
            self._wakes_s += deployment.wakes_s(now_s)

    @property
    def next_s(self) -> float:
        """When something is due next; inf for never."""
        return min(self._wakes_s, default=math.inf)

    def running(self) -> list[Replica]:
        """Replicas that answer, by model and age."""
        return [replica for deployment in self.deployments for replica in deployment.of(ReplicaState.RUNNING)]

    def _begin(self) -> None:
        workers = self.pool.start_ready(sum(deployment.target for deployment in self.deployments))
        places = iter(list(workers))
        for deployment in self.deployments:
            for _ in range(deployment.target):
                replica = deployment.create()
                deployment.load(replica, next(places), 0.0, self._load_rng)
                deployment.run(replica)
        self.step(0.0)

    def _drain(self, pods: Sequence[str], now_s: float) -> bool:
        """Drain the Ray nodes of these pods; False when one has none that answers, and those before it are drained."""
        there = {worker.pod: worker for worker in self.pool.live if worker.ready}
        for pod in pods:
            worker = there.get(pod)
            if worker is None:
                return False
            if not worker.draining:
                worker.draining, worker.drained_s = True, now_s
                self.pool.changes += 1
        return True

    def _lose(self, workers: Sequence[Worker]) -> None:
        for worker in workers:
            self.killed += not worker.is_free
            for deployment in self.deployments:
                deployment.kill(worker)

    def _check_pool(self, pool: str) -> None:
        if pool != self.pool.name:
            raise ValueError(f"pool is {pool!r}; this world has {self.pool.name!r}")
