"""A node: emulated NVML behind the real pynvml, the plugin, and the kubelet stand-in, on sockets in one folder."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pynvml
import pytest
from prometheus_client import CollectorRegistry

from tests.fakes.kubelet import KubeletStandIn
from tests.fakes.waiting import eventually
from vgpu.adapters import nvml
from vgpu.adapters.nvml_events import CriticalError
from vgpu.core import names
from vgpu.deviceplugin.metrics import PluginMetrics
from vgpu.deviceplugin.plugin import Plugin
from vgpu.deviceplugin.roster import Roster
from vgpu.deviceplugin.sampling import Sampler
from vgpu.deviceplugin.settings import Settings
from vgpu.emulator.nvml_python import PythonNvml
from vgpu.emulator.nvml_state import DeviceIdentity, NvmlState

RESOURCE = names.RESOURCE_VGPU
V100 = DeviceIdentity(name="Tesla V100-PCIE-16GB", uuid="GPU-a", framebuffer_mib=16384, virtualization_mode=0)
T4 = DeviceIdentity(name="Tesla T4", uuid="GPU-b", framebuffer_mib=15360, virtualization_mode=0)
GUEST = DeviceIdentity(name="GRID V100-8Q", uuid="GPU-guest", framebuffer_mib=8192)


class ErrorsTold:
    """Critical errors that a test tells of."""

    def __init__(self) -> None:
        self.waiting: list[CriticalError] = []
        self.closings = 0

    def poll(self) -> tuple[CriticalError, ...]:
        told, self.waiting = tuple(self.waiting), []
        return told

    def close(self) -> None:
        self.closings += 1


@dataclass
class Node:
    """Everything of one node; time passes when a test says so."""

    folder: Path
    kubelet: KubeletStandIn
    errors: ErrorsTold = field(default_factory=ErrorsTold)
    now_s: float = 1000.0
    state: NvmlState | None = None
    plugin: Plugin | None = None
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    sampler: Sampler | None = None
    roster: Roster | None = None

    def show(self, *identities: DeviceIdentity) -> NvmlState:
        """Put cards into the node in place of those before."""
        if self.state is not None:
            self.state.close()
        self.state = NvmlState(self.folder / "nvml", identities)
        return self.state

    def start(self, **settings: object) -> Plugin:
        """Start a plugin process's parts, all but its clock."""
        chosen = Settings(node="node-1", plugin_dir=str(self.folder), **settings)  # type: ignore[arg-type]  # a test's own
        self.registry = CollectorRegistry()
        self.roster = Roster(chosen.units_per_device)
        self.sampler = Sampler(
            nvml.NvmlReader(),
            self.errors,
            ignored_xids=chosen.ignored_xids,
            period_s=chosen.sample_period_s,
            now_s=lambda: self.now_s,
        )
        metrics = PluginMetrics(self.registry, chosen.node)
        self.plugin = Plugin(chosen, sampler=self.sampler, roster=self.roster, metrics=metrics)
        self.plugin.start()
        return self.plugin

    def stop(self) -> None:
        if self.plugin is not None:
            self.plugin.stop()
        self.plugin = None

    def tick(self, seconds: float = 1.0, *, reads: bool = True) -> None:
        """Let time pass, read NVML, and let the plugin look around."""
        assert self.plugin is not None
        assert self.sampler is not None
        self.now_s += seconds
        if reads:
            self.sampler.sample()
        self.plugin.tick(self.now_s)

    def allocatable(self, expected: int, resource: str = RESOURCE) -> None:
        """Wait until the kubelet counts so many healthy devices."""
        eventually(lambda: self.kubelet.allocatable(resource), lambda count: count == expected)

    def followed(self) -> None:
        """Wait until the kubelet has the first list."""
        eventually(lambda: [plugin.lists for plugin in self.kubelet.plugins.values()], lambda lists: sum(lists) > 0)

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, {"node": "node-1", **labels})


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    """A node with a running kubelet, no card and no plugin yet."""
    with tempfile.TemporaryDirectory(prefix="dp-") as name:  # pytest's own folders may be too long for a socket's path
        folder = Path(name)
        monkeypatch.setenv(names.ENV_FAKE_NVML_STATE, str(folder / "nvml"))
        nvml.use_library(PythonNvml())
        made = Node(folder=folder, kubelet=KubeletStandIn(folder))
        made.kubelet.start()
        yield made
        made.stop()
        made.kubelet.stop()
        if made.state is not None:
            made.state.close()
        while True:
            try:
                pynvml.nvmlShutdown()
            except pynvml.NVMLError:
                break
        nvml.use_library(None)


def ids(identity: DeviceIdentity, units: Sequence[int]) -> list[str]:
    return [f"{identity.uuid}-{unit}" for unit in units]
