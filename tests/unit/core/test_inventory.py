"""The inventory checks itself: what cannot be cut from a card cannot be written down."""

import pickle
from collections.abc import Callable

import pytest

from autoscaler.core.plain import as_json_value
from tests import build
from vgpu.core.inventory import Gpu, Inventory, Slot
from vgpu.core.profile import parse_profile
from vgpu.core.share import SchedulerPolicy


def test_the_order_of_nodes_does_not_matter() -> None:
    one, two = build.node("n1"), build.node("n2")
    assert build.inventory(two, one) == build.inventory(one, two)


def test_free_slots_are_those_nobody_holds_on_nodes_that_take_pods() -> None:
    stock = build.inventory(
        build.node("n1", slots=2, held={0: "serving/w1"}), build.node("n2", usable=False), build.node("n3")
    )
    assert [slot.slot_id for slot in stock.free_slots] == ["n1/1", "n3/0"]
    assert [slot.slot_id for slot in stock.nodes[0].held] == ["n1/0"]
    assert [slot.slot_id for slot in stock.nodes[1].free] == ["n2/0"]


def test_holding_and_freeing_gives_new_inventories() -> None:
    stock = build.inventory(build.node("n1", slots=2))
    held = stock.with_holders({"n1/1": "serving/w1"})
    assert held.slots_by_id()["n1/1"].holder == "serving/w1"
    assert held.with_holders({"n1/1": None}) == stock


@pytest.mark.parametrize(
    ("holders", "message"),
    [
        ({"n1/0": "serving/b"}, "slot n1/0 is held by 'serving/a'; 'serving/b' cannot hold it too"),
        ({"n9/0": "serving/b"}, "slot 'n9/0' is not in the inventory"),
    ],
)
def test_a_slot_is_held_once(holders: dict[str, str], message: str) -> None:
    stock = build.inventory(build.node("n1", held={0: "serving/a"}))
    with pytest.raises(ValueError, match=message):
        stock.with_holders(holders)


def test_one_card_is_not_promised_twice() -> None:
    nodes = [build.node(f"n{index}", card="GPU-a") for index in range(3)]
    with pytest.raises(ValueError, match="GPU GPU-a: its slots add up to 1500 units; a GPU has 1000"):
        build.inventory(*nodes)


def test_small_slots_are_limited_by_how_many_vgpus_a_card_runs() -> None:
    """Eight 1 GB MIG slices with media engines would fit the units; a card has one set of media engines."""
    node = build.node("n1", profile="a100-1-5cme-5GB", slots=2, card="GPU-a")
    with pytest.raises(ValueError, match=r"GPU GPU-a: 2 slots of a100-1-5cme-5GB; one GPU runs at most 1"):
        build.inventory(node)


def test_framebuffer_is_limited_where_rounded_units_would_still_fit() -> None:
    """32 x 10 and 32 x 21 units are 992; their 96 GB are more than the 94 GB of the card."""
    nodes = [
        build.node("n1", profile="h100l-1c-1GB", slots=32, card="GPU-a"),
        build.node("n2", profile="h100l-2c-2GB", slots=32, card="GPU-a"),
    ]
    with pytest.raises(ValueError, match="GPU GPU-a: its slots add up to 98304 MiB; it has 96256 MiB"):
        build.inventory(*nodes)


def test_slots_of_one_card_agree_on_its_policy() -> None:
    with pytest.raises(ValueError, match="GPU GPU-a: its slots disagree on framebuffer or scheduler policy"):
        build.inventory(
            build.node("n1", card="GPU-a"), build.node("n2", card="GPU-a", policy=SchedulerPolicy.FIXED_SHARE)
        )


def test_unknown_cards_are_one_for_each_node() -> None:
    stock = build.inventory(build.node("n1", slots=3), build.node("n2"))
    assert {key: len(slots) for key, slots in stock.slots_by_gpu().items()} == {"below n1": 3, "below n2": 1}


def test_a_node_is_listed_once() -> None:
    with pytest.raises(ValueError, match="node 'n1' is listed twice"):
        build.inventory(build.node("n1"), build.node("n1"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda gpu: Gpu(uuid="", framebuffer_mib=1, policy=gpu.policy), "uuid is empty"),
        (lambda gpu: Gpu(uuid=None, framebuffer_mib=0, policy=gpu.policy), "framebuffer_mib is 0"),
        (
            lambda gpu: Slot(node="n1", index=-1, profile=parse_profile(build.PROFILE), gpu=gpu),
            "index is -1 on node 'n1'",
        ),
    ],
)
def test_impossible_records_are_refused(make: Callable[[Gpu], object], message: str) -> None:
    gpu = Gpu(uuid="GPU-a", framebuffer_mib=16384, policy=SchedulerPolicy.BEST_EFFORT)
    with pytest.raises(ValueError, match=message):
        make(gpu)


def test_an_empty_inventory_has_nothing_free() -> None:
    assert Inventory().free_slots == ()


def test_the_directory_finds_every_card_and_slot_by_name() -> None:
    stock = build.inventory(
        build.node("n1", slots=2, card="GPU-a", held={0: "serving/w1"}), build.node("n2", card="GPU-b", usable=False)
    )
    found = stock.directory
    assert found.slots == stock.slots_by_id()
    assert {gpu: tuple(card.slots.values()) for gpu, card in found.cards.items()} == stock.slots_by_gpu()
    assert found.card_of == {"n1/0": "GPU-a", "n1/1": "GPU-a", "n2/0": "GPU-b"}
    card = found.cards["GPU-a"]
    assert (card.held, card.at_once, card.attached, card.has_fractions) == (1, 2, (1, 2), False)
    assert card.free == {stock.slots[1].profile: 1}
    assert found.cards["GPU-b"].free == {}


def test_the_directory_is_kept_and_is_no_part_of_the_inventory() -> None:
    asked, other = build.inventory(build.node("n1")), build.inventory(build.node("n1"))
    assert asked.directory is asked.directory
    assert (asked, hash(asked), repr(asked), as_json_value(asked)) == (
        other,
        hash(other),
        repr(other),
        as_json_value(other),
    )
    held = asked.with_holders({"n1/0": "serving/w1"})
    assert held.directory.cards["below n1"].held == 1
    assert pickle.loads(pickle.dumps(asked)).directory == other.directory
