"""Devices that fall ill and recover, from NVML to what the kubelet counts."""

import grpc
import pynvml
import pytest

from tests.contracts.deviceplugin.conftest import GUEST, RESOURCE, T4, V100, Node, ids
from tests.fakes.kubelet import AdmissionError
from vgpu.adapters.nvml import TRANSIENT_READS
from vgpu.adapters.nvml_events import CriticalError
from vgpu.deviceplugin.settings import XID_QUIET_S
from vgpu.emulator.nvml_state import Fault

GPU_IS_LOST, UNKNOWN = pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_UNKNOWN


@pytest.fixture
def node(node: Node) -> Node:
    """Two cards, a plugin, a kubelet that has the list."""
    node.show(V100, T4)
    node.start()
    node.tick()
    node.allocatable(2000)
    return node


def refusal(node: Node, device_ids: list[str]) -> tuple[grpc.StatusCode | None, str]:
    with pytest.raises(AdmissionError) as refused:
        node.kubelet.allocate(RESOURCE, device_ids)
    return refused.value.code, refused.value.details


def test_a_card_that_falls_off_the_bus_is_unhealthy_until_it_reads_again(node: Node) -> None:
    assert node.state is not None
    assert node.errors.closings == 0
    node.state.set_faults([Fault(function="*", code=GPU_IS_LOST, device=0)])
    node.tick()
    node.allocatable(1000)
    assert node.errors.closings == 1, "an open watch would keep NVML from being initialised afresh"
    assert set(node.kubelet.devices(RESOURCE)) == {f"GPU-{card}-{unit}" for card in "ab" for unit in range(1000)}
    assert refusal(node, ids(V100, [0])) == (
        grpc.StatusCode.UNAVAILABLE,
        "GPU GPU-a: its framebuffer cannot be read, nvmlDeviceGetHandleByIndex: GPU is lost",
    )
    assert node.metric("vgpu_plugin_devices", gpu="GPU-a", health="unhealthy") == 1000
    assert node.kubelet.admit("pod-1", "main", RESOURCE, 1000)["CUDA_VISIBLE_DEVICES"] == "GPU-b"
    node.state.set_faults([])
    node.tick()
    node.allocatable(2000)
    assert node.kubelet.admit("pod-2", "main", RESOURCE, 1000)["CUDA_VISIBLE_DEVICES"] == "GPU-a"
    assert len(node.kubelet.registrations) == 1


def test_a_driver_error_once_is_no_illness_and_three_times_is(node: Node) -> None:
    assert node.state is not None
    node.state.set_faults([Fault(function="nvmlDeviceGetVirtualizationMode", code=UNKNOWN, device=1)])
    for _ in range(TRANSIENT_READS - 1):
        node.tick()
    node.allocatable(2000)
    node.tick()
    node.allocatable(1000)
    assert refusal(node, ids(T4, [0]))[1] == "GPU GPU-b: the driver does not answer for it"
    node.state.set_faults([])
    node.tick()
    node.allocatable(2000)


def test_without_a_driver_all_cards_are_unhealthy_and_come_back_with_it(node: Node) -> None:
    assert node.state is not None
    path = node.folder / "nvml"
    node.state.set_lost(True)
    path.rename(node.folder / "away")
    node.tick()  # lost: NVML is shut down, to be initialised afresh
    node.tick()
    node.allocatable(0)
    assert refusal(node, ids(V100, [0]))[1] == "GPU GPU-a: the NVIDIA driver is not loaded"
    (node.folder / "away").rename(path)
    node.state.set_lost(False)
    node.tick()
    node.allocatable(2000)


def test_a_critical_xid_strikes_its_card_for_a_while(node: Node) -> None:
    node.errors.waiting = [CriticalError(uuid="GPU-a", xid=79), CriticalError(uuid="GPU-b", xid=31)]
    node.tick()
    node.allocatable(1000)  # 31 is an application's own fault
    assert refusal(node, ids(V100, [0]))[1] == "GPU GPU-a: the driver told of XID 79"
    node.tick(XID_QUIET_S - 2)
    node.allocatable(1000)
    node.tick(2)
    node.allocatable(2000)


def test_an_xid_of_an_unknown_card_strikes_all(node: Node) -> None:
    node.errors.waiting = [CriticalError(uuid=None, xid=79)]
    node.tick()
    node.allocatable(0)
    assert refusal(node, ids(T4, [0]))[1] == "GPU GPU-b: the driver told of XID 79 without saying of which GPU"


def test_a_driver_that_hangs_makes_every_card_unhealthy(node: Node) -> None:
    node.tick(14.0, reads=False)
    node.allocatable(2000)
    node.tick(2.0, reads=False)
    node.allocatable(0)
    assert node.plugin is not None
    assert node.plugin.unhealthy(node.now_s) == "the last reading is 16 s old: the driver hangs"
    assert node.metric("vgpu_plugin_reading_age_seconds") == 16
    node.tick()
    node.allocatable(2000)


def test_a_card_of_unknown_memory_is_refused_and_the_others_go_on(node: Node) -> None:
    node.stop()
    node.allocatable(0)
    assert node.state is not None
    calls = [
        Fault(function=call, code=UNKNOWN, device=0)
        for call in ("nvmlDeviceGetMemoryInfo", "nvmlDeviceGetMemoryInfo_v2")
    ]
    node.state.set_faults(calls)
    node.start()
    node.tick()
    node.allocatable(1000)
    assert {name.rpartition("-")[0] for name in node.kubelet.devices(RESOURCE)} == {"GPU-b"}
    assert node.metric("vgpu_plugin_refused_gpus", reason="memory_unknown") == 1
    node.state.set_faults([])
    node.tick()
    node.allocatable(2000)
    assert node.metric("vgpu_plugin_refused_gpus", reason="memory_unknown") is None


def test_a_card_put_in_place_of_another_leaves_the_other_unhealthy(node: Node) -> None:
    node.show(V100, GUEST)
    node.tick()
    node.tick()
    node.allocatable(1500)
    assert (
        refusal(node, ids(T4, [0]))[1]
        == "GPU GPU-b: its framebuffer cannot be read, the driver no longer lists the device"
    )
