"""What the loop needs of the world. Each port is owned here, by its caller, and has an adapter and a fake."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from autoscaler.about import ModelAbout
from autoscaler.core.decision import Plan
from autoscaler.core.observation import (
    DeploymentSeen,
    IngressSample,
    Missing,
    Observation,
    PoolSeen,
    ReplicaSample,
    SlotReading,
)
from autoscaler.core.spec import FleetSpec
from vgpu.core.inventory import Inventory


class Unavailable(Exception):
    """Part of the world could not be reached or did not make sense: what, and why."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what}: {why}")
        self.what = what
        self.why = why


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Something that serves `/metrics`: a worker pod or a node's exporter, and where."""

    name: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSeen:
    """One reading of the Kubernetes API."""

    inventory: Inventory
    pools: tuple[PoolSeen, ...]
    workers: tuple[Endpoint, ...]
    exporters: tuple[Endpoint, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scraped:
    """What one round of scrapes gave; what it did not give is in `missing`, with the reason."""

    replicas: tuple[ReplicaSample, ...]
    slots: tuple[SlotReading, ...]
    missing: tuple[Missing, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingSeen:
    """One reading of Ray Serve."""

    deployments: tuple[DeploymentSeen, ...]
    draining: frozenset[str]
    """Workers (namespace/name) whose Ray node was drained: it takes no replica any more, or has left already."""
    lent: frozenset[str] = frozenset()
    """Workers (namespace/name) in which a replica of another application lives: of a model that was removed, or that
    is not known here yet. They can take none of ours, and are not empty."""


class Change(StrEnum):
    """What became of a models file that has changed."""

    APPLIED = "applied"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelsFileSeen:
    """One reading of the models file: what is followed, and what is wrong with the file as it is now."""

    spec: FleetSpec
    """By the last file that could be followed."""
    about: tuple[ModelAbout, ...] = ()
    problems: tuple[str, ...] = ()
    """One line for each fault of the present file; empty when `spec` is what it says."""
    change: Change | None = None
    """What this reading brought; None when the file is as it was at the one before."""
    reworked: frozenset[str] = frozenset()
    """Models that this reading gives other work: another source, or other parameters. What was learned about their
    costs is void."""


class SpecSource(Protocol):
    """Where the specification comes from; asked at each tick, and cheap while nothing changes."""

    def read(self) -> ModelsFileSeen:
        """What to follow now; never raises: a file that cannot be followed leaves the last one in force."""


class Clock(Protocol):
    """Monotonic seconds, and a sleep that ends early when the loop is told to stop."""

    def now_s(self) -> float:
        """Seconds since some fixed moment; never falls."""

    def sleep(self, duration_s: float) -> bool:
        """Wait; False when the loop was told to stop."""


class Cluster(Protocol):
    """Nodes, slots and workers, and the size of each worker pool."""

    def read(self, spec: FleetSpec, now_s: float) -> ClusterSeen:
        """Read everything. Raises `Unavailable`."""

    def set_workers(self, pool: str, count: int, *, preferred_nodes: Sequence[str], victims: Sequence[str]) -> None:
        """Size one pool; new workers go to the first preferred node that is free, victims leave first."""

    def replace_workers(self, pool: str, victims: Sequence[str]) -> None:
        """Remove these workers of a pool and let it make new ones in their place. Raises `Unavailable`."""

    @property
    def is_untidy(self) -> bool:
        """Whether the last reading showed something to tidy."""

    def tidy(self) -> None:
        """Take back what earlier changes left behind and nobody needs any more. Raises `Unavailable`."""


class Serving(Protocol):
    """Replica targets and what became of them."""

    def read(self, models: Sequence[str], now_s: float) -> ServingSeen:
        """Read every model's deployment that there is, and which workers are drained. Raises `Unavailable`."""

    def drain_workers(self, workers: Sequence[Endpoint]) -> None:
        """Close workers to new replicas, for good: the replicas in them leave first when their model's target falls.

        Until it falls they go on serving, and Ray Serve starts a substitute for each. Raises `Unavailable`.
        """

    def set_replicas(self, model: str, count: int) -> None:
        """Set one model's replica target. Raises `Unavailable`."""


class Ingress(Protocol):
    """Where clients connect: it alone knows of requests for a model that has no replica."""

    def read(self, models: Sequence[str], now_s: float) -> tuple[IngressSample, ...]:
        """What it has counted of each model that it knows. Raises `Unavailable`."""

    def announce(self, starts_s: Mapping[str, float]) -> None:
        """Say in how many seconds a replica of each model is expected; clients are told to come back then.

        Raises `Unavailable`.
        """


class Leadership(Protocol):
    """Whether this autoscaler is the one that may change anything."""

    def is_held(self, now_s: float) -> bool:
        """Take or renew it; False while another one has it. Raises `Unavailable`."""


class Metrics(Protocol):
    """Scrapes what workers and nodes say about themselves."""

    def scrape(self, workers: Sequence[Endpoint], exporters: Sequence[Endpoint], now_s: float) -> Scraped:
        """Scrape all of them at once; never raises: what does not answer is missing."""


ACTIONS = ("set_workers", "replace_workers", "drain_workers", "set_replicas")
"""The calls that change something, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Acted:
    """One action that was carried out, or tried."""

    action: str
    """One of `ACTIONS`."""
    duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """One pass of the loop: what was seen, what was decided, what went wrong."""

    number: int
    at_s: float
    """On the loop's own clock."""
    duration_s: float
    seen: Observation
    inventory: Inventory
    plan: Plan | None
    """None when a defect ended the tick before there was one; nothing was changed then."""
    problems: tuple[str, ...]
    failed_actions: tuple[str, ...]
    defect: str | None
    """A bug that ended the tick, in its own words; it is one of `problems` too."""
    dry_run: bool
    """Nothing was changed: by order, or because another autoscaler leads."""
    spec: FleetSpec
    """What it was decided by: the models file's, and pools of an earlier one that still have workers."""
    models_file: ModelsFileSeen
    acted: tuple[Acted, ...] = ()
    lent: Mapping[str, int] = field(default_factory=dict)
    """By pool: workers left out of `seen`, for replicas of other applications live in them."""


class Recorder(Protocol):
    """Told of every tick."""

    def record(self, tick: Tick) -> None:
        """Keep one tick: journal, metrics, Events."""
