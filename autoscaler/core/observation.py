"""What was seen this tick, and what could not be seen and why.

Times are the autoscaler's own clock in seconds, stamped when a reading was taken. A reading that is absent is listed
under `missing` with a reason: absence is unknown, never zero.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

from autoscaler.core.by_name import ByName
from autoscaler.core.histogram import Histogram
from autoscaler.core.lanes import FALLEN, packed


class Source(StrEnum):
    """What a reading is about."""

    REPLICA = "replica"
    DEPLOYMENT = "deployment"
    POOL = "pool"
    SLOT = "slot"
    INGRESS = "ingress"
    SIGNAL = "signal"


class MissingReason(StrEnum):
    """Why a reading or a signal is not there."""

    NOT_SEEN = "not_seen"
    UNREACHABLE = "unreachable"
    STALE = "stale"
    TOO_FEW_SAMPLES = "too_few_samples"
    TOO_FEW_REQUESTS = "too_few_requests"
    NO_TRAFFIC = "no_traffic"
    NO_REPLICAS = "no_replicas"
    DIFFERENT_EDGES = "different_edges"
    """Its latency histogram cannot be added to the others': a redeploy with another objective is under way."""
    OUT_OF_RANGE = "out_of_range"
    """A value that cannot be: more than the whole engine."""
    FROZEN = "frozen"
    """Counters that stand still while there are requests in flight or the slot is at work: not zero traffic."""
    UNSUPPORTED = "unsupported"
    """The device cannot say (NVML on MIG, for instance). A fact and not a gap: it holds nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A reading or signal that is not there."""

    source: Source
    name: str
    reason: MissingReason
    age_s: float | None = None


WHOLE_COUNTS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """What one replica has counted since its process started; every number only grows.

    answered  replies that did the work, the client's own errors included
    refused   429 and 503: demand that was turned away
    failed    the other 5xx, passed deadlines included
    duration  how long requests took from arrival to reply, refused ones left out
    engine_busy_s  time with work on the engine, waiting for its time slice included: 1 s/s is a full slot
    """

    answered: int
    refused: int
    failed: int
    duration: Histogram
    engine_busy_s: float
    batches: int = 0
    """Executions on the engine; 0 where the server does not count them, and then every request is taken for one."""
    lanes: int = field(init=False, repr=False, compare=False)
    """Its WHOLE_COUNTS, answered, refused, failed and batches, then `duration.buckets`: see `lanes.packed`."""

    def __post_init__(self) -> None:
        if min(self.answered, self.refused, self.failed, self.engine_busy_s, self.batches) < 0:
            for name in ("answered", "refused", "failed", "engine_busy_s", "batches"):
                if getattr(self, name) < 0:
                    raise ValueError(f"{name} is {getattr(self, name)}; a counter is at least 0")
        counts = (self.answered, self.refused, self.failed, self.batches, *self.duration.buckets)
        object.__setattr__(self, "lanes", packed(counts))

    @property
    def ended(self) -> int:
        """Requests that left the replica, whatever became of them."""
        return self.answered + self.refused + self.failed

    def follows(self, earlier: "Counters") -> bool:
        """Whether one process counted both: no counter has fallen since `earlier`."""
        edges_s, known_s = self.duration.edges_s, earlier.duration.edges_s
        return (
            not (self.lanes - earlier.lanes) & FALLEN
            and self.engine_busy_s >= earlier.engine_busy_s
            and (edges_s is known_s or edges_s == known_s)
        )

    def minus(self, earlier: "Counters") -> "Counters | None":
        """What was counted since `earlier`; None when any counter fell, for then another process counts."""
        duration = self.duration.minus(earlier.duration) if self.follows(earlier) else None
        if duration is None:
            return None
        return Counters(
            answered=self.answered - earlier.answered,
            refused=self.refused - earlier.refused,
            failed=self.failed - earlier.failed,
            duration=duration,
            engine_busy_s=self.engine_busy_s - earlier.engine_busy_s,
            batches=self.batches - earlier.batches,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaSample:
    """One scrape of one replica's own /metrics."""

    replica_id: str
    model: str
    slot_id: str | None
    """The slot it is bound to, node/index; None when it said nothing about one."""
    at_s: float
    counters: Counters
    in_flight: int
    """Requests accepted and not yet answered, those that wait included."""
    queued: int
    """Those of them that still wait for the engine."""
    arrived: int = field(init=False, repr=False, compare=False)
    """Requests that have come since the process started: those that ended, and those in flight."""

    def __post_init__(self) -> None:
        if not 0 <= self.queued <= self.in_flight:
            raise ValueError(f"queued is {self.queued}; between 0 and in_flight, which is {self.in_flight}")
        object.__setattr__(self, "arrived", self.counters.ended + self.in_flight)


@dataclass(frozen=True, slots=True, kw_only=True)
class IngressSample:
    """What the ingress has counted of one model since its process started."""

    model: str
    at_s: float
    unanswered: int
    """Requests to the model that found no replica of it up; they were refused."""
    process: str = ""
    """Which process counts: a count under another name began anew."""

    def __post_init__(self) -> None:
        if self.unanswered < 0:
            raise ValueError(f"unanswered is {self.unanswered}; a counter is at least 0")


class ReplicaState(StrEnum):
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaSeen:
    """A replica as Ray Serve lists it; `worker` is the pod (namespace/name) it lives in, None while it has none."""

    replica_id: str
    state: ReplicaState
    worker: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentSeen:
    """One model's Ray Serve deployment: the target it was given and the replicas it has."""

    model: str
    at_s: float
    target: int
    replicas: tuple[ReplicaSeen, ...] = ()

    def count(self, state: ReplicaState) -> int:
        return sum(replica.state is state for replica in self.replicas)

    @property
    def lived_in(self) -> list[str | None]:
        """Workers in which a replica runs."""
        running = ReplicaState.RUNNING
        return [replica.worker for replica in self.replicas if replica.state is running]

    @property
    def running_ids(self) -> tuple[str, ...]:
        running = ReplicaState.RUNNING  # thousands in a tick: a list is made and sorted in half of a generator's time
        return tuple(sorted([replica.replica_id for replica in self.replicas if replica.state is running]))


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSeen:
    """A worker pod (namespace/name) of a pool; `node` is None until it is scheduled."""

    pod: str
    node: str | None
    ready: bool
    """Its Ray node is alive and could take a replica."""
    deleting: bool = False
    draining: bool = False
    """Its Ray node takes no new replica and cannot be made to again: the worker must go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSeen:
    """A worker pool: how many pods it was asked for, and those there are."""

    pool: str
    at_s: float
    wanted: int
    workers: tuple[WorkerSeen, ...] = ()

    @property
    def live(self) -> tuple[WorkerSeen, ...]:
        """Workers that are not on their way out."""
        return tuple([worker for worker in self.workers if not worker.deleting])

    @property
    def ready_count(self) -> int:
        return sum(worker.ready for worker in self.live)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotReading:
    """NVML's engine utilization of one slot as a part of the whole physical engine, 0 to 1."""

    slot_id: str
    at_s: float
    busy_ratio: float

    def __post_init__(self) -> None:
        if not 0 <= self.busy_ratio <= 1:
            raise ValueError(f"busy_ratio is {self.busy_ratio}; 0 to 1 of the physical engine")


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation(ByName):
    """Everything seen in one tick."""

    replicas: tuple[ReplicaSample, ...] = ()
    deployments: tuple[DeploymentSeen, ...] = ()
    pools: tuple[PoolSeen, ...] = ()
    slots: tuple[SlotReading, ...] = ()
    ingress: tuple[IngressSample, ...] = ()
    missing: tuple[Missing, ...] = ()

    def why_missing(self, source: Source, name: str) -> Missing:
        """The reason given for an absent reading, or NOT_SEEN when none was."""
        told = self.names.missing.get((source, name))
        return Missing(source=source, name=name, reason=MissingReason.NOT_SEEN) if told is None else told

    def missing_by_name(self, source: Source) -> dict[str, Missing]:
        """The reasons given for the absent readings of one kind, as `why_missing` would find them one by one."""
        return {missing.name: missing for missing in reversed(self.missing) if missing.source == source}

    def deployment(self, model: str, *, now_s: float, max_age_s: float) -> DeploymentSeen | Missing:
        return self.deployments_of([model], now_s=now_s, max_age_s=max_age_s)[model]

    def deployments_of(
        self, models: Iterable[str], *, now_s: float, max_age_s: float
    ) -> dict[str, DeploymentSeen | Missing]:
        """Each model's fresh deployment, or why there is none."""
        known = {seen.model: seen for seen in reversed(self.deployments)}
        found: dict[str, DeploymentSeen | Missing] = {}
        for model in models:
            seen = known.get(model)
            if seen is None:
                found[model] = self.why_missing(Source.DEPLOYMENT, model)
            else:
                found[model] = _fresh(seen, Source.DEPLOYMENT, model, now_s - seen.at_s, max_age_s)
        return found

    def pool(self, pool: str, *, now_s: float, max_age_s: float) -> PoolSeen | Missing:
        found = next((seen for seen in self.pools if seen.pool == pool), None)
        if found is None:
            return self.why_missing(Source.POOL, pool)
        return _fresh(found, Source.POOL, pool, now_s - found.at_s, max_age_s)

    def ingress_of(self, model: str, *, now_s: float, max_age_s: float) -> IngressSample | Missing:
        found = self.names.ingress.get(model)
        if found is None:
            return self.why_missing(Source.INGRESS, model)
        return _fresh(found, Source.INGRESS, model, now_s - found.at_s, max_age_s)


_Seen = TypeVar("_Seen", DeploymentSeen, PoolSeen, IngressSample)


def _fresh(seen: _Seen, source: Source, name: str, age_s: float, max_age_s: float) -> _Seen | Missing:
    if age_s > max_age_s:
        return Missing(source=source, name=name, reason=MissingReason.STALE, age_s=age_s)
    return seen
