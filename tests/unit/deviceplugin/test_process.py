"""The plugin as a process of its own, from its command line to the kubelet stand-in's count."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fakes.kubelet import KubeletStandIn
from tests.fakes.waiting import eventually
from vgpu.core import names
from vgpu.emulator.nvml_state import DeviceIdentity, NvmlState

Start = Callable[..., subprocess.Popen[str]]
RESOURCE = names.RESOURCE_VGPU


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="dp-") as name:  # pytest's own folders may be too long for a socket's path
        yield Path(name)


@pytest.fixture
def start(folder: Path, tmp_path: Path) -> Iterator[Start]:
    """Starts plugins over the state file `nvml`; stops what is left."""
    processes: list[subprocess.Popen[str]] = []
    environment = {
        **os.environ,
        names.ENV_FAKE_NVML_STATE: str(folder / "nvml"),
        "XDG_CACHE_HOME": str(tmp_path),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }

    def start_plugin(*flags: str) -> subprocess.Popen[str]:
        own = ["--node", "node-1", "--plugin-dir", str(folder), "--listen", "127.0.1.1:0", "--fake-nvml"]
        command = [sys.executable, "-m", "vgpu.deviceplugin", *own, *flags]
        processes.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment))
        return processes[-1]

    yield start_plugin
    for process in processes:
        process.kill()
        process.communicate()


def address_of(plugin: subprocess.Popen[str]) -> str:
    assert plugin.stderr is not None
    for line in plugin.stderr:
        if found := re.search(r"emulated devices; metrics at (http://127\.0\.1\.1:\d+)/metrics", line):
            return found[1]
    raise AssertionError("the plugin ended")


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read().decode()


def test_a_node_is_advertised_and_given_back_end_to_end(start: Start, folder: Path) -> None:
    state = NvmlState(folder / "nvml", [DeviceIdentity(name="GRID V100-8Q", uuid="GPU-a", framebuffer_mib=8192)])
    kubelet = KubeletStandIn(folder)
    kubelet.start()
    plugin = start("--sample-period-s", "0.1")
    url = address_of(plugin)
    eventually(lambda: kubelet.allocatable(RESOURCE), lambda count: count == 500)
    slot = kubelet.admit("pod-1", "main", RESOURCE, 500)
    assert (slot["VGPU_SLOT_PROFILE"], slot["VGPU_DEVICE_KIND"]) == ("v100-8q-8GB", "emulated")
    assert get(f"{url}/readyz") == (200, "ok\n")
    assert get(f"{url}/healthz") == (200, "ok\n")
    assert get(f"{url}/nowhere") == (404, "/nowhere is not here; /metrics, /healthz, /readyz are\n")
    assert 'vgpu_plugin_devices{gpu="GPU-a",health="healthy",node="node-1"} 500.0' in get(f"{url}/metrics")[1]
    state.set_lost(True)
    eventually(lambda: kubelet.allocatable(RESOURCE), lambda count: count == 0)
    state.set_lost(False)
    eventually(lambda: kubelet.allocatable(RESOURCE), lambda count: count == 500)
    kubelet.restart()
    eventually(lambda: kubelet.allocatable(RESOURCE), lambda count: count == 500)
    plugin.send_signal(signal.SIGTERM)
    assert plugin.wait(10) == 0
    assert not (folder / "nvidia.com_vgpu.sock").exists()
    eventually(lambda: kubelet.allocatable(RESOURCE), lambda count: count == 0)
    kubelet.stop()
    state.close()


def test_a_second_plugin_of_a_node_ends_at_once(start: Start, folder: Path) -> None:
    address_of(start())
    second = start()
    _, output = second.communicate(timeout=20)
    assert second.returncode == 2
    assert output.splitlines()[-1] == (
        f"python -m vgpu.deviceplugin: another device plugin answers on {folder}/nvidia.com_vgpu.sock; run one a node"
    )


def test_a_directory_that_is_not_there_is_named(start: Start) -> None:
    plugin = start("--plugin-dir", "/nowhere")
    _, output = plugin.communicate(timeout=20)
    assert plugin.returncode == 2
    assert "cannot listen on /nowhere/nvidia.com_vgpu.sock" in output
    assert output.splitlines()[-1].endswith("is its directory there, and writable?")
