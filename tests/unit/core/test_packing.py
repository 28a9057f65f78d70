"""Best fit, the ordering hook, and why a node takes no worker."""

import pytest

from tests import build
from vgpu.core import packing
from vgpu.core.inventory import Gpu, Node, Slot
from vgpu.core.packing import Blocked, Packer, Placement
from vgpu.core.profile import parse_profile
from vgpu.core.share import SchedulerPolicy, Share
from vgpu.core.slot_type import Fraction

NEED = parse_profile(build.PROFILE)


def chosen(placement: Placement) -> list[str]:
    return [slot.slot_id for slot in placement.slots]


def test_best_fit_fills_cards_in_use_before_opening_one() -> None:
    stock = build.inventory(
        build.node("n1", slots=2, card="GPU-a"),
        build.node("n2", slots=2, card="GPU-b", held={0: "serving/w1"}),
    )
    assert chosen(packing.place(stock, NEED, 2)) == ["n2/1", "n1/0"]


def test_best_fit_wastes_least_of_a_slot() -> None:
    stock = build.inventory(
        build.node("n1", profile="v100-16q-16GB"), build.node("n2"), build.node("n3", profile="v100-4q-4GB")
    )
    asked = Share(units=300, framebuffer_mib=6000)
    assert chosen(packing.place(stock, asked, 3)) == ["n2/0", "n1/0"]


def test_a_profile_takes_only_slots_of_that_profile() -> None:
    stock = build.inventory(build.node("n1", profile="v100-16q-16GB"), build.node("n2"))
    assert chosen(packing.place(stock, NEED, 2)) == ["n2/0"]


def test_ties_fall_to_node_name_then_to_the_number_of_the_slot() -> None:
    stock = build.inventory(build.node("n2", profile="v100-1q-1GB", slots=12))
    assert chosen(packing.place(stock, parse_profile("v100-1q"), 12)) == [f"n2/{index}" for index in range(12)]


def test_a_card_is_filled_across_nodes_before_the_next_one_is_opened_further() -> None:
    quarter = parse_profile("v100-4q-4GB")
    stock = build.inventory(
        build.node("n1", profile=quarter.label, card="GPU-a"),
        build.node("n2", profile=quarter.label, slots=3, card="GPU-b", held={0: "serving/w2"}),
        build.node("n3", profile=quarter.label, slots=2, card="GPU-a", held={0: "serving/w1"}),
    )
    assert chosen(packing.place(stock, quarter, 3)) == ["n1/0", "n3/1", "n2/1"]


def test_an_ordering_of_the_caller_decides_first() -> None:
    stock = build.inventory(*(build.node(f"n{index}", card=f"GPU-{index}") for index in (1, 2, 3)))
    busy = {"GPU-1": 0.9, "GPU-2": 0.1, "GPU-3": 0.5}
    placement = packing.place(
        stock, NEED, 3, ordering=lambda candidate: (busy[candidate.slot.gpu_key], *packing.best_fit(candidate))
    )
    assert chosen(placement) == ["n2/0", "n3/0", "n1/0"]


def test_an_ordering_sees_what_this_placement_has_put_on_the_card() -> None:
    stock = build.inventory(*(build.node(f"n{index}", slots=2, card=f"GPU-{index}") for index in (1, 2)))
    spread = packing.place(stock, NEED, 4, ordering=lambda candidate: (candidate.held_on_gpu,))
    assert chosen(spread) == ["n1/0", "n2/0", "n1/1", "n2/1"]


def test_every_node_says_why_it_took_no_further_worker() -> None:
    stock = build.inventory(
        build.node("down", usable=False),
        build.node("full", held={0: "serving/w1"}),
        build.node("other", profile="v100-4q-4GB"),
        build.node("refused", card="GPU-hot"),
        build.node("used"),
        build.node("leaves", leaving=True),
    )
    cordoned = build.inventory(*stock.nodes, type(stock.nodes[0])(name="shut", ready=True, schedulable=False))
    placement = packing.place(cordoned, NEED, 2, accept=lambda slot: slot.gpu.uuid != "GPU-hot")
    assert chosen(placement) == ["used/0"]
    assert placement.unplaced == 1
    assert placement.blocked == (
        ("down", Blocked.NOT_READY),
        ("full", Blocked.ALL_SLOTS_HELD),
        ("leaves", Blocked.LEAVING),
        ("other", Blocked.NO_SLOTS_OF_TYPE),
        ("refused", Blocked.REFUSED),
        ("shut", Blocked.CORDONED),
        ("used", Blocked.ALL_SLOTS_HELD),
    )


def test_nothing_is_blocked_when_everything_was_placed() -> None:
    assert packing.place(build.inventory(build.node()), NEED, 1).blocked == ()


def test_a_negative_count_is_a_bug() -> None:
    with pytest.raises(ValueError, match="count is -1; place 0 or more"):
        packing.place(build.inventory(), NEED, -1)


def test_orderings_are_found_by_name() -> None:
    assert packing.ORDERINGS["best-fit"] is packing.best_fit


def shared_card(name: str, *, held: int = 0, sizes: tuple[int, ...] = (500, 300)) -> Node:
    """A node with one card that is shared by units, offered in several sizes."""
    card = Gpu(uuid=f"GPU-{name}", framebuffer_mib=16384, policy=SchedulerPolicy.BEST_EFFORT, index=0)
    parts = [(held, "serving/w", "w")] if held else []
    parts += [(size, None, f"{size}+{place}") for size in sizes for place in range((1000 - held) // size)]
    return Node(
        name=name,
        ready=True,
        schedulable=True,
        slots=tuple(
            Slot(node=name, index=index, profile=Fraction(units=units), gpu=card, holder=holder, name=called)
            for index, (units, holder, called) in enumerate(parts)
        ),
    )


def place_fractions(packer: Packer, units: int, count: int) -> tuple[list[str], int]:
    found = packer.place(Fraction(units=units), count, price=lambda _: 0.0, accept=lambda _: True)
    return [slot.slot_id for slot in found.slots], found.unplaced


def test_what_is_taken_of_a_shared_card_in_one_size_is_gone_in_the_others() -> None:
    packer = Packer(build.inventory(shared_card("n1"), shared_card("n2")), lambda _gpu, _held: ())
    assert packer.free_count(Fraction(units=300)) == 6
    assert place_fractions(packer, 500, 1) == (["n1/500+0"], 0)
    assert packer.free_count(Fraction(units=300)) == 1 + 3
    assert place_fractions(packer, 300, 5) == (["n1/300+0", "n2/300+0", "n2/300+1", "n2/300+2"], 1)
    assert packer.free_count(Fraction(units=500)) == 0


def test_a_size_that_is_first_asked_for_later_finds_only_what_is_left() -> None:
    packer = Packer(build.inventory(shared_card("n1")), lambda _gpu, _held: ())
    assert place_fractions(packer, 300, 2) == (["n1/300+0", "n1/300+1"], 0)
    assert place_fractions(packer, 500, 1) == ([], 1)


def test_a_card_in_use_is_filled_before_another_is_opened() -> None:
    stock = build.inventory(shared_card("n1", sizes=(300,)), shared_card("n2", held=300, sizes=(300,)))
    packer = Packer(stock, lambda _gpu, _held: ())
    assert place_fractions(packer, 300, 3) == (["n2/300+0", "n2/300+1", "n1/300+0"], 0)
