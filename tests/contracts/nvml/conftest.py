"""The two front ends of the emulated NVML, over one state file, each behind the real pynvml."""

import ctypes
from collections.abc import Iterator, Sequence
from pathlib import Path

import pynvml
import pytest

from vgpu.adapters import nvml
from vgpu.core import names
from vgpu.core.share import SchedulerPolicy
from vgpu.emulator import nvml_library
from vgpu.emulator.nvml_python import PythonNvml
from vgpu.emulator.nvml_state import VGPU_HOST, DeviceIdentity, NvmlState

GUEST = DeviceIdentity(name="GRID V100-8Q", uuid="GPU-guest", framebuffer_mib=8192)
HOST = DeviceIdentity(
    name="Tesla V100-PCIE-16GB",
    uuid="GPU-host",
    framebuffer_mib=16384,
    virtualization_mode=VGPU_HOST,
    scheduler_policy=SchedulerPolicy.EQUAL_SHARE,
    slice_ns=2_000_000,
)


@pytest.fixture(scope="session")
def c_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C front end, built once; a machine without a compiler shows it as skipped and still tests the other."""
    try:
        return nvml_library.build(tmp_path_factory.mktemp("fake-nvml"))
    except nvml_library.CompilerMissingError as problem:
        pytest.skip(str(problem))


@pytest.fixture(params=["c library", "python object"])
def front_end(request: pytest.FixtureRequest) -> Iterator[str]:
    """Put one front end behind pynvml, and take it away again."""
    if request.param == "c library":
        nvml.use_library(ctypes.CDLL(str(request.getfixturevalue("c_library"))))
    else:
        nvml.use_library(PythonNvml())
    yield request.param
    while True:  # a failed test may leave NVML initialised
        try:
            pynvml.nvmlShutdown()
        except pynvml.NVMLError:
            break
    nvml.use_library(None)


class StateFolder:
    """Makes state files and points the front end at the latest."""

    def __init__(self, folder: Path, environment: pytest.MonkeyPatch) -> None:
        self.path = folder / "node.nvml"
        self._environment = environment
        self._open: list[NvmlState] = []

    def create(self, identities: Sequence[DeviceIdentity] = (GUEST,)) -> NvmlState:
        self._environment.setenv(names.ENV_FAKE_NVML_STATE, str(self.path))
        state = NvmlState(self.path, identities)
        self._open.append(state)
        return state

    def close(self) -> None:
        for state in self._open:
            state.close()


@pytest.fixture
def states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, front_end: str) -> Iterator[StateFolder]:
    """State files for the front end under test."""
    folder = StateFolder(tmp_path, monkeypatch)
    yield folder
    folder.close()
