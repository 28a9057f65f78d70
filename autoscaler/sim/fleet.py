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
from autoscaler.sim.faults import NodesLeave, PodsNeverStart
from autoscaler.sim.pods import Pool, Worker
from autoscaler.sim.world import World
from vgpu.core.inventory import Inventory
from vgpu.core.share import UNITS_PER_GPU

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
        leaves: Sequence[NodesLeave] = (),
    ) -> None:
        self.world = world
        self.pools = tuple(
            Pool(world, engine, place=place, seed=seed, never_start=never_start, leaves=leaves)
            for place in range(len(world.groups))
        )
        numbers = count(1)
        self.deployments = tuple(
            Deployment(index, model, engine, numbers=numbers, drain_s=drain_s)
            for index, model in enumerate(world.models)
        )
        self.target_changes = 0
        """How often an action gave a model another target."""
        self.killed = 0
        """Replicas that died with their worker, because it was deleted or lost."""
        self._labels = {pool.name: pool.profile.label for pool in self.pools}
        self._open = [frozenset(world.labels_of(model)) for model in world.models]
        """By model: slot types in which its replicas may live."""
        self._parts: tuple[Inventory, ...] = ()
        self._whole = Inventory()
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
                going = self._pool(action.pool).resize(
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

    @property
    def pool(self) -> Pool:
        """That of the world's first cards."""
        return self.pools[0]

    def inventory(self) -> Inventory:
        """Nodes, slots and who holds them."""
        if len(self.pools) == 1:
            return self.pool.inventory()
        parts = tuple(pool.inventory() for pool in self.pools)
        if self._parts != parts:
            self._parts = parts
            self._whole = Inventory(nodes=tuple(node for part in parts for node in part.nodes))
        return self._whole

    def slot_seconds(self, now_s: float) -> float:
        """Slots that all workers have taken so far."""
        return sum(pool.slot_seconds(now_s) for pool in self.pools)

    def card_seconds(self, now_s: float) -> float:
        """The same in cards: each slot as the part of its card that it is."""
        return sum(pool.slot_seconds(now_s) * pool.profile.units / UNITS_PER_GPU for pool in self.pools)

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
        """Lose one random worker that has a slot, of the pool that has most; its pod, None where there is none."""
        pool = max(self.pools, key=lambda pool: sum(worker.slot is not None for worker in pool.live))
        lost = pool.lose_one(now_s)
        if lost is not None:
            self._lose([lost])
            self.step(now_s)
        return None if lost is None else lost.pod

    def step(self, now_s: float) -> None:
        """Make true whatever is due at `now_s`."""
        self._now_s = now_s
        for pool in self.pools:
            self._lose(pool.take_away(now_s))
            pool.step(now_s)
        for deployment in self.deployments:
            deployment.step(now_s)
        self._seat(now_s)
        self._wakes_s = [wake_s for pool in self.pools for wake_s in pool.wakes_s()]
        for deployment in self.deployments:
            self._wakes_s += deployment.wakes_s(now_s)

    @property
    def next_s(self) -> float:
        """When something is due next; inf for never."""
        return min(self._wakes_s, default=math.inf)

    def running(self) -> list[Replica]:
        """Replicas that answer, by model and age."""
        return [replica for deployment in self.deployments for replica in deployment.of(ReplicaState.RUNNING)]

    def _seat(self, now_s: float) -> None:
        """Give each replica that waits, oldest first, the first worker that may take it."""
        free = {pool.name: [worker for worker in pool.workers if worker.takes_replicas] for pool in self.pools}
        for workers in free.values():
            workers.reverse()
        for deployment, replica in waiting(self.deployments):
            workers = next((free[name] for name in self._names_of(replica.model) if free[name]), [])
            if workers:
                deployment.load(replica, workers.pop(), now_s, self._load_rng)

    def _names_of(self, model: int) -> list[str]:
        """The pools in which a model's replicas may live."""
        return [name for name, label in self._labels.items() if label in self._open[model]]

    def _begin(self) -> None:
        """Start every model's first replicas, those of models that have no choice of a pool first."""
        room = {pool.name: pool.free_count for pool in self.pools}
        homes: dict[int, list[str]] = {}
        for index in sorted(range(len(self.deployments)), key=lambda index: len(self._names_of(index))):
            homes[index] = [self._home(index, room) for _ in range(self.deployments[index].target)]
        begun = [name for names in homes.values() for name in names]
        places = {pool.name: iter(list(pool.start_ready(begun.count(pool.name)))) for pool in self.pools}
        for index, deployment in enumerate(self.deployments):
            for name in homes[index]:
                replica = deployment.create()
                deployment.load(replica, next(places[name]), 0.0, self._load_rng)
                deployment.run(replica)
        self.step(0.0)

    def _home(self, model: int, room: dict[str, int]) -> str:
        """The first pool that has room for one more replica of the model, which is then taken."""
        for name in self._names_of(model):
            if room[name]:
                room[name] -= 1
                return name
        raise ValueError(f"start_replicas of {self.world.models[model].name} is more than its slot types have slots")

    def _drain(self, pods: Sequence[str], now_s: float) -> bool:
        """Drain the Ray nodes of these pods; False when one has none that answers, and those before it are drained."""
        there = {worker.pod: (pool, worker) for pool in self.pools for worker in pool.live if worker.ready}
        for pod in pods:
            if pod not in there:
                return False
            pool, worker = there[pod]
            if not worker.draining:
                worker.draining, worker.drained_s = True, now_s
                pool.changes += 1
        return True

    def _lose(self, workers: Sequence[Worker]) -> None:
        for worker in workers:
            self.killed += not worker.is_free
            for deployment in self.deployments:
                deployment.kill(worker)

    def _pool(self, name: str) -> Pool:
        for pool in self.pools:
            if pool.name == name:
                return pool
        raise ValueError(f"pool is {name!r}; this world has {', '.join(repr(pool.name) for pool in self.pools)}")
