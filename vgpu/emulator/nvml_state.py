"""The state file behind the emulated NVML: its layout, and the one writer that keeps it current.

Layout: one fixed-size record, mapped by every reader; fake_nvml.c mirrors it field by field and its build fails when
a size differs. The writer makes `sequence` odd while it changes something, so a reader takes only whole figures.
Rule: a reader whose clock has passed `expires_ns` reports the device lost, so a dead writer's last figures never
pass for live ones. Figures are percent and bytes here because they are NVML's.
"""

import ctypes
import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vgpu.core.share import SchedulerPolicy

MAGIC = b"VGPUNVML"
LAYOUT_VERSION = 1
MAX_DEVICES = 8
MAX_PROCESSES = 16
MAX_SAMPLES = 64
MAX_FAULTS = 16
# The driver's sample ring runs dry on an idle GPU; six idle samples are one second at the driver's 1/6 s.
IDLE_SAMPLES = 6
COPY_TRIES = 1000  # a reader tries so often, 50 us apart, to meet the file between two changes
ALL_DEVICES = -1
BARE_METAL = 0  # NVML_GPU_VIRTUALIZATION_MODE_NONE
VGPU_GUEST = 2  # NVML_GPU_VIRTUALIZATION_MODE_VGPU
VGPU_HOST = 3  # NVML_GPU_VIRTUALIZATION_MODE_HOST_VGPU
SCHEDULER_CODES = {
    SchedulerPolicy.BEST_EFFORT: 1,
    SchedulerPolicy.EQUAL_SHARE: 2,
    SchedulerPolicy.FIXED_SHARE: 3,
}
_MIB = 1 << 20


class ProcessRecord(ctypes.Structure):
    """A process on a device, with the last moment at which it used the engine."""

    _fields_ = (
        ("pid", ctypes.c_uint32),
        ("sm_percent", ctypes.c_uint32),
        ("used_bytes", ctypes.c_uint64),
        ("busy_at_us", ctypes.c_uint64),
    )


class SampleRecord(ctypes.Structure):
    """One entry of the utilization ring."""

    _fields_ = (
        ("at_us", ctypes.c_uint64),
        ("gpu_percent", ctypes.c_uint64),
    )


class DeviceRecord(ctypes.Structure):
    """One device; sample n lies at n modulo MAX_SAMPLES."""

    _fields_ = (
        ("name", ctypes.c_char * 96),
        ("uuid", ctypes.c_char * 80),
        ("total_bytes", ctypes.c_uint64),
        ("used_bytes", ctypes.c_uint64),
        ("samples_written", ctypes.c_uint64),
        ("lost", ctypes.c_uint32),
        ("gpu_percent", ctypes.c_uint32),
        ("virtualization_mode", ctypes.c_uint32),
        ("scheduler_policy", ctypes.c_uint32),
        ("slice_ns", ctypes.c_uint32),
        ("process_count", ctypes.c_uint32),
        ("processes", ProcessRecord * MAX_PROCESSES),
        ("samples", SampleRecord * MAX_SAMPLES),
    )


class FaultRecord(ctypes.Structure):
    """From its call number `after` on, `function` answers `code`. Calls are counted in each reading process."""

    _fields_ = (
        ("function", ctypes.c_char * 64),
        ("device", ctypes.c_int32),
        ("code", ctypes.c_uint32),
        ("after", ctypes.c_uint64),
    )


class StateRecord(ctypes.Structure):
    """The whole file."""

    _fields_ = (
        ("magic", ctypes.c_char * 8),
        ("version", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("sequence", ctypes.c_uint64),
        ("expires_ns", ctypes.c_uint64),  # on CLOCK_MONOTONIC; 0 = never
        ("driver_version", ctypes.c_char * 80),
        ("nvml_version", ctypes.c_char * 80),
        ("cuda_version", ctypes.c_uint32),
        ("device_count", ctypes.c_uint32),
        ("fault_count", ctypes.c_uint32),
        ("unused", ctypes.c_uint32),
        ("faults", FaultRecord * MAX_FAULTS),
        ("devices", DeviceRecord * MAX_DEVICES),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceIdentity:
    """What does not change about an emulated device. A host's card also says how it is scheduled."""

    name: str
    uuid: str
    framebuffer_mib: int
    virtualization_mode: int = VGPU_GUEST
    scheduler_policy: SchedulerPolicy | None = None
    slice_ns: int = 0

    def __post_init__(self) -> None:
        for field, value, size in (("name", self.name, 96), ("uuid", self.uuid, 80)):
            if not 1 <= len(value.encode()) < size:
                raise ValueError(f"{field} is {value!r}; it has 1 to {size - 1} bytes")
        if self.framebuffer_mib < 1:
            raise ValueError(f"framebuffer_mib is {self.framebuffer_mib}; a device has at least 1 MiB")
        if (self.virtualization_mode == VGPU_HOST) != (self.scheduler_policy is not None):
            raise ValueError(
                f"virtualization_mode is {self.virtualization_mode} and scheduler_policy {self.scheduler_policy};"
                f" exactly a host (mode {VGPU_HOST}) knows its policy"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessFigures:
    """What one process uses now; the ratio is of the physical engine."""

    pid: int
    used_mib: int
    utilization_ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFigures:
    """What a device does now; the ratio is of the physical engine."""

    used_mib: int = 0
    utilization_ratio: float = 0.0
    processes: tuple[ProcessFigures, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """An injected fault: `function` (the C name; `*` for all) answers NVML code `code` after `after` good calls."""

    function: str
    code: int
    device: int = ALL_DEVICES
    after: int = 0


class NvmlState:
    """The writer of one state file. Only its creator writes; any process may read."""

    def __init__(self, path: Path, identities: Sequence[DeviceIdentity]) -> None:
        if not 1 <= len(identities) <= MAX_DEVICES:
            raise ValueError(f"identities has {len(identities)} devices; a state file holds 1 to {MAX_DEVICES}")
        # Written beside and renamed, so that no reader meets half a header, and one that still maps the file of an
        # earlier writer keeps seeing that one's devices as lost until it initialises again, as with a real reset.
        partial = path.with_name(path.name + ".partial")
        with partial.open("w+b") as file:
            file.truncate(ctypes.sizeof(StateRecord))
            self._map = mmap.mmap(file.fileno(), ctypes.sizeof(StateRecord))
        self._state = StateRecord.from_buffer(self._map)
        self._fill_header()
        for index, identity in enumerate(identities):
            _fill_identity(self._state.devices[index], identity)
        self._state.device_count = len(identities)
        self._idle_samples = [IDLE_SAMPLES] * len(identities)
        os.replace(partial, path)

    def publish(self, index: int, figures: DeviceFigures, *, at_us: int) -> None:
        """Write what device `index` does at `at_us`, microseconds of the Unix clock as the driver's stamps are."""
        device = self._state.devices[index]
        busy = figures.utilization_ratio > 0
        with self._writing():
            device.used_bytes = figures.used_mib * _MIB
            device.gpu_percent = _percent(figures.utilization_ratio)
            _fill_processes(device, figures.processes, at_us)
            self._idle_samples[index] = 0 if busy else self._idle_samples[index] + 1
            if self._idle_samples[index] <= IDLE_SAMPLES:
                sample = device.samples[device.samples_written % MAX_SAMPLES]
                sample.at_us, sample.gpu_percent = at_us, device.gpu_percent
                device.samples_written += 1

    def set_expiry(self, expires_ns: int) -> None:
        """Promise to write again before `expires_ns` of CLOCK_MONOTONIC; 0 takes every promise back."""
        with self._writing():
            self._state.expires_ns = expires_ns

    def set_lost(self, lost: bool) -> None:
        """Make every device fall off the bus (NVML code 15), or bring it back."""
        with self._writing():
            for index in range(self._state.device_count):
                self._state.devices[index].lost = int(lost)

    def set_faults(self, faults: Sequence[Fault]) -> None:
        """Replace the table of injected faults."""
        if len(faults) > MAX_FAULTS:
            raise ValueError(f"faults has {len(faults)} entries; the table holds {MAX_FAULTS}")
        with self._writing():
            for index, fault in enumerate(faults):
                self._state.faults[index] = FaultRecord(fault.function.encode(), fault.device, fault.code, fault.after)
            self._state.fault_count = len(faults)

    def close(self) -> None:
        """Mark the devices lost and let go of the file, which stays."""
        self.set_lost(True)
        self._state = StateRecord()  # the mapping cannot close while a record looks into it
        self._map.close()

    def _fill_header(self) -> None:
        self._state.magic = MAGIC
        self._state.version = LAYOUT_VERSION
        self._state.size = ctypes.sizeof(StateRecord)
        self._state.driver_version = b"580.0-emulated"
        self._state.nvml_version = b"13.580.0-emulated"
        self._state.cuda_version = 13000

    @contextmanager
    def _writing(self) -> Iterator[None]:
        self._state.sequence += 1
        try:
            yield
        finally:
            self._state.sequence += 1


def _percent(ratio: float) -> int:
    return min(100, round(ratio * 100))


def _fill_identity(device: DeviceRecord, identity: DeviceIdentity) -> None:
    device.name = identity.name.encode()
    device.uuid = identity.uuid.encode()
    device.total_bytes = identity.framebuffer_mib * _MIB
    device.virtualization_mode = identity.virtualization_mode
    if identity.scheduler_policy is not None:
        device.scheduler_policy = SCHEDULER_CODES[identity.scheduler_policy]
        device.slice_ns = identity.slice_ns


def _fill_processes(device: DeviceRecord, processes: Sequence[ProcessFigures], at_us: int) -> None:
    """Write the processes; an idle one keeps its last busy figure and its date, as in the driver's buffer."""
    last_busy = {
        record.pid: (record.sm_percent, record.busy_at_us) for record in device.processes[: device.process_count]
    }
    device.process_count = min(len(processes), MAX_PROCESSES)
    for record, process in zip(device.processes, processes, strict=False):
        busy = (_percent(process.utilization_ratio), at_us)
        sm_percent, busy_at_us = busy if busy[0] else last_busy.get(process.pid, (0, 0))
        record.pid, record.sm_percent = process.pid, sm_percent
        record.used_bytes, record.busy_at_us = process.used_mib * _MIB, busy_at_us
