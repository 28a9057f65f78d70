"""What one worker says about itself at /metrics: latency, queue, in flight, engine-busy seconds.

These names are public interface: dashboards, alerts and the autoscaler read them. The histograms are in seconds and
the latency objective is one of the request histogram's edges, so attainment is an exact ratio of two counters.
`requests_within_objective` counts the same without an edge: it goes on when the objective changes, which makes the
histograms begin anew.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, Metric, disable_created_metrics
from prometheus_client.registry import Collector

# A second family of timestamps for every counter and histogram, which nobody here reads.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the package leaves it unannotated

# Seconds. Roughly a factor of 1.5 apart where objectives lie, so that a quantile is off by a quarter at most.
LATENCY_EDGES_S = (
    0.001, 0.0025, 0.005, 0.01, 0.015, 0.025, 0.04, 0.06, 0.08, 0.1, 0.125, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.65, 0.8,
    1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
# A series that begins at its first request hides that one from every rate: what alerts look at is there from the start.
COUNTED_FROM_ZERO = ("200", "429", "500", "503", "504")
BATCH_EDGES = (1, 2, 4, 8, 16, 32, 64, 128)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Durations:
    """The three histograms with one set of edges; the families, and the one model's part of each."""

    families: tuple[Histogram, Histogram, Histogram]
    request_s: Histogram
    queue_s: Histogram
    execution_s: Histogram


class Durations(Collector):
    """The latency histograms, whose edges follow the objective. A scrape sees the old ones or the new ones."""

    def __init__(self, model: str, *, objective_s: float) -> None:
        self._model = model
        self._present = self._made(objective_s)

    def renew(self, *, objective_s: float) -> None:
        """Count from nothing with an edge at another objective; Prometheus takes it as a restarted process."""
        self._present = self._made(objective_s)

    def collect(self) -> Iterator[Metric]:
        """What the registry asks for at a scrape."""
        for family in self._present.families:
            yield from family.collect()

    @property
    def request_s(self) -> Histogram:
        return self._present.request_s

    @property
    def queue_s(self) -> Histogram:
        return self._present.queue_s

    @property
    def execution_s(self) -> Histogram:
        return self._present.execution_s

    def _made(self, objective_s: float) -> _Durations:
        edges = tuple(sorted({*LATENCY_EDGES_S, objective_s}))

        def histogram(name: str, documentation: str) -> Histogram:
            return Histogram(name, documentation, ["model"], registry=None, buckets=edges)

        request = histogram("vgpu_serve_request_duration_seconds", "From the request's arrival to its answer")
        queue = histogram("vgpu_serve_queue_duration_seconds", "A row's wait for its batch")
        execution = histogram("vgpu_serve_execution_duration_seconds", "One batch on the slot")
        return _Durations(
            families=(request, queue, execution),
            request_s=request.labels(self._model),
            queue_s=queue.labels(self._model),
            execution_s=execution.labels(self._model),
        )


@dataclass(frozen=True, slots=True)
class WorkerMetrics:
    """The worker's own registry; one per replica process."""

    registry: CollectorRegistry
    requests: Counter
    requests_within_objective: Counter
    durations: Durations
    batch_size: Histogram
    in_flight: Gauge
    queued_rows: Gauge
    engine_busy_s: Counter
    host_late: Counter
    ready: Gauge

    @property
    def request_duration_s(self) -> Histogram:
        return self.durations.request_s

    @property
    def queue_duration_s(self) -> Histogram:
        return self.durations.queue_s

    @property
    def execution_duration_s(self) -> Histogram:
        return self.durations.execution_s


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerIdentity:
    """Who speaks: constant labels of `vgpu_serve_worker_info`."""

    model: str
    replica: str
    slot: str
    worker: str
    profile: str
    device_kind: str


def create(identity: WorkerIdentity, *, objective_s: float) -> WorkerMetrics:
    """The worker's metric families, with an edge exactly at the objective."""
    registry = CollectorRegistry()
    info = Info("vgpu_serve_worker", "Which replica this worker runs, on which slot", registry=registry)
    info.info(asdict(identity))

    def gauge(name: str, documentation: str) -> Gauge:
        return Gauge(name, documentation, ["model"], registry=registry).labels(identity.model)

    def counter(name: str, documentation: str) -> Counter:
        return Counter(name, documentation, ["model"], registry=registry).labels(identity.model)

    answered = "Answered requests, refused ones included"
    requests = Counter("vgpu_serve_requests_total", answered, ["model", "code"], registry=registry)
    for code in COUNTED_FROM_ZERO:
        requests.labels(identity.model, code)
    within = counter(
        "vgpu_serve_requests_within_objective_total", "Requests answered with 200 within the objective of that time"
    )
    durations = Durations(identity.model, objective_s=objective_s)
    registry.register(durations)
    batch_size = Histogram(
        "vgpu_serve_batch_size", "Rows in one batch", ["model"], registry=registry, buckets=BATCH_EDGES
    )
    return WorkerMetrics(
        registry=registry,
        requests=requests,
        requests_within_objective=within,
        durations=durations,
        batch_size=batch_size.labels(identity.model),
        in_flight=gauge("vgpu_serve_requests_in_flight", "Requests being answered now"),
        queued_rows=gauge("vgpu_serve_queued_rows", "Rows waiting for a batch now"),
        engine_busy_s=counter(
            "vgpu_serve_engine_busy_seconds_total",
            "Time with a batch on the engine, waits for the slot's time slices included: 1 s/s is a full slot",
        ),
        host_late=counter(
            "vgpu_serve_host_late_total", "Emulated slots: batches the host finished after the emulated engine"
        ),
        ready=gauge("vgpu_serve_ready", "1 when the model is loaded and its slot answers"),
    )
