"""Node and Pod objects of the Kubernetes API become an inventory; what cannot be read is listed, not raised."""

import itertools
from typing import Any

import pytest

from tests.build import node_json, pod_json
from vgpu.core import names
from vgpu.core.inventory import Gpu, Inventory, Node, Slot
from vgpu.core.objects import Problem, is_awake, parse_inventory, slots_requested
from vgpu.core.profile import parse_profile
from vgpu.core.request import pod_key
from vgpu.core.share import SchedulerPolicy

LABELS = {
    names.LABEL_PROFILE: "v100-8q-8GB",
    names.LABEL_PHYSICAL_GPU: "GPU-a",
    names.LABEL_SCHEDULER_POLICY: "fixed-share",
    names.LABEL_DEVICE_KIND: "emulated",
}


def holders(inventory: Inventory) -> dict[str, str | None]:
    return {slot.slot_id: slot.holder for slot in inventory.slots}


def test_a_labelled_node_becomes_its_slots() -> None:
    parsed = parse_inventory([node_json(labels={**LABELS, "kubernetes.io/os": "linux"}, gpus=2)], [])
    card = Gpu(uuid="GPU-a", framebuffer_mib=16384, policy=SchedulerPolicy.FIXED_SHARE)
    profile = parse_profile("v100-8q-8GB")
    assert parsed.problems == ()
    assert parsed.inventory == Inventory(
        nodes=(
            Node(
                name="n1",
                ready=True,
                schedulable=True,
                labels=tuple(LABELS.items()),
                slots=tuple(Slot(node="n1", index=index, profile=profile, gpu=card) for index in (0, 1)),
            ),
        )
    )


@pytest.mark.parametrize("label", [names.LABEL_PROFILE, names.LABEL_PROFILE_LEGACY])
def test_either_label_names_the_slot_type(label: str) -> None:
    parsed = parse_inventory([node_json(labels={label: "v100-4q-4GB"})], [])
    assert parsed.inventory.slots[0].profile == parse_profile("v100-4q")


def test_a_node_without_a_profile_label_is_none_of_ours() -> None:
    assert parse_inventory([node_json(labels={}, gpus=8)], []).inventory == Inventory()


def test_allocatable_counts_before_capacity() -> None:
    node = node_json(gpus=2)
    node["status"]["allocatable"] = {names.RESOURCE_GPU: "1"}
    assert len(parse_inventory([node], []).inventory.slots) == 1


@pytest.mark.parametrize(
    ("given", "ready", "schedulable"),
    [({"ready": False}, False, True), ({"unschedulable": True}, True, False)],
)
def test_a_node_says_whether_it_takes_pods(given: dict[str, bool], ready: bool, schedulable: bool) -> None:
    node = parse_inventory([node_json(**given)], []).inventory.nodes[0]
    assert (node.ready, node.schedulable) == (ready, schedulable)


def test_a_node_that_will_be_taken_away_keeps_its_slots_and_offers_none() -> None:
    """Its word is there from the announcement on, long before it is cordoned."""
    node = node_json(gpus=2, annotations={names.ANNOTATION_LEAVING: "night"})
    inventory = parse_inventory([node], [pod_json("w1")]).inventory
    assert holders(inventory) == {"n1/0": "serving/w1", "n1/1": None}
    assert (inventory.nodes[0].leaving, inventory.nodes[0].schedulable, inventory.free_slots) == (True, True, ())


GONE = (
    {"annotations": {names.ANNOTATION_ASLEEP: "day"}, "ready": False},
    {"annotations": {names.ANNOTATION_ASLEEP: "day"}},
    {"annotations": {names.ANNOTATION_LEAVING: "night"}, "ready": False},
)


@pytest.mark.parametrize("given", GONE)
def test_the_card_of_a_node_that_was_taken_away_is_another_guests(given: dict[str, Any]) -> None:
    """The one that has it now is whole, and nothing is wrong with either, whatever is still bound to the old one."""
    away = node_json("n1", labels=LABELS, gpus=2, **given)
    now = node_json("n2", labels={**LABELS, names.LABEL_PROFILE: "v100-16q-16GB"})
    parsed = parse_inventory([away, now], [pod_json("w2", node="n2")])
    assert parsed.problems == ()
    assert [node.name for node in parsed.inventory.nodes] == ["n1", "n2"]
    assert [(slot.slot_id, slot.gpu_key) for slot in parsed.inventory.slots] == [("n2/0", "GPU-a")]


def test_a_guest_that_is_off_leaves_the_card_to_those_that_run() -> None:
    """Nobody has said a word of it: it was off when the cluster began, and its name comes first."""
    off = node_json("n1", labels=LABELS, gpus=2, ready=False)
    on = [node_json(name, labels=LABELS) for name in ("n2", "n3")]
    parsed = parse_inventory([off, *on], [pod_json("w1")])
    assert parsed.problems == ()
    assert [(slot.slot_id, slot.gpu_key) for slot in parsed.inventory.slots] == [("n2/0", "GPU-a"), ("n3/0", "GPU-a")]


def test_a_node_that_is_not_ready_for_a_moment_keeps_its_slots() -> None:
    parsed = parse_inventory([node_json(labels=LABELS, ready=False)], [pod_json("w1")])
    assert holders(parsed.inventory) == {"n1/0": "serving/w1"}


@pytest.mark.parametrize(
    ("given", "awake"), [*((each, False) for each in GONE), ({}, True), ({"ready": False}, False), (
        {"annotations": {names.ANNOTATION_LEAVING: "night"}, "unschedulable": True}, True,
    )],
)  # fmt: skip
def test_who_is_awake_can_be_asked(given: dict[str, Any], awake: bool) -> None:
    assert is_awake(node_json(**given)) is awake


def test_mig_instances_are_a_fixed_share_whatever_the_label_says() -> None:
    labels = {names.LABEL_PROFILE: "a100-1-5c-5GB", names.LABEL_SCHEDULER_POLICY: "best-effort"}
    parsed = parse_inventory([node_json(labels=labels)], [])
    assert parsed.inventory.slots[0].gpu.policy is SchedulerPolicy.FIXED_SHARE


@pytest.mark.parametrize(
    ("labels", "gpus", "message"),
    [
        (
            {names.LABEL_PROFILE: "v100-8q-16GB"},
            1,
            "'v100-8q-16GB' contradicts itself: '8q' means 8 GB and '16GB' says 16 GB; "
            "write v100-8q-8GB or v100-16q-16GB",
        ),
        (
            {names.LABEL_PROFILE: "v100-8q-8GB", names.LABEL_PROFILE_LEGACY: "v100-4q-4GB"},
            1,
            "vgpu.type=v100-8q-8GB and virtual.gpu.type=v100-4q-4GB contradict each other; remove virtual.gpu.type",
        ),
        (
            {**LABELS, names.LABEL_SCHEDULER_POLICY: "fair"},
            1,
            "vgpu.scheduler-policy is 'fair'; one of best-effort, equal-share, fixed-share",
        ),
        (LABELS, "1.5", "nvidia.com/gpu is '1.5'; a whole number of slots is expected"),
    ],
)
def test_a_node_that_cannot_be_read_is_listed_and_the_others_stay(
    labels: dict[str, str], gpus: int | str, message: str
) -> None:
    parsed = parse_inventory([node_json("bad", labels=labels, gpus=gpus), node_json("good")], [])
    assert parsed.problems == (Problem(kind="Node", name="bad", message=message),)
    assert [node.name for node in parsed.inventory.nodes] == ["good"]


def test_a_card_label_that_cannot_be_right_makes_the_card_unknown_and_keeps_the_slots() -> None:
    nodes = [node_json(name, labels=LABELS) for name in ("n1", "n2", "n3")]
    parsed = parse_inventory(nodes, [])
    assert [slot.gpu.uuid for slot in parsed.inventory.slots] == ["GPU-a", "GPU-a", None]
    assert parsed.problems == (
        Problem(
            kind="Node",
            name="n3",
            message="vgpu.physical-gpu cannot be right, the card is taken as unknown: "
            "GPU GPU-a: its slots add up to 1500 units; a GPU has 1000",
        ),
    )


def test_pods_hold_the_annotated_slot_or_the_lowest_free_one() -> None:
    pods = [pod_json("b"), pod_json("a", slot="n1/0"), pod_json("c", slot="n1/9")]
    parsed = parse_inventory([node_json(gpus=4)], pods)
    assert holders(parsed.inventory) == {"n1/0": "serving/a", "n1/1": "serving/b", "n1/2": "serving/c", "n1/3": None}


def test_the_order_of_the_objects_does_not_matter() -> None:
    nodes = [node_json("n1", gpus=2), node_json("n2", gpus=2)]
    pods = [pod_json("a", node="n1"), pod_json("b", node="n2", slot="n2/1"), pod_json("c", node="n1")]
    parsed = {parse_inventory(ns, ps) for ns in itertools.permutations(nodes) for ps in itertools.permutations(pods)}
    assert len(parsed) == 1


def test_two_pods_with_one_annotation_get_a_slot_each() -> None:
    pods = [pod_json("b", slot="n1/0"), pod_json("a", slot="n1/0")]
    parsed = parse_inventory([node_json(gpus=2)], pods)
    assert holders(parsed.inventory) == {"n1/0": "serving/a", "n1/1": "serving/b"}


@pytest.mark.parametrize(
    "pod",
    [
        pod_json("done", phase="Succeeded"),
        pod_json("dead", phase="Failed"),
        pod_json("waiting", node=None),
        pod_json("elsewhere", node="n9"),
        pod_json("no-gpu", gpus=0),
    ],
    ids=lambda pod: pod["metadata"]["name"],
)
def test_such_pods_hold_nothing(pod: dict[str, Any]) -> None:
    parsed = parse_inventory([node_json()], [pod])
    assert (holders(parsed.inventory), parsed.problems) == ({"n1/0": None}, ())


def test_a_pod_on_its_way_out_still_holds_its_slot() -> None:
    pod = pod_json("leaving")
    pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert holders(parse_inventory([node_json()], [pod]).inventory) == {"n1/0": "serving/leaving"}


def test_a_pod_that_holds_more_than_the_node_has_is_listed() -> None:
    parsed = parse_inventory([node_json(gpus=2)], [pod_json("a", gpus=2), pod_json("b")])
    assert holders(parsed.inventory) == {"n1/0": "serving/a", "n1/1": "serving/a"}
    message = "holds 1 slots of node 'n1', which has 1 too few"
    assert parsed.problems == (Problem(kind="Pod", name="serving/b", message=message),)


def test_a_pod_with_a_broken_request_is_listed() -> None:
    parsed = parse_inventory([node_json()], [pod_json("a", gpus="half")])
    message = "nvidia.com/gpu is 'half'; a whole number of slots is expected"
    assert parsed.problems == (Problem(kind="Pod", name="serving/a", message=message),)


def test_init_containers_count_by_their_largest_and_not_in_addition() -> None:
    pod = pod_json("a", gpus=1)
    gpu = {"resources": {"limits": {names.RESOURCE_GPU: "2"}}}
    pod["spec"]["initContainers"] = [gpu, gpu]
    assert slots_requested(pod) == 2


def test_requests_count_where_limits_are_not_given() -> None:
    pod = pod_json("a")
    pod["spec"]["containers"] = [{"resources": {"requests": {names.RESOURCE_GPU: 1}}}, {"name": "sidecar"}]
    assert slots_requested(pod) == 1


def test_a_pod_is_named_with_its_namespace() -> None:
    assert pod_key({"metadata": {"name": "a"}}) == "default/a"
