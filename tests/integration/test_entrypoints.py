"""The containers' own entrypoints on this machine: a head, workers, a model deployed, asked, and moved by a drain."""

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pytest

from autoscaler.embedded.processes import Child, Children, Command
from tests.unit.serving.build import free_port

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

# Ray replaces 127.0.0.1 by the machine's outward address; any other loopback address it leaves alone.
POD_IP = "127.0.0.2"
MODELS = """
models:
  echo: {source: synthetic, slot: v100-8q-8GB, objective_p95_ms: 5000}
"""
# Ends what Ray leaves behind, as a container does.
CONTAINER = [sys.executable, "-m", "autoscaler.embedded.container", sys.executable, "-m"]


@dataclass(frozen=True, slots=True)
class Machine:
    """Free ports and folders for one cluster, and the processes of it."""

    folder: Path
    children: Children
    port: int
    http_port: int
    dashboard_port: int

    @property
    def address(self) -> str:
        return f"{POD_IP}:{self.port}"

    def run(self, module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> tuple[int, str]:
        """A command to its end: status, and what it said."""
        ended = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            env={**os.environ, **self.children.environment, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return ended.returncode, ended.stdout + ended.stderr

    def start_head(self) -> None:
        arguments = [
            "serving.head", "--host", "127.0.0.1", "--http-port", str(self.http_port), "--port", str(self.port),
            "--dashboard-port", str(self.dashboard_port), "--temp-dir", str(self.folder / "head"),
            "--edge-directory", str(self.folder / "edge"),
        ]  # fmt: skip
        for option in (
            "--client-port",
            "--agent-port",
            "--haproxy-metrics-port",
            "--haproxy-stats-port",
            "--fallback-port",
        ):
            arguments += [option, str(free_port())]
        self.children.start(Command(name="head", arguments=[*CONTAINER, *arguments], environment={"POD_IP": POD_IP}))
        self.wait("the head", self._head_answers)

    def _head_answers(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.dashboard_port}/api/gcs_healthz", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def wait(self, what: str, holds: Callable[[], bool], *, timeout_s: float = 60) -> None:
        deadline_s = time.monotonic() + timeout_s
        while not holds():
            self.children.check()
            assert time.monotonic() < deadline_s, f"{what}: not within {timeout_s} s; see {self.children.log_directory}"
            time.sleep(0.2)


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker container."""

    machine: Machine
    name: str
    metrics_port: int
    agent_port: int

    @property
    def environment(self) -> dict[str, str]:
        """What the pod's downward API says."""
        return {
            "VGPU_NODE": f"node-of-{self.name}",
            "VGPU_NAMESPACE": "default",
            "VGPU_POD": self.name,
            "VGPU_WORKER": self.name,
            "POD_IP": POD_IP,
        }

    def start(self) -> Child:
        arguments = [
            "serving.worker", "--ray-address", self.machine.address, "--slot", "v100-8q-8GB",
            "--metrics-port", str(self.metrics_port), "--agent-port", str(self.agent_port),
            "--temp-dir", str(self.machine.folder / self.name),
        ]  # fmt: skip
        command = Command(name=self.name, arguments=[*CONTAINER, *arguments], environment=self.environment)
        child = self.machine.children.start(command)
        self.machine.wait(self.name, lambda: self.ready()[0] == 0)
        return child

    def ready(self) -> tuple[int, str]:
        return self.machine.run(
            "serving.worker", "ready", "--agent-port", str(self.agent_port), environment=self.environment
        )

    def drain(self, timeout_s: float) -> tuple[int, str]:
        arguments = ("drain", "--timeout-s", str(timeout_s), "--metrics-port", str(self.metrics_port))
        return self.machine.run("serving.worker", *arguments, environment=self.environment)


@pytest.fixture
def machine() -> Iterator[Machine]:
    # Unix sockets have at most 107 bytes for their path, and Ray's and HAProxy's take 80 of their own.
    with TemporaryDirectory(prefix="vgpu-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "logs").mkdir()
        (folder / "token").write_text(secrets.token_hex(32))
        environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(folder / "token")}
        children = Children(folder / "logs", environment)
        try:
            yield Machine(folder, children, free_port(), free_port(), free_port())
        finally:
            children.stop()


def worker(machine: Machine, name: str) -> Worker:
    return Worker(machine, name, free_port(), free_port())


def test_a_model_is_deployed_asked_and_moved_by_the_containers_own_commands(machine: Machine) -> None:
    """One story, because each part needs the one before."""
    models = machine.folder / "models.yaml"
    models.write_text(MODELS)
    machine.start_head()

    first = worker(machine, "w1")
    status, said = first.ready()
    assert (status, "does not answer: ConnectionRefusedError" in said) == (1, True)
    assert first.drain(5) == (0, "no replica is here\n")
    began = first.start()

    deployed = machine.run(
        "serving", str(models), "--ray-address", machine.address, "--http-port", str(machine.http_port)
    )
    assert deployed[0] == 0, deployed[1]
    url = f"http://127.0.0.1:{machine.http_port}"
    status, said = machine.run("serving.smoke", url, "--models", str(models))
    assert (status, said.startswith("echo answered in ")) == (0, True), said

    # Nowhere else to go: the replica stays and answers, and the hook says so.
    status, said = first.drain(3)
    assert (status, "still runs after 3 s" in said) == (1, True), said
    second = worker(machine, "w2")
    second.start()
    status, said = first.drain(60)
    assert (status, said) == (0, "the replica has gone\n")
    status, said = machine.run("serving.smoke", url, "--models", str(models))
    assert (status, said.startswith("echo answered in ")) == (0, True), said
    metrics = httpx.get(f"http://{POD_IP}:{second.metrics_port}/metrics", timeout=5).text
    assert 'worker="w2"' in metrics
    assert 'slot="node-of-w2/0"' in metrics

    # What a replica writes is in its container's log, and a signal reaches Ray itself.
    assert " echo_replica " in began.log.read_text()
    began.process.terminate()
    began.process.wait(30)
    machine.children.forget(began)
