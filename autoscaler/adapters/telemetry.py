"""What the autoscaler says about itself: its own metrics and the state that `status` and `explain` read, over HTTP.

These metric names are public interface; the README beside has the table. Gauges are rendered from the last tick,
so a reading that has gone missing, or a node that has left, has no series: a gap on a graph, never a zero and never its
last value for ever. What is counted of a model goes with the model.
"""

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from typing import Any

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    Info,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from autoscaler.adapters import gauges, view
from autoscaler.adapters.ages import Ages
from autoscaler.adapters.gauges import Shown
from autoscaler.adapters.readiness import Readiness, Stage
from autoscaler.ports import ACTIONS, Change, Tick

# A second family of timestamps for every counter and histogram, which nobody here reads.
disable_created_metrics()  # type: ignore[no-untyped-call]  # has no types

STALLED_TICKS, STALLED_S = 10, 60.0
"""A loop that ended no tick for so many intervals, and for at least so long, has stalled: calls to Kubernetes and Ray
may take 10 s each, and a plan has several."""
START_EDGES_S = (1, 2.5, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600)
CALL_EDGES_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class TickGauges(Collector):
    """The last tick as gauges."""

    def __init__(self) -> None:
        self.shown: Shown | None = None

    def collect(self) -> Iterator[Metric]:
        """The families of the last tick; none before the first."""
        if self.shown is not None:
            yield from gauges.families(self.shown)


class Counts:
    """What adds up over ticks."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.decisions = Counter(
            "vgpu_serve_decisions_total", "Decisions by what settled them", ["model", "reason"], registry=registry
        )
        self.replica_changes = Counter(
            "vgpu_serve_replica_changes_total",
            "Decisions that changed a model's count of replicas",
            ["model", "direction"],
            registry=registry,
        )
        self.time_to_ready = Histogram(
            "vgpu_serve_time_to_ready_seconds",
            "From the decision to add a replica to its worker being ready, from there to the replica running, and both",
            ["model", "stage"],
            buckets=START_EDGES_S,
            registry=registry,
        )
        self.failed_actions = Counter(
            "vgpu_serve_actuation_errors_total", "Actions that could not be carried out", registry=registry
        )
        self.actuation_duration = Histogram(
            "vgpu_serve_actuation_duration_seconds",
            "One call that changes something, failed ones included",
            ["action"],
            buckets=CALL_EDGES_S,
            registry=registry,
        )
        self.failed_ticks = Counter("vgpu_serve_failed_ticks_total", "Ticks that a defect ended", registry=registry)
        self.file_changes = Counter(
            "vgpu_serve_models_file_changes_total",
            "Changed models files by what became of them",
            ["result"],
            registry=registry,
        )
        self.tick_duration = Histogram("vgpu_serve_tick_duration_seconds", "One tick of the loop", registry=registry)
        for change in Change:
            self.file_changes.labels(change)
        for action in ACTIONS:
            self.actuation_duration.labels(action)
        self._models: frozenset[str] = frozenset()

    def keep(self, models: Iterable[str]) -> None:
        """Begin what counts of a new model at 0, and drop every series of a model that is gone."""
        now = tuple(models)
        for name in now:
            if name in self._models:
                continue
            for direction in ("up", "down"):
                self.replica_changes.labels(name, direction)
            for stage in Stage:
                self.time_to_ready.labels(name, stage)
        for name in self._models - set(now):
            for metric in (self.decisions, self.replica_changes, self.time_to_ready):
                metric.remove_by_labels({"model": name})
        self._models = frozenset(now)


class Telemetry:
    """Keeps the last tick, and counts all of them. `now_s` is the loop's clock and `wall_s` Unix time."""

    def __init__(
        self,
        *,
        now_s: Callable[[], float] = time.monotonic,
        wall_s: Callable[[], float] = time.time,
        interval_s: float = 5.0,
        version: str | None = None,
    ) -> None:
        self._now_s = now_s
        self._wall_s = wall_s
        self._stalled_s = max(STALLED_TICKS * interval_s, STALLED_S)
        self._ended_s = now_s()
        """When the last tick ended; before the first, when there was nothing yet."""
        self._gauges = TickGauges()
        self._ages, self._readiness = Ages(), Readiness()
        self.registry = registry = CollectorRegistry()
        registry.register(self._gauges)
        Info("vgpu_serve_build", "Which version this is", registry=registry).info(
            {"version": version or metadata.version("vgpu-serve")}
        )
        self._counts = Counts(registry)

    def record(self, tick: Tick) -> None:
        """Take in one tick."""
        counts = self._counts
        counts.keep(model.name for model in tick.spec.models)
        counts.tick_duration.observe(tick.duration_s)
        counts.failed_actions.inc(len(tick.failed_actions))
        counts.failed_ticks.inc(tick.defect is not None)
        for acted in tick.acted:
            counts.actuation_duration.labels(acted.action).observe(acted.duration_s)
        if tick.models_file.change is not None:
            counts.file_changes.labels(tick.models_file.change).inc()
        for decision in tick.plan.decisions if tick.plan else ():
            counts.decisions.labels(decision.model, str(decision.reason)).inc()
            if not (decision.held or tick.dry_run):
                direction = "up" if decision.count > decision.current else "down"
                counts.replica_changes.labels(decision.model, direction).inc()
        for took in self._readiness.took(tick):
            counts.time_to_ready.labels(took.model, took.stage).observe(took.duration_s)
        ages_s = self._ages.oldest_s(tick)
        self._ended_s = self._now_s()
        self._gauges.shown = Shown(tick=tick, ended_s=self._wall_s(), ages_s=ages_s)

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """Status, content type and body of one GET."""
        tick = self._gauges.shown.tick if self._gauges.shown else None
        if path == "/metrics":
            return 200, CONTENT_TYPE_LATEST, generate_latest(self.registry)
        if path == "/healthz":
            return self._health(self._now_s())
        if path == "/readyz":
            return _text(200, "ok") if tick else _text(503, "the first tick is not over yet")
        if not path.startswith("/v1/"):
            return _json(404, {"error": f"nothing at {path}; see /v1/state and /metrics"})
        if tick is None:
            return _json(503, {"error": "the first tick is not over yet"})
        if path == "/v1/state":
            return _json(200, view.render(tick))
        explained = view.explain(tick, path.removeprefix("/v1/models/"))
        known = ", ".join(f"/v1/models/{model.name}" for model in tick.spec.models)
        return _json(200, explained) if explained else _json(404, {"error": f"nothing at {path}; there are {known}"})

    def _health(self, now_s: float) -> tuple[int, str, bytes]:
        """Whether the loop goes on: a restart helps a loop that hangs, and nothing else."""
        silent_s = now_s - self._ended_s
        if silent_s <= self._stalled_s:
            return _text(200, "ok")
        return _text(503, f"no tick has ended for {silent_s:.0f} s, more than {self._stalled_s:.0f} s: the loop hangs")

    def serve(self, host: str, port: int) -> ThreadingHTTPServer:
        """Answer in a thread. Raises `OSError` where the port is taken."""
        telemetry = self

        class Answers(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, content_type, body = telemetry.answer(self.path.partition("?")[0])
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: object) -> None:
                return

        server = ThreadingHTTPServer((host, port), Answers)
        threading.Thread(target=server.serve_forever, name="telemetry", daemon=True).start()
        return server


def _text(status: int, line: str) -> tuple[int, str, bytes]:
    return status, "text/plain", f"{line}\n".encode()


def _json(status: int, document: Any) -> tuple[int, str, bytes]:  # noqa: ANN401  # JSON
    return status, "application/json", json.dumps(document).encode()
