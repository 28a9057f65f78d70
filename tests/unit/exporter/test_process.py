"""The exporter over HTTP, in this process and as one of its own."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from tests.unit.exporter.build import ScriptedClock, ScriptedReader, make_sampler
from vgpu.core import names
from vgpu.emulator.nvml_state import DeviceFigures, DeviceIdentity, NvmlState
from vgpu.exporter.metrics import SlotCollector
from vgpu.exporter.sampler import Sampler
from vgpu.exporter.server import make_server

StartExporter = Callable[..., subprocess.Popen[str]]


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read().decode()


@pytest.fixture
def clock() -> ScriptedClock:
    return ScriptedClock()


@pytest.fixture
def sampler(clock: ScriptedClock) -> Sampler:
    return make_sampler(ScriptedReader(), clock)


@pytest.fixture
def url(sampler: Sampler) -> Iterator[str]:
    """An exporter's server on a free port."""
    registry = CollectorRegistry()
    registry.register(SlotCollector(sampler=sampler, node="node-1", device_kind="real"))
    server = make_server("127.0.0.1", 0, registry, sampler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_metrics_are_served_and_other_paths_are_not(url: str, sampler: Sampler) -> None:
    sampler.sample()
    status, text = get(f"{url}/metrics")
    assert status == 200
    assert 'vgpu_slot_engine_busy_ratio{device_kind="real"' in text
    assert get(f"{url}/metric") == (404, "/metric is not here; /metrics and /healthz are\n")


def test_health_is_a_fresh_sample(url: str, sampler: Sampler, clock: ScriptedClock) -> None:
    assert get(f"{url}/healthz") == (503, "no sample yet\n")
    sampler.sample()
    assert get(f"{url}/healthz") == (200, "ok\n")
    clock.now_s += 42
    assert get(f"{url}/healthz") == (503, "the last sample is 42 s old: the driver hangs\n")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[StartExporter]:
    """Starts exporters over the state file `node.nvml`; stops what is left."""
    processes = []
    environment = {
        **os.environ,
        names.ENV_FAKE_NVML_STATE: str(tmp_path / "node.nvml"),
        "XDG_CACHE_HOME": str(tmp_path),
    }

    def start_exporter(*flags: str, **changes: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "vgpu.exporter", *flags]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**environment, **changes})
        processes.append(process)
        return process

    yield start_exporter
    for process in processes:
        process.kill()
        process.communicate()


def test_an_emulated_slot_is_exported_end_to_end(start: StartExporter, tmp_path: Path) -> None:
    state = NvmlState(tmp_path / "node.nvml", [DeviceIdentity(name="GRID V100-8Q", uuid="GPU-a", framebuffer_mib=8192)])
    state.publish(0, DeviceFigures(used_mib=512, utilization_ratio=0.5), at_us=1)
    exporter = start("--node", "node-1", "--listen", "127.0.1.1:0", "--fake-nvml")
    assert exporter.stderr is not None
    address = None
    while address is None:
        line = exporter.stderr.readline()
        assert line, "the exporter ended"
        address = re.search(r"emulated devices of node node-1 at (http://127\.0\.1\.1:\d+)/metrics", line)
    text = ""
    while "vgpu_slot" not in text:  # until the first sample, at once after the start
        text = get(f"{address[1]}/metrics")[1]
    labels = 'device_kind="emulated",node="node-1",profile="v100-8q-8GB",slot="node-1/0"'
    assert f"vgpu_slot_engine_busy_ratio{{{labels}}} 0.5\n" in text
    assert f"vgpu_slot_framebuffer_used_bytes{{{labels}}} 5.36870912e+08\n" in text
    assert get(f"{address[1]}/healthz") == (200, "ok\n")
    exporter.send_signal(signal.SIGTERM)
    assert exporter.wait(10) == 0
    state.close()


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ([], "the following arguments are required: --node"),
        (["--node", "n", "--listen", "nine"], "argument --listen: 'nine' is not HOST:PORT"),
        (["--node", "n", "--listen", "127.0.0.1:99999"], "argument --listen: '127.0.0.1:99999' is not HOST:PORT"),
        (["--node", "n", "--colour"], "unrecognized arguments: --colour"),
    ],
)
def test_a_bad_flag_is_refused_in_one_line(start: StartExporter, flags: list[str], line: str) -> None:
    exporter = start(*flags)
    _, output = exporter.communicate(timeout=10)
    assert (exporter.returncode, output) == (2, f"python -m vgpu.exporter: {line}\n")


def test_a_port_in_use_is_refused_in_one_line(start: StartExporter) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        address = f"127.0.0.1:{holder.getsockname()[1]}"
        exporter = start("--node", "n", "--listen", address)
        _, output = exporter.communicate(timeout=10)
    assert (exporter.returncode, output) == (
        2,
        f"python -m vgpu.exporter: cannot listen on {address} (Address already in use);"
        " free it or choose another with --listen\n",
    )


def test_emulation_without_a_state_file_named_is_refused(start: StartExporter) -> None:
    exporter = start("--node", "n", "--fake-nvml", **{names.ENV_FAKE_NVML_STATE: ""})
    _, output = exporter.communicate(timeout=10)
    assert exporter.returncode == 2
    assert output == (
        "python -m vgpu.exporter: --fake-nvml needs VGPU_FAKE_NVML_STATE: the path of an emulated node's state file\n"
    )
