"""Advice on fragments, from the books of a desk."""

from typing import Any

from tests.unit.extender import build
from vgpu.core import allocation, request
from vgpu.core.fractions.defragmentation import Goal
from vgpu.extender.desk import Desk
from vgpu.extender.tidying import tidy


def desk(*held: tuple[str, str, int, int]) -> Desk:
    """Two nodes of two cards; pods as (name, node, units, GPU)."""
    made = Desk()
    for name in ("n0", "n1"):
        made.see_node(build.node(name, 16384, 16384))
    for name, node, units, gpu in held:
        pod = build.share(name, units)
        given = allocation.allocate(request.parse_request(pod), made.ledger.offers[node], [[gpu]])
        made.see_pod(build.bound(pod, node, allocation.annotations(given)), 0.0)
    return made


def moves(plan: Any) -> list[tuple[str, str, list[int]]]:
    return [(move["pod"], move["to"]["node"], move["to"]["gpus"]) for step in plan["steps"] for move in step["moves"]]


def test_two_halves_on_two_cards_make_one_card_whole() -> None:
    found = tidy(desk(("a", "n0", 500, 0), ("b", "n1", 300, 0)), Goal.GPU, None)
    assert moves(found) == [("default/b", "n0", [0])]
    assert (found["idle_gpus_before"], found["idle_gpus_after"], found["freed_units"]) == (2, 3, 1000)
    assert found["report"][0] == "1 moves would free 1000 units: idle GPUs from 2 to 3"


def test_a_node_becomes_free_with_all_its_cards() -> None:
    found = tidy(desk(("a", "n0", 500, 0), ("b", "n1", 300, 0)), Goal.HOST, None)
    assert [(step["node"], step["gpu"]) for step in found["steps"]] == [("n1", None)]


def test_no_more_pods_move_than_may() -> None:
    crowded = desk(("a", "n0", 500, 0), ("b", "n1", 200, 0), ("c", "n1", 200, 0), ("d", "n0", 600, 1))
    assert len(moves(tidy(crowded, Goal.GPU, 1))) <= 1


def test_what_is_only_promised_and_what_several_containers_hold_stays() -> None:
    made = desk(("a", "n0", 500, 0))
    promised = build.share("b", 300)
    made.decide(request.parse_request(promised), ["n1"], 0.0)
    pair = build.pod("pair", build.container("x", 100), build.container("y", 100))
    given = allocation.allocate(request.parse_request(pair), made.ledger.offers["n1"], [[1], [1]])
    made.see_pod(build.bound(pair, "n1", allocation.annotations(given)), 0.0)
    assert [pod for pod, _, _ in moves(tidy(made, Goal.GPU, None))] == ["default/a"]


def test_a_node_in_doubt_is_left_alone() -> None:
    made = desk(("a", "n0", 500, 0), ("b", "n1", 300, 0))
    made.see_pod(build.bound(build.share("odd", 200), "n1", {}), 0.0)
    assert moves(tidy(made, Goal.GPU, None)) == []


def test_a_card_that_stands_elsewhere_by_now_is_named_by_its_new_place() -> None:
    made = desk(("a", "n0", 500, 0), ("b", "n1", 300, 0))
    node = build.node("n1", 16384, 16384)
    node["metadata"]["annotations"]["vgpu-serve.io/gpus"] = "v1 GPU-n1-1:16384 GPU-n1-0:16384"
    made.see_node(node)
    (step,) = tidy(made, Goal.GPU, None)["steps"]
    assert [(move["pod"], move["from"]) for move in step["moves"]] == [
        ("default/b", {"node": "n1", "gpus": [1]}),
    ]  # fmt: skip
