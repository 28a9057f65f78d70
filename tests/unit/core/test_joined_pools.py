"""Whole decisions for models that share pools, one of them on several slot types."""

from dataclasses import replace
from itertools import pairwise

from tests import build
from tests.unit.core import two_types
from tests.unit.core.joined_fleet import JoinedFleet
from tests.unit.core.two_types import BIG, POOLS, SMALL


def reversals(counts: list[int]) -> int:
    turns = [after > before for before, after in pairwise(counts) if after != before]
    return sum(one != other for one, other in pairwise(turns))


def test_a_leap_of_a_model_with_a_choice_is_met_on_its_other_type_while_another_lacks_the_shared_one() -> None:
    """It runs one and needs ten; 48 slots of the type that nobody else wants are free."""
    pools = (replace(POOLS[0], card_cost=0.1), replace(POOLS[1], card_cost=2.0))
    made = JoinedFleet(
        spec=two_types.fleet(
            build.model("b", pool=BIG, max_replicas=12), two_types.model("s", max_replicas=30), pools=pools
        ),
        stock=two_types.stock(big=3, small=12),
        loads_per_s={
            "b": lambda at_s: 20.0 if at_s < 248 else 150.0,
            "s": lambda at_s: 15.0 if at_s < 260 else 240.0,
        },
        engine_s={BIG: 0.03, SMALL: 0.04},
        worker_delay_s=10.0,
        replica_delay_s=20.0,
    ).run(400)
    assert len(made.running("s")) >= 10


def test_a_successor_on_its_way_is_not_cancelled_by_the_share_it_makes_way_for() -> None:
    pools = (replace(POOLS[0], card_cost=0.1), replace(POOLS[1], card_cost=2.0))
    made = JoinedFleet(
        spec=two_types.fleet(
            build.model("b", pool=BIG, max_replicas=12), two_types.model("s", max_replicas=30), pools=pools
        ),
        stock=two_types.stock(big=3, small=10),
        loads_per_s={"b": lambda at_s: 20.0 if at_s < 200 else 120.0, "s": lambda _at_s: 15.0},
        engine_s={BIG: 0.03, SMALL: 0.04},
        worker_delay_s=10.0,
        replica_delay_s=20.0,
    ).run(600)
    assert reversals(made.counts("s")[200:]) <= 4


def test_what_was_granted_is_not_taken_back_while_the_worker_of_who_yielded_is_replaced() -> None:
    pools = (replace(POOLS[0], card_cost=0.1), replace(POOLS[1], card_cost=2.0))
    made = JoinedFleet(
        spec=two_types.fleet(
            build.model("b", pool=BIG, max_replicas=12), two_types.model("s", max_replicas=30), pools=pools
        ),
        stock=two_types.stock(big=3, small=4),
        loads_per_s={"b": lambda at_s: 20.0 if at_s < 200 else 120.0, "s": lambda _at_s: 80.0},
        engine_s={BIG: 0.03, SMALL: 0.04},
        worker_delay_s=10.0,
        replica_delay_s=20.0,
    ).run(500)
    risen = [at_s for at_s, (before, after) in enumerate(pairwise(made.counts("b"))) if after > before]
    back = [at_s for at_s, (before, after) in enumerate(pairwise(made.counts("b"))) if after < before]
    assert [at_s for at_s in back if any(0 < at_s - up_s <= 10 for up_s in risen)] == []
