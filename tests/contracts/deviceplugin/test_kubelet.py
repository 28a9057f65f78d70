"""Registration, restarts and allocation, over the real protocol against the kubelet stand-in."""

import socket
from pathlib import Path

import grpc
import pytest

from tests.contracts.deviceplugin.conftest import GUEST, RESOURCE, T4, V100, Node, ids
from tests.fakes.kubelet import AdmissionError, KubeletStandIn
from tests.fakes.waiting import eventually
from vgpu.core import names
from vgpu.core.share import SchedulerPolicy
from vgpu.deviceplugin.kubelet import UNFOLLOWED_S
from vgpu.deviceplugin.service import LOOK_UP_S, Mode
from vgpu.deviceplugin.socket_server import SocketServer, SocketUnusable

HALF_OF_A_V100 = {
    "CUDA_VISIBLE_DEVICES": "GPU-a",
    "NVIDIA_VISIBLE_DEVICES": "GPU-a",
    "VGPU_SLOT_ID": "node-1/0.0",
    "VGPU_SLOT_PROFILE": "fraction-500",
    "VGPU_SLOT_UNITS": "500",
    "VGPU_SLOT_FRAMEBUFFER_MIB": "8192",
    "VGPU_SLOT_MOST_PER_GPU": "2",
    "VGPU_SLOT_SCHEDULER_POLICY": "best-effort",
    "VGPU_DEVICE_KIND": "real",
}


def started(node: Node, **settings: object) -> Node:
    node.start(**settings)
    node.tick()
    node.followed()
    return node


def test_a_plugin_registers_once_and_its_units_are_counted(node: Node) -> None:
    node.show(V100, T4)
    started(node)
    node.allocatable(2000)
    for _ in range(3):
        node.tick()
    assert node.roster is not None
    assert node.roster.edition.number == 1, "a list that says nothing new is not sent again"
    [request] = node.kubelet.registrations
    assert (request.version, request.endpoint, request.resource_name) == ("v1beta1", "nvidia.com_vgpu.sock", RESOURCE)
    assert request.options.get_preferred_allocation_available
    assert not request.options.pre_start_required
    assert set(node.kubelet.devices(RESOURCE)) == {f"GPU-{card}-{unit}" for card in "ab" for unit in range(1000)}
    assert node.metric("vgpu_plugin_registered") == 1
    assert node.metric("vgpu_plugin_registrations_total", outcome="ok") == 1
    assert node.metric("vgpu_plugin_devices", gpu="GPU-a", health="healthy") == 1000


def test_the_kubelet_hears_nothing_before_the_cards_were_seen(node: Node) -> None:
    node.show(V100)
    node.start()
    node.tick(reads=False)
    assert node.kubelet.registrations == []
    assert node.plugin is not None
    assert node.plugin.unready(node.now_s) == "NVML has not been read yet"
    node.tick()
    node.allocatable(1000)
    assert node.plugin.unready(node.now_s) == ""


def test_a_node_without_a_driver_advertises_nothing_until_it_has_one(node: Node) -> None:
    node.start()
    node.tick()
    node.tick()
    assert node.kubelet.registrations == []
    assert node.plugin is not None
    assert (node.plugin.unhealthy(node.now_s), node.plugin.unready(node.now_s)) == ("", "no GPU has been read yet")
    node.show(V100)
    node.tick()
    node.allocatable(1000)


def test_a_fraction_gets_its_slot(node: Node) -> None:
    node.show(V100)
    started(node)
    node.allocatable(1000)
    assert node.kubelet.admit("pod-1", "main", RESOURCE, 500) == HALF_OF_A_V100
    assert node.kubelet.admit("pod-2", "main", RESOURCE, 500) == HALF_OF_A_V100 | {"VGPU_SLOT_ID": "node-1/0.500"}
    assert node.metric("vgpu_plugin_calls_total", call="Allocate", outcome="ok") == 2


def test_with_a_cdi_kind_the_runtime_is_told_by_cdi_alone(node: Node) -> None:
    node.show(V100)
    started(node, cdi_kind="nvidia.com/gpu")
    node.allocatable(1000)
    variables = node.kubelet.admit("pod-1", "main", RESOURCE, 500)
    assert variables == {key: text for key, text in HALF_OF_A_V100.items() if key != "NVIDIA_VISIBLE_DEVICES"}
    assert node.kubelet.cdi_devices[("pod-1", "main")] == ("nvidia.com/gpu=GPU-a",)


def test_a_guest_offers_the_part_of_the_gpu_that_its_profile_is(node: Node) -> None:
    node.show(GUEST)
    started(node, policy=SchedulerPolicy.FIXED_SHARE)
    node.allocatable(500)
    assert node.kubelet.admit("pod-1", "main", RESOURCE, 500) == {
        "CUDA_VISIBLE_DEVICES": "GPU-guest",
        "NVIDIA_VISIBLE_DEVICES": "GPU-guest",
        "VGPU_SLOT_ID": "node-1/0",
        "VGPU_SLOT_PROFILE": "v100-8q-8GB",
        "VGPU_SLOT_UNITS": "500",
        "VGPU_SLOT_FRAMEBUFFER_MIB": "8192",
        "VGPU_SLOT_MOST_PER_GPU": "2",
        "VGPU_SLOT_SCHEDULER_POLICY": "fixed-share",
        "VGPU_DEVICE_KIND": "real",
    }


def test_units_are_packed_on_one_gpu_and_mixed_sizes_are_kept_apart(node: Node) -> None:
    node.show(V100, T4)
    started(node)
    node.allocatable(2000)
    placed = [node.kubelet.admit(f"pod-{index}", "main", RESOURCE, 300) for index in range(6)]
    assert [(slot["CUDA_VISIBLE_DEVICES"], slot["VGPU_SLOT_FRAMEBUFFER_MIB"]) for slot in placed] == [
        *[("GPU-a", "4915")] * 3,
        *[("GPU-b", "4608")] * 3,
    ]
    with pytest.raises(AdmissionError) as refused:  # 200 are left, 100 on each
        node.kubelet.admit("pod-6", "main", RESOURCE, 200)
    assert refused.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refused.value.details == "no GPU has 200 free devices of its own; free by GPU: GPU-a 100, GPU-b 100"
    node.kubelet.remove("pod-4")
    assert node.kubelet.admit("pod-6", "main", RESOURCE, 200)["CUDA_VISIBLE_DEVICES"] == "GPU-b"


def test_two_whole_gpus_come_together(node: Node) -> None:
    second = type(V100)(name=V100.name, uuid="GPU-c", framebuffer_mib=16384, virtualization_mode=0)
    node.show(V100, T4, second)
    started(node)
    node.allocatable(3000)
    slot = node.kubelet.admit("pod-1", "main", RESOURCE, 2000)
    assert slot["CUDA_VISIBLE_DEVICES"] == "GPU-a,GPU-c"
    assert (slot["VGPU_SLOT_UNITS"], slot["VGPU_SLOT_FRAMEBUFFER_MIB"]) == ("1000", "16384")


def test_what_an_init_container_had_is_used_on_by_the_main_one(node: Node) -> None:
    node.show(V100, T4)
    started(node)
    node.allocatable(2000)
    node.kubelet.admit("other", "main", RESOURCE, 700)
    node.kubelet.admit("pod", "init", RESOURCE, 200)
    reuse = node.kubelet.checkpoint.pop(("pod", "init"))
    with pytest.raises(AdmissionError, match=r"no GPU has 500 free devices of its own, GPU-a must be part of it"):
        node.kubelet.admit("pod", "main", RESOURCE, 500, reuse=reuse)
    assert node.kubelet.admit("pod", "main", RESOURCE, 300, reuse=reuse)["CUDA_VISIBLE_DEVICES"] == "GPU-a"
    assert set(reuse) < set(node.kubelet.checkpoint[("pod", "main")])


@pytest.mark.parametrize(
    ("chosen", "code", "message"),
    [
        (["GPU-a-0", "GPU-x-0"], grpc.StatusCode.NOT_FOUND, "no such device here: GPU-x-0; this node advertises"),
        (["GPU-a-1000"], grpc.StatusCode.NOT_FOUND, "no such device here: GPU-a-1000"),
        (["GPU-a-007"], grpc.StatusCode.NOT_FOUND, "no such device here: GPU-a-007"),
        ([], grpc.StatusCode.INVALID_ARGUMENT, "the request names no device"),
        (["GPU-a-3", "GPU-a-3"], grpc.StatusCode.INVALID_ARGUMENT, "a device is named twice among GPU-a-3, GPU-a-3"),
        (
            ["GPU-a-3", "GPU-b-3"],
            grpc.StatusCode.INVALID_ARGUMENT,
            "units of several GPUs for one container (1 of GPU-a, 1 of GPU-b)",
        ),
    ],
)
def test_what_cannot_be_given_is_a_status_and_no_value(
    node: Node, chosen: list[str], code: grpc.StatusCode, message: str
) -> None:
    node.show(V100, T4)
    started(node)
    with pytest.raises(AdmissionError) as refused:
        node.kubelet.allocate(RESOURCE, ids(V100, [1]), chosen)
    assert refused.value.code is code
    assert refused.value.details.startswith(message)
    with pytest.raises(AdmissionError) as refused:
        node.kubelet.pre_start(RESOURCE, chosen)
    assert refused.value.code is code


def test_allocate_in_any_order_and_again_gives_the_same(node: Node) -> None:
    node.show(V100, T4)
    started(node)
    first, second = ids(V100, range(0, 250)), ids(T4, range(500, 750))
    once = node.kubelet.allocate(RESOURCE, first, second)
    assert node.kubelet.allocate(RESOURCE, second, first[::-1]) == once[::-1]
    assert node.kubelet.allocate(RESOURCE, first) == once[:1]
    assert [slot["VGPU_SLOT_ID"] for slot in once] == ["node-1/0.0", "node-1/1.500"]
    node.kubelet.pre_start(RESOURCE, first)


def test_a_restarted_kubelet_is_registered_with_again(node: Node) -> None:
    node.show(V100)
    started(node)
    slot = node.kubelet.admit("pod-1", "main", RESOURCE, 500)
    node.kubelet.restart()
    assert node.kubelet.devices(RESOURCE) == {}
    node.tick()
    node.allocatable(1000)
    assert len(node.kubelet.registrations) == 2
    assert node.kubelet.admit("pod-1", "main", RESOURCE, 500) == slot
    assert node.kubelet.admit("pod-2", "main", RESOURCE, 500)["VGPU_SLOT_ID"] == "node-1/0.500"


def test_a_new_kubelet_that_left_our_socket_alone_is_registered_with_too(node: Node) -> None:
    node.show(V100)
    started(node)
    node.kubelet.stop()
    node.kubelet.start(empties=False)
    node.tick()
    node.allocatable(1000)
    assert len(node.kubelet.registrations) == 2


def test_a_kubelet_that_is_away_is_waited_for(node: Node) -> None:
    node.show(V100)
    started(node)
    node.kubelet.stop()
    node.kubelet.socket.unlink(missing_ok=True)
    for _ in range(3):
        node.tick()
    assert node.metric("vgpu_plugin_registered") == 0
    assert node.plugin is not None
    assert node.plugin.unready(node.now_s) == "not registered with the kubelet"
    node.kubelet.start()
    node.tick()
    node.allocatable(1000)
    assert len(node.kubelet.registrations) == 2


def test_a_socket_that_nobody_answers_is_tried_with_growing_pauses(node: Node) -> None:
    node.kubelet.stop()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(node.kubelet.socket))
        node.show(V100)
        node.start()
        for _ in range(8):
            node.tick()
    assert node.metric("vgpu_plugin_registrations_total", outcome="unreachable") == 4  # after 0, 1, 2 and 4 s
    node.kubelet.socket.unlink()
    node.kubelet.start()
    node.tick()
    node.allocatable(1000)


def test_a_refusal_is_counted_and_tried_again(node: Node) -> None:
    node.kubelet.refuses = "not now"
    node.show(V100)
    node.start()
    node.tick()
    assert node.metric("vgpu_plugin_registrations_total", outcome="refused") == 1
    node.kubelet.refuses = ""
    node.tick()
    node.allocatable(1000)


def test_a_kubelet_that_no_longer_follows_is_registered_with_again(node: Node) -> None:
    node.show(V100)
    started(node)
    node.kubelet.drop_stream(RESOURCE)
    node.allocatable(0)
    assert node.roster is not None
    roster = node.roster
    eventually(lambda: roster.watchers, lambda watchers: watchers == 0, within_s=LOOK_UP_S / 2)
    node.tick(UNFOLLOWED_S - 1)
    node.tick(0.5)
    assert len(node.kubelet.registrations) == 1
    node.tick(UNFOLLOWED_S)
    node.allocatable(1000)
    assert len(node.kubelet.registrations) == 2


def test_a_restarted_plugin_goes_on_where_it_was(node: Node) -> None:
    node.show(V100)
    started(node)
    slot = node.kubelet.admit("pod-1", "main", RESOURCE, 500)
    node.stop()
    node.allocatable(0)
    assert not (node.folder / "nvidia.com_vgpu.sock").exists()
    started(node)
    node.allocatable(1000)
    assert node.kubelet.admit("pod-1", "main", RESOURCE, 500) == slot
    assert node.kubelet.admit("pod-2", "main", RESOURCE, 500)["VGPU_SLOT_ID"] == "node-1/0.500"


def test_the_socket_of_a_crashed_predecessor_is_replaced(node: Node) -> None:
    left = node.folder / "nvidia.com_vgpu.sock"
    with socket.socket(socket.AF_UNIX) as crashed:
        crashed.bind(str(left))
    node.show(V100)
    started(node)
    node.allocatable(1000)


def test_a_second_plugin_does_not_start(node: Node) -> None:
    node.show(V100)
    started(node)
    with pytest.raises(SocketUnusable, match=r"another device plugin answers on .*run one a node"):
        SocketServer(node.folder / "nvidia.com_vgpu.sock", object).start()
    (node.folder / "file.sock").write_text("not ours")
    with pytest.raises(SocketUnusable, match=r"file\.sock is no socket; remove it"):
        SocketServer(node.folder / "file.sock", object).start()
    with pytest.raises(SocketUnusable, match="longer than the 107 bytes"):
        SocketServer(Path("/tmp") / ("x" * 100), object).start()


def test_a_plugin_whose_socket_was_taken_gives_way(node: Node) -> None:
    node.show(V100)
    started(node)
    path = node.folder / "nvidia.com_vgpu.sock"
    path.chmod(0o660)
    node.tick()  # still ours
    path.unlink()
    with socket.socket(socket.AF_UNIX) as usurper:
        usurper.bind(str(path))
        with pytest.raises(SocketUnusable, match="another process has taken"):
            node.tick()
        node.stop()
        assert path.exists(), "what is not ours stays"


def test_bookkeeping_counts_units_and_hands_nothing_over(node: Node) -> None:
    node.show(V100, T4)
    started(node, mode=Mode.BOOKKEEPING)
    node.allocatable(2000)
    assert not node.kubelet.registrations[0].options.get_preferred_allocation_available
    assert node.kubelet.admit("pod-1", "main", RESOURCE, 1500) == {}
    assert node.kubelet.allocate(RESOURCE, ids(V100, [1]) + ids(T4, [1])) == [{}]
    with pytest.raises(AdmissionError, match="no such device here: GPU-x-0"):
        node.kubelet.allocate(RESOURCE, ["GPU-x-0"])


def test_with_units_in_the_nodes_status_the_kubelet_is_left_alone(node: Node) -> None:
    node.show(V100)
    node.start(mode=Mode.NODE_STATUS, in_cluster=True)
    node.tick()
    assert node.kubelet.registrations == []
    assert list(node.folder.glob("*vgpu*")) == []
    assert node.plugin is not None
    assert node.plugin.unready(node.now_s) == ""


def test_coarse_devices_keep_the_list_short(node: Node) -> None:
    coarse = f"{RESOURCE}-50"
    node.show(V100, GUEST)
    started(node, resource=coarse, units_per_device=50)
    node.allocatable(20 + 10, coarse)
    slot = node.kubelet.admit("pod-1", "main", coarse, 5)
    assert (slot["CUDA_VISIBLE_DEVICES"], slot["VGPU_SLOT_UNITS"], slot["VGPU_SLOT_MOST_PER_GPU"]) == (
        "GPU-guest",
        "250",
        "4",
    )


def test_the_stand_in_judges_as_the_kubelet_does(node: Node) -> None:
    """Or the tests above would show little: a wrong version and a core resource are not accepted."""
    assert isinstance(node.kubelet, KubeletStandIn)
    for version, resource in (("v1", RESOURCE), ("v1beta1", "cpu"), ("v1beta1", "kubernetes.io/gpu")):
        request = type("Request", (), {"version": version, "resource_name": resource, "endpoint": "x.sock"})
        with pytest.raises(Refused):
            node.kubelet._register(request, AbortingContext())
    assert names.RESOURCE_VGPU == RESOURCE


class Refused(Exception):
    """What `abort` raises here."""


class AbortingContext:
    def abort(self, _code: grpc.StatusCode, details: str) -> None:
        raise Refused(details)
