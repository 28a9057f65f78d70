"""The annotations: public interface, read by other versions of us for years."""

from typing import Any

import pytest

from tests.unit.extender.build import bound, container, node, pod
from vgpu.core import allocation, request
from vgpu.core.allocation import Allocation, Grant, GrantedGpu
from vgpu.core.offer import parse_offer
from vgpu.core.request import RequestRefused

KEY = "vgpu-serve.io/allocation"
TWO = pod("p", container("a", 500), container("b", 2000))
OFFER = parse_offer(node("n", 16384, 16000, 32768))
WRITTEN = {
    KEY: "v1 n a=500:8192@0/GPU-n-0 b=1000:16000@1/GPU-n-1,2/GPU-n-2",
    "devices.vgpu-serve.io/a": "GPU-n-0",
    "units.vgpu-serve.io/a": "500",
    "framebuffer-mib.vgpu-serve.io/a": "8192",
    "devices.vgpu-serve.io/b": "GPU-n-1,GPU-n-2",
    "units.vgpu-serve.io/b": "1000",
    "framebuffer-mib.vgpu-serve.io/b": "16000",
}


def test_a_decision_is_written_for_people_programs_and_the_downward_api() -> None:
    made = allocation.allocate(request.parse_request(TWO), OFFER, ((0,), (1, 2)))
    assert allocation.annotations(made) == WRITTEN
    assert made.kept_units == (("GPU-n-0", 500), ("GPU-n-1", 1000), ("GPU-n-2", 1000))


def test_what_is_written_is_read_back() -> None:
    asked = request.parse_request(TWO)
    assert allocation.parse_allocation(asked, bound(TWO, "n", WRITTEN)) == allocation.allocate(
        asked, OFFER, ((0,), (1, 2))
    )


def test_a_share_of_mixed_gpus_is_rounded_down_on_its_own_gpu() -> None:
    asked = request.parse_request(pod("p", container("a", 333)))
    mib = [allocation.allocate(asked, OFFER, ((index,),)).grants[0].framebuffer_mib for index in range(3)]
    assert mib == [5455, 5328, 10911]


def test_an_unknown_uuid_is_an_index() -> None:
    asked = request.parse_request(pod("p", container("a", 500)))
    given = bound(pod("p", container("a", 500)), "n", {KEY: "v1 n a=500:8192@3"})
    assert allocation.parse_allocation(asked, given) == Allocation(
        node="n",
        grants=(Grant(container="a", gpus=(GrantedGpu(index=3, uuid=None),), units=500, framebuffer_mib=8192),),
        kept_units=(("#3", 500),),
    )


SPOILT: dict[str, tuple[str | None, str, str]] = {
    "missing": (None, "a", "missing, so nobody knows which GPU of node n it holds; delete the pod"),
    "a later version": ("v2 n", "", "begins with 'v2'; only v1 is known here"),
    "another node": ("v1 m a=500:1@0 b=1000:1@1,2", "", "names node 'm', the pod is on 'n'"),
    "empty": ("", "", "begins with ''; only v1 is known here"),
    "nonsense": ("v1 n a=500@0", "", "'a=500@0' is not CONTAINER=UNITS:MIB@INDEX/UUID"),
    "other units": (
        "v1 n a=400:1@0 b=1000:1@1,2", "a", "says 400 units of 1 GPUs for a, the container asks for 500 of 1",
    ),
    "a container less": ("v1 n a=500:1@0", "a", "names 1 containers, 2 ask for nvidia.com/vgpu"),
    "a GPU twice": ("v1 n a=500:1@0 b=1000:1@1,1", "b", "names one GPU twice"),
    "too much of a GPU": ("v1 n a=500:1@0 b=1000:1@0,1", "a", "adds up to 1500 units of GPU #0"),
}  # fmt: skip


@pytest.mark.parametrize(("value", "where", "rule"), SPOILT.values(), ids=SPOILT)
def test_a_spoilt_annotation_names_pod_container_and_rule(value: str | None, where: str, rule: str) -> None:
    given: Any = bound(TWO, "n", {} if value is None else {KEY: value})
    with pytest.raises(RequestRefused) as refusal:
        allocation.parse_allocation(request.parse_request(TWO), given)
    assert (refusal.value.pod, refusal.value.container, refusal.value.rule) == ("default/p", where, f"{KEY}: {rule}")


def test_a_container_reads_its_grant_by_the_downward_api() -> None:
    def entry(name: str, path: str) -> Any:
        return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}

    assert allocation.environment("main") == [
        entry("NVIDIA_VISIBLE_DEVICES", "metadata.annotations['devices.vgpu-serve.io/main']"),
        entry("VGPU_SLOT_UNITS", "metadata.annotations['units.vgpu-serve.io/main']"),
        entry("VGPU_SLOT_FRAMEBUFFER_MIB", "metadata.annotations['framebuffer-mib.vgpu-serve.io/main']"),
        entry("VGPU_NODE", "spec.nodeName"),
        entry("VGPU_NAMESPACE", "metadata.namespace"),
        entry("VGPU_POD", "metadata.name"),
        {"name": "VGPU_SLOT_ID", "value": "$(VGPU_NODE)/$(VGPU_NAMESPACE).$(VGPU_POD)"},
    ]
