"""The switcher: `python -m vgpu.switcher --config FILE`."""

import argparse
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from uuid import uuid4

from prometheus_client import CollectorRegistry

from vgpu.adapters import kube
from vgpu.adapters.kube import Kube
from vgpu.switcher import web
from vgpu.switcher.cluster import Cluster
from vgpu.switcher.config import ConfigError, load
from vgpu.switcher.connections import Connections
from vgpu.switcher.followed import Followed
from vgpu.switcher.leading import TIMEOUT_S, Leading
from vgpu.switcher.metrics import StandingCollector, Tally
from vgpu.switcher.observing import Observer
from vgpu.switcher.providers import open_provider
from vgpu.switcher.providers.settings import Vsphere
from vgpu.switcher.records import Records
from vgpu.switcher.room import Autoscaler, NoServing
from vgpu.switcher.running import Switcher
from vgpu.switcher.turn import Hands

log = logging.getLogger("vgpu.switcher")

LISTEN = ("127.0.0.1", 9108)
INTERVAL_S = 2.0
_SIGNALS = {signal.SIGTERM, signal.SIGINT}
_THREADS = 64  # GPUs switched at one time; each may hang in its provider
_DRAIN_S = 10.0  # for turns in flight at the end


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Say what is wrong, a line for each problem; `--help` has the rest."""
        self.exit(2, "".join(f"{self.prog}: {line}\n" for line in message.splitlines()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a switcher lives: its namespace, its name, and whom it asks."""

    namespace: str
    holder: str
    autoscaler_url: str | None
    interval_s: float
    dry_run: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or ctrl-C; 2 if it cannot start, 1 if a part of it failed or what it checks is wrong."""
    parser = _parser(os.environ)
    options = parser.parse_args(arguments)
    if options.check is not None:
        return check(options.check)
    if options.config is None:
        parser.error("no --config; name the switcher's file")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for each look otherwise
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # before any thread, so that all inherit it
    try:
        file = Followed(options.config, interval_s=options.interval_s)
        cluster = kube.connect(options.kubeconfig, timeout_s=TIMEOUT_S)
    except (ConfigError, kube.Unavailable) as refusal:
        parser.error(str(refusal))
    # Under its old name a process that starts again would lead at once, while its former self may still be at work.
    place = Place(
        namespace=options.namespace,
        holder=f"{options.identity}-{uuid4().hex[:8]}",
        autoscaler_url=options.autoscaler_url,
        interval_s=options.interval_s,
        dry_run=options.dry_run,
    )
    process = Process(file, cluster, place)
    try:
        process.listen(options.listen)
    except OSError as problem:
        host, port = options.listen
        parser.error(f"cannot listen on {host}:{port} ({problem.strerror}); free it or choose another with --listen")
    return process.run()


def check(path: Path) -> int:
    """Read a file as the switcher would and list every problem; 1 where there are any. Nothing else is asked."""
    try:
        found = load(path, interval_s=INTERVAL_S)
    except ConfigError as refusal:
        sys.stderr.write(f"{refusal}\n")
        return 1
    entries = len(found.calendar.entries)
    sys.stdout.write(f"{path}: GPUs {', '.join(found.gpus)}; layouts {', '.join(found.layouts)}; {entries} entries\n")
    return 0


class Process:
    """One switcher: its parts, its threads and their end."""

    def __init__(self, file: Followed, cluster: Kube, place: Place) -> None:
        self._file, self._cluster, self._place = file, cluster, place
        self._registry = CollectorRegistry()
        tally = Tally(self._registry)
        for gpu in file.config.gpus:
            tally.know(gpu)
        self._view = NoServing() if place.autoscaler_url is None else Autoscaler(place.autoscaler_url)
        self._connections = Connections(lambda settings: open_provider(settings, cluster), count=tally.failed)
        self._leading = Leading(cluster, namespace=place.namespace, holder=place.holder)
        observer = Observer(Cluster(cluster), self._view, self._connections)
        hands = Hands(
            records=Records(cluster, place.namespace),
            cluster=observer.cluster,
            observer=observer,
            connections=self._connections,
            now_s=time.time,
            may_act=self._leading.may_act,
            moved=tally.moved,
        )
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="turn")
        self._switcher = Switcher(file, hands, pool=self._pool, dry_run=place.dry_run)
        self._registry.register(StandingCollector(lambda: self._switcher.standing))
        self._desk = web.desk(lambda: self._switcher.standing, time.time, observer, place.namespace)
        self._stopped = threading.Event()

    def listen(self, address: tuple[str, int]) -> None:
        """Answer over HTTP from now on. Raises `OSError` where the address is taken."""
        self._web = web.serve(address, self._registry, self._desk)
        threading.Thread(target=self._web.serve_forever, name="http", daemon=True).start()
        log.info("listening on %s:%d as %s", *self._web.server_address[:2], self._place.holder)

    def run(self) -> int:
        """Make passes until a signal comes; what nobody foresaw ends the process, for the next one begins anew."""
        self._warn()
        lease = threading.Thread(target=lambda: self._leading.run(self._stopped), name="lease", daemon=True)
        if not self._place.dry_run:
            self._leading.renew()
            lease.start()
        try:
            self._switcher.step()
            while signal.sigtimedwait(_SIGNALS, self._place.interval_s) is None:
                self._switcher.step()
        finally:
            self._end(lease)
        return 0

    def _end(self, lease: threading.Thread) -> None:
        self._stopped.set()
        if lease.is_alive():
            lease.join(timeout=_DRAIN_S)
        give_up_s = time.monotonic() + _DRAIN_S
        while self._switcher.is_busy and time.monotonic() < give_up_s:
            time.sleep(0.05)
        if not self._place.dry_run:
            self._leading.release()
        self._web.shutdown()
        if self._switcher.is_busy:
            log.warning("a provider still has not answered; ending without it, the next switcher asks again")
            logging.shutdown()
            os._exit(1)  # the interpreter would wait for its thread
        self._pool.shutdown()
        self._connections.close()
        self._view.close()
        self._cluster.close()

    def _warn(self) -> None:
        if self._place.autoscaler_url is None:
            log.warning("no --autoscaler-url: nothing is served here, so room for replicas is not looked at")
        if self._place.dry_run:
            log.warning("dry run: nothing is changed")
        for name, settings in self._file.config.providers.items():
            if isinstance(settings, Vsphere) and not settings.verify:
                log.warning("provider %s: verify is false; whoever is on the way to %s may be it", name, settings.host)


def _parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m vgpu.switcher", description="Changes how physical GPUs are cut, safely.")
    add = parser.add_argument
    add(
        "--check",
        type=Path,
        metavar="FILE",
        help="read a file, list every problem of it, and end; 1 where there are any",
    )
    add("--config", type=Path, help="the switcher's file: GPUs, layouts, schedule, providers")
    add("--kubeconfig", type=Path, help="of the cluster; without it, as a pod of the cluster")
    add(
        "--namespace",
        default=environment.get("POD_NAMESPACE", "default"),
        help="of the records and the lease; POD_NAMESPACE by default",
    )
    add("--listen", default=LISTEN, type=_address, help="HOST:PORT of /metrics, /v1/switches, /v1/plan and probes")
    add("--autoscaler-url", help="the autoscaler's own; without it nothing is served on this cluster")
    add("--interval-s", type=_seconds, default=INTERVAL_S, help=f"a pass is made so often ({INTERVAL_S:g})")
    add("--dry-run", action="store_true", help="say what would be done, and change nothing")
    add(
        "--identity",
        default=environment.get("POD_NAME") or socket.gethostname(),
        help="holder of the lease, POD_NAME by default; each start adds something of its own",
    )
    return parser


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host, int(port)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 60:
        raise argparse.ArgumentTypeError(f"{text!r} is no interval; write seconds above 0, at most 60")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
