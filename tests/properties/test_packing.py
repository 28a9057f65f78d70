"""Placement: properties over random inventories, and every small world against brute force."""

import itertools
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from tests import build
from vgpu.core import packing
from vgpu.core.inventory import Inventory, Node
from vgpu.core.packing import Need, fits, place
from vgpu.core.profile import parse_profile
from vgpu.core.share import Share

LABELS = ("v100-16q-16GB", "v100-8q-8GB", "v100-4q-4GB", "t4-4q-4GB")


@st.composite
def nodes(draw: st.DrawFn, name: str) -> Node:
    label = draw(st.sampled_from(LABELS))
    slots = draw(st.integers(0, parse_profile(label).most_per_gpu))
    held = draw(st.sets(st.sampled_from(range(slots)))) if slots else set()
    return build.node(
        name,
        profile=label,
        slots=slots,
        card=draw(st.sampled_from([None, f"GPU-{name}"])),
        held={index: f"other/{name}-{index}" for index in held},
        usable=draw(st.booleans()),
    )


@st.composite
def inventories(draw: st.DrawFn) -> Inventory:
    return build.inventory(*(draw(nodes(f"n{index}")) for index in range(draw(st.integers(0, 5)))))


needs = st.sampled_from([parse_profile(label) for label in LABELS]) | st.builds(
    Share, units=st.integers(1, 1000), framebuffer_mib=st.integers(1, 16384)
)
counts = st.integers(0, 8)


@given(inventories(), needs, counts)
def test_only_free_slots_that_fit_are_chosen_and_as_many_as_there_are(stock: Inventory, need: Need, count: int) -> None:
    placement = place(stock, need, count)
    usable = [slot for slot in stock.free_slots if fits(slot, need)]
    assert len(set(placement.slots)) == len(placement.slots) == min(count, len(usable))
    assert set(placement.slots) <= set(usable)
    assert placement.unplaced == count - len(placement.slots)
    assert [name for name, _ in placement.blocked] == (
        [node.name for node in stock.nodes] if placement.unplaced else []
    )


@given(inventories(), needs, counts)
def test_placing_then_releasing_restores_the_inventory(stock: Inventory, need: Need, count: int) -> None:
    chosen = place(stock, need, count).slots
    held = stock.with_holders({slot.slot_id: "serving/new" for slot in chosen})
    assert sum(slot.holder == "serving/new" for slot in held.slots) == len(chosen)
    assert held.with_holders({slot.slot_id: None for slot in chosen}) == stock


@given(inventories(), needs, counts, st.randoms())
def test_the_order_in_which_nodes_are_listed_does_not_matter(
    stock: Inventory, need: Need, count: int, random: Random
) -> None:
    shuffled = list(stock.nodes)
    random.shuffle(shuffled)
    assert place(Inventory(nodes=tuple(shuffled)), need, count) == place(stock, need, count)


@given(inventories(), nodes("zz"), needs, counts)
def test_a_further_node_never_lowers_what_fits(stock: Inventory, further: Node, need: Need, count: int) -> None:
    larger = build.inventory(*stock.nodes, further)
    assert place(larger, need, count).unplaced <= place(stock, need, count).unplaced


@given(inventories(), needs)
def test_a_node_is_blocked_exactly_when_it_could_take_nothing_alone(stock: Inventory, need: Need) -> None:
    everything = place(stock, need, len(stock.slots) + 1)
    for node in stock.nodes:
        alone = place(build.inventory(node), need, 1)
        assert bool(alone.slots) == any(slot.node == node.name for slot in everything.slots)
        assert bool(alone.slots) != bool(alone.blocked)


@given(inventories(), needs, counts, counts)
def test_placing_in_two_rounds_chooses_the_same_slots(stock: Inventory, need: Need, first: int, second: int) -> None:
    together = place(stock, need, first + second)
    before = place(stock, need, first)
    after = place(stock.with_holders({slot.slot_id: "s/new" for slot in before.slots}), need, second)
    assert [slot.slot_id for slot in (*before.slots, *after.slots)] == [slot.slot_id for slot in together.slots]


def small_worlds() -> list[tuple[tuple[int, int], ...]]:
    """All clusters of up to three cards with one to four slots, of which any number is held."""
    cards = [(slots, held) for slots in range(1, 5) for held in range(slots + 1)]
    return [world for count in (1, 2, 3) for world in itertools.combinations_with_replacement(cards, count)]


def fewest_opened(world: tuple[tuple[int, int], ...], demand: int) -> int:
    """Brute force: the fewest cards out of use that must be opened to place as much of the demand as fits."""
    free = [slots - held for slots, held in world]
    placed = min(demand, sum(free))
    return min(
        sum(taken > 0 and held == 0 for taken, (_, held) in zip(split, world, strict=True))
        for split in itertools.product(*(range(least + 1) for least in free))
        if sum(split) == placed
    )


def test_best_fit_in_every_small_world() -> None:
    """Best fit places all that fits and, of three cards, opens at most two more than it must.

    It is worse than the optimum only where unused cards of different sizes compete: with cards of 1, 1 and 4 slots and
    a demand of 3 it opens all of them, for it takes the smallest first. Among unused cards of one size it is optimal.
    """
    profile = parse_profile("v100-4q-4GB")
    worst = 0
    for world in small_worlds():
        stock = build.inventory(
            *(
                build.node(
                    f"n{index}",
                    profile=profile.label,
                    slots=slots,
                    card=f"GPU-{index}",
                    held={slot: f"other/{index}-{slot}" for slot in range(held)},
                )
                for index, (slots, held) in enumerate(world)
            )
        )
        for demand in range(6):
            chosen = place(stock, profile, demand, ordering=packing.ORDERINGS["best-fit"]).slots
            assert len(chosen) == min(demand, sum(slots - held for slots, held in world))
            opened = len({slot.node for slot in chosen if world[int(slot.node[1:])][1] == 0})
            excess = opened - fewest_opened(world, demand)
            assert excess >= 0
            if len({slots for slots, held in world if held == 0}) <= 1:
                assert excess == 0
            worst = max(worst, excess)
    assert worst == 2


def shared_cards(random: Random) -> Inventory:
    """Cards of several guests each, with one or two profiles on a card, unknown cards and nodes that take nothing."""
    made = []
    for card in range(random.randint(1, 5)):
        for guest in range(random.randint(1, 3)):
            label = random.choice(("v100-4q-4GB", "v100-4q-4GB", "v100-2q-2GB"))
            made.append(
                build.node(
                    f"n{random.randint(0, 9)}-{card}-{guest}",
                    profile=label,
                    slots=(slots := random.randint(0, 1)),
                    card=random.choice((None, f"GPU-{card}", f"GPU-{card}")),
                    held={0: f"other/{card}-{guest}"} if slots and random.random() < 0.3 else {},
                    usable=random.random() < 0.9,
                )
            )
    return build.inventory(*made)


@given(st.randoms(use_true_random=False))
def test_a_packer_chooses_what_place_would_choose_need_after_need(random: Random) -> None:
    """With any grading of the cards, any prices of the grades and any cards refused."""
    stock = shared_cards(random)
    crowding = {slot.gpu_key: random.choice((0.0, 0.1, 0.5)) for slot in stock.slots}

    def grade(gpu: str, held: int) -> packing.Grade:
        return (crowding[gpu], held)

    packer = packing.Packer(stock, grade)
    for _ in range(6):
        profile = parse_profile(random.choice(("v100-4q-4GB", "v100-4q-4GB", "v100-2q-2GB")))
        count, each = random.randint(1, 4), random.choice((0.0, 0.1, 0.25))
        refused = {gpu for gpu in crowding if random.random() < 0.3}

        def price(grade: packing.Grade, each: float = each) -> float:
            return grade[0] + grade[1] * each

        def accept(gpu: str, refused: set[str] = refused) -> bool:
            return gpu not in refused

        first = packer.best(profile, price=price, accept=accept)
        found = packer.place(profile, count, price=price, accept=accept)
        assert first == (found.slots[0].gpu_key if found.slots else None)
        expected = place(
            stock,
            profile,
            count,
            ordering=lambda one, each=each: (
                crowding[one.slot.gpu_key] + one.held_on_gpu * each,
                *packing.best_fit(one),
            ),
            accept=lambda slot, refused=refused: slot.gpu_key not in refused,
        )
        assert found == expected
        stock = stock.with_holders({slot.slot_id: "serving/new" for slot in found.slots})
        assert packer.free_count(profile) == sum(fits(slot, profile) for slot in stock.free_slots)
