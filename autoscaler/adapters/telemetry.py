"""What the autoscaler says about itself: its own metrics and the state that `status` and `explain` read, over HTTP."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from autoscaler.adapters import view
from autoscaler.core.observation import Missing, ReplicaState
from autoscaler.core.signals import Signal
from autoscaler.core.spec import FleetSpec
from autoscaler.ports import Tick


class Telemetry:
    """Keeps the last tick, and counts all of them."""

    def __init__(self, spec: FleetSpec) -> None:
        self._spec = spec
        self._last: Tick | None = None
        self._lock = threading.Lock()
        self.registry = registry = CollectorRegistry()
        self._replicas = Gauge("vgpu_serve_replicas", "Replicas of a model", ["model", "state"], registry=registry)
        self._decisions = Counter(
            "vgpu_serve_decisions_total", "Decisions by what settled them", ["model", "reason"], registry=registry
        )
        self._signal = Gauge(
            "vgpu_serve_signal", "What a decision was made from, by name with its unit", ["model", "signal"],
            registry=registry,
        )  # fmt: skip
        self._missing = Gauge(
            "vgpu_serve_signals_missing", "Readings a decision had to do without", ["model"], registry=registry
        )
        self._slots = Gauge("vgpu_serve_slots", "Slots of a node", ["node", "state"], registry=registry)
        self._failures = Counter(
            "vgpu_serve_actuation_errors_total", "Actions that could not be carried out", registry=registry
        )
        self._problems = Gauge("vgpu_serve_problems", "Problems of the last tick", registry=registry)
        self._duration = Histogram("vgpu_serve_tick_duration_seconds", "One tick of the loop", registry=registry)

    def record(self, tick: Tick) -> None:
        """Take in one tick."""
        with self._lock:
            self._last = tick
        self._duration.observe(tick.duration_s)
        self._failures.inc(len(tick.failed_actions))
        self._problems.set(len(tick.problems))
        for deployment in tick.seen.deployments:
            for state in ReplicaState:
                self._replicas.labels(deployment.model, str(state)).set(deployment.count(state))
        for node in tick.inventory.nodes:
            self._slots.labels(node.name, "used").set(len(node.held))
            self._slots.labels(node.name, "free").set(len(node.free))
        for decision in tick.plan.decisions if tick.plan else ():
            self._replicas.labels(decision.model, "desired").set(decision.count)
            self._decisions.labels(decision.model, str(decision.reason)).inc()
            if decision.signals is None:
                continue
            self._missing.labels(decision.model).set(len(decision.signals.gaps))
            for name in ("p50_ms", "p95_ms", "attainment_ratio", "offered_per_s", "in_flight", "utilization_ratio"):
                self._set_signal(decision.model, name, getattr(decision.signals, name))

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """Status, content type and body of one GET."""
        with self._lock:
            tick = self._last
        if path == "/metrics":
            return 200, CONTENT_TYPE_LATEST, generate_latest(self.registry)
        if path == "/healthz":
            return 200, "text/plain", b"ok\n"
        if tick is None:
            return _json(503, {"error": "the first tick is not over yet"})
        if path == "/v1/state":
            return _json(200, view.render(self._spec, tick))
        if path.startswith("/v1/models/"):
            explained = view.explain(self._spec, tick, path.removeprefix("/v1/models/"))
            known = ", ".join(model.name for model in self._spec.models)
            return _json(200, explained) if explained else _json(404, {"error": f"no such model; there are {known}"})
        return _json(404, {"error": f"nothing at {path}; see /v1/state and /metrics"})

    def serve(self, host: str, port: int) -> ThreadingHTTPServer:
        """Answer in a thread. Raises `OSError` where the port is taken."""
        telemetry = self

        class Answers(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, content_type, body = telemetry.answer(self.path)
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: object) -> None:
                return

        server = ThreadingHTTPServer((host, port), Answers)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server

    def _set_signal(self, model: str, name: str, signal: Signal | Missing) -> None:
        """A missing signal has no series: a gap on a graph, never a zero."""
        if isinstance(signal, Signal):
            self._signal.labels(model, name).set(signal.value)
        elif (model, name) in self._signal._metrics:  # removing an absent series raises
            self._signal.remove(model, name)


def _json(status: int, document: Any) -> tuple[int, str, bytes]:  # noqa: ANN401  # JSON
    return status, "application/json", json.dumps(document).encode()
