"""A whole system under test: `vgpu-serve up` as a user starts it, on free ports."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from autoscaler.embedded import addresses

BIN = Path(sys.executable).parent
START_TIMEOUT_S = 120

MODELS = """
models:
  minilm:
    source: text_embedder
    slot: v100-8q-8GB
    objective_p95_ms: 400
    serving: {max_batch_size: 4, max_queue: 2000, max_deadline_ms: 30000}
    autoscaling: {min_replicas: 1, max_replicas: 3, scale_down_window_s: 120}
  filetype:
    source: file_type
    slot: v100-8q-8GB
    objective_p95_ms: 500
  narrow:
    source: synthetic
    parameters: {base_us: 50000, per_item_us: 0}
    slot: v100-8q-8GB
    objective_p95_ms: 5000
    serving: {max_batch_size: 1, max_queue: 2}
policy: {window_s: 6}
guardrails: {settle_up_s: 8}
"""


@dataclass
class System:
    """A running `up`."""

    process: "subprocess.Popen[bytes]"
    directory: Path
    log: Path

    @property
    def addresses(self) -> dict[str, Any]:
        return dict(json.loads((self.directory / "up.json").read_text()))

    @property
    def url(self) -> str:
        return str(self.addresses["url"])

    @property
    def host(self) -> str:
        return self.url.removeprefix("http://")

    def state(self) -> dict[str, Any]:
        return dict(httpx.get(self.addresses["autoscaler_url"] + "/v1/state", timeout=5).raise_for_status().json())

    def model(self, name: str) -> dict[str, Any]:
        return next(model for model in self.state()["models"] if model["name"] == name)

    def kubectl(self, *arguments: str) -> str:
        command = [str(BIN / "kubectl"), "--kubeconfig", self.addresses["kubeconfig"], *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout

    def pid(self, fragment: str) -> int:
        """The process of this system whose command line holds the fragment."""
        return next(process.pid for process in self.family() if fragment in " ".join(_command(process)))

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def wait(self, what: str, holds: Callable[[], bool], *, timeout_s: float) -> float:
        """Seconds until something holds; fails with the log when it does not."""
        began_s = time.monotonic()
        while not holds():
            passed_s = time.monotonic() - began_s
            assert passed_s < timeout_s, f"{what}: not within {timeout_s} s\n{self.log.read_text()}"
            assert self.process.poll() is None, f"up ended while waiting for {what}\n{self.log.read_text()}"
            time.sleep(0.2)
        return time.monotonic() - began_s

    def is_ready(self) -> bool:
        path = self.directory / "up.json"
        return path.exists() and "url" in json.loads(path.read_text() or "{}")


def start(directory: Path, models: str = MODELS, *options: str) -> System:
    """Start `up` with further options; returns at once."""
    directory.mkdir(parents=True, exist_ok=True)
    file, log = directory / "models.yaml", directory / "up.log"
    file.write_text(models)
    ports = addresses.choose({})
    run_directory = directory / "run"
    command = [
        str(BIN / "vgpu-serve"), "up", "--models", str(file), "--run-dir", str(run_directory),
        "--http-port", str(ports.http), "--api-port", str(ports.api),
        "--dashboard-port", str(ports.dashboard), "--autoscaler-port", str(ports.autoscaler), *options,
    ]  # fmt: skip
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
    return System(process, run_directory, log)


def stop(system: System) -> int:
    """ctrl-C; the exit status."""
    system.process.send_signal(signal.SIGTERM)
    return system.process.wait(60)


def left_over(processes: list[psutil.Process], *, within_s: float) -> list[str]:
    """Command lines of those still running after a while."""
    _, alive = psutil.wait_procs(processes, timeout=within_s)
    return [" ".join(_command(process)) for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
