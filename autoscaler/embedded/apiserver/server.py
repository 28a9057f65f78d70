"""Starts and stops the server: its own socket on loopback, its own thread, one event loop.

The store lives on that loop alone; other threads reach it by HTTP, as every client does.
"""

import asyncio
import contextlib
import logging
import os
import random
import socket
import tempfile
import threading
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

import uvicorn
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount

from autoscaler.embedded.apiserver import audit, controllers, errors, tls
from autoscaler.embedded.apiserver.application import Api, access, as_refusal
from autoscaler.embedded.apiserver.audit import Audit
from autoscaler.embedded.apiserver.faults import Faults
from autoscaler.embedded.apiserver.store import HISTORY_LIMIT, Store
from autoscaler.embedded.apiserver.streaming import Feed

_log = logging.getLogger(__name__)

NAME = "vgpu-serve-embedded"  # of the cluster, the user and the context in the kubeconfig
_GRACE_S = 2  # for requests in flight when the server stops


class PortInUse(Exception):  # says what happened, as the domain's words do
    """The address is taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a server runs. Port 0 picks a free one. Without controllers only the API itself answers, nothing acts."""

    host: str = "127.0.0.1"
    port: int = 0
    token: str = ""
    with_controllers: bool = True
    history_limit: int = HISTORY_LIMIT
    audit_kept: int = audit.KEPT
    clock: Callable[[], float] = time.time
    randomness: random.Random = field(default_factory=random.SystemRandom)

    def __post_init__(self) -> None:
        if not ip_address(self.host).is_loopback:
            raise ValueError(f"host: {self.host} is not a loopback address; this stand-in is for one machine only")


class ApiServer:
    """A running server. `faults` is for tests; `audit` holds the newest requests and how they were answered."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._socket = _bind(options.host, options.port)
        self.port = int(self._socket.getsockname()[1])
        self._feed = Feed()
        self.faults = Faults()
        self._store = Store(clock=options.clock, randomness=options.randomness, history_limit=options.history_limit)
        self._access = access(self._store, options.randomness, options.token)
        self.audit = Audit(options.audit_kept)
        self._store.listeners.append(self._feed.notify)
        # Clients send a token over TLS only, so a token brings TLS with it.
        self._identity = tls.create(options.host, datetime.now(UTC)) if options.token else None
        self._uvicorn = uvicorn.Server(self._configuration())
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._serve, name="apiserver", daemon=True)

    @property
    def url(self) -> str:
        host = f"[{self._options.host}]" if ":" in self._options.host else self._options.host
        return f"{'https' if self._identity else 'http'}://{host}:{self.port}"

    def start(self) -> None:
        """Serve in a thread; return once requests are answered."""
        self._thread.start()
        while not self._uvicorn.started:
            if not self._thread.is_alive():
                raise RuntimeError("the API server ended while starting; its log says why")
            time.sleep(0.005)

    def stop(self) -> None:
        """End the watches, finish what is in flight, and free the port."""
        self._uvicorn.should_exit = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has closed by itself
                self._loop.call_soon_threadsafe(self._feed.close)
        self._thread.join()
        self._socket.close()

    def write_kubeconfig(self, path: Path, token: str | None = None) -> None:
        """Write a kubeconfig that points kubectl and the official client here; readable by this user only.

        With a token, such as a service account's, its holder is the user; else the administrator is.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            yaml.safe_dump(kubeconfig(self.url, token or self._options.token, self._identity), file, sort_keys=False)
        draft.replace(path)

    def _configuration(self) -> uvicorn.Config:
        configuration = uvicorn.Config(
            self._application(),
            log_config=None,
            lifespan="on",
            ws="none",
            access_log=False,
            timeout_graceful_shutdown=_GRACE_S,
            timeout_keep_alive=75,  # longer than the pauses of a client that polls each minute
        )
        if self._identity is not None:
            # OpenSSL reads keys from files only; these are gone before the first request.
            with tempfile.TemporaryDirectory() as directory:
                certificate, key = Path(directory, "certificate"), Path(directory, "key")
                certificate.write_bytes(self._identity.certificate)
                key.write_bytes(self._identity.key)
                configuration.ssl_certfile, configuration.ssl_keyfile = str(certificate), str(key)
                configuration.load()
        return configuration

    def _serve(self) -> None:
        asyncio.run(self._uvicorn.serve(sockets=[self._socket]))

    def _application(self) -> Starlette:
        api = Api(self._store, self._feed, self._access, self.faults, self.audit)
        return Starlette(
            routes=[Mount("/", app=api)], lifespan=self._lifespan, exception_handlers={Exception: _as_internal}
        )

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        self._loop = asyncio.get_running_loop()
        running = self._options.with_controllers
        task = asyncio.create_task(controllers.run(self._store, self._feed)) if running else None
        if task is not None:
            task.add_done_callback(_log_end)
        yield
        self._feed.close()
        if task is not None:
            await asyncio.wait([task])


def _log_end(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (fault := task.exception()) is not None:
        _log.error("the controllers ended; only the API goes on", exc_info=fault)


async def _as_internal(_: Request, fault: Exception) -> Response:
    """Answer a fault of this server's own as the API would; the traceback goes to the log."""
    return as_refusal(errors.internal(f"{type(fault).__name__}: {fault}"))


def start(options: Options | None = None) -> ApiServer:
    """Start a server; raise PortInUse where its address is taken."""
    server = ApiServer(options or Options())
    server.start()
    return server


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio switches Nagle's algorithm off; without, each answer waits 40 ms for an ACK.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as fault:
        bound.close()
        raise PortInUse(f"cannot listen on {host}:{port}: {fault.strerror}") from fault
    return bound


def kubeconfig(url: str, token: str = "", identity: tls.Identity | None = None) -> dict[str, object]:
    """Make the content of a kubeconfig for one server."""
    cluster = {"server": url}
    if identity is not None:
        cluster["certificate-authority-data"] = b64encode(identity.certificate).decode()
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": NAME, "cluster": cluster}],
        "users": [{"name": NAME, "user": {"token": token} if token else {}}],
        "contexts": [{"name": NAME, "context": {"cluster": NAME, "user": NAME, "namespace": "default"}}],
        "current-context": NAME,
    }
