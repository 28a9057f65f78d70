"""Nodes whose cards are shared by units become slots: parts that are held, and what could still be cut."""

from typing import Any

from tests.build import node_json
from vgpu.core import names
from vgpu.core.inventory import Inventory
from vgpu.core.objects import Problem, parse_inventory
from vgpu.core.share import SchedulerPolicy
from vgpu.core.slot_type import Fraction

HALF, THIRD = Fraction(units=500), Fraction(units=300)
CARDS = "v1 GPU-a:16384 GPU-b:32768"


def node(cards: str | None = CARDS, *, units: int = 2000, **labels: str) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "n1",
            "labels": labels,
            "annotations": {names.ANNOTATION_GPUS: cards} if cards is not None else {},
        },
        "spec": {},
        "status": {
            "allocatable": {names.RESOURCE_VGPU: str(units)},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def pod(name: str, units: int, where: str | None, *, phase: str = "Running") -> dict[str, Any]:
    """A bound pod of one container; `where` is what its allocation says after the units."""
    note = {names.ANNOTATION_ALLOCATION: f"v1 n1 main={units if units < 1000 else 1000}:{where}"} if where else {}
    limits = {names.RESOURCE_VGPU: str(units)}
    return {
        "metadata": {"name": name, "namespace": "serving", "uid": f"uid-{name}", "annotations": note},
        "spec": {"nodeName": "n1", "containers": [{"name": "main", "resources": {"limits": limits}}]},
        "status": {"phase": phase},
    }


def listed(inventory: Inventory) -> list[tuple[str, str | None, int, str]]:
    return [(slot.slot_id, slot.holder, slot.profile.units, slot.gpu_key) for slot in inventory.slots]


def test_what_is_held_is_called_after_its_pod_and_the_rest_is_offered_in_every_size() -> None:
    parsed = parse_inventory([node()], [pod("w1", 500, "8192@0/GPU-a")], {HALF, THIRD})
    assert parsed.problems == ()
    assert listed(parsed.inventory) == [
        ("n1/serving.w1", "serving/w1", 500, "GPU-a"),
        ("n1/gpu0+300+0", None, 300, "GPU-a"),
        ("n1/gpu0+500+0", None, 500, "GPU-a"),
        ("n1/gpu1+300+0", None, 300, "GPU-b"),
        ("n1/gpu1+300+1", None, 300, "GPU-b"),
        ("n1/gpu1+300+2", None, 300, "GPU-b"),
        ("n1/gpu1+500+0", None, 500, "GPU-b"),
        ("n1/gpu1+500+1", None, 500, "GPU-b"),
    ]
    first, last = parsed.inventory.slots[0], parsed.inventory.slots[-1]
    assert (first.framebuffer_mib, last.framebuffer_mib, first.gpu.index, last.gpu.index) == (8192, 16384, 0, 1)


def test_a_pod_that_has_ended_holds_nothing() -> None:
    ended = pod("w1", 500, "8192@0/GPU-a", phase="Succeeded")
    assert parse_inventory([node()], [ended], {HALF}) == parse_inventory([node()], [], {HALF})


def test_a_pod_on_two_cards_has_a_part_of_each() -> None:
    whole = pod("big", 2000, "16384@0/GPU-a,1/GPU-b")
    assert listed(parse_inventory([node()], [whole], {HALF}).inventory) == [
        ("n1/serving.big", "serving/big", 1000, "GPU-a"),
        ("n1/serving.big+gpu1", "serving/big", 1000, "GPU-b"),
    ]


def test_of_a_node_where_somebody_holds_nobody_knows_what_nothing_is_free() -> None:
    parsed = parse_inventory([node()], [pod("w1", 500, "8192@0/GPU-a"), pod("odd", 500, None)], {HALF})
    assert listed(parsed.inventory) == [("n1/serving.w1", "serving/w1", 500, "GPU-a")]
    (problem,) = parsed.problems
    assert (problem.kind, problem.name) == ("Pod", "serving/odd")


def test_a_node_that_does_not_say_how_large_its_cards_are_is_a_problem_and_offers_nothing() -> None:
    parsed = parse_inventory([node(cards=None)], [], {HALF})
    assert parsed.inventory.slots == ()
    (problem,) = parsed.problems
    assert problem == Problem(kind="Node", name="n1", message=problem.message)
    assert "the memory of its GPUs is unknown" in problem.message


def test_a_lost_card_offers_nothing_and_an_unnamed_one_is_told_by_its_place() -> None:
    found = parse_inventory([node("v1 GPU-a:16384:unhealthy -:16384", units=1000)], [], {HALF}).inventory
    assert listed(found) == [("n1/gpu1+500+0", None, 500, "n1#1"), ("n1/gpu1+500+1", None, 500, "n1#1")]


def test_the_scheduler_policy_of_the_node_is_that_of_its_cards() -> None:
    labelled = node(**{names.LABEL_SCHEDULER_POLICY: "equal-share"})
    assert {slot.gpu.policy for slot in parse_inventory([labelled], [], {HALF}).inventory.slots} == {
        SchedulerPolicy.EQUAL_SHARE
    }


def test_two_pods_that_claim_more_than_a_card_are_a_problem_and_no_crash() -> None:
    """Somebody wrote an allocation by hand."""
    claims = [pod("a", 600, "9830@0/GPU-a"), pod("b", 600, "9830@0/GPU-a")]
    parsed = parse_inventory([node()], claims, {HALF})
    assert sum(slot.profile.units for slot in parsed.inventory.slots if slot.holder) <= 1000
    assert [problem.kind for problem in parsed.problems] == ["Pod"]
    assert all(slot.holder for slot in parsed.inventory.slots)  # and nothing is offered beside them


def test_a_card_that_two_nodes_say_they_have_is_left_to_the_first() -> None:
    """A host was renamed, and its old Node object is still there."""
    other = node()
    other["metadata"]["name"] = "n2"
    parsed = parse_inventory([node(), other], [], {HALF})
    assert {slot.node for slot in parsed.inventory.slots} == {"n1"}
    assert [(problem.kind, problem.name) for problem in parsed.problems] == [("Node", "n2"), ("Node", "n2")]
    assert parsed.problems[0].message == "GPU GPU-a: another node has it too"


def test_a_card_below_guests_is_not_shared_by_units_as_well() -> None:
    guest = node_json(labels={names.LABEL_PROFILE: "v100-8q-8GB", names.LABEL_PHYSICAL_GPU: "GPU-a"})
    guest["metadata"]["name"] = "n0"
    parsed = parse_inventory([guest, node()], [], {HALF})
    assert {(slot.node, slot.gpu_key) for slot in parsed.inventory.slots} == {("n0", "GPU-a"), ("n1", "GPU-b")}


def test_units_beside_a_whole_vgpu_are_bookkeeping() -> None:
    """The device plugin runs on every guest; its units do not make the guest a card that is shared."""
    guest = node_json()
    plain = parse_inventory([guest], [])
    guest["status"]["capacity"][names.RESOURCE_VGPU] = "500"
    assert parse_inventory([guest], []) == plain
    guest["status"]["capacity"] = {names.RESOURCE_GPU: "1", names.RESOURCE_VGPU: "0"}
    assert parse_inventory([guest], []) == plain


def test_pods_of_one_name_in_two_namespaces_have_two_names() -> None:
    first, second = pod("web-0", 300, "4915@0/GPU-a"), pod("web-0", 300, "4915@0/GPU-a")
    second["metadata"] |= {"namespace": "other", "uid": "uid-2"}
    found = parse_inventory([node()], [first, second], {HALF}).inventory
    assert [slot.slot_id for slot in found.slots if slot.holder] == ["n1/other.web-0", "n1/serving.web-0"]


def test_what_was_held_before_its_card_had_a_name_is_held_after() -> None:
    """The device plugin comes to a node that was known by its label only."""
    early = pod("w1", 500, "8192@0")
    found = parse_inventory([node()], [early], {HALF})
    assert listed(found.inventory)[:2] == [
        ("n1/serving.w1", "serving/w1", 500, "GPU-a"),
        ("n1/gpu0+500+0", None, 500, "GPU-a"),
    ]


def test_what_is_free_on_a_node_that_will_be_taken_away_is_nobodys() -> None:
    leaves = node()
    leaves["metadata"]["annotations"][names.ANNOTATION_LEAVING] = "night"
    parsed = parse_inventory([leaves], [pod("w1", 500, "8192@0/GPU-a")], {HALF})
    assert [slot.holder for slot in parsed.inventory.slots] == ["serving/w1", None, None, None]
    assert (parsed.inventory.nodes[0].leaving, parsed.inventory.free_slots) == (True, ())


def test_a_node_that_was_taken_away_has_no_parts() -> None:
    away = node()
    away["metadata"]["annotations"][names.ANNOTATION_ASLEEP] = "day"
    parsed = parse_inventory([away], [pod("w1", 500, "8192@0/GPU-a")], {HALF})
    assert (parsed.problems, parsed.inventory.nodes[0].slots) == ((), ())
