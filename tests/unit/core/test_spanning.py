"""What a model's replicas do on several slot types, for what the slots cost, and which it can best do without."""

from dataclasses import replace
from itertools import pairwise

import pytest

from autoscaler.core import capacity
from autoscaler.core.capacity import Reach
from autoscaler.core.queueing import closed_rate
from autoscaler.core.service import Demand, Service
from autoscaler.core.spanning import (
    LATE_WORTH,
    Exchange,
    SlotOption,
    exchange,
    expendable,
    reach,
    slot_options,
    useful_slots,
    usual_demand,
    with_lessons,
)
from tests import build
from tests.unit.core import two_types
from tests.unit.core.two_types import BIG, FAST, POOLS, SLOW, SMALL, cards, stock, types

BIG_PER_S, SMALL_PER_S = 1 / 0.06, 1 / 0.09


def learned(demand: Demand, batches: float = 100.0) -> Service:
    return Service().with_batches(batches=batches, items=1.0, solo_s=demand.solo_s, engine_s=demand.engine_s)


def gains(made: Reach) -> list[float]:
    return [after - before for before, after in pairwise(made.rates_per_s)]


def reached(*placed: str | None, most: int = 8, of: tuple[SlotOption, ...] | None = None, big: int = 2) -> Reach:
    return reach(cards(stock(big=big)), of or types(), placed, most=most, least_gain_ratio=0.2)


def test_a_type_is_what_was_learned_on_its_board_and_a_board_not_yet_met_is_like_the_others() -> None:
    model = two_types.model(objective_p95_ms=300)
    seen = {"v100": learned(FAST)}
    assert slot_options(model, POOLS, seen, learned(FAST)) == types(FAST, FAST)
    assert slot_options(model, POOLS, {**seen, "t4": learned(SLOW, batches=3)}, learned(FAST)) == types(FAST, FAST)
    assert slot_options(model, POOLS, {**seen, "t4": learned(SLOW)}, learned(FAST)) == types(FAST, SLOW)
    assert slot_options(model, POOLS, {}, Service()) == types(None, None)


def test_types_come_in_the_order_of_their_names_and_cost_their_part_of_the_card() -> None:
    dear = replace(POOLS[0], card_cost=3.0)
    found = slot_options(two_types.model(), (POOLS[1], dear), {}, Service())
    assert [(each.pool, each.cost) for each in found] == [(BIG, 1.5), (SMALL, 0.25)]


@pytest.mark.parametrize(
    ("objective_ms", "worths"),
    [(300, [1.0, 1.0]), (124, [1.0, pytest.approx(0.4968, abs=1e-4)]), (100, [1.0, LATE_WORTH]), (50, [1.0, 1.0])],
    ids=["both in time", "one nearly late", "one late", "both late"],
)
def test_work_that_is_late_counts_less_the_later_it_is(objective_ms: int, worths: list[float]) -> None:
    model = two_types.model(objective_p95_ms=objective_ms)
    found = slot_options(model, POOLS, {"v100": learned(FAST), "t4": learned(SLOW)}, learned(FAST))
    assert [each.worth for each in found] == worths


def test_lessons_are_learned_where_they_were_given() -> None:
    stock_ = stock()
    assert with_lessons({"v100": learned(FAST)}, (), cards(stock_).contention, frozenset()) == {"v100": learned(FAST)}


def test_the_next_slots_are_those_that_add_most_for_their_cost() -> None:
    second_big, second_small = closed_rate(2, 0.03, 0.03) - BIG_PER_S, closed_rate(2, 0.03, 0.06) - SMALL_PER_S
    assert gains(reached(big=1))[:4] == [
        pytest.approx(gain) for gain in (SMALL_PER_S, BIG_PER_S, second_big, second_small)
    ]
    assert SMALL_PER_S / 0.25 > BIG_PER_S / 0.5 > second_big / 0.5 > second_small / 0.25


def test_running_replicas_come_before_any_free_slot() -> None:
    assert gains(reached("b1/0"))[:2] == [pytest.approx(BIG_PER_S), pytest.approx(SMALL_PER_S)]


def test_a_slot_is_useful_by_what_a_lone_replica_does_on_its_own_type() -> None:
    full = Demand(away_s=0.0, engine_s=0.2)
    made = reached(of=types(FAST, full))
    assert (made.useful, made.slots) == (5, 8), "four on the V100s and the first on the T4"


def test_where_every_answer_is_late_nothing_is_taken_and_what_runs_counts_for_little() -> None:
    late = types(FAST, SLOW, small_worth=LATE_WORTH)
    assert reached(of=late, most=4).useful == 4
    assert gains(reached("t1/0", of=late, most=2))[0] == pytest.approx(LATE_WORTH * SMALL_PER_S)


def test_with_one_type_everything_is_as_without_types() -> None:
    made = cards(stock(), {"b1/0": 0.4})
    only = types()[:1]
    for placed in ((), ("b1/0",), ("b1/0", "b2/1", None)):
        alone = capacity.reach(made, FAST, placed, POOLS[0].profile, most=6, least_gain_ratio=0.2)
        assert reach(made, only, placed, most=6, least_gain_ratio=0.2) == alone
        by_id = {f"r{index}": slot for index, slot in enumerate(placed)}
        assert expendable(made, only, by_id) == capacity.expendable(made, alone.here, by_id)


def test_who_adds_least_for_the_cost_goes_first() -> None:
    placed = {"r1": "b1/0", "r2": "t1/0", "r3": "t1/1"}
    made = cards(stock())
    assert expendable(made, types(), placed) == ("r2", "r1", "r3")
    assert expendable(made, types(small_cost=1.0), placed) == ("r2", "r3", "r1")


def test_where_somebody_waits_for_a_slot_one_leaves_first() -> None:
    placed = {"r1": "b1/0", "r2": "b1/1", "r3": "t1/1"}
    assert expendable(cards(stock()), types(), placed, frozenset({SMALL})) == ("r3", "r1", "r2")


def test_while_nothing_is_known_the_dearest_slot_is_given_up_first() -> None:
    assert expendable(cards(stock()), types(None, None), {"r1": "t1/0", "r2": "b1/0"}) == ("r2", "r1")


def test_the_usual_batch_is_that_of_the_types_the_replicas_are_on() -> None:
    contention = cards(stock()).contention
    assert usual_demand(types(), ["b1/0", None], contention) == FAST
    mixed = usual_demand(types(), ["b1/0", "t1/0"], contention)
    assert (mixed.away_s, mixed.engine_s) == (pytest.approx(0.03), pytest.approx(0.045))


def test_useful_slots_are_counted_by_pool() -> None:
    made = cards(stock(), {"b1/0": 0.95, "b1/1": 0.05})
    assert useful_slots(made, types(), (), least_gain_ratio=0.2, most=9) == {BIG: 2, SMALL: 4}
    assert useful_slots(made, types(), (), least_gain_ratio=0.2, most=3) == {BIG: 2, SMALL: 3}


def test_an_exchange_is_offered_from_the_worst_place_to_the_best_one() -> None:
    crowded = cards(stock(held={"b1/1": "other"}), {"b1/1": 0.8})
    found = exchange(crowded, types(), ["b1/0"])
    assert found is not None
    crowded_per_s = closed_rate(1, 0.03, 0.03, 0.8)
    assert found == Exchange(
        here_per_s=pytest.approx(crowded_per_s), solo_per_s=BIG_PER_S, there_per_s=pytest.approx(SMALL_PER_S)
    )


def test_a_place_that_is_worth_less_for_its_cost_is_no_offer() -> None:
    assert exchange(cards(stock(big=1, held={"b1/1": "other"})), types(small_cost=4.0), ["b1/0"]) is None


def test_a_replica_is_of_its_own_slot_s_type_whatever_else_its_card_has() -> None:
    """`r1` is on a small slot beside a large one of somebody else: it costs half of `r2` on a large one."""
    card = build.node("m", profile="v100-8q-8GB", slots=2, card="GPU-m", held={0: "x", 1: "s/w1"})
    mixed = replace(card, slots=(card.slots[0], replace(card.slots[1], profile=POOLS[1].profile)))
    whole = build.node("b1", profile="v100-8q-8GB", slots=2, card="GPU-b1", held={0: "s/w2"})
    made = cards(build.inventory(mixed, whole))
    assert expendable(made, types(FAST, FAST), {"r1": "m/1", "r2": "b1/0"}) == ("r2", "r1")
