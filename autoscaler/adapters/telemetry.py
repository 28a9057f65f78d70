"""What the autoscaler says about itself: its own metrics and the state that `status` and `explain` read, over HTTP.

These metric names are public interface. Gauges are rendered from the last tick, so a reading that has gone missing, or
a node that has left, has no series: a gap on a graph, never a zero and never its last value for ever.
"""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from autoscaler.adapters import view
from autoscaler.core.observation import ReplicaState
from autoscaler.core.signals import Signal
from autoscaler.core.spec import FleetSpec
from autoscaler.ports import Tick

# A second family of timestamps for every counter and histogram, which nobody here reads.
disable_created_metrics()  # type: ignore[no-untyped-call]  # has no types


class TickGauges(Collector):
    """One tick as gauges."""

    def __init__(self) -> None:
        self.tick: Tick | None = None

    def collect(self) -> Iterator[Metric]:
        """The families of the last tick; none before the first."""
        if (tick := self.tick) is None:
            return
        replicas = GaugeMetricFamily("vgpu_serve_replicas", "Replicas of a model", labels=("model", "state"))
        for deployment in tick.seen.deployments:
            for state in ReplicaState:
                replicas.add_metric((deployment.model, state), deployment.count(state))
        slots = GaugeMetricFamily("vgpu_serve_slots", "Slots of a node", labels=("node", "state"))
        for node in tick.inventory.nodes:
            slots.add_metric((node.name, "used"), len(node.held))
            slots.add_metric((node.name, "free"), len(node.free))
        signals = GaugeMetricFamily(
            "vgpu_serve_signal", "What a decision was made from, by name with its unit", labels=("model", "signal")
        )
        missing = GaugeMetricFamily(
            "vgpu_serve_signals_missing", "Readings a decision had to do without", labels=("model",)
        )
        for decision in tick.plan.decisions if tick.plan else ():
            replicas.add_metric((decision.model, "desired"), decision.count)
            if decision.signals is None:
                continue
            missing.add_metric((decision.model,), len(decision.signals.gaps))
            for name in view.SIGNALS:
                if isinstance(signal := getattr(decision.signals, name), Signal):
                    signals.add_metric((decision.model, name), signal.value)
        problems = GaugeMetricFamily("vgpu_serve_problems", "Problems of the last tick", value=len(tick.problems))
        yield from (replicas, slots, signals, missing, problems)


class Telemetry:
    """Keeps the last tick, and counts all of them."""

    def __init__(self, spec: FleetSpec) -> None:
        self._spec = spec
        self._gauges = TickGauges()
        self.registry = registry = CollectorRegistry()
        registry.register(self._gauges)
        self._decisions = Counter(
            "vgpu_serve_decisions_total", "Decisions by what settled them", ["model", "reason"], registry=registry
        )
        self._failed_actions = Counter(
            "vgpu_serve_actuation_errors_total", "Actions that could not be carried out", registry=registry
        )
        self._failed_ticks = Counter("vgpu_serve_failed_ticks_total", "Ticks that a defect ended", registry=registry)
        self._duration = Histogram("vgpu_serve_tick_duration_seconds", "One tick of the loop", registry=registry)

    def record(self, tick: Tick) -> None:
        """Take in one tick."""
        self._gauges.tick = tick
        self._duration.observe(tick.duration_s)
        self._failed_actions.inc(len(tick.failed_actions))
        self._failed_ticks.inc(tick.defect is not None)
        for decision in tick.plan.decisions if tick.plan else ():
            self._decisions.labels(decision.model, str(decision.reason)).inc()

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """Status, content type and body of one GET."""
        tick = self._gauges.tick
        if path == "/metrics":
            return 200, CONTENT_TYPE_LATEST, generate_latest(self.registry)
        if path == "/healthz":
            return 200, "text/plain", b"ok\n"
        if not path.startswith("/v1/"):
            return _json(404, {"error": f"nothing at {path}; see /v1/state and /metrics"})
        if tick is None:
            return _json(503, {"error": "the first tick is not over yet"})
        if path == "/v1/state":
            return _json(200, view.render(self._spec, tick))
        explained = view.explain(self._spec, tick, path.removeprefix("/v1/models/"))
        known = ", ".join(f"/v1/models/{model.name}" for model in self._spec.models)
        return _json(200, explained) if explained else _json(404, {"error": f"nothing at {path}; there are {known}"})

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


def _json(status: int, document: Any) -> tuple[int, str, bytes]:  # noqa: ANN401  # JSON
    return status, "application/json", json.dumps(document).encode()
