"""What a pod asks for, and which requests are refused with which words."""

from typing import Any

import pytest

from tests.unit.extender.build import container, pod, sidecar
from vgpu.core import request
from vgpu.core.request import Ask, PodRequest, RequestRefused, Stage


def asking(*units: object) -> Any:
    return pod("p", *(container(f"c{index}", amount) for index, amount in enumerate(units)))


def test_each_container_has_its_own_share() -> None:
    assert request.parse_request(asking(300, None, 2000)) == PodRequest(
        uid="uid-p",
        pod="default/p",
        asks=(
            Ask(container="c0", stage=Stage.MAIN, gpus=1, units=300),
            Ask(container="c2", stage=Stage.MAIN, gpus=2, units=1000),
        ),
    )


def test_init_containers_and_sidecars_are_told_apart() -> None:
    given = pod("p", container("main", 1000), init=(container("load", 500), sidecar("proxy", 100)))
    asks = request.parse_request(given).asks
    assert [(ask.container, ask.stage) for ask in asks] == [
        ("load", Stage.INIT), ("proxy", Stage.SIDECAR), ("main", Stage.MAIN),
    ]  # fmt: skip


REFUSED = {
    "above a GPU and no multiple": (
        1500,
        "nvidia.com/vgpu is 1500, above 1000 and no multiple of it; ask for up to 1000 units of one GPU, or for whole "
        "GPUs: 1000 or 2000",
    ),
    "zero": (0, "nvidia.com/vgpu is 0; ask for 1 or more units, or leave the resource out"),
    "negative": (-5, "nvidia.com/vgpu is -5; ask for 1 or more units, or leave the resource out"),
    "a part of a unit": ("500m", "nvidia.com/vgpu: '500m' is not a whole number; write units of 1/1000 GPU"),
    "more GPUs than a node has": (
        "999999999999000", "nvidia.com/vgpu is 999999999999000, 999999999999 whole GPUs; a node has at most 64",
    ),
    "no number": (
        "half",
        "nvidia.com/vgpu: 'half' is no quantity; write a number such as 500, 500m or 2Gi; write units of 1/1000 GPU",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("units", "rule"), REFUSED.values(), ids=REFUSED)
def test_a_refusal_names_pod_container_and_rule(units: object, rule: str) -> None:
    with pytest.raises(RequestRefused) as refusal:
        request.parse_request(asking(100, units))
    assert (refusal.value.pod, refusal.value.container, refusal.value.rule) == ("default/p", "c1", rule)
    assert str(refusal.value) == f"pod default/p, container c1: {rule}"


def test_whole_and_fraction_in_one_container_is_refused() -> None:
    given = asking(500)
    given["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] = "1"
    with pytest.raises(RequestRefused, match=r"asks for nvidia\.com/gpu and nvidia\.com/vgpu; keep one"):
        request.parse_request(given)


@pytest.mark.parametrize("init", [True, False])
def test_whole_and_fraction_in_two_containers_is_refused(*, init: bool) -> None:
    """Nobody could tell whether the other plugin's GPU is the one that is cut."""
    whole, share = container("w", resources={"limits": {"nvidia.com/gpu": "1"}}), container("s", 500)
    given = pod("p", share, init=(whole,)) if init else pod("p", whole, share)
    with pytest.raises(RequestRefused) as refusal:
        request.parse_request(given)
    assert str(refusal.value) == (
        "pod default/p, container w: it asks for nvidia.com/gpu, and container s of the pod for nvidia.com/vgpu; "
        "keep one: 1000 units are a whole GPU"
    )


def test_whole_gpus_alone_are_no_matter_of_ours() -> None:
    given = pod("p", container("w", resources={"limits": {"nvidia.com/gpu": "2"}}))
    assert request.parse_request(given) == PodRequest(uid="uid-p", pod="default/p", asks=(), whole_gpus=2)


def test_a_pod_of_more_containers_than_a_search_takes_is_refused() -> None:
    assert len(request.parse_request(asking(*[1] * 64)).asks) == 64
    with pytest.raises(RequestRefused, match=r"65 containers ask for nvidia\.com/vgpu; at most 64 of one pod may"):
        request.parse_request(asking(*[1] * 65))


def test_limits_and_requests_must_say_the_same() -> None:
    given = asking(500)
    given["spec"]["containers"][0]["resources"]["requests"] = {"nvidia.com/vgpu": "400"}
    with pytest.raises(RequestRefused, match="limits say 500 and requests 400; write the same in both"):
        request.parse_request(given)


@pytest.mark.parametrize("units", ["1k", "1e3", "1000", 1000, "1000000m"])
def test_a_quantity_is_read_however_it_is_written(units: object) -> None:
    assert request.parse_request(asking(units)).asks == (
        Ask(container="c0", stage=Stage.MAIN, gpus=1, units=1000),
    )  # fmt: skip


def with_cpu(made: Any, cpu: str, memory: str) -> Any:
    return made | {"resources": {"requests": {"cpu": cpu, "memory": memory}}}


def test_cpu_and_memory_are_the_most_that_runs_at_once() -> None:
    """Sidecar 1 runs beside the init container after it (1 + 3), and beside the others with sidecar 2 (1 + 0.5 + 2)."""
    given = pod(
        "p",
        with_cpu(container("main"), "2", "1Gi"),
        init=(
            with_cpu(sidecar("one"), "1", "1Mi"),
            with_cpu(container("load"), "3", "3000Mi"),
            with_cpu(sidecar("two"), "500m", "1"),
        ),
        overhead={"cpu": "100m"},
    )
    asked = request.parse_request(given)
    assert (asked.cpu_milli, asked.memory_mib) == (4100, 3001)


def test_a_pod_without_any_of_it_asks_for_nothing() -> None:
    assert request.parse_request({"metadata": {"name": "p"}}) == PodRequest(uid="", pod="default/p", asks=())
