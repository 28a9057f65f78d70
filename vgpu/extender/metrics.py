"""The extender's own metrics. Names and labels are public interface; README.md says what to do about them."""

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from vgpu.core.hold import State
from vgpu.core.ledger import Ledger
from vgpu.core.offer import NO_UNITS

# A second family of timestamps for every counter and histogram, which nobody here reads.
disable_created_metrics()  # type: ignore[no-untyped-call]  # has no types

# Seconds: a decision takes 0.1 ms to 20 ms, a Binding as long as the API server takes.
_BUCKETS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0)

_NODES_AT_ONCE = 200


class Outcome(StrEnum):
    """How a filter or a bind ended."""

    PLACED = "placed"
    BOUND = "bound"
    NO_ROOM = "no_room"
    BAD_REQUEST = "bad_request"
    MALFORMED = "malformed"
    BUSY = "busy"
    NOT_READY = "not_ready"
    BIND_FAILED = "bind_failed"


@dataclass(frozen=True, slots=True)
class Tally:
    """What is counted as it happens."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    _seconds: Histogram = field(init=False)
    _outcomes: Counter = field(init=False)
    _drift: Gauge = field(init=False)
    _drifted: Counter = field(init=False)
    _reconciled: Gauge = field(init=False)

    def __post_init__(self) -> None:
        made = {
            "_seconds": Histogram(
                "vgpu_extender_seconds", "Time to answer, body read and written", ("verb",), buckets=_BUCKETS_S,
                registry=self.registry,
            ),
            "_outcomes": Counter(
                "vgpu_extender_outcomes", "Answers to filter and bind by outcome", ("outcome",), registry=self.registry
            ),
            "_drift": Gauge(
                "vgpu_ledger_drift_pods", "Pods about which ledger and annotations disagreed, at the last comparison",
                registry=self.registry,
            ),
            "_drifted": Counter(
                "vgpu_ledger_drift_repaired", "Entries that a comparison had to correct", registry=self.registry
            ),
            "_reconciled": Gauge(
                "vgpu_ledger_reconciled_timestamp_seconds", "When ledger and annotations were last compared, Unix time",
                registry=self.registry,
            ),
        }  # fmt: skip
        for name, metric in made.items():
            object.__setattr__(self, name, metric)
        for outcome in Outcome:
            self._outcomes.labels(outcome)

    def count(self, outcome: Outcome) -> None:
        """Count an answer."""
        self._outcomes.labels(outcome).inc()

    def took(self, verb: str, seconds: float) -> None:
        """Note how long an answer took."""
        self._seconds.labels(verb).observe(seconds)

    def compared(self, differing: int, *, unix_s: float) -> None:
        """Note a comparison of ledger and annotations."""
        self._drift.set(differing)
        self._drifted.inc(differing)
        self._reconciled.set(unix_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerCollector(Collector):
    """Reads the ledger when Prometheus asks."""

    ledger: Ledger
    lock: threading.Lock
    clock: Callable[[], float]
    is_ready: Callable[[], bool]

    def collect(self) -> Iterator[Metric]:
        """The families of this moment."""
        now_s = self.clock()
        with self.lock:  # figures are copied under the lock, text is made after it
            promised = [e.since_s for e in self.ledger.entries.values() if e.state is not State.BOUND]
            counts = dict.fromkeys(State, 0)
            for entry in self.ledger.entries.values():
                counts[entry.state] += bool(entry.hold.kept_units)
        yield _single("vgpu_extender_ready", "1 while this process decides", float(self.is_ready()))
        age_s = now_s - min(promised, default=now_s)
        yield _single("vgpu_ledger_oldest_promise_seconds", "Age of the oldest entry not yet bound", age_s)
        entries = GaugeMetricFamily("vgpu_ledger_pods", "Pods with units, by state of the entry", labels=("state",))
        for state, count in counts.items():
            entries.add_metric((state,), count)
        yield entries
        yield from _amounts(self._rows())

    def _rows(self) -> Iterator["_Row"]:
        """Read node after node, some hundred at a time: all 5,000 at once would keep the scheduler waiting 20 ms."""
        with self.lock:
            names = list(self.ledger.offers)
        for start in range(0, len(names), _NODES_AT_ONCE):
            rows = []
            with self.lock:
                for name in names[start : start + _NODES_AT_ONCE]:
                    offer = self.ledger.offers.get(name)
                    if offer is None or offer.refusal == NO_UNITS:
                        continue
                    free, taken = self.ledger.free_units(name), self.ledger.taken_units(name)
                    gpus = tuple((units, taken.get(gpu.key, 0)) for gpu, units in zip(offer.gpus, free, strict=True))
                    rows.append(_Row(node=name, gpus=gpus, is_refused=bool(self.ledger.refusal(name))))
            yield from rows


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """A node: free and taken units by GPU index."""

    node: str
    gpus: tuple[tuple[int, int], ...]
    is_refused: bool


def _amounts(rows: Iterable[_Row]) -> Iterator[Metric]:
    labels = ("node", "gpu")
    free = GaugeMetricFamily("vgpu_gpu_free_units", "Units of a GPU that nobody holds", labels=labels)
    allocated = GaugeMetricFamily("vgpu_gpu_allocated_units", "Units of a GPU that pods hold", labels=labels)
    refused = GaugeMetricFamily("vgpu_node_refused", "1 for a node that takes no fractions now", labels=("node",))
    partly = idle = 0
    for row in rows:
        refused.add_metric((row.node,), float(row.is_refused))
        for index, (units, taken) in enumerate(row.gpus):
            key = (row.node, str(index))
            free.add_metric(key, units)
            allocated.add_metric(key, taken)
            idle += 0 if taken else units
            partly += units if taken else 0
    yield from (free, allocated, refused)
    yield _single("vgpu_units_free_on_idle_gpus", "Free units of GPUs that nobody shares", idle)
    yield _single("vgpu_units_free_on_shared_gpus", "Free units beside somebody: no whole GPU fits there", partly)
    ratio = partly / (partly + idle) if partly + idle else 0.0
    yield _single("vgpu_fragmentation_ratio", "Part of the free units that lies on shared GPUs, 0 to 1", ratio)


def _single(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)
