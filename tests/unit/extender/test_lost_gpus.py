"""GPUs that change their name, fall ill or go while pods are on their way to them or on them."""

from typing import Any

import pytest

from tests.unit.extender import build
from tests.unit.extender.test_service import Rig, whole
from vgpu.core import allocation, names, request
from vgpu.core.offer import Offer
from vgpu.extender import wire
from vgpu.extender.desk import Desk


def node(gpus: str, units: int) -> Any:
    made = build.node("n0", 16384)
    made["metadata"]["annotations"][names.ANNOTATION_GPUS] = gpus
    made["status"]["allocatable"][names.RESOURCE_VGPU] = str(units)
    return made


def labelled(name: str, units: int) -> Any:
    return {
        "metadata": {"name": name, "labels": {names.LABEL_GPU_MEMORY_MIB: "16384"}},
        "status": {"allocatable": {names.RESOURCE_VGPU: str(units), "cpu": "64", "memory": "256Gi"}},
    }


NAMED = node("v1 GPU-aa:16384", 1000)


@pytest.mark.parametrize(("before", "after"), [(labelled("n0", 1000), NAMED), (NAMED, labelled("n0", 1000))])
def test_units_are_not_granted_again_when_a_node_tells_other_names(before: Any, after: Any) -> None:
    rig = Rig(before)
    pod = rig.cluster.api.create(build.share("a", 700))
    assert rig.bind(pod, rig.filter(pod)["NodeNames"][0]) == ""
    rig.extender.desk.see_node(after)
    answer = rig.filter(rig.cluster.api.create(build.share("b", 700)))
    assert answer["FailedNodes"] == {"n0": "0 of 1 GPUs have 700 units free, 1 needed"}
    rig.extender.desk.see_pod(rig.cluster.api.pods["default/a"], 1.0)
    assert rig.extender.desk.ledger.free_units("n0") == (300,)


def test_a_promise_made_under_the_old_name_is_bound() -> None:
    rig = Rig(labelled("n0", 1000))
    pod = rig.cluster.api.create(build.share("a", 700))
    rig.filter(pod)
    rig.extender.desk.see_node(NAMED)
    assert rig.bind(pod, "n0") == ""
    assert rig.extender.desk.ledger.free_units("n0") == (300,)


TWO = node("v1 GPU-a:16384 GPU-b:16384", 2000)
LOST = {
    "unhealthy": node("v1 GPU-a:16384:unhealthy GPU-b:16384", 1000),
    "replaced": node("v1 GPU-c:16384:unhealthy GPU-b:16384", 1000),
    "taken out": node("v1 GPU-b:16384", 1000),
}


@pytest.mark.parametrize("after", LOST.values(), ids=LOST)
def test_a_gpu_lost_between_filter_and_bind_gives_way_to_another(after: Any) -> None:
    rig = Rig(TWO)
    pod = rig.cluster.api.create(build.share("p", 500))
    rig.filter(pod)
    assert rig.extender.desk.ledger.entries[pod["metadata"]["uid"]].hold.kept_units == (("GPU-a", 500),)
    rig.extender.desk.see_node(after)
    assert rig.bind(pod, "n0") == ""
    annotation = rig.cluster.api.pods["default/p"]["metadata"]["annotations"][names.ANNOTATION_ALLOCATION]
    assert annotation.endswith("/GPU-b")


@pytest.mark.parametrize("after", LOST.values(), ids=LOST)
def test_without_another_gpu_the_pod_is_not_bound(after: Any) -> None:
    rig = Rig(TWO)
    full = rig.cluster.api.create(build.share("full", 1000))
    rig.bind(full, rig.filter(full)["NodeNames"][0])  # GPU-a
    rig.extender.desk.lose_pod(rig.cluster.api.pods["default/full"])
    other = build.bound(build.share("o", 1000), "n0", {names.ANNOTATION_ALLOCATION: "v1 n0 main=1000:16384@1/GPU-b"})
    rig.extender.desk.see_pod(other, 0.0)
    pod = rig.cluster.api.create(build.share("p", 500))
    rig.filter(pod)
    rig.extender.desk.see_node(after)
    assert rig.bind(pod, "n0").startswith("node n0: 0 of ")
    assert pod["metadata"]["uid"] not in rig.extender.desk.ledger.entries


@pytest.mark.parametrize("after", LOST.values(), ids=LOST)
def test_a_binding_whose_fate_is_open_is_not_sent_again_to_a_lost_gpu(after: Any) -> None:
    desk = Desk()
    desk.see_node(TWO)
    desk.decide(request.parse_request(build.share("p", 500)), ["n0"], 0.0)
    assert desk.begin("uid-p", "n0", 0.0) == desk.begin("uid-p", "n0", 0.0) is not None
    desk.see_node(after)
    assert desk.begin("uid-p", "n0", 0.0) is None
    assert "uid-p" in desk.ledger.entries


def test_a_promise_on_a_node_that_is_doubted_since_is_released() -> None:
    rig = Rig(build.node("n0", 16384, 16384))
    pod = rig.cluster.api.create(build.share("p", 500))
    rig.filter(pod)
    stray = build.share("stray", 100, nodeName="n0")
    rig.extender.desk.see_pod(stray, 0.0)
    assert rig.bind(pod, "n0").startswith(
        "node n0: pod default/stray, container main: vgpu-serve.io/allocation: missing"
    )
    assert set(rig.extender.desk.ledger.entries) == {"uid-stray"}


def test_a_whole_gpu_keeps_off_a_fraction_that_nobody_can_place() -> None:
    rig = Rig(build.node("n0", 16384))
    rig.extender.desk.see_pod(build.share("stray", 500, nodeName="n0"), 0.0)
    pod = rig.cluster.api.create(whole("w"))
    assert rig.filter(pod)["NodeNames"] == []
    assert rig.bind(pod, "n0").startswith("GPUs of node n0 are cut into")


def test_whole_gpus_do_not_keep_each_other_off() -> None:
    rig = Rig(build.node("n0", 16384, 16384))
    for name in ("v", "w"):
        pod = rig.cluster.api.create(whole(name))
        assert rig.filter(pod)["NodeNames"] == ["n0"]
        assert rig.bind(pod, "n0") == ""


def test_one_impossible_node_keeps_nobody_else_off_the_board() -> None:
    rig = Rig(*(build.node(f"n{index}", 16384) for index in range(5)), labelled("big", 65000))
    rig.extender.desk.ledger.offer(
        Offer(node="odd", gpus=(rig.extender.desk.ledger.offers["n0"].gpus[0],), cpu_milli=-1)
    )
    placed = [rig.filter(rig.cluster.api.create(build.share(f"p{index}", 1000))) for index in range(6)]
    assert [bool(answer["NodeNames"]) for answer in placed] == [True] * 5 + [False]
    refused = "it has 65 GPUs; at most 64 of one node are given out"
    assert placed[5]["FailedAndUnresolvableNodes"] == {"big": refused}
    reasons = rig.extender.desk.reasons(request.parse_request(build.share("q", 1)), ["odd"])
    assert reasons.short == {"odd": "host odd: -1 milli-CPU and 0 MiB free: give 0 or more"}


def preempted(rig: Rig, *victims: str) -> list[str]:
    asked = wire.PreemptRequest(pod=build.share("big", 900), victims={"n0": (victims, 0)})
    return list(wire.parse_body(rig.extender.preempt(asked))["NodeNameToMetaVictims"])


def test_preemption_leaves_out_a_node_whose_doubt_stays() -> None:
    rig = Rig(build.node("n0", 16384))
    rig.extender.desk.see_pod(build.share("stray", 100, nodeName="n0"), 0.0)
    victim = build.bound(build.share("v", 500), "n0", {names.ANNOTATION_ALLOCATION: "v1 n0 main=500:8192@0/GPU-n0-0"})
    rig.extender.desk.see_pod(victim, 0.0)
    assert preempted(rig, "uid-v") == []
    assert preempted(rig, "uid-v", "uid-stray") == ["n0"]
    assert preempted(rig, "uid-stray") == []


def test_preemption_counts_no_units_of_a_lost_gpu() -> None:
    rig = Rig(node("v1 GPU-a:16384", 1000))
    victim = build.bound(build.share("v", 900), "n0", {names.ANNOTATION_ALLOCATION: "v1 n0 main=900:1@0/GPU-a"})
    rig.extender.desk.see_pod(victim, 0.0)
    assert preempted(rig, "uid-v") == ["n0"]
    rig.extender.desk.see_node(node("v1 GPU-a:16384:unhealthy GPU-b:16384:800", 800))
    assert preempted(rig, "uid-v") == []


def test_clustering_sends_a_fraction_to_a_node_of_fractions() -> None:
    """By units alone `a` is the fuller node."""
    desk = Desk("clustering")
    for name, uid, units in (("a", "w", 1000), ("b", "f", 100)):
        desk.see_node(build.node(name, 16384, 16384, 16384))
        pod = build.share(uid, units)
        given = allocation.allocate(request.parse_request(pod), desk.ledger.offers[name], [[0]])
        desk.see_pod(build.bound(pod, name, allocation.annotations(given)), 0.0)
    for units, expected in ((100, "b"), (1000, "a")):
        proposed = desk.propose(request.parse_request(build.share("p", units)), ["a", "b"])
        assert proposed is not None
        assert proposed.node == expected
