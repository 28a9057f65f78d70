"""The scheduler extender: `python -m vgpu.extender --listen HOST:PORT --kubeconfig FILE`."""

import argparse
import logging
import os
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn
from uuid import uuid4

import uvicorn

from vgpu.adapters import kube
from vgpu.adapters.kube import Kube, Selection
from vgpu.adapters.kube_lease import Claim, Lease
from vgpu.adapters.kube_watch import Surroundings
from vgpu.core.fractions.policies import DEFAULT_POLICY, POLICIES
from vgpu.extender.application import Application
from vgpu.extender.desk import Desk
from vgpu.extender.events import Teller
from vgpu.extender.following import Comparing, Leading, follow_nodes, follow_pods
from vgpu.extender.metrics import LedgerCollector, Tally
from vgpu.extender.readiness import LEASE_S, TIMEOUT_S, Readiness
from vgpu.extender.service import Extender

log = logging.getLogger("vgpu.extender")

LEASE = "vgpu-extender"
_SWITCH_S = 0.0005  # how long a thread that parses may keep the event loop waiting; 5 ms by default
_KEEP_ALIVE_S = 120  # Go's clients drop an idle connection after 90 s; the side that drops first must not be ours
_DRAIN_S = 10  # for answers in flight at the end


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Say what is wrong in one line; `--help` has the rest."""
        self.exit(2, f"{self.prog}: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or ctrl-C; 2 if it cannot start."""
    parser = _parser(os.environ)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    sys.setswitchinterval(_SWITCH_S)
    tls = (options.tls_cert, options.tls_key)
    if any(tls) and not all(tls):
        parser.error("--tls-cert and --tls-key belong together; give both")
    try:
        if all(tls):
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*tls)
    except OSError as problem:
        parser.error(f"cannot serve TLS with {tls[0]} and {tls[1]} ({problem.strerror or problem}); give PEM files")
    try:
        cluster = kube.connect(options.kubeconfig, timeout_s=TIMEOUT_S)
        desk = Desk(options.policy)
    except (kube.Unavailable, ValueError) as fault:
        parser.error(str(fault))
    try:
        listening = socket.create_server(options.listen, backlog=1024)
    except OSError as problem:
        host, port = options.listen
        why = os.strerror(problem.errno or 0)  # its own text repeats the address
        parser.error(f"cannot listen on {host}:{port} ({why}); free it or choose another with --listen")
    # A process that starts again under the old name would lead at once, while its former self's last Binding may still
    # be on its way; hence a name of its own for each start.
    holder = f"{options.identity}-{uuid4().hex[:8]}"
    log.info("listening on %s:%d as %s, policy %s", *listening.getsockname()[:2], holder, options.policy)
    process = Process(cluster, desk, listening, namespace=options.namespace, holder=holder, tls=tls)
    return process.run()


class Process:
    """One extender: its socket, its threads and their end."""

    def __init__(
        self,
        cluster: Kube,
        desk: Desk,
        listening: socket.socket,
        *,
        namespace: str,
        holder: str,
        tls: tuple[Path | None, Path | None] = (None, None),
    ) -> None:
        self._cluster, clock = cluster, time.monotonic
        self._readiness, tally, self._teller = Readiness(clock=clock), Tally(), Teller(cluster)
        extender = Extender(desk, cluster, readiness=self._readiness, tally=tally, tell=self._teller.tell, clock=clock)
        ledger = LedgerCollector(
            ledger=extender.desk.ledger,
            lock=extender.lock,
            clock=clock,
            is_ready=lambda: not self._readiness.why_not(),
        )
        tally.registry.register(ledger)
        lease = Lease(cluster, Claim(namespace=namespace, name=LEASE, holder=holder, duration_s=LEASE_S))
        around = Surroundings(on_trouble=lambda fault, delay_s: log.info("%s; again in %.1f s", fault, delay_s))
        nodes, pods = (cluster.watch(Selection(kind=kind), surroundings=around) for kind in (kube.NODES, kube.PODS))
        leading, comparing = Leading(extender, lease, clock), Comparing(extender, clock)
        self._watches, self._stopped, self._failed = (nodes, pods), threading.Event(), False
        self._application = Application(extender, cluster)
        self._server = _server(self._application, tls)
        self._threads = [
            self._thread("watch-nodes", lambda: follow_nodes(extender, nodes)),
            self._thread("watch-pods", lambda: follow_pods(extender, pods, clock)),
            self._thread("lease", lambda: leading.run(self._stopped)),
            self._thread("compare", lambda: comparing.run(self._stopped)),
            self._thread("events", self._teller.run),
            self._thread("http", lambda: self._server.run(sockets=[listening])),
        ]

    def _thread(self, name: str, work: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            try:
                work()
            finally:
                if not self._stopped.is_set():  # without this thread the books go wrong: start anew instead
                    self._failed = True
                    os.kill(os.getpid(), signal.SIGTERM)

        return threading.Thread(target=run, name=name, daemon=True)

    def run(self) -> int:
        """Serve until a signal comes; 1 where a part of it failed."""
        signals = {signal.SIGTERM, signal.SIGINT}
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # before any thread, so that all inherit it
        for thread in self._threads:
            thread.start()
        signal.sigwait(signals)
        self._stopped.set()
        self._server.should_exit = True  # answers what is in flight
        for watch in self._watches:
            watch.stop()
        self._teller.stop()
        for thread in self._threads:
            thread.join(timeout=_DRAIN_S)
        self._application.close()
        self._cluster.close()
        return int(self._failed)


def _server(application: Application, tls: tuple[Path | None, Path | None]) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            application.routes(),
            log_config=None,
            access_log=False,
            lifespan="off",
            ssl_certfile=tls[0],
            ssl_keyfile=tls[1],
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_DRAIN_S,
        )
    )


def _parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m vgpu.extender", description="Extends kube-scheduler by fractions of GPUs (nvidia.com/vgpu)."
    )
    parser.add_argument("--listen", default=("127.0.0.1", 8888), type=_address, help="HOST:PORT to serve on")
    parser.add_argument("--kubeconfig", type=Path, help="of the cluster; without it, as a pod of the cluster")
    parser.add_argument(
        "--namespace",
        default=environment.get("POD_NAMESPACE", "default"),
        help="of the lease; POD_NAMESPACE by default",
    )
    parser.add_argument(
        "--identity",
        default=environment.get("POD_NAME") or socket.gethostname(),
        help="holder of the lease, POD_NAME by default; each start adds something of its own",
    )
    parser.add_argument("--tls-cert", type=Path, help="PEM chain to serve HTTPS with; without it, plain HTTP")
    parser.add_argument("--tls-key", type=Path, help="PEM key of --tls-cert")
    parser.add_argument("--policy", default=DEFAULT_POLICY, choices=sorted(POLICIES), help="how nodes are chosen")
    return parser


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host, int(port)


if __name__ == "__main__":
    sys.exit(main())
