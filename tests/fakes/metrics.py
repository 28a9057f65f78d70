"""What workers and nodes would say at `/metrics`, counted up from a load that the test sets.

`tests/contracts/ports` holds it to what `HttpMetrics` does over HTTP.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from autoscaler.core.observation import Counters, Missing, MissingReason, ReplicaSample, SlotReading, Source
from autoscaler.ports import Endpoint, Scraped
from tests import build


@dataclass(frozen=True)
class Load:
    """What every replica of a model sees."""

    per_s: float = 10.0
    latency_ms: float = 40.0
    in_flight: int = 1
    queued: int = 0


@dataclass
class FakeMetrics:
    """The loop's `Metrics`. `running` says which replica, of which model, lives in a worker; `nodes` where that is."""

    running: Callable[[], Mapping[str, tuple[str, str]]]
    nodes: Callable[[], Mapping[str, str]]
    load: Load = Load()
    busy_ratio: float = 0.3
    silent: set[str] = field(default_factory=set)
    """Workers and nodes that do not answer."""
    rounds: list[tuple[str, ...]] = field(default_factory=list)
    _counts: dict[str, tuple[float, float, dict[float, int]]] = field(default_factory=dict)
    """By replica: when last scraped, what part of a request is owed, and requests by latency."""

    def scrape(self, workers: Sequence[Endpoint], exporters: Sequence[Endpoint], now_s: float) -> Scraped:
        self.rounds.append(tuple(endpoint.name for endpoint in (*workers, *exporters)))
        running = self.running()
        answering = [worker.name for worker in workers if worker.name in running and worker.name not in self.silent]
        return Scraped(
            replicas=tuple(self._sample(worker, *running[worker], now_s) for worker in answering),
            slots=tuple(
                SlotReading(slot_id=f"{node.name}/0", at_s=now_s, busy_ratio=self.busy_ratio)
                for node in exporters
                if node.name not in self.silent
            ),
            missing=(
                *(_silent(Source.REPLICA, worker.name) for worker in workers if worker.name not in answering),
                *(_silent(Source.SLOT, node.name) for node in exporters if node.name in self.silent),
            ),
        )

    def _sample(self, worker: str, replica: str, model: str, now_s: float) -> ReplicaSample:
        since_s, owed, counts = self._counts.get(replica, (now_s, 0.0, {}))
        owed += self.load.per_s * (now_s - since_s)
        counts = {**counts, self.load.latency_ms: counts.get(self.load.latency_ms, 0) + int(owed)}
        self._counts[replica] = (now_s, owed - int(owed), counts)
        duration = build.histogram(counts)
        return ReplicaSample(
            replica_id=replica,
            model=model,
            slot_id=f"{self.nodes()[worker]}/0",
            at_s=now_s,
            counters=Counters(answered=duration.total, refused=0, failed=0, duration=duration, engine_busy_s=0.0),
            in_flight=self.load.in_flight,
            queued=self.load.queued,
        )


def _silent(source: Source, name: str) -> Missing:
    return Missing(source=source, name=name, reason=MissingReason.UNREACHABLE)
