"""The NVML reader over both front ends: every reading, and every way of missing one."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pynvml
import pytest

from tests.contracts.nvml.conftest import GUEST, HOST, StateFolder
from vgpu.adapters import nvml
from vgpu.adapters.nvml import DeviceReading, Missing, MissingReason, NvmlReader, ProcessReading, VirtualizationMode
from vgpu.core import names
from vgpu.emulator.nvml_python import PythonNvml
from vgpu.emulator.nvml_state import DeviceFigures, DeviceIdentity, Fault, NvmlState, ProcessFigures

AT_US = 1_700_000_000_000_000
HEALTHY_GUEST = DeviceReading(
    index=0,
    uuid=GUEST.uuid,
    name=GUEST.name,
    healthy=True,
    memory_total_mib=8192,
    memory_used_mib=100,
    utilization_ratio=0.25,
    virtualization_mode=VirtualizationMode.VGPU_GUEST,
    processes=(ProcessReading(pid=42, used_mib=100, utilization_ratio=0.25),),
)


def busy(ratio: float) -> DeviceFigures:
    process = ProcessFigures(pid=42, used_mib=100, utilization_ratio=ratio)
    return DeviceFigures(used_mib=100, utilization_ratio=ratio, processes=(process,))


def devices(reader: NvmlReader) -> tuple[DeviceReading, ...]:
    readings = reader.read_devices()
    assert not isinstance(readings, Missing)
    return readings


def reasons(reading: DeviceReading) -> set[MissingReason | None]:
    values = (reading.memory_total_mib, reading.memory_used_mib, reading.utilization_ratio, reading.processes)
    return {value.reason if isinstance(value, Missing) else None for value in values}


def reader_after_first_look(state: NvmlState) -> NvmlReader:
    """A reader past its first look, which only learns where the driver's buffers end."""
    state.publish(0, busy(0.9), at_us=AT_US)
    reader = NvmlReader()
    reader.read_devices()
    return reader


def test_a_healthy_device_is_read_whole(states: StateFolder) -> None:
    state = states.create()
    reader = reader_after_first_look(state)
    state.publish(0, busy(0.25), at_us=AT_US + 1)
    assert reader.read_devices() == (HEALTHY_GUEST,)
    assert dict(reader.error_counts) == {}


def test_utilization_covers_all_samples_since_the_last_reading(states: StateFolder) -> None:
    state = states.create()
    reader = reader_after_first_look(state)
    for step, ratio in enumerate([1.0, 0.5, 0.0, 0.5], start=1):
        state.publish(0, busy(ratio), at_us=AT_US + step)
    assert devices(reader)[0].utilization_ratio == 0.5


def test_the_first_reading_trusts_the_present_figure_and_not_the_whole_ring(states: StateFolder) -> None:
    state = states.create()
    for step, ratio in enumerate([1.0, 1.0, 0.2]):
        state.publish(0, busy(ratio), at_us=AT_US + step)
    reading = devices(NvmlReader())[0]
    assert reading.utilization_ratio == 0.2
    assert isinstance(reading.processes, tuple)
    assert isinstance(reading.processes[0].utilization_ratio, Missing)


def test_an_idle_device_reads_zero_although_its_samples_ran_dry(states: StateFolder) -> None:
    state = states.create()
    reader = reader_after_first_look(state)
    for step in range(1, 20):
        state.publish(0, busy(0.0), at_us=AT_US + step)
    reader.read_devices()
    idle = replace(
        HEALTHY_GUEST,
        utilization_ratio=0.0,
        processes=(ProcessReading(pid=42, used_mib=100, utilization_ratio=0.0),),
    )
    assert reader.read_devices() == (idle,)


def test_a_silent_process_on_a_busy_device_is_missing_and_not_zero(states: StateFolder) -> None:
    state = states.create()
    reader = reader_after_first_look(state)
    state.set_faults([Fault(function="nvmlDeviceGetProcessUtilization", code=pynvml.NVML_ERROR_NOT_FOUND)])
    state.publish(0, busy(0.5), at_us=AT_US + 1)
    reading = devices(reader)[0]
    assert isinstance(reading.processes, tuple)
    silent = reading.processes[0].utilization_ratio
    assert isinstance(silent, Missing)
    assert silent.reason is MissingReason.NO_SAMPLES


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (pynvml.NVML_ERROR_NOT_SUPPORTED, MissingReason.NOT_SUPPORTED),
        (pynvml.NVML_ERROR_NO_PERMISSION, MissingReason.NO_PERMISSION),
        (pynvml.NVML_ERROR_FUNCTION_NOT_FOUND, MissingReason.NOT_SUPPORTED),
    ],
)
def test_what_a_driver_does_not_support_is_asked_once(states: StateFolder, code: int, reason: MissingReason) -> None:
    state = states.create()
    calls = ("nvmlDeviceGetUtilizationRates", "nvmlDeviceGetSamples", "nvmlDeviceGetComputeRunningProcesses_v3")
    state.set_faults([Fault(function=call, code=code) for call in calls])
    reader = NvmlReader()
    first = devices(reader)[0]
    assert reasons(first) == {None, reason}
    state.set_faults([])
    assert reasons(devices(reader)[0]) == {None, reason}
    assert dict(reader.error_counts) == {code: len(calls)}
    assert first.healthy


def test_a_call_that_one_device_lacks_is_still_asked_of_the_other(states: StateFolder) -> None:
    state = states.create([HOST, GUEST])
    state.set_faults(
        [
            Fault(function=call, device=0, code=pynvml.NVML_ERROR_NOT_SUPPORTED)
            for call in ("nvmlDeviceGetUtilizationRates", "nvmlDeviceGetSamples")
        ]
    )
    host, guest = devices(NvmlReader())
    assert isinstance(host.utilization_ratio, Missing)
    assert guest.utilization_ratio == 0.0


def test_an_old_driver_without_version_two_still_tells_its_memory(states: StateFolder) -> None:
    state = states.create()
    state.publish(0, busy(0.5), at_us=AT_US)
    state.set_faults([Fault(function="nvmlDeviceGetMemoryInfo_v2", code=pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)])
    reading = devices(NvmlReader())[0]
    assert (reading.memory_total_mib, reading.memory_used_mib) == (8192, 100)


def test_a_lost_device_is_unhealthy_keeps_its_identity_and_recovers(states: StateFolder) -> None:
    state = states.create()
    reader = reader_after_first_look(state)
    state.set_lost(True)
    for _ in range(2):
        reading = devices(reader)[0]
        assert (reading.healthy, reading.uuid, reading.name) == (False, GUEST.uuid, GUEST.name)
        assert reasons(reading) == {MissingReason.DEVICE_LOST}
    assert reader.error_counts[pynvml.NVML_ERROR_GPU_IS_LOST] == 2
    state.set_lost(False)
    state.publish(0, busy(0.25), at_us=AT_US + 1)
    assert reader.read_devices() == (HEALTHY_GUEST,)


def test_a_device_lost_half_way_through_a_reading_is_lost_for_the_rest_of_it(states: StateFolder) -> None:
    state = states.create()
    reader = reader_after_first_look(state)
    state.set_faults([Fault(function="nvmlDeviceGetSamples", code=pynvml.NVML_ERROR_GPU_IS_LOST)])
    reading = devices(reader)[0]
    assert not reading.healthy
    assert (reading.memory_total_mib, reading.memory_used_mib) == (8192, 100)
    assert reasons(reading) == {None, MissingReason.DEVICE_LOST}


def test_a_new_writer_after_a_loss_is_picked_up(states: StateFolder) -> None:
    state = states.create()
    reader = reader_after_first_look(state)
    state.close()
    assert [reading.healthy for reading in devices(reader)] == [False]
    states.create().publish(0, busy(0.25), at_us=AT_US + 1)
    assert reader.read_devices() == (HEALTHY_GUEST,)


def test_a_device_that_vanishes_from_the_list_stays_in_as_lost(states: StateFolder) -> None:
    old = states.create([GUEST, HOST])
    reader = NvmlReader()
    reader.read_devices()
    old.close()
    reader.read_devices()
    states.create([HOST])
    host, guest = devices(reader)
    assert (host.uuid, host.healthy) == (HOST.uuid, True)
    assert (guest.uuid, guest.healthy, reasons(guest)) == (GUEST.uuid, False, {MissingReason.DEVICE_LOST})


def test_a_passing_driver_error_is_missing_and_three_in_a_row_are_unhealthy(states: StateFolder) -> None:
    state = states.create()
    reader = reader_after_first_look(state)
    fault = Fault(function="nvmlDeviceGetMemoryInfo_v2", code=pynvml.NVML_ERROR_TIMEOUT)
    for faults, healthy in [([fault], True), ([], True), ([fault], True), ([fault], True), ([fault], False)]:
        state.set_faults(faults)
        assert devices(reader)[0].healthy is healthy
    assert reader.error_counts[pynvml.NVML_ERROR_TIMEOUT] == 4
    state.set_faults([])
    assert devices(reader)[0].healthy


def test_an_insufficient_size_is_tried_three_times(states: StateFolder) -> None:
    state = states.create()
    reader = reader_after_first_look(state)
    code = pynvml.NVML_ERROR_INSUFFICIENT_SIZE
    state.set_faults([Fault(function="nvmlDeviceGetUtilizationRates", code=code)])
    reader.read_devices()
    assert reader.error_counts[code] == 3


def test_a_shutdown_by_somebody_else_is_made_good_within_the_reading(states: StateFolder) -> None:
    state = states.create()
    reader = reader_after_first_look(state)
    pynvml.nvmlShutdown()
    state.publish(0, busy(0.25), at_us=AT_US + 1)
    assert reader.read_devices() == (HEALTHY_GUEST,)


def test_no_driver_is_a_reason_and_not_an_empty_node(
    states: StateFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(names.ENV_FAKE_NVML_STATE, str(tmp_path / "absent"))
    reader = NvmlReader()
    assert reader.read_devices() == Missing(reason=MissingReason.NO_DRIVER, detail="the NVIDIA driver is not loaded")
    states.create()
    assert len(devices(reader)) == 1


def test_no_library_at_all_is_no_driver(front_end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no NVML on the machine pynvml finds nothing to load."""

    def nothing_to_load(_name: str) -> None:
        raise OSError

    nvml.use_library(None)
    monkeypatch.setattr(pynvml, "CDLL", nothing_to_load)
    missing = NvmlReader().read_devices()
    assert isinstance(missing, Missing)
    assert missing.reason is MissingReason.NO_DRIVER


class Garbled(PythonNvml):
    """A driver that answers one call with nonsense."""

    def __init__(self, call: str, answer: Callable[..., int]) -> None:
        super().__init__()
        self._garbled = {call: answer}

    def __getattr__(self, name: str) -> Callable[..., int]:
        return self._garbled.get(name) or super().__getattr__(name)


def test_figures_over_the_whole_engine_are_dropped(states: StateFolder) -> None:
    state = states.create()

    def far_over(_handle: object, utilization: pynvml.c_nvmlUtilization_t) -> int:
        utilization._obj.gpu = 3_000_000
        return 0

    nvml.use_library(Garbled("nvmlDeviceGetUtilizationRates", far_over))
    state.publish(0, DeviceFigures(), at_us=AT_US)
    ratio = devices(NvmlReader())[0].utilization_ratio
    assert isinstance(ratio, Missing)
    assert ratio.reason is MissingReason.IMPLAUSIBLE


def test_an_unknown_virtualization_mode_is_missing(states: StateFolder) -> None:
    states.create([DeviceIdentity(name="GPU", uuid="GPU-odd", framebuffer_mib=1, virtualization_mode=9)])
    mode = devices(NvmlReader())[0].virtualization_mode
    assert mode == Missing(reason=MissingReason.IMPLAUSIBLE, detail="virtualization mode 9")
