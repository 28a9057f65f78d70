"""One suite over both front ends of the emulated NVML, through the real pynvml: what each call answers."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pynvml
import pytest

from tests.contracts.nvml.conftest import GUEST, HOST, StateFolder
from vgpu.core import names
from vgpu.emulator.nvml_state import DeviceFigures, Fault, NvmlState, ProcessFigures, StateRecord

MIB = 1 << 20
AT_US = 1_700_000_000_000_000


def busy(ratio: float, *, pid: int = 42, used_mib: int = 100) -> DeviceFigures:
    process = ProcessFigures(pid=pid, used_mib=used_mib, utilization_ratio=ratio)
    return DeviceFigures(used_mib=used_mib, utilization_ratio=ratio, processes=(process,))


def first_device() -> object:
    pynvml.nvmlInit()
    return pynvml.nvmlDeviceGetHandleByIndex(0)


def test_a_guest_sees_exactly_its_own_slot(states: StateFolder) -> None:
    states.create().publish(0, busy(0.334), at_us=AT_US)
    device = first_device()
    memory, memory_v2 = pynvml.nvmlDeviceGetMemoryInfo(device), pynvml.nvmlDeviceGetMemoryInfo(device, 0x2000028)
    assert pynvml.nvmlDeviceGetCount() == 1
    assert pynvml.nvmlDeviceGetName(device) == "GRID V100-8Q"
    assert pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByUUID("GPU-guest")) == "GPU-guest"
    assert pynvml.nvmlDeviceGetVirtualizationMode(device) == pynvml.NVML_GPU_VIRTUALIZATION_MODE_VGPU
    assert (memory.total, memory.used, memory.free) == (8192 * MIB, 100 * MIB, 8092 * MIB)
    assert (memory_v2.total, memory_v2.used, memory_v2.free) == (8192 * MIB, 100 * MIB, 8092 * MIB)
    assert pynvml.nvmlDeviceGetUtilizationRates(device).gpu == 33


def test_a_host_sees_the_card_and_its_scheduler(states: StateFolder) -> None:
    states.create([HOST])
    device = first_device()
    scheduler = pynvml.nvmlDeviceGetVgpuSchedulerState_v2(device, pynvml.c_nvmlVgpuSchedulerStateInfo_v2_t())
    assert pynvml.nvmlDeviceGetVirtualizationMode(device) == pynvml.NVML_GPU_VIRTUALIZATION_MODE_HOST_VGPU
    assert scheduler.schedulerPolicy == pynvml.NVML_VGPU_SCHEDULER_POLICY_EQUAL_SHARE
    assert scheduler.timeslice == 2_000_000


def test_a_guest_cannot_read_its_scheduler_nor_has_it_mig(states: StateFolder) -> None:
    states.create()
    device = first_device()
    with pytest.raises(pynvml.NVMLError_NotSupported):
        pynvml.nvmlDeviceGetVgpuSchedulerState_v2(device, pynvml.c_nvmlVgpuSchedulerStateInfo_v2_t())
    with pytest.raises(pynvml.NVMLError_NotSupported):
        pynvml.nvmlDeviceGetMigMode(device)


def test_the_system_reports_its_versions_as_emulated(states: StateFolder) -> None:
    states.create()
    pynvml.nvmlInit()
    assert "emulated" in pynvml.nvmlSystemGetDriverVersion()
    assert "emulated" in pynvml.nvmlSystemGetNVMLVersion()
    assert pynvml.nvmlSystemGetCudaDriverVersion() == 13000


def test_new_figures_show_at_the_next_call(states: StateFolder) -> None:
    state = states.create([GUEST, HOST])
    first, second = first_device(), pynvml.nvmlDeviceGetHandleByIndex(1)
    for ratio, percent in [(0.5, 50), (1.2, 100), (0.0, 0)]:
        state.publish(1, busy(ratio), at_us=AT_US)
        assert pynvml.nvmlDeviceGetUtilizationRates(second).gpu == percent
    assert pynvml.nvmlDeviceGetUtilizationRates(first).gpu == 0


def test_running_processes_come_with_their_memory(states: StateFolder) -> None:
    state = states.create()
    device = first_device()
    assert pynvml.nvmlDeviceGetComputeRunningProcesses(device) == []
    state.publish(0, busy(0.0, pid=77, used_mib=12), at_us=AT_US)
    listed = [(item.pid, item.usedGpuMemory) for item in pynvml.nvmlDeviceGetComputeRunningProcesses(device)]
    assert listed == [(77, 12 * MIB)]


def test_process_utilization_since_the_last_look_is_not_found_when_idle(states: StateFolder) -> None:
    state = states.create()
    device = first_device()
    with pytest.raises(pynvml.NVMLError_NotFound):
        pynvml.nvmlDeviceGetProcessUtilization(device, 0)
    state.publish(0, busy(0.25), at_us=AT_US)
    sample = pynvml.nvmlDeviceGetProcessUtilization(device, 0)[0]
    assert (sample.pid, sample.smUtil, sample.timeStamp) == (42, 25, AT_US)
    state.publish(0, busy(0.0), at_us=AT_US + 200_000)
    with pytest.raises(pynvml.NVMLError_NotFound):
        pynvml.nvmlDeviceGetProcessUtilization(device, AT_US)
    # With no date to start from the driver still shows the old use: a stopped process looks busy.
    assert pynvml.nvmlDeviceGetProcessUtilization(device, 0)[0].smUtil == 25


def test_the_sample_ring_gives_what_is_newer_and_runs_dry_on_an_idle_device(states: StateFolder) -> None:
    state = states.create()
    device = first_device()
    kind = pynvml.NVML_GPU_UTILIZATION_SAMPLES
    for step, ratio in enumerate([0.1, 0.2, 0.3] + [0.0] * 20):
        state.publish(0, busy(ratio), at_us=AT_US + step)
    value_kind, samples = pynvml.nvmlDeviceGetSamples(device, kind, AT_US)
    assert value_kind == pynvml.NVML_VALUE_TYPE_UNSIGNED_INT
    assert [(item.timeStamp - AT_US, item.sampleValue.uiVal) for item in samples] == [
        (1, 20),
        (2, 30),
        *((step, 0) for step in range(3, 9)),
    ]
    with pytest.raises(pynvml.NVMLError_NotFound):
        pynvml.nvmlDeviceGetSamples(device, kind, AT_US + 8)
    with pytest.raises(pynvml.NVMLError_NotSupported):
        pynvml.nvmlDeviceGetSamples(device, pynvml.NVML_MEMORY_UTILIZATION_SAMPLES, 0)


def test_the_sample_ring_keeps_the_newest_when_it_is_full(states: StateFolder) -> None:
    state = states.create()
    device = first_device()
    for step in range(1, 151):
        state.publish(0, busy(0.5), at_us=step)
    _, samples = pynvml.nvmlDeviceGetSamples(device, pynvml.NVML_GPU_UTILIZATION_SAMPLES, 0)
    assert [item.timeStamp for item in samples] == list(range(87, 151))


def test_a_lost_device_answers_so_until_it_is_back(states: StateFolder) -> None:
    state = states.create()
    device = first_device()
    state.set_lost(True)
    for call in (pynvml.nvmlDeviceGetName, pynvml.nvmlDeviceGetMemoryInfo, pynvml.nvmlDeviceGetUtilizationRates):
        with pytest.raises(pynvml.NVMLError_GpuIsLost):
            call(device)
    with pytest.raises(pynvml.NVMLError_GpuIsLost):
        pynvml.nvmlDeviceGetHandleByIndex(0)
    assert pynvml.nvmlDeviceGetCount() == 1
    state.set_lost(False)
    assert pynvml.nvmlDeviceGetName(device) == "GRID V100-8Q"


def test_a_writer_that_breaks_its_promise_to_write_leaves_a_lost_device(states: StateFolder) -> None:
    state = states.create()
    device = first_device()
    state.set_expiry(time.monotonic_ns() + 3600 * 10**9)
    assert pynvml.nvmlDeviceGetName(device) == "GRID V100-8Q"
    state.set_expiry(time.monotonic_ns() - 1)
    with pytest.raises(pynvml.NVMLError_GpuIsLost):
        pynvml.nvmlDeviceGetName(device)


def test_a_new_writer_is_seen_after_initialising_again(states: StateFolder) -> None:
    old = states.create()
    device = first_device()
    old.close()
    states.create([HOST])
    with pytest.raises(pynvml.NVMLError_GpuIsLost):
        pynvml.nvmlDeviceGetName(device)
    pynvml.nvmlShutdown()
    assert pynvml.nvmlDeviceGetName(first_device()) == "Tesla V100-PCIE-16GB"


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVMLError_GpuIsLost),
        (pynvml.NVML_ERROR_TIMEOUT, pynvml.NVMLError_Timeout),
        (pynvml.NVML_ERROR_UNKNOWN, pynvml.NVMLError_Unknown),
    ],
)
def test_an_injected_fault_strikes_one_function_of_one_device_after_so_many_calls(
    states: StateFolder, code: int, error: type[Exception]
) -> None:
    state = states.create([GUEST, HOST])
    state.set_faults([Fault(function="nvmlDeviceGetName", device=1, code=code, after=2)])
    first, second = first_device(), pynvml.nvmlDeviceGetHandleByIndex(1)
    assert [pynvml.nvmlDeviceGetName(second) for _ in range(2)] == [HOST.name, HOST.name]
    with pytest.raises(error):
        pynvml.nvmlDeviceGetName(second)
    assert pynvml.nvmlDeviceGetName(first) == GUEST.name
    assert pynvml.nvmlDeviceGetUUID(second) == HOST.uuid
    state.set_faults([])
    assert pynvml.nvmlDeviceGetName(second) == HOST.name


def test_a_fault_for_all_functions_strikes_system_calls_too(states: StateFolder) -> None:
    states.create().set_faults([Fault(function="*", code=pynvml.NVML_ERROR_NO_PERMISSION, after=1)])
    pynvml.nvmlInit()
    with pytest.raises(pynvml.NVMLError_NoPermission):
        pynvml.nvmlDeviceGetCount()


def test_initialisation_can_be_made_to_fail(states: StateFolder) -> None:
    state = states.create()
    state.set_faults([Fault(function="nvmlInitWithFlags", code=pynvml.NVML_ERROR_OPERATING_SYSTEM)])
    with pytest.raises(pynvml.NVMLError_OperatingSystem):
        pynvml.nvmlInit()
    with pytest.raises(pynvml.NVMLError_Uninitialized):
        pynvml.nvmlDeviceGetCount()
    state.set_faults([])
    pynvml.nvmlInit()


def test_the_last_shutdown_ends_it(states: StateFolder) -> None:
    states.create()
    pynvml.nvmlInit()
    pynvml.nvmlInit()
    pynvml.nvmlShutdown()
    assert pynvml.nvmlDeviceGetCount() == 1
    pynvml.nvmlShutdown()
    for call in (pynvml.nvmlDeviceGetCount, pynvml.nvmlShutdown):
        with pytest.raises(pynvml.NVMLError_Uninitialized):
            call()


def test_without_a_state_file_the_driver_is_not_loaded(states: StateFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(names.ENV_FAKE_NVML_STATE, raising=False)
    with pytest.raises(pynvml.NVMLError_DriverNotLoaded):
        pynvml.nvmlInit()
    monkeypatch.setenv(names.ENV_FAKE_NVML_STATE, str(states.path))
    with pytest.raises(pynvml.NVMLError_DriverNotLoaded):
        pynvml.nvmlInit()
    states.path.write_bytes(b"too short")
    with pytest.raises(pynvml.NVMLError_DriverNotLoaded):
        pynvml.nvmlInit()


def test_a_file_of_another_layout_is_a_version_mismatch(states: StateFolder) -> None:
    states.create()
    with states.path.open("r+b") as file:
        file.seek(8)
        file.write(b"\xff")
    with pytest.raises(pynvml.NVMLError_LibRmVersionMismatch):
        pynvml.nvmlInit()


def test_what_does_not_exist_is_refused_as_by_the_driver(states: StateFolder) -> None:
    states.create()
    device = first_device()
    with pytest.raises(pynvml.NVMLError_FunctionNotFound):
        pynvml.nvmlDeviceGetFanSpeed(device)
    with pytest.raises(pynvml.NVMLError_InvalidArgument):
        pynvml.nvmlDeviceGetHandleByIndex(1)
    with pytest.raises(pynvml.NVMLError_NotFound):
        pynvml.nvmlDeviceGetHandleByUUID("GPU-nobody")
    with pytest.raises(pynvml.NVMLError_InvalidArgument):
        pynvml.nvmlDeviceGetName(pynvml.c_nvmlDevice_t())
    with pytest.raises(pynvml.NVMLError) as refusal:
        pynvml.nvmlDeviceGetMemoryInfo(device, version=7)
    assert refusal.value.value == pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH
    assert str(refusal.value)


HASTY_WRITER = """
import itertools, sys
from pathlib import Path
from vgpu.emulator.nvml_state import DeviceFigures, DeviceIdentity, NvmlState, ProcessFigures
state = NvmlState(Path(sys.argv[1]), [DeviceIdentity(name="GPU", uuid="GPU-1", framebuffer_mib=1)])
for number in itertools.count(1):
    processes = tuple(ProcessFigures(pid=number, used_mib=1, utilization_ratio=0) for _ in range(16))
    state.publish(0, DeviceFigures(processes=processes), at_us=number)
    if number == 1:
        print("writing", flush=True)
"""


def test_a_reader_never_meets_half_a_change(states: StateFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(names.ENV_FAKE_NVML_STATE, str(states.path))
    writer = subprocess.Popen([sys.executable, "-c", HASTY_WRITER, str(states.path)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"writing\n"
    device = first_device()
    readings = [pynvml.nvmlDeviceGetComputeRunningProcesses(device) for _ in range(500)]
    writer.kill()
    writer.communicate()
    versions = [{process.pid for process in reading} for reading in readings]
    assert [version for version in versions if len(version) != 1] == []
    assert len({min(version) for version in versions}) > 1


def test_a_writer_that_died_half_way_through_a_change_blocks_no_reader(states: StateFolder) -> None:
    state = states.create()
    device = first_device()
    with states.path.open("r+b") as file:
        file.seek(StateRecord.sequence.offset)
        file.write(b"\x01")
    assert pynvml.nvmlDeviceGetName(device) == "GRID V100-8Q"
    state.set_expiry(0)


def test_child_processes_see_the_c_library_through_the_loader(c_library: Path, tmp_path: Path) -> None:
    state = NvmlState(tmp_path / "node.nvml", [GUEST])
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": str(c_library.parent),
        names.ENV_FAKE_NVML_STATE: str(tmp_path / "node.nvml"),
    }
    program = "import pynvml as n; n.nvmlInit(); print(n.nvmlDeviceGetName(n.nvmlDeviceGetHandleByIndex(0)))"
    answer = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    state.close()
    assert answer.stdout == "GRID V100-8Q\n"
