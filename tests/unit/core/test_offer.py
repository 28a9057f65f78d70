"""What a node offers, from which source, and why another offers nothing."""

from typing import Any

import pytest

from tests.unit.extender import build
from vgpu.core.offer import Offer, OfferedGpu, parse_offer, render_gpus

ANNOTATION = "vgpu-serve.io/gpus"


def node(units: int, *, labels: dict[str, str] | None = None, gpus: str | None = None) -> Any:
    about: Any = {"name": "n", "labels": labels or {}}
    about |= {} if gpus is None else {"annotations": {ANNOTATION: gpus}}
    return {
        "metadata": about,
        "status": {"allocatable": {"nvidia.com/vgpu": str(units), "cpu": "7900m", "memory": "1Gi"}},
    }


def test_gpus_of_one_node_may_differ() -> None:
    assert parse_offer(node(3000, gpus="v1 GPU-a:16384 GPU-b:32768:1000 GPU-c:8192:500:unhealthy")) == Offer(
        node="n",
        gpus=(
            OfferedGpu(index=0, uuid="GPU-a", framebuffer_mib=16384),
            OfferedGpu(index=1, uuid="GPU-b", framebuffer_mib=32768),
            OfferedGpu(index=2, uuid="GPU-c", framebuffer_mib=8192, units=500, healthy=False),
        ),
        cpu_milli=7900,
        memory_mib=1024,
    )


def test_a_profile_label_is_an_offer_of_parts_of_cards() -> None:
    offer = parse_offer(node(1000, labels={"vgpu.type": "v100-8q-8GB"}))
    assert offer.gpus == tuple(OfferedGpu(index=index, uuid=None, framebuffer_mib=16384, units=500) for index in (0, 1))


def test_feature_discovery_is_enough_where_all_gpus_are_alike() -> None:
    labels = {"nvidia.com/gpu.memory": "40960", "nvidia.com/gpu.product": "A100-PCIE-40GB"}
    offer = parse_offer(node(2000, labels=labels))
    assert offer.model == "A100-PCIE-40GB"
    assert offer.gpus == tuple(OfferedGpu(index=index, uuid=None, framebuffer_mib=40960) for index in (0, 1))


def with_amount(resource: str, amount: str) -> Any:
    given = node(1000, gpus="v1 GPU-a:16384")
    given["status"]["allocatable"][resource] = amount
    return given


REFUSED = {
    "no units": (node(0), "it offers no nvidia.com/vgpu"),
    "memory unknown": (
        node(1000),
        "the memory of its GPUs is unknown; annotate it with vgpu-serve.io/gpus (the device plugin does), "
        "or label it with vgpu.type or nvidia.com/gpu.memory",
    ),
    "fewer units than GPUs": (
        node(1000, gpus="v1 GPU-a:16384 GPU-b:16384"),
        "2000 units are on its healthy GPUs, the kubelet offers 1000",
    ),
    "memory of one unknown": (
        node(1000, gpus="v1 GPU-a"),
        "annotation vgpu-serve.io/gpus: 'GPU-a' is no GPU; write UUID:MIB, as in GPU-6f1c:16384",
    ),
    "no memory": (
        node(1000, gpus="v1 GPU-a:0"),
        "annotation vgpu-serve.io/gpus: framebuffer_mib of GPU 0 is 0; 1 or more is expected",
    ),
    "another version": (
        node(1000, gpus="v2 GPU-a:16384"),
        "annotation vgpu-serve.io/gpus: it begins with 'v2'; only v1 is known here",
    ),
    "a card twice": (
        node(2000, gpus="v1 GPU-a:16384 GPU-a:16384"),
        "annotation vgpu-serve.io/gpus: a UUID stands there twice",
    ),
    "more GPUs than a node has": (
        node(65000, labels={"nvidia.com/gpu.memory": "16384"}), "it has 65 GPUs; at most 64 of one node are given out",
    ),
    "more GPUs in its annotation": (
        node(65000, gpus="v1" + " -:1" * 65),
        "annotation vgpu-serve.io/gpus: it has 65 GPUs; at most 64 of one node are given out",
    ),
    "CPU below zero": (with_amount("cpu", "-1"), "its cpu is '-1'; an amount of 0 or more is expected"),
    "memory of no machine": (with_amount("memory", "1e99"), "its memory is '1e99'; an amount of 0 or more is expected"),
}  # fmt: skip


@pytest.mark.parametrize(("given", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_node_that_cannot_be_used_says_why(given: Any, reason: str) -> None:
    assert parse_offer(given) == Offer(node="n", refusal=reason)


def test_a_node_of_64_gpus_is_taken() -> None:
    assert len(parse_offer(node(64000, labels={"nvidia.com/gpu.memory": "16384"})).gpus) == 64


def test_what_is_written_is_read_back() -> None:
    gpus = (
        OfferedGpu(index=0, uuid=None, framebuffer_mib=1),
        OfferedGpu(index=1, uuid="GPU-b", framebuffer_mib=2, units=3, healthy=False),
    )
    offer = parse_offer(node(1000, gpus=render_gpus(gpus)))
    assert offer.gpus == gpus


def test_a_node_that_tells_no_cpu_is_not_refused_for_it() -> None:
    given = build.node("n", 16384)
    given["status"] = {"allocatable": {"nvidia.com/vgpu": "1000"}}
    offer = parse_offer(given)
    assert (offer.cpu_milli, offer.memory_mib) == (10**9, 10**6)
