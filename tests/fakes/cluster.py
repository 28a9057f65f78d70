"""A cluster of emulated nodes in memory: pools grow and shrink at once, workers are ready as soon as they have a slot.

`tests/contracts/ports` holds it to what `KubernetesCluster` does on an API server, with each kind of worker pools.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from autoscaler.core.observation import PoolSeen, WorkerSeen
from autoscaler.core.spec import FleetSpec
from autoscaler.ports import ClusterSeen, Endpoint, Unavailable
from vgpu.core.inventory import Inventory

NAMESPACE = "serving"


@dataclass
class FakeCluster:
    """The loop's `Cluster`. Changes that were made are noted in `changes`, which other fakes may share."""

    inventory: Inventory
    wanted: dict[str, int] = field(default_factory=dict)
    """Size of each pool there is."""
    is_away: bool = False
    is_untidy: bool = False
    reads: int = 0
    changes: list[tuple[object, ...]] = field(default_factory=list)
    """(pool, count, preferred nodes, victims), (pool, "replace", victims), or ("tidy",)"""
    takes: Callable[[str], None] = lambda verb: None
    """Called at each call with its verb, for the time it costs."""
    _failures: Counter[str] = field(default_factory=Counter)
    _nodes: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    """By worker: its pool and its node."""
    _preferred: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _made: int = 0

    def __post_init__(self) -> None:
        for pool in self.wanted:
            self._fill(pool)

    def fail_next(self, verb: str, times: int = 1) -> None:
        """Refuse the next calls of `read`, `set_workers`, `replace_workers` or `tidy`."""
        self._failures[verb] += times

    @property
    def workers(self) -> dict[str, str]:
        """Bound workers and their nodes."""
        return {worker: node for worker, (_, node) in self._nodes.items() if node is not None}

    def read(self, spec: FleetSpec, now_s: float) -> ClusterSeen:
        self.reads += 1
        self._answer("read")
        return ClusterSeen(
            inventory=self.inventory,
            pools=tuple(
                PoolSeen(
                    pool=pool.name, at_s=now_s, wanted=self.wanted[pool.name], workers=self._workers_seen(pool.name)
                )
                for pool in spec.pools
                if pool.name in self.wanted
            ),
            workers=tuple(Endpoint(name=worker, url=f"http://{worker}") for worker in self.workers),
            exporters=tuple(Endpoint(name=node.name, url=f"http://{node.name}") for node in self.inventory.nodes),
            problems=tuple(f"Deployment {pool.name}: none" for pool in spec.pools if pool.name not in self.wanted),
        )

    def set_workers(self, pool: str, count: int, *, preferred_nodes: Sequence[str], victims: Sequence[str]) -> None:
        self._answer("set_workers")
        if pool not in self.wanted:
            raise Unavailable(f"pool {pool}", "there is none")
        self.changes.append((pool, count, tuple(preferred_nodes), tuple(victims)))
        self.wanted[pool] = count
        self._preferred[pool] = tuple(preferred_nodes) or self._preferred.get(pool, ())
        mine = [worker for worker, (owner, _) in self._nodes.items() if owner == pool]
        surplus = max(0, len(mine) - count)
        for worker in sorted(mine, key=lambda name: (self._nodes[name][1] is not None, name not in victims))[:surplus]:
            self.lose(worker)
        self._fill(pool)

    def replace_workers(self, pool: str, victims: Sequence[str]) -> None:
        self._answer("replace_workers")
        self.changes.append((pool, "replace", tuple(victims)))
        for victim in victims:
            if victim in self._nodes:
                self.lose(victim)
        self._fill(pool)

    def tidy(self) -> None:
        self._answer("tidy")
        self.changes.append(("tidy",))
        self.is_untidy = False

    def lose(self, worker: str) -> None:
        """The worker is gone, and its slot free."""
        del self._nodes[worker]
        held = {slot.slot_id: None for slot in self.inventory.slots if slot.holder == worker}
        self.inventory = self.inventory.with_holders(held)

    def _fill(self, pool: str) -> None:
        """As many workers as wanted, each on a preferred node that is free, or on any; the rest wait."""
        order = {node: rank for rank, node in enumerate(self._preferred.get(pool, ()))}
        while sum(owner == pool for owner, _ in self._nodes.values()) < self.wanted[pool]:
            self._made += 1
            worker = f"{NAMESPACE}/{pool}-{self._made}"
            free = sorted(self.inventory.free_slots, key=lambda slot: (order.get(slot.node, len(order)), slot.node))
            self._nodes[worker] = (pool, free[0].node if free else None)
            if free:
                self.inventory = self.inventory.with_holders({free[0].slot_id: worker})

    def _workers_seen(self, pool: str) -> tuple[WorkerSeen, ...]:
        return tuple(
            WorkerSeen(pod=worker, node=node, ready=node is not None)
            for worker, (owner, node) in self._nodes.items()
            if owner == pool
        )

    def _answer(self, verb: str) -> None:
        self.takes(verb)
        if self.is_away or self._failures[verb]:
            self._failures[verb] = max(0, self._failures[verb] - 1)
            raise Unavailable("Kubernetes", "the API server is away")
