"""A real Prometheus (Debian's) over a running `up`, as a user starts it, and what it answers."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml
from prometheus_client import CollectorRegistry, start_http_server

from tests.fakes import waiting
from tests.integration.system import System

RULES = Path(__file__).parents[2] / "helm" / "rules"
HOST = "127.0.0.1"
Json = Any


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running one."""

    url: str

    def ask(self, path: str, **parameters: str) -> Json:
        """The `data` of one call of its API; fails with what it says."""
        document = httpx.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=20, trust_env=False).json()
        assert document["status"] == "success", document
        return document["data"]

    def series(self, expr: str) -> list[dict[str, str]]:
        """The labels of what an expression has now; what is no number shows nothing on a panel either."""
        found = self.ask("query", query=expr)["result"]
        return [each["metric"] for each in found if each["value"][1] != "NaN"]

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/-/ready", timeout=2, trust_env=False).is_success
        except httpx.HTTPError:
            return False


@contextmanager
def stand_in(registry: CollectorRegistry) -> Iterator[str]:
    """The metrics of a process that does not run here, served from its own registry; HOST:PORT."""
    server, thread = start_http_server(0, addr=HOST, registry=registry)
    try:
        yield f"{HOST}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


@contextmanager
def running(
    system: System, directory: Path, stand_ins: dict[str, CollectorRegistry], port: int
) -> Iterator[Prometheus]:
    """Scrapes every second: what the embedded system tells of itself, and the stand-ins."""
    with ExitStack() as held:
        addresses = {name: held.enter_context(stand_in(registry)) for name, registry in stand_ins.items()}
        follow = [sys.executable, "-m", "autoscaler.embedded.prometheus", str(system.directory)]
        held.enter_context(_ended([*follow, "--rules", str(RULES), "--interval-s", "1"]))
        given = system.directory / "prometheus.yml"
        waiting.eventually(lambda: given.exists() and (system.directory / "targets.json").exists(), within_s=30)
        document = yaml.safe_load(given.read_text())
        document["scrape_configs"] += [
            {"job_name": name, "static_configs": [{"targets": [address], "labels": {"namespace": "default"}}]}
            for name, address in addresses.items()
        ]
        config = directory / "prometheus.yml"
        config.write_text(yaml.safe_dump(document))
        command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={directory / 'data'}"]
        command += [f"--web.listen-address={HOST}:{port}", "--log.level=warn"]
        held.enter_context(_ended(command))
        prometheus = Prometheus(f"http://{HOST}:{port}")
        waiting.eventually(prometheus.is_ready, within_s=30)
        yield prometheus


@contextmanager
def _ended(command: list[str]) -> Iterator[None]:
    process = subprocess.Popen(command)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def asking(url: str, asked: dict[str, tuple[Json, float]]) -> Iterator[None]:
    """Ask models over and over, each by its body and pause in seconds, until the end."""
    stop = threading.Event()

    def ask(model: str, body: Json, pause_s: float) -> None:
        with httpx.Client(timeout=30, trust_env=False) as client:
            while not stop.wait(pause_s):
                try:
                    client.post(f"{url}/v2/models/{model}/infer", json=body)
                except httpx.HTTPError:
                    continue  # a replica may leave meanwhile

    threads = [threading.Thread(target=ask, args=(model, *how)) for model, how in asked.items()]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(40)
