"""The worker pools of a modelled fleet: each a Deployment's size, its pods, and the scheduler that gives them slots.

Level-triggered like the real parts: `step` compares the size with the pods there are. A pod goes pending, bound,
ready; a deleted one keeps its slot for `TERMINATION_S`. A slot counts from the binding until the pod is gone.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from autoscaler.config import pool_name
from autoscaler.sim.engine import Engine
from autoscaler.sim.faults import NodesLeave, PodsNeverStart
from autoscaler.sim.world import World
from vgpu.core.inventory import Gpu, Inventory, Node, Slot

NAMESPACE = "serving"
TERMINATION_S = 1.0
"""From a worker's deletion until its pod is gone; an idle Ray node stops within about a second."""


@dataclass(slots=True, kw_only=True, eq=False)
class Worker:
    """A worker pod and the Ray node in it."""

    pod: str
    worker_s: float
    """How long it takes from its binding to a ready Ray node; inf for never."""
    slot: int | None = None
    bound_s: float = 0.0
    ready: bool = False
    draining: bool = False
    drained_s: float = math.inf
    gone_s: float = math.inf
    """When a deleted one will be gone; inf for one that is not deleted."""
    is_free: bool = True
    """No replica lives in it."""

    @property
    def deleting(self) -> bool:
        return self.gone_s < math.inf

    @property
    def ready_s(self) -> float:
        return self.bound_s + self.worker_s

    @property
    def takes_replicas(self) -> bool:
        return self.ready and self.is_free and not self.draining and not self.deleting


class Pool:
    """The worker pods of one slot type of a world."""

    def __init__(
        self,
        world: World,
        engine: Engine,
        *,
        place: int = 0,
        seed: int,
        never_start: Sequence[PodsNeverStart] = (),
        leaves: Sequence[NodesLeave] = (),
    ) -> None:
        """`place` is that of the pool's cards in `world.groups`."""
        self.profile = world.groups[place].profile
        self.name = pool_name(self.profile.label)
        self.wanted = 0
        self.workers: list[Worker] = []
        """In the order of their creation."""
        self.changes = 0
        """Grows with whatever can be seen of the pool; a picture with the same number is still true."""
        self._world = world
        self._engine = engine
        self._rng = np.random.default_rng((seed, 1, place) if place else (seed, 1))
        self._never_start = never_start
        self._preferred: tuple[str, ...] = ()
        self._slots = world.slots_of(place)
        self._foreign = frozenset(world.foreign_slots)
        self._free = [slot for slot in self._slots if slot not in self._foreign]
        self._slot_of_node = {world.node_name(slot): slot for slot in self._free}
        self._made = 0
        self._slot_seconds = 0.0
        self._inventory: Inventory | None = None
        self._leaves = leaves
        self._turns_s = sorted({at_s for each in leaves for at_s in (each.from_s, each.gone_s, each.to_s)})
        """When a node begins to leave, is gone or is back: those times that are still to come."""
        self._leaving: frozenset[int] = frozenset()
        """Slots of nodes that leave or are gone."""
        self._gone: frozenset[int] = frozenset()
        self.take_away(0.0)

    @property
    def live(self) -> list[Worker]:
        return [worker for worker in self.workers if not worker.deleting]

    @property
    def free_count(self) -> int:
        """Slots that a worker could get."""
        return len(self._open)

    def resize(
        self, count: int, *, preferred_nodes: Sequence[str], victims: Sequence[str], now_s: float
    ) -> list[Worker]:
        """Take in a new size; the workers that are deleted for it: victims first, then not ready ones, then any.

        With the size unchanged all victims go, and new ones will come in their place.
        """
        if preferred_nodes:
            self._preferred = tuple(preferred_nodes)
        live = self.live
        named = [worker for worker in live if worker.pod in victims]
        surplus = len(named) if count == self.wanted else max(0, len(live) - count)
        self.wanted = count
        self.changes += 1
        places = self._rng.permutation(len(live)).tolist() if surplus > len(named) else range(len(live))
        ranked = sorted(
            zip(live, places, strict=True),
            key=lambda pair: (pair[0] not in named, pair[0].slot is not None, pair[0].ready, pair[1]),
        )
        going = [worker for worker, _ in ranked[:surplus]]
        for worker in going:
            worker.ready = False
            worker.gone_s = now_s + (TERMINATION_S if worker.slot is not None else 0.0)
        return going

    def lose_one(self, now_s: float) -> Worker | None:
        """Take a random worker that has a slot away, pod and all; None where there is none."""
        bound = [worker for worker in self.live if worker.slot is not None]
        if not bound:
            return None
        lost = bound[int(self._rng.integers(len(bound)))]
        lost.ready = False
        lost.gone_s = now_s
        self.changes += 1
        return lost

    def take_away(self, now_s: float) -> list[Worker]:
        """Take in which nodes leave and which are gone; the workers that are lost with them."""
        if not self._turns_s or self._turns_s[0] > now_s:
            return []
        self._turns_s = [at_s for at_s in self._turns_s if at_s > now_s]
        self._leaving = _slots_of(each for each in self._leaves if each.covers(now_s))
        self._gone = _slots_of(each for each in self._leaves if each.takes(now_s))
        self._inventory = None
        self.changes += 1
        lost = [worker for worker in self.live if worker.slot in self._gone]
        for worker in lost:
            worker.ready, worker.gone_s = False, now_s
        return lost

    def start_ready(self, count: int) -> list[Worker]:
        """The workers that run when the simulation begins, in random slots."""
        self.wanted = count
        self._create(0.0)
        for worker in self.workers:
            worker.ready = True
        return self.workers

    def step(self, now_s: float) -> None:
        """Remove what is gone, create and bind what is missing, and note who is ready."""
        for worker in [worker for worker in self.workers if worker.gone_s <= now_s]:
            self._remove(worker, now_s)
        self._create(now_s)
        for worker in self.workers:
            if not worker.ready and worker.slot is not None and not worker.deleting and worker.ready_s <= now_s:
                worker.ready = True
                self.changes += 1

    def wakes_s(self) -> Iterable[float]:
        """When something is due next, of each worker that waits for something."""
        yield from self._turns_s[:1]
        for worker in self.workers:
            if worker.deleting:
                yield worker.gone_s
            elif not worker.ready and worker.slot is not None:
                yield worker.ready_s

    def slot_seconds(self, now_s: float) -> float:
        """What all workers have taken so far."""
        return self._slot_seconds + sum(now_s - worker.bound_s for worker in self.workers if worker.slot is not None)

    def inventory(self) -> Inventory:
        """The pool's nodes, their slots and who holds them."""
        if self._inventory is None:
            holders = {slot: f"default/foreign-{self._world.card_of(slot)}" for slot in self._foreign}
            holders |= {worker.slot: worker.pod for worker in self.workers if worker.slot is not None}
            nodes = tuple(self._node(slot, holders.get(slot)) for slot in self._slots)
            self._inventory = Inventory(nodes=nodes)
        return self._inventory

    def _node(self, slot: int, holder: str | None) -> Node:
        world, name = self._world, self._world.node_name(slot)
        gpu = Gpu(uuid=world.gpu_uuid(slot), framebuffer_mib=self.profile.board_framebuffer_mib, policy=world.policy)
        there = Slot(node=name, index=0, profile=self.profile, gpu=gpu, holder=holder)
        is_there, leaves = slot not in self._gone, slot in self._leaving
        slots = (there,) if is_there else ()
        return Node(name=name, ready=is_there, schedulable=not leaves, slots=slots, leaving=leaves)

    @property
    def _open(self) -> list[int]:
        """Slots that nobody holds, on nodes that take pods."""
        return [slot for slot in self._free if slot not in self._leaving] if self._leaving else self._free

    def _create(self, now_s: float) -> None:
        """Create missing pods and give every pod without a slot one, as long as there are any."""
        for _ in range(self.wanted - len(self.live)):
            self._made += 1
            self.workers.append(Worker(pod=f"{NAMESPACE}/{self.name}-{self._made:04d}", worker_s=math.inf))
            self.changes += 1
        for worker in self.workers:
            if worker.slot is None and not worker.deleting and (free := self._open):
                self._bind(worker, free, now_s)

    def _bind(self, worker: Worker, free: list[int], now_s: float) -> None:
        preferred = [slot for node in self._preferred if (slot := self._slot_of_node.get(node)) in free]
        slot = preferred[0] if preferred else free[int(self._rng.integers(len(free)))]
        self._free.remove(slot)
        # A worker does not know yet which model it will hold: the slowest model's worker stands for all.
        cold_start = max((model.cold_start for model in self._world.models), key=lambda each: each.worker_s)
        worker.slot, worker.bound_s = slot, now_s
        worker.worker_s = lognormal(self._rng, cold_start.worker_s, cold_start.spread_ratio)
        if any(fault.covers(now_s) for fault in self._never_start):
            worker.worker_s = math.inf
        self._engine.attach(slot)
        self._inventory = None
        self.changes += 1

    def _remove(self, worker: Worker, now_s: float) -> None:
        self.workers.remove(worker)
        self.changes += 1
        if worker.slot is None:
            return
        self._slot_seconds += now_s - worker.bound_s
        self._engine.detach(worker.slot)
        self._free.append(worker.slot)
        self._free.sort()
        self._inventory = None


def _slots_of(leaves: Iterable[NodesLeave]) -> frozenset[int]:
    return frozenset(slot for each in leaves for slot in each.of_slots)


def lognormal(rng: np.random.Generator, mean: float, spread_ratio: float) -> float:
    """A draw of this mean and coefficient of variation."""
    variance = math.log1p(spread_ratio**2)
    return mean * float(np.exp(rng.normal(-variance / 2, math.sqrt(variance))))
