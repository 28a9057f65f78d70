"""A reader that answers what a test says, and a clock that a test moves."""

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from vgpu.adapters.nvml import DeviceReading, Missing, MissingReason, VirtualizationMode
from vgpu.exporter.attribution import Tenant
from vgpu.exporter.sampler import Sampler

SLOT = DeviceReading(
    index=0,
    uuid="GPU-a",
    name="GRID V100-8Q",
    healthy=True,
    memory_total_mib=8192,
    memory_used_mib=100,
    utilization_ratio=0.25,
    virtualization_mode=VirtualizationMode.VGPU_GUEST,
    processes=(),
)
LOST = Missing(reason=MissingReason.DEVICE_LOST)
LOST_SLOT = replace(
    SLOT,
    healthy=False,
    memory_total_mib=LOST,
    memory_used_mib=LOST,
    utilization_ratio=LOST,
    virtualization_mode=LOST,
    processes=LOST,
)


class ScriptedReader:
    """Answers `devices`; with `hang` set it blocks in the driver until `released`."""

    def __init__(self, devices: tuple[DeviceReading, ...] | Missing = (SLOT,)) -> None:
        self.devices = devices
        self.error_counts: Counter[int] = Counter()
        self.hang = False
        self.hanging = threading.Event()
        self.released = threading.Event()

    def read_devices(self) -> tuple[DeviceReading, ...] | Missing:
        if self.hang:
            self.hanging.set()
            self.released.wait(30)
        return self.devices


class ScriptedClock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def make_sampler(
    reader: ScriptedReader, clock: ScriptedClock, tenants: Mapping[int, Tenant] = MappingProxyType({})
) -> Sampler:
    """A sampler in the test's time; the calendar stands still, and processes are whose `tenants` says."""
    return Sampler(reader, attribution=tenants.get, now_s=clock, unix_s=lambda: 1_700_000_000.0)
