"""The autoscaler as a process: wires the loop to a cluster and runs it until it is told to stop."""

import random
import secrets
import signal
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from autoscaler.adapters.cluster import open_cluster
from autoscaler.adapters.events import Events
from autoscaler.adapters.ingress import HaproxyIngress
from autoscaler.adapters.journal import Journal
from autoscaler.adapters.lease import LeaseLeadership
from autoscaler.adapters.models_file import ModelsFile
from autoscaler.adapters.problem_log import ProblemLog
from autoscaler.adapters.ray_serve import RayServe
from autoscaler.adapters.scrape import HttpMetrics
from autoscaler.adapters.telemetry import Telemetry
from autoscaler.core.spec import FleetSpec
from autoscaler.loop import Loop, World
from autoscaler.ports import Clock, Recorder, Tick
from autoscaler.refusal import Refused
from vgpu.adapters import kube

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where the autoscaler finds its world."""

    kubeconfig: Path | None
    namespace: str
    ray_url: str
    ray_token_file: Path | None
    ingress_url: str | None = None
    listen_host: str
    listen_port: int
    interval_s: float
    journal: Path | None
    dry_run: bool
    ray_cluster: str | None = None
    """The RayCluster whose worker groups are the pools; None: each pool is a Deployment."""


class RealClock:
    """Monotonic time; `stop` ends a sleep."""

    def __init__(self) -> None:
        self._stopped = threading.Event()

    def now_s(self) -> float:
        """Seconds since the machine was started."""
        return time.monotonic()

    def sleep(self, duration_s: float) -> bool:
        """Wait; False once stopped."""
        return not self._stopped.wait(duration_s)

    def stop(self) -> None:
        """End the sleep and all later ones."""
        self._stopped.set()


@dataclass(frozen=True, slots=True)
class Everyone:
    """Tells several recorders."""

    recorders: Sequence[Recorder]

    def record(self, tick: Tick) -> None:
        """Tell each in turn."""
        for recorder in self.recorders:
            recorder.record(tick)


def run(models: Path, settings: Settings) -> None:
    """Run until SIGTERM or ctrl-C. Raises `Refused` with everything that keeps it from starting."""
    clock = RealClock()
    with ExitStack() as opened:
        world = _open(models, settings, clock, opened)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: clock.stop())
        Loop(world, interval_s=settings.interval_s, dry_run=settings.dry_run).run()


def _open(models: Path, settings: Settings, clock: Clock, opened: ExitStack) -> World:
    """Open the ports of the loop; `opened` closes them."""
    file = ModelsFile(models, check=lambda spec: _unheard(spec, settings))
    problems = _unheard(file.spec, settings)
    telemetry = Telemetry(now_s=clock.now_s, interval_s=settings.interval_s)
    recorders: list[Recorder] = [telemetry, ProblemLog()]
    try:
        server = telemetry.serve(settings.listen_host, settings.listen_port)
        opened.callback(server.server_close)
        opened.callback(server.shutdown)
    except OSError as error:
        listen = f"{settings.listen_host}:{settings.listen_port}"
        problems.append(f"cannot listen on {listen}: {error.strerror}; choose another with --listen")
    if settings.journal is not None:
        try:
            recorders.append(opened.enter_context(closing(Journal(settings.journal))))
        except OSError as error:
            problems.append(f"journal {settings.journal}: {error.strerror}; name a file that can be written")
    try:
        client = opened.enter_context(closing(kube.connect(settings.kubeconfig)))
    except kube.Unavailable as error:
        raise Refused("\n".join([*problems, f"{error}; give one with --kubeconfig"])) from error
    if problems:
        raise Refused("\n".join(problems))
    recorders.append(Events(client, namespace=settings.namespace, ray_cluster=settings.ray_cluster))
    holder = identity(f"{settings.listen_host}:{server.server_port}")
    leadership = LeaseLeadership(client, namespace=settings.namespace, holder=holder, interval_s=settings.interval_s)
    serving = RayServe(settings.ray_url, token_file=settings.ray_token_file, namespace=settings.namespace)
    return World(
        models=file,
        cluster=open_cluster(client, namespace=settings.namespace, ray_cluster=settings.ray_cluster),
        serving=opened.enter_context(closing(serving)),
        metrics=HttpMetrics(),
        leadership=opened.enter_context(closing(leadership)),
        recorder=Everyone(recorders),
        clock=clock,
        draw=random.random,
        ingress=None if settings.ingress_url is None else _ingress(settings.ingress_url, opened),
    )


def _ingress(url: str, opened: ExitStack) -> HaproxyIngress:
    return opened.enter_context(closing(HaproxyIngress(url)))


def _unheard(spec: FleetSpec, settings: Settings) -> list[str]:
    """Models that nobody could wake."""
    names = ", ".join(model.name for model in spec.models if model.min_replicas == 0)
    if not names or settings.ingress_url is not None:
        return []
    why = "has min_replicas 0 and without --ingress-url nobody hears who asks"
    return [f"{names}: {why}; give HAProxy's metrics port, or min_replicas 1"]


def identity(listen: str) -> str:
    """A name that no other running autoscaler has, and that this one has again after a restart, to go on at once.

    Only one process at a time listens on an address of a machine, and this one does before it takes the lease. Machines
    may share their name, but not the id of their boot; pods of one machine share that, but not their name.
    """
    try:
        boot = BOOT_ID.read_text().strip()
    except OSError:
        boot = secrets.token_hex(8)
    return f"{socket.gethostname()}/{listen}/{boot}"
