"""The one door to NVML: what each device of this node reports, read through pynvml.

A reading that is not there is a `Missing` with its reason, never 0. A call that a driver or device does not support is
asked once and then dropped for good. A lost device stays unhealthy until a fresh initialisation sees it again.
Rule: one thread reads. A call into a dying driver can hang; whoever reads keeps a watchdog.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum
from typing import Any

import pynvml

_MIB = 1 << 20
SIZING_TRIES = 3  # a process may appear between asking for the size and reading
TRANSIENT_READS = 3  # so many reads in a row with a driver error make a device unhealthy

_NO_DRIVER = {
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: "no libnvidia-ml.so.1 here: no driver, or a container without its utilities",
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "the NVIDIA driver is not loaded",
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "library and driver versions differ; reload the driver or reboot",
}


class MissingReason(StrEnum):
    """Why a reading is not there."""

    NO_DRIVER = "no_driver"
    NOT_SUPPORTED = "not_supported"
    NO_PERMISSION = "no_permission"
    NO_SAMPLES = "no_samples"
    IMPLAUSIBLE = "implausible"
    DEVICE_LOST = "device_lost"
    DRIVER_ERROR = "driver_error"


_REASONS = {
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND: MissingReason.NOT_SUPPORTED,
    pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH: MissingReason.NOT_SUPPORTED,
    pynvml.NVML_ERROR_NOT_SUPPORTED: MissingReason.NOT_SUPPORTED,
    pynvml.NVML_ERROR_NO_PERMISSION: MissingReason.NO_PERMISSION,
    pynvml.NVML_ERROR_NOT_FOUND: MissingReason.NO_SAMPLES,
    pynvml.NVML_ERROR_NO_DATA: MissingReason.NO_SAMPLES,
    pynvml.NVML_ERROR_NOT_READY: MissingReason.NO_SAMPLES,
    pynvml.NVML_ERROR_GPU_IS_LOST: MissingReason.DEVICE_LOST,
    pynvml.NVML_ERROR_RESET_REQUIRED: MissingReason.DEVICE_LOST,
}
# The driver is older than the binding, whatever the device.
_TOO_OLD = {pynvml.NVML_ERROR_FUNCTION_NOT_FOUND, pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH}


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A reading that is not there, and why."""

    reason: MissingReason
    detail: str = ""


class VirtualizationMode(IntEnum):
    """On which side of a virtual GPU this machine is (NVML's numbers)."""

    BARE_METAL = 0
    PASSTHROUGH = 1
    VGPU_GUEST = 2
    VGPU_HOST = 3
    VSGA_HOST = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessReading:
    """One process on a device; the ratio is of what the device itself reports as its engine."""

    pid: int
    used_mib: int | Missing
    utilization_ratio: float | Missing


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceReading:
    """One device. `utilization_ratio` (0 to 1) covers the time since the last reading, as far as the driver kept it."""

    index: int
    uuid: str | Missing
    name: str | Missing
    healthy: bool
    memory_total_mib: int | Missing
    memory_used_mib: int | Missing
    utilization_ratio: float | Missing
    virtualization_mode: VirtualizationMode | Missing
    processes: tuple[ProcessReading, ...] | Missing


_UNREAD = Missing(reason=MissingReason.NO_SAMPLES, detail="not read yet")


@dataclass(slots=True)
class _Device:
    """What the reader remembers of the device at one index. A lost one has no handle any more."""

    handle: Any = None
    uuid: str | Missing = _UNREAD
    name: str | Missing = _UNREAD
    erred: bool = False
    erring_reads: int = 0
    dropped: dict[str, Missing] = field(default_factory=dict)
    sampled_at_us: int = 0
    processes_at_us: int = 0

    @property
    def healthy(self) -> bool:
        lost = isinstance(self.handle, Missing) and self.handle.reason is MissingReason.DEVICE_LOST
        return not lost and self.erring_reads < TRANSIENT_READS


def use_library(library: object) -> None:
    """Make pynvml call `library` in place of the driver's: a loaded C library or an object with the same functions."""
    pynvml.nvmlLib = library
    pynvml._nvmlGetFunctionPointer_cache.clear()  # functions already looked up would outlive their library


class NvmlReader:
    """Reads the devices of this node, and remembers what their driver does not support."""

    def __init__(self) -> None:
        self._initialised = False
        self._devices: dict[int, _Device] = {}
        self._last: dict[str, DeviceReading] = {}
        self._dropped: dict[str, Missing] = {}
        self._error_counts: Counter[int] = Counter()

    @property
    def error_counts(self) -> Mapping[int, int]:
        """NVML error codes met so far and how often; idle answers are not errors."""
        return self._error_counts

    def read_devices(self) -> tuple[DeviceReading, ...] | Missing:
        """Read every device, or say why there is none to read. Devices that vanished stay in, unhealthy."""
        for _ in range(2):  # once more where somebody else in this process shut NVML down
            if (missing := self._initialise()) is not None:
                return missing
            count = self._ask(None, "nvmlDeviceGetCount")
            readings = () if isinstance(count, Missing) else tuple(self._read_device(index) for index in range(count))
            if self._initialised:
                break
        if isinstance(count, Missing):
            return count
        present = {reading.uuid for reading in readings}
        vanished = tuple(_as_lost(reading) for uuid, reading in self._last.items() if uuid not in present)
        readings = (*readings, *vanished)
        self._last = {reading.uuid: reading for reading in readings if isinstance(reading.uuid, str)}
        if any(not reading.healthy for reading in readings):
            self.close()
        return readings

    def close(self) -> None:
        """Shut NVML down; the next reading initialises it again."""
        if self._initialised:
            self._ask(None, "nvmlShutdown")
        self._initialised = False

    def _initialise(self) -> Missing | None:
        if self._initialised:
            return None
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            self._error_counts[error.value] += 1
            if error.value in _NO_DRIVER:
                return Missing(reason=MissingReason.NO_DRIVER, detail=_NO_DRIVER[error.value])
            return Missing(reason=MissingReason.DRIVER_ERROR, detail=f"nvmlInit: {error}")
        self._initialised = True
        return None

    def _ask(self, device: _Device | None, call: str, *arguments: object, **options: object) -> Any:  # noqa: ANN401  # pynvml has no types
        """What pynvml's `call` answers, or Missing. The type of the answer is pynvml's, which declares none."""
        if device is not None and isinstance(device.handle, Missing):
            return device.handle
        key = f"{call}{options or ''}"
        missing = self._dropped.get(key) or (device.dropped.get(key) if device else None)
        if missing is not None:
            return missing
        for _ in range(SIZING_TRIES):
            try:
                return getattr(pynvml, call)(*arguments, **options)
            except pynvml.NVMLLibraryMismatchError as error:  # not an NVMLError
                code, detail = pynvml.NVML_ERROR_FUNCTION_NOT_FOUND, str(error)
            except pynvml.NVMLError as error:
                code, detail = error.value, str(error)
            if _REASONS.get(code) is not MissingReason.NO_SAMPLES:
                self._error_counts[code] += 1
            if code != pynvml.NVML_ERROR_INSUFFICIENT_SIZE:
                break
        return self._missing(device, key, code, f"{call}: {detail}")

    def _missing(self, device: _Device | None, key: str, code: int, detail: str) -> Missing:
        """Give an error code its meaning, and remember what follows from it."""
        missing = Missing(reason=_REASONS.get(code, MissingReason.DRIVER_ERROR), detail=detail)
        if code in _TOO_OLD:
            self._dropped[key] = missing
        elif missing.reason in (MissingReason.NOT_SUPPORTED, MissingReason.NO_PERMISSION):
            (device.dropped if device else self._dropped)[key] = missing
        elif code == pynvml.NVML_ERROR_UNINITIALIZED:
            self._initialised = False
        elif device is not None and missing.reason is MissingReason.DEVICE_LOST:
            device.handle = missing
        elif device is not None and missing.reason is MissingReason.DRIVER_ERROR:
            device.erred = True
        return missing

    def _read_device(self, index: int) -> DeviceReading:
        device = self._identify(index)
        total_mib, used_mib = self._read_memory(device)
        utilization_ratio = self._read_utilization(device)
        processes = self._read_processes(device, utilization_ratio)
        mode = self._ask(device, "nvmlDeviceGetVirtualizationMode", device.handle)
        if not isinstance(mode, Missing):
            known = mode in list(VirtualizationMode)
            mode = VirtualizationMode(mode) if known else _implausible(f"virtualization mode {mode}")
        device.erring_reads = device.erring_reads + 1 if device.erred else 0
        return DeviceReading(
            index=index,
            uuid=device.uuid,
            name=device.name,
            healthy=device.healthy,
            memory_total_mib=total_mib,
            memory_used_mib=used_mib,
            utilization_ratio=utilization_ratio,
            virtualization_mode=mode,
            processes=processes,
        )

    def _identify(self, index: int) -> _Device:
        """The memory of the device now at `index`; one that cannot be asked keeps the identity it had there."""
        device = self._devices.setdefault(index, _Device())
        device.handle, device.erred = None, False
        device.handle = self._ask(device, "nvmlDeviceGetHandleByIndex", index)
        uuid = self._ask(device, "nvmlDeviceGetUUID", device.handle)
        if isinstance(uuid, str) and uuid != device.uuid:
            device = self._devices[index] = _Device(handle=device.handle, uuid=uuid)
        name = self._ask(device, "nvmlDeviceGetName", device.handle)
        if isinstance(device.uuid, Missing):
            device.uuid = uuid
        if isinstance(device.name, Missing):
            device.name = name
        return device

    def _read_memory(self, device: _Device) -> tuple[int | Missing, int | Missing]:
        """Total and used MiB. Only version 2 of the call keeps the driver's reserve out of what is used."""
        memory = self._ask(device, "nvmlDeviceGetMemoryInfo", device.handle, version=pynvml.nvmlMemory_v2)
        if isinstance(memory, Missing):
            memory = self._ask(device, "nvmlDeviceGetMemoryInfo", device.handle)
        if isinstance(memory, Missing):
            return memory, memory
        return memory.total // _MIB, memory.used // _MIB

    def _read_utilization(self, device: _Device) -> float | Missing:
        """The mean of the driver's samples since the last reading, or its present figure where it kept none.

        An idle device's ring of samples runs dry, and the first reading would average over all that the ring holds.
        """
        kind = pynvml.NVML_GPU_UTILIZATION_SAMPLES
        since_us = device.sampled_at_us
        sampled = self._ask(device, "nvmlDeviceGetSamples", device.handle, kind, since_us)
        if not isinstance(sampled, Missing) and sampled[0] == pynvml.NVML_VALUE_TYPE_UNSIGNED_INT and sampled[1]:
            device.sampled_at_us = max(sample.timeStamp for sample in sampled[1])
            percents = [sample.sampleValue.uiVal for sample in sampled[1] if sample.sampleValue.uiVal <= 100]
            if since_us and percents:
                return float(sum(percents)) / len(percents) / 100
        rates = self._ask(device, "nvmlDeviceGetUtilizationRates", device.handle)
        if isinstance(rates, Missing):
            return rates
        return rates.gpu / 100 if rates.gpu <= 100 else _implausible(f"utilization of {rates.gpu} percent")

    def _read_processes(
        self, device: _Device, utilization_ratio: float | Missing
    ) -> tuple[ProcessReading, ...] | Missing:
        running = self._ask(device, "nvmlDeviceGetComputeRunningProcesses", device.handle)
        if isinstance(running, Missing):
            return running
        since_us = device.processes_at_us
        active = self._ask(device, "nvmlDeviceGetProcessUtilization", device.handle, since_us)
        if not isinstance(active, Missing) and active:
            device.processes_at_us = max(sample.timeStamp for sample in active)
            if not since_us:  # the driver averages over its whole buffer then, so an idle process looks busy
                active = Missing(reason=MissingReason.NO_SAMPLES, detail="the first reading")
        idle = isinstance(active, Missing) and active.reason is MissingReason.NO_SAMPLES and utilization_ratio == 0
        if idle:
            active = []
        return tuple(
            ProcessReading(
                pid=process.pid,
                used_mib=_used_mib(process.usedGpuMemory),
                utilization_ratio=active if isinstance(active, Missing) else _utilization_of(process.pid, active),
            )
            for process in running
        )


def _utilization_of(pid: int, active: Sequence[Any]) -> float | Missing:
    """The driver lists who used the engine; who is not listed did not. Drivers have listed over 100 percent."""
    percents = [sample.smUtil for sample in active if sample.pid == pid]
    if any(percent > 100 for percent in percents):
        return _implausible(f"process {pid} at {max(percents)} percent")
    return max(percents, default=0) / 100


def _used_mib(used_bytes: int | None) -> int | Missing:
    return Missing(reason=MissingReason.NOT_SUPPORTED) if used_bytes is None else used_bytes // _MIB


def _implausible(detail: str) -> Missing:
    return Missing(reason=MissingReason.IMPLAUSIBLE, detail=detail)


def _as_lost(reading: DeviceReading) -> DeviceReading:
    """A device that the driver no longer counts: its identity, and nothing to read."""
    lost = Missing(reason=MissingReason.DEVICE_LOST, detail="the driver no longer lists the device")
    return replace(
        reading,
        healthy=False,
        memory_total_mib=lost,
        memory_used_mib=lost,
        utilization_ratio=lost,
        virtualization_mode=lost,
        processes=lost,
    )
