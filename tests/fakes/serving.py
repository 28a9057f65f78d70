"""Ray Serve in memory: a replica lives alone in a worker and runs as soon as it has one.

`tests/contracts/ports` holds it to what `RayServe` does over REST.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from autoscaler.core.observation import DeploymentSeen, ReplicaSeen, ReplicaState
from autoscaler.ports import Endpoint, ServingSeen, Unavailable


@dataclass
class FakeServing:
    """The loop's `Serving`. Changes that were made are noted in `changes`, which other fakes may share."""

    workers: Callable[[], Iterable[str]]
    """Which workers there are now."""
    targets: dict[str, int]
    is_away: bool = False
    reads: int = 0
    changes: list[tuple[object, ...]] = field(default_factory=list)
    """(model, count), or ("drain", workers)"""
    drained: set[str] = field(default_factory=set)
    """Workers that take no replica any more."""
    _failures: Counter[str] = field(default_factory=Counter)
    _replicas: dict[str, dict[str, str | None]] = field(default_factory=dict)
    """By model: each replica and its worker."""
    _made: int = 0

    def __post_init__(self) -> None:
        self._settle()

    def fail_next(self, verb: str, times: int = 1) -> None:
        """Refuse the next calls of `read`, `drain_workers` or `set_replicas`."""
        self._failures[verb] += times

    def deploy(self, model: str, target: int) -> None:
        """A new application, or another target for one, as a deployer sets it."""
        self.targets[model] = target
        self._settle()

    def delete(self, model: str) -> None:
        """The application is gone, and its replicas with it."""
        del self.targets[model], self._replicas[model]

    def read(self, models: Sequence[str], now_s: float) -> ServingSeen:
        self.reads += 1
        self._answer("read")
        self._settle()
        deployments = tuple(
            DeploymentSeen(
                model=model,
                at_s=now_s,
                target=self.targets[model],
                replicas=tuple(
                    ReplicaSeen(
                        replica_id=replica,
                        state=ReplicaState.RUNNING if worker else ReplicaState.STARTING,
                        worker=worker,
                    )
                    for replica, worker in self._replicas[model].items()
                ),
            )
            for model in models
            if model in self.targets
        )
        return ServingSeen(
            deployments=deployments,
            draining=frozenset(self.drained & set(self.workers())),
            lent=frozenset(worker for worker, (_, model) in self.running.items() if model not in models),
        )

    def drain_workers(self, workers: Sequence[Endpoint]) -> None:
        self._answer("drain_workers")
        self.changes.append(("drain", tuple(worker.name for worker in workers)))
        self.drained.update(worker.name for worker in workers)

    def set_replicas(self, model: str, count: int) -> None:
        self._answer("set_replicas")
        if model not in self.targets:
            raise Unavailable(f"model {model}", "no such application")
        self.changes.append((model, count))
        self.targets[model] = count
        self._settle()

    @property
    def running(self) -> dict[str, tuple[str, str]]:
        """The running replica of each worker and its model."""
        return {
            worker: (replica, model)
            for model, replicas in self._replicas.items()
            for replica, worker in replicas.items()
            if worker is not None
        }

    def _settle(self) -> None:
        """Replicas of lost workers are gone; each model has as many as its target.

        Those without a worker leave first, then those on drained workers, then the newest. While a target stands, a
        replica on a drained worker moves as soon as another worker is free.
        """
        workers = set(self.workers())
        for model, target in self.targets.items():
            replicas = self._replicas.setdefault(model, {})
            for replica in [key for key, worker in replicas.items() if worker is not None and worker not in workers]:
                del replicas[replica]
            while len(replicas) > target:
                del replicas[min(reversed(replicas), key=lambda key: self._stays(replicas[key]))]
            while len(replicas) < target:
                self._made += 1
                replicas[f"r{self._made}"] = None
        for replicas in self._replicas.values():
            for replica, worker in list(replicas.items()):
                free = sorted(workers - self.drained - set(self.running))
                if worker is None:
                    replicas[replica] = free[0] if free else None
                elif worker in self.drained and free:
                    del replicas[replica]
                    self._made += 1
                    replicas[f"r{self._made}"] = free[0]

    def _stays(self, worker: str | None) -> int:
        if worker is None:
            return 0
        return 1 if worker in self.drained else 2

    def _answer(self, verb: str) -> None:
        if self.is_away or self._failures[verb]:
            self._failures[verb] = max(0, self._failures[verb] - 1)
            raise Unavailable("Ray Serve", "the dashboard is away")
