"""The autoscaler as a process: wires the loop to a cluster and runs it until it is told to stop."""

import random
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autoscaler.adapters.cluster import DeploymentCluster
from autoscaler.adapters.events import Events
from autoscaler.adapters.journal import Journal
from autoscaler.adapters.ray_serve import RayServe
from autoscaler.adapters.scrape import HttpMetrics
from autoscaler.adapters.telemetry import Telemetry
from autoscaler.core.spec import FleetSpec
from autoscaler.loop import Loop, World
from autoscaler.ports import Recorder, Tick
from vgpu.adapters import kube


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where the autoscaler finds its world."""

    kubeconfig: Path | None
    namespace: str
    ray_url: str
    ray_token_file: Path | None
    listen_host: str
    listen_port: int
    interval_s: float
    journal: Path | None
    dry_run: bool


class RealClock:
    """Monotonic time; `stop` ends a sleep."""

    def __init__(self) -> None:
        self._stopped = threading.Event()

    def now_s(self) -> float:
        return time.monotonic()

    def sleep(self, duration_s: float) -> bool:
        return not self._stopped.wait(duration_s)

    def stop(self) -> None:
        self._stopped.set()


@dataclass(frozen=True, slots=True)
class Everyone:
    """Tells several recorders."""

    recorders: Sequence[Recorder]

    def record(self, tick: Tick) -> None:
        for recorder in self.recorders:
            recorder.record(tick)


def run(spec: FleetSpec, settings: Settings) -> None:
    """Run until SIGTERM or ctrl-C. Raises `OSError` for a taken port, `kube.Unavailable` for an unusable kubeconfig."""
    client = kube.connect(settings.kubeconfig)
    serving = RayServe(settings.ray_url, token_file=settings.ray_token_file, namespace=settings.namespace)
    telemetry = Telemetry(spec)
    server = telemetry.serve(settings.listen_host, settings.listen_port)
    clock = RealClock()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: clock.stop())
    recorders: list[Recorder] = [telemetry, Events(client, spec, namespace=settings.namespace)]
    journal = Journal(settings.journal) if settings.journal else None
    if journal is not None:
        recorders.append(journal)
    world = World(
        cluster=DeploymentCluster(client, namespace=settings.namespace),
        serving=serving,
        metrics=HttpMetrics(),
        recorder=Everyone(recorders),
        clock=clock,
        draw=random.random,
    )
    try:
        Loop(spec, world, interval_s=settings.interval_s, dry_run=settings.dry_run).run()
    finally:
        server.shutdown()
        server.server_close()
        serving.close()
        client.close()
        if journal is not None:
            journal.close()
