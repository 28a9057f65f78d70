"""What replicas do where they are, what one more adds, and whom the model can best do without."""

from itertools import pairwise

import pytest

from autoscaler.core.capacity import Cards, Reach, card_gains, expendable, gain_beside, own_by_card, reach, summed
from autoscaler.core.contention import measure
from autoscaler.core.observation import Observation, SlotReading
from autoscaler.core.queueing import closed_rate
from autoscaler.core.service import Demand
from autoscaler.core.spec import PolicySettings
from tests import build
from vgpu.core.inventory import Gpu, Node, Slot
from vgpu.core.profile import parse_profile
from vgpu.core.share import SchedulerPolicy
from vgpu.core.slot_type import Fraction

PROFILE = parse_profile(build.PROFILE)
DEMAND = Demand(away_s=0.03, engine_s=0.03)
SOLO_PER_S = 1 / 0.06
FULL = Demand(away_s=0.0, engine_s=0.05)
"""Never off the engine: one replica fills a card."""


def cards(policy: SchedulerPolicy = SchedulerPolicy.BEST_EFFORT, slots: int = 2, **busy: float) -> Cards:
    """Three cards; slots given as n1_0=0.5 are held by a worker and so busy."""
    held = {name.replace("_", "/"): f"s/{name}" for name in busy}
    stock = build.inventory(
        *(
            build.node(
                f"n{card}",
                slots=slots,
                card=f"GPU-{card}",
                policy=policy,
                held={index: held[f"n{card}/{index}"] for index in range(slots) if f"n{card}/{index}" in held},
            )
            for card in (1, 2, 3)
        )
    )
    readings = [
        SlotReading(slot_id=slot.slot_id, at_s=0.0, busy_ratio=busy.get(slot.slot_id.replace("/", "_"), 0.0))
        for slot in stock.slots
    ]
    measured = measure(stock, build.world(stock, slots=readings), PolicySettings(), 0.0)
    return Cards.of(stock, measured, frozenset(), frozenset())


def reached(made: Cards, *placed: str | None, demand: Demand = DEMAND, most: int = 6, least: float = 0.2) -> Reach:
    return reach(made, demand, placed, PROFILE, most=most, least_gain_ratio=least)


def leaving(made: Cards, placed: dict[str, str | None]) -> tuple[str, ...]:
    return expendable(made, reached(made, *placed.values()).here, placed)


def gains(made: Reach) -> list[float]:
    return [after - before for before, after in pairwise(made.rates_per_s)]


def test_each_replica_on_a_card_of_its_own_does_what_one_does_and_the_next_ones_less() -> None:
    made = reached(cards())
    second = closed_rate(2, 0.03, 0.03) - SOLO_PER_S
    assert gains(made) == [pytest.approx(SOLO_PER_S)] * 3 + [pytest.approx(second)] * 3
    assert (made.useful, made.slots) == (6, 6)


def test_a_slot_that_gains_too_little_is_not_useful_and_the_curve_goes_on_with_the_average() -> None:
    made = reached(cards(), demand=FULL)
    assert (made.useful, made.slots) == (3, 6)
    assert gains(made) == [pytest.approx(20.0)] * 6


def test_a_neighbour_takes_what_it_usually_uses() -> None:
    crowded = cards(n1_0=0.5, n2_0=0.5, n3_0=0.5)
    assert gains(reached(crowded, most=1)) == [pytest.approx(1 / (0.03 + 0.06))]


def test_the_emptiest_card_comes_first() -> None:
    made = reached(cards(n1_0=0.8, n2_0=0.1, n3_0=0.4), most=3)
    assert gains(made) == sorted(gains(made), reverse=True)
    assert gains(made)[0] == pytest.approx(1 / (0.03 + 0.03 / 0.9))


def test_what_a_model_uses_itself_is_not_taken_for_a_neighbour() -> None:
    made = reached(cards(n1_0=0.5), "n1/0", most=1)
    assert made.rates_per_s == (0.0, pytest.approx(SOLO_PER_S))


def test_a_replica_nobody_knows_the_place_of_does_what_one_does_alone() -> None:
    made = reached(cards(), None, "gone/7", most=2)
    assert made.rates_per_s == (0.0, pytest.approx(SOLO_PER_S), pytest.approx(2 * SOLO_PER_S))


def test_under_fixed_share_every_slot_of_a_card_is_alike() -> None:
    """The 16 GB card holds two such slots, and each has half of it whatever the other does."""
    made = reached(cards(SchedulerPolicy.FIXED_SHARE, n1_0=0.5))
    assert gains(made) == [pytest.approx(1 / (0.03 + 0.06))] * 6


def test_a_worker_without_a_replica_is_as_good_as_a_free_slot() -> None:
    stock = build.inventory(build.node("n1", slots=2, card="GPU-1", held={0: "s/w1", 1: "s/w2"}))
    measured = measure(stock, build.world(stock), PolicySettings(), 0.0)
    made = Cards.of(stock, measured, frozenset({"s/w1", "s/w2"}), frozenset({"n1/0"}))
    assert reached(made, "n1/0", most=3).slots == 2


def test_a_worker_without_a_replica_is_no_neighbour_under_equal_share() -> None:
    """It is about to go, or it is the next replica's own: counted as one it would make a fallen count rise again."""
    equal = build.node("n1", slots=2, card="GPU-1", policy=SchedulerPolicy.EQUAL_SHARE, held={0: "s/w1", 1: "s/w2"})
    stock = build.inventory(equal)
    measured = measure(stock, build.world(stock), PolicySettings(), 0.0)
    made = Cards.of(stock, measured, frozenset({"s/w1", "s/w2"}), frozenset({"n1/0"}))
    assert reached(made, "n1/0", most=2, least=0.0).rates_per_s == (
        0.0,
        pytest.approx(1 / (0.03 + 0.03)),
        pytest.approx(2 / (0.03 + 0.06)),
    )


def test_one_more_on_a_card_gains_what_the_curve_says() -> None:
    made = cards(n1_0=0.3)
    own = own_by_card(made.contention, ["n1/0"])
    assert gain_beside(made, DEMAND, "GPU-2", own) == pytest.approx(SOLO_PER_S)
    assert gain_beside(made, DEMAND, "GPU-1", own) == pytest.approx(closed_rate(2, 0.03, 0.03) - SOLO_PER_S)
    assert gain_beside(made, FULL, "GPU-1", own) == pytest.approx(0.0)


def test_the_model_can_best_do_without_replicas_that_share_a_card() -> None:
    """One of the pair on card 1 adds little, and its partner is then alone; r4 has a neighbour at 0.4."""
    made = cards(n1_0=0.3, n1_1=0.3, n2_0=0.3, n3_0=0.3, n3_1=0.4)
    assert leaving(made, {"r1": "n1/0", "r2": "n1/1", "r3": "n2/0", "r4": "n3/0"}) == (
        "r1",
        "r4",
        "r2",
        "r3",
    )


def test_a_replica_nobody_knows_the_place_of_goes_first() -> None:
    assert leaving(cards(), {"r1": "n1/0", "r2": None})[0] == "r2"


def test_replicas_that_are_worth_the_same_go_in_the_order_of_their_names() -> None:
    assert leaving(cards(), {"r3": "n3/0", "r1": "n1/0", "r2": "n2/0"}) == ("r1", "r2", "r3")


def test_of_fractions_that_are_worth_the_same_the_one_with_fewest_neighbours_goes_first() -> None:
    """Its card is then whole again."""

    def shared(name: str, *pods: str) -> Node:
        card = Gpu(uuid=f"GPU-{name}", framebuffer_mib=16384, policy=SchedulerPolicy.BEST_EFFORT, index=0)
        slots = (
            Slot(node=name, index=index, profile=Fraction(units=250), gpu=card, holder=f"s/{pod}", name=pod)
            for index, pod in enumerate(pods)
        )
        return Node(name=name, ready=True, schedulable=True, slots=tuple(slots))

    stock = build.inventory(shared("n1", "a", "batch"), shared("n2", "b"), shared("n3", "c", "idle", "too"))
    read = [SlotReading(slot_id=f"{node}/0", at_s=0.0, busy_ratio=0.0) for node in ("n1", "n2", "n3")]
    measured = measure(stock, Observation(slots=tuple(read)), PolicySettings(), 0.0)
    made = Cards.of(stock, measured, frozenset(), frozenset())
    assert leaving(made, {"r1": "n1/a", "r2": "n2/b", "r3": "n3/c"}) == ("r2", "r1", "r3")


@pytest.mark.parametrize("most", [2, 3, 4, 5, 6, 9])
def test_the_best_free_slots_are_taken_however_many_have_to_be_looked_at(most: int) -> None:
    """Three replicas, each alone on its card, and five cards with two free slots each, none like another."""
    busy = {f"n{card}/0": 0.1 * card for card in range(8)}
    held = [build.node(f"n{card}", card=f"GPU-{card}", held={0: f"s/w{card}"}) for card in range(3)]
    free = [build.node(f"n{card}", slots=2, card=f"GPU-{card}") for card in range(3, 8)]
    stock = build.inventory(*held, *free)
    readings = [SlotReading(slot_id=slot_id, at_s=0.0, busy_ratio=ratio) for slot_id, ratio in busy.items()]
    readings += [SlotReading(slot_id=f"n{card}/1", at_s=0.0, busy_ratio=0.0) for card in range(3, 8)]
    made = Cards.of(
        stock, measure(stock, Observation(slots=tuple(readings)), PolicySettings(), 0.0), frozenset(), frozenset()
    )
    here = [card_gains(made, DEMAND, f"GPU-{at}", range(1), own=1, own_ratio=0.1 * at)[0] for at in range(3)]
    there = [
        gain
        for card in made.free[PROFILE][: max(0, most - 3)]
        for gain in card_gains(made, DEMAND, card.gpu, range(card.slots), own=0, own_ratio=0.0)
    ]
    best = [*sorted(here, reverse=True), *sorted(there, reverse=True)][:most]
    assert reached(made, *[f"n{card}/0" for card in range(3)], most=most, least=0.0).rates_per_s == summed(best)
