"""What one worker says about itself at /metrics: latency, queue, in flight, engine-busy seconds.

These names are public interface: dashboards, alerts and the autoscaler read them. The histograms are in seconds and
the latency objective is one of the request histogram's edges, so attainment is an exact ratio of two counters.
"""

from dataclasses import asdict, dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, disable_created_metrics

# A second family of timestamps for every counter and histogram, which nobody here reads.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the package leaves it unannotated

# Seconds. Roughly a factor of 1.5 apart where objectives lie, so that a quantile is off by a quarter at most.
LATENCY_EDGES_S = (
    0.001, 0.0025, 0.005, 0.01, 0.015, 0.025, 0.04, 0.06, 0.08, 0.1, 0.125, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.65, 0.8,
    1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
BATCH_EDGES = (1, 2, 4, 8, 16, 32, 64, 128)


@dataclass(frozen=True, slots=True)
class WorkerMetrics:
    """The worker's own registry; one per replica process."""

    registry: CollectorRegistry
    requests: Counter
    request_duration_s: Histogram
    queue_duration_s: Histogram
    execution_duration_s: Histogram
    batch_size: Histogram
    in_flight: Gauge
    queued_rows: Gauge
    engine_busy_s: Counter
    host_late: Counter
    ready: Gauge


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
    edges = tuple(sorted({*LATENCY_EDGES_S, objective_s}))
    info = Info("vgpu_serve_worker", "Which replica this worker runs, on which slot", registry=registry)
    info.info(asdict(identity))

    def histogram(name: str, documentation: str, buckets: tuple[float, ...]) -> Histogram:
        family = Histogram(name, documentation, ["model"], registry=registry, buckets=buckets)
        return family.labels(identity.model)

    def gauge(name: str, documentation: str) -> Gauge:
        return Gauge(name, documentation, ["model"], registry=registry).labels(identity.model)

    def counter(name: str, documentation: str) -> Counter:
        return Counter(name, documentation, ["model"], registry=registry).labels(identity.model)

    answered = "Answered requests, refused ones included"
    return WorkerMetrics(
        registry=registry,
        requests=Counter("vgpu_serve_requests_total", answered, ["model", "code"], registry=registry),
        request_duration_s=histogram(
            "vgpu_serve_request_duration_seconds", "From the request's arrival to its answer", edges
        ),
        queue_duration_s=histogram("vgpu_serve_queue_duration_seconds", "A row's wait for its batch", edges),
        execution_duration_s=histogram("vgpu_serve_execution_duration_seconds", "One batch on the slot", edges),
        batch_size=histogram("vgpu_serve_batch_size", "Rows in one batch", BATCH_EDGES),
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
