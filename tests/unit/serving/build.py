"""An emulated GPU in this process, workers on its slots, and requests as a server would hand them over."""

import asyncio
import json
import socket
import threading
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.replica import Replica
from tests.unit.emulator.build import config_text
from vgpu.core import names
from vgpu.emulator.arbiter import Arbiter
from vgpu.emulator.client import read_status, set_device_lost
from vgpu.emulator.config import parse_config
from vgpu.emulator.server import Server

MODEL = "echo"


@dataclass(frozen=True, slots=True)
class EmulatedGpu:
    """A V100 cut into the slots a and b, of 8192 MiB each, and its arbiter's socket."""

    socket: Path
    metrics_port: int = 0
    stop: Callable[[], None] = lambda: None

    def worker(self, **changes: str) -> dict[str, str]:
        """The environment of a worker on slot a; an empty value takes a variable away."""
        environment = {
            names.ENV_SLOT_ID: "a",
            names.ENV_SLOT_PROFILE: "v100-8q-8GB",
            names.ENV_SLOT_UNITS: "500",
            names.ENV_SLOT_FRAMEBUFFER_MIB: "8192",
            names.ENV_SLOT_POLICY: "best-effort",
            names.ENV_DEVICE_KIND: "emulated",
            names.ENV_EMULATOR_SOCKET: str(self.socket),
            names.ENV_METRICS_ADDRESS: f"127.0.0.1:{self.metrics_port}",
            names.ENV_WORKER: "worker-1",
            **changes,
        }
        return {name: value for name, value in environment.items() if value}

    def lose(self) -> None:
        set_device_lost(self.socket, True)

    def slot(self, slot_id: str = "a") -> dict[str, Any]:
        """What the arbiter says of a slot: pid, busy_ns, framebuffer_used_mib."""
        seen: dict[str, Any] = read_status(self.socket)["slots"][slot_id]
        return seen

    def scrape(self) -> dict[str, float]:
        """What the worker's own /metrics says, by series."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}

    def scraped(self, name: str) -> float:
        """One of the worker's series, by its name without prefix and labels."""
        return self.scrape()[f'vgpu_serve_{name}{{model="{MODEL}"}}']

    def counted(self) -> dict[str, float]:
        """The worker's requests so far, by code; those of which there was none are left out."""
        prefix = 'vgpu_serve_requests_total{code="'
        series = self.scrape()
        return {name[len(prefix) :][:3]: value for name, value in series.items() if name.startswith(prefix) and value}


@contextmanager
def emulated_gpu(folder: Path) -> Iterator[EmulatedGpu]:
    """Serve an emulated GPU from a thread."""
    config = parse_config(config_text(folder, policy="best-effort"))
    server = Server(config.socket)
    arbiter = Arbiter(config, now_ns=time.monotonic_ns())
    thread = threading.Thread(target=server.serve, args=(arbiter,), name="emulated-gpu")
    thread.start()

    def stop() -> None:
        server.stop()
        thread.join()

    try:
        yield EmulatedGpu(config.socket, free_port(), stop)
    finally:
        stop()


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def model_config(**changes: Any) -> dict[str, Any]:
    """A synthetic model whose batch takes the emulated engine 2 ms, and 1 ms a row more."""
    serving = changes.pop("serving", {})
    return {
        "name": MODEL, "source": "synthetic", "slot": "v100-8q-8GB", "objective_p95_ms": 200, "serving": serving,
        **changes,
    }  # fmt: skip


@asynccontextmanager
async def replica(gpu: EmulatedGpu, **changes: Any) -> AsyncIterator[Replica]:
    """A replica on slot a, closed at the end."""
    opened = Replica(model_config(**changes), environment=gpu.worker(), replica_id="r1")
    try:
        yield opened
    finally:
        await opened.close()


def request(
    method: str, path: str, body: bytes | Iterable[bytes] = b"", headers: Mapping[str, str] | None = None
) -> Request:
    """A request as an HTTP server hands it over; a body of several chunks announces no length."""
    chunks = [body] if isinstance(body, bytes) else list(body)
    given = {"content-length": str(len(body))} if isinstance(body, bytes) else {}
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": [(key.encode(), value.encode()) for key, value in {**given, **(headers or {})}.items()],
    }
    messages = [
        {"type": "http.request", "body": chunk, "more_body": index < len(chunks)}
        for index, chunk in enumerate(chunks, start=1)
    ]

    async def receive() -> dict[str, Any]:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    return Request(scope, receive)


def infer(*texts: str, path: str = f"/v2/models/{MODEL}/infer", **headers: str) -> Request:
    """An infer request with these rows."""
    tensor = {"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": texts}
    renamed = {name.replace("_", "-"): value for name, value in headers.items()}
    return request("POST", path, json.dumps({"inputs": [tensor]}).encode(), renamed)


def answered(response: Response) -> tuple[int, Any]:
    """Status and JSON body; None for an empty body."""
    return response.status_code, json.loads(response.body) if response.body else None


def play(gpu: EmulatedGpu, script: Callable[[Replica], Awaitable[Any]], **changes: Any) -> Any:
    """Run a script against a replica in an event loop of its own."""

    async def with_replica() -> Any:
        async with replica(gpu, **changes) as opened:
            return await script(opened)

    return asyncio.run(with_replica())


async def until(happened: Callable[[], bool]) -> None:
    """Let the event loop turn until something has happened."""
    async with asyncio.timeout(20):
        while not happened():
            await asyncio.sleep(0)


async def cancelled(*tasks: "asyncio.Future[Any]") -> list[Any]:
    """Cancel tasks, as Ray Serve does when a client goes away, and wait for what becomes of them."""
    for task in tasks:
        task.cancel()
    return await asyncio.gather(*tasks, return_exceptions=True)
