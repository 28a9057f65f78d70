"""The emulated NVML without a compiler: an object that pynvml calls in place of the loaded library.

pynvml takes functions from its `nvmlLib` by name and calls them with ctypes arguments: output parameters come as
`byref` objects whose `_obj` is the real structure. This exercises the binding's own code and only this process sees it.
Rule: same answers as fake_nvml.c, call by call; tests/contracts/nvml runs one suite over both.
"""

import ctypes
import mmap
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from vgpu.core import names
from vgpu.emulator import nvml_state
from vgpu.emulator.nvml_state import DeviceRecord, StateRecord

SUCCESS, UNINITIALIZED, INVALID_ARGUMENT, NOT_SUPPORTED, NOT_FOUND, INSUFFICIENT_SIZE = 0, 1, 2, 3, 6, 7
DRIVER_NOT_LOADED, GPU_IS_LOST, LIB_RM_VERSION_MISMATCH, ARGUMENT_VERSION_MISMATCH = 9, 15, 18, 25
GPU_UTILIZATION_SAMPLES, MEMORY_UTILIZATION_SAMPLES, VALUE_IS_UNSIGNED_INT = 1, 2, 1
MEMORY_V2 = 2 << 24 | 40  # version 2 of a structure of 40 bytes
PROCESS_SIZING_ANSWER = 100  # the driver answers the size of its buffer, not the live number of processes
NO_INSTANCE = 0xFFFFFFFF
HANDLE_TAG = 0x5647
COPY_WAIT_S = 50e-6

Call = Callable[..., int]
Pointer = Any  # a ctypes pointer, array or byref object, whatever pynvml passes


class PythonNvml:
    """The functions of libnvidia-ml that this project calls, as attributes."""

    def __init__(self) -> None:
        self._map: mmap.mmap | None = None
        self._references = 0
        self._fault_calls: dict[int, int] = {}

    def __getattr__(self, name: str) -> Call:
        # Partials and not bound methods: pynvml sets `restype` on a function, and only a partial can take it.
        if name in ("nvmlInitWithFlags", "nvmlInit_v2", "nvmlInit"):
            return partial(self._initialise)
        if name == "nvmlShutdown":
            return partial(self._shut_down)
        if name in _SYSTEM_CALLS:
            return partial(self._call_system, name)
        if name in _HANDLE_CALLS:
            return partial(self._find_handle, name)
        if name in _DEVICE_CALLS:
            return partial(self._call_device, name)
        raise AttributeError(name)

    def _initialise(self, _flags: int = 0) -> int:
        answer = SUCCESS
        if self._map is None:
            answer = self._map_state()
        if answer == SUCCESS and self._map is not None:
            answer = self._injected_fault(_copy_state(self._map), "nvmlInitWithFlags", nvml_state.ALL_DEVICES)
        if answer == SUCCESS:
            self._references += 1
        elif not self._references:
            self._unmap()
        return answer

    def _shut_down(self) -> int:
        if self._map is None:
            return UNINITIALIZED
        self._references -= 1
        if not self._references:
            self._unmap()
        return SUCCESS

    def _unmap(self) -> None:
        """Let go of the file, so that the next initialisation sees that of a new writer."""
        if self._map is not None:
            self._map.close()
            self._map = None

    def _map_state(self) -> int:
        try:
            with open(os.environ.get(names.ENV_FAKE_NVML_STATE, ""), "rb") as file:
                found = mmap.mmap(file.fileno(), ctypes.sizeof(StateRecord), access=mmap.ACCESS_READ)
        except (OSError, ValueError):  # missing, unreadable, or shorter than the record
            return DRIVER_NOT_LOADED
        header = StateRecord.from_buffer_copy(found)
        expected = (nvml_state.MAGIC, nvml_state.LAYOUT_VERSION, ctypes.sizeof(StateRecord))
        if (header.magic, header.version, header.size) != expected:
            found.close()
            return LIB_RM_VERSION_MISMATCH
        self._map = found
        self._fault_calls.clear()
        return SUCCESS

    def _call_system(self, name: str, *arguments: Pointer) -> int:
        if self._map is None:
            return UNINITIALIZED
        state = _copy_state(self._map)
        return self._injected_fault(state, name, nvml_state.ALL_DEVICES) or _SYSTEM_CALLS[name](state, *arguments)

    def _find_handle(self, name: str, wanted: Pointer, handle: Pointer) -> int:
        if self._map is None:
            return UNINITIALIZED
        state = _copy_state(self._map)
        index = _HANDLE_CALLS[name](state, wanted)
        if index is None:
            return NOT_FOUND
        answer = self._device_refusal(state, name, index)
        if answer == SUCCESS:
            target = ctypes.cast(ctypes.byref(handle._obj), ctypes.POINTER(ctypes.c_void_p))
            target[0] = HANDLE_TAG << 16 | (index + 1) << 3
        return answer

    def _call_device(self, name: str, handle: Pointer, *arguments: Pointer) -> int:
        if self._map is None:
            return UNINITIALIZED
        value = ctypes.cast(handle, ctypes.c_void_p).value or 0
        if value >> 16 != HANDLE_TAG or value & 7:
            return INVALID_ARGUMENT
        state, index = _copy_state(self._map), ((value & 0xFFFF) >> 3) - 1
        return self._device_refusal(state, name, index) or _DEVICE_CALLS[name](state.devices[index], *arguments)

    def _injected_fault(self, state: StateRecord, function: str, device: int) -> int:
        for index, fault in enumerate(state.faults[: state.fault_count]):
            if fault.function not in (function.encode(), b"*") or fault.device not in (nvml_state.ALL_DEVICES, device):
                continue
            self._fault_calls[index] = self._fault_calls.get(index, 0) + 1
            if self._fault_calls[index] > fault.after:
                return int(fault.code)
        return SUCCESS

    def _device_refusal(self, state: StateRecord, function: str, index: int) -> int:
        if not 0 <= index < state.device_count:
            return INVALID_ARGUMENT
        if fault := self._injected_fault(state, function, index):
            return fault
        writer_is_gone = 0 < state.expires_ns < time.monotonic_ns()
        return GPU_IS_LOST if state.devices[index].lost or writer_is_gone else SUCCESS


def _copy_state(mapped: mmap.mmap) -> StateRecord:
    """The file as it is between two changes; one that a dead writer left half done is taken after COPY_TRIES."""
    sequence = slice(StateRecord.sequence.offset, StateRecord.sequence.offset + StateRecord.sequence.size)
    for _ in range(nvml_state.COPY_TRIES):
        before = mapped[sequence]
        state = StateRecord.from_buffer_copy(mapped)
        if state.sequence % 2 == 0 and before == mapped[sequence]:
            break
        time.sleep(COPY_WAIT_S)
    return state


def _put_text(buffer: Pointer, length: ctypes.c_uint, text: bytes) -> int:
    if len(text) + 1 > length.value:
        return INSUFFICIENT_SIZE
    buffer.value = text
    return SUCCESS


def _put_number(target: Pointer, number: int) -> int:
    target._obj.value = number
    return SUCCESS


def _index_of_uuid(state: StateRecord, uuid: ctypes.c_char_p) -> int | None:
    uuids = [device.uuid for device in state.devices[: state.device_count]]
    return uuids.index(uuid.value) if uuid.value in uuids else None


def _memory(device: DeviceRecord, memory: Pointer) -> int:
    memory._obj.total, memory._obj.used = device.total_bytes, device.used_bytes
    memory._obj.free = device.total_bytes - device.used_bytes
    return SUCCESS


def _memory_v2(device: DeviceRecord, memory: Pointer) -> int:
    if memory._obj.version != MEMORY_V2:
        return ARGUMENT_VERSION_MISMATCH
    memory._obj.reserved = 0
    return _memory(device, memory)


def _utilization(device: DeviceRecord, utilization: Pointer) -> int:
    utilization._obj.gpu, utilization._obj.memory = device.gpu_percent, 0
    return SUCCESS


def _samples(
    device: DeviceRecord,
    kind: ctypes.c_uint,
    since_us: ctypes.c_ulonglong,
    value_kind: Pointer,
    count: Pointer,
    samples: Pointer,
) -> int:
    if kind.value != GPU_UTILIZATION_SAMPLES:
        return NOT_SUPPORTED if kind.value == MEMORY_UTILIZATION_SAMPLES else INVALID_ARGUMENT
    value_kind._obj.value = VALUE_IS_UNSIGNED_INT
    if samples is None:
        return _put_number(count, nvml_state.MAX_SAMPLES)
    written = device.samples_written
    ring = [
        device.samples[number % nvml_state.MAX_SAMPLES]
        for number in range(max(0, written - nvml_state.MAX_SAMPLES), written)
    ]
    fresh = [sample for sample in ring if sample.at_us > since_us.value][: count._obj.value]
    for target, sample in zip(samples, fresh, strict=False):
        target.timeStamp, target.sampleValue.uiVal = sample.at_us, sample.gpu_percent
    _put_number(count, len(fresh))
    return SUCCESS if fresh else NOT_FOUND


def _process_utilization(device: DeviceRecord, samples: Pointer, count: Pointer, since_us: ctypes.c_ulonglong) -> int:
    if samples is None:
        _put_number(count, PROCESS_SIZING_ANSWER)
        return INSUFFICIENT_SIZE
    active = [
        process
        for process in device.processes[: device.process_count]
        if process.sm_percent and process.busy_at_us > since_us.value
    ]
    if len(active) > count._obj.value:
        return INSUFFICIENT_SIZE
    for target, process in zip(samples, active, strict=False):
        target.pid, target.timeStamp, target.smUtil = process.pid, process.busy_at_us, process.sm_percent
    _put_number(count, len(active))
    return SUCCESS if active else NOT_FOUND


def _running_processes(device: DeviceRecord, count: Pointer, processes: Pointer) -> int:
    room = count._obj.value
    _put_number(count, device.process_count)
    if not device.process_count:
        return SUCCESS
    if processes is None or room < device.process_count:
        return INSUFFICIENT_SIZE
    for target, process in zip(processes, device.processes[: device.process_count], strict=False):
        target.pid, target.usedGpuMemory = process.pid, process.used_bytes
        target.gpuInstanceId = target.computeInstanceId = NO_INSTANCE
    return SUCCESS


def _scheduler_state(device: DeviceRecord, scheduler: Pointer) -> int:
    if device.virtualization_mode != nvml_state.VGPU_HOST:
        return NOT_SUPPORTED
    scheduler._obj.schedulerPolicy, scheduler._obj.timeslice = device.scheduler_policy, device.slice_ns
    scheduler._obj.avgFactor = 0
    return SUCCESS


_SYSTEM_CALLS: dict[str, Call] = {
    "nvmlSystemGetDriverVersion": lambda state, text, length: _put_text(text, length, state.driver_version),
    "nvmlSystemGetNVMLVersion": lambda state, text, length: _put_text(text, length, state.nvml_version),
    "nvmlSystemGetCudaDriverVersion": lambda state, version: _put_number(version, state.cuda_version),
    "nvmlDeviceGetCount_v2": lambda state, count: _put_number(count, state.device_count),
}
_HANDLE_CALLS: dict[str, Callable[[StateRecord, Pointer], int | None]] = {
    "nvmlDeviceGetHandleByIndex_v2": lambda state, index: int(index.value),
    "nvmlDeviceGetHandleByUUID": _index_of_uuid,
}
_DEVICE_CALLS: dict[str, Call] = {
    "nvmlDeviceGetName": lambda device, text, length: _put_text(text, length, device.name),
    "nvmlDeviceGetUUID": lambda device, text, length: _put_text(text, length, device.uuid),
    "nvmlDeviceGetVirtualizationMode": lambda device, mode: _put_number(mode, device.virtualization_mode),
    "nvmlDeviceGetMigMode": lambda device, current, pending: NOT_SUPPORTED,
    "nvmlDeviceGetMemoryInfo": _memory,
    "nvmlDeviceGetMemoryInfo_v2": _memory_v2,
    "nvmlDeviceGetUtilizationRates": _utilization,
    "nvmlDeviceGetSamples": _samples,
    "nvmlDeviceGetProcessUtilization": _process_utilization,
    "nvmlDeviceGetComputeRunningProcesses_v3": _running_processes,
    "nvmlDeviceGetVgpuSchedulerState_v2": _scheduler_state,
}
