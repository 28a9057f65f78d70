"""Where replicas of a model on several slot types go: most for the cost, but no worker on its way is one too many."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from autoscaler.core.choosing import SHUNNED_S, Homes
from autoscaler.core.decision import Reason
from autoscaler.core.placement import FleetPlacement, Grant, Want, place_models
from autoscaler.core.spanning import SlotOption
from autoscaler.core.state import ModelState
from tests import build
from tests.unit.core import two_types
from tests.unit.core.two_types import BIG, FAST, POOLS, SMALL, cards, stock, types
from vgpu.core.inventory import Inventory
from vgpu.core.packing import Blocked

NONE_BOUND = {BIG: 0, SMALL: 0}


def want(
    count: int, *, current: int = 0, firm: int = 0, of: tuple[SlotOption, ...] | None = None, **given: object
) -> Want:
    fields = {"types": of or types(), "model": "minilm", "pool": BIG, "profile": POOLS[0].profile, **given}
    return Want(count=count, current=current, firm=firm, **fields)


def alone(count: int, *, model: str = "other", pool: str = BIG) -> Want:
    """Of a model with one slot type."""
    profile = POOLS[pool == SMALL].profile
    return Want(model=model, pool=pool, profile=profile, count=count, current=0, firm=0, demand=FAST)


def place(
    of: Inventory,
    *wants: Want,
    bound: Mapping[str, int] | None = None,
    vacant: Mapping[str, list[str]] | None = None,
    busy: Mapping[str, float] | None = None,
) -> FleetPlacement:
    return place_models(wants, bound or NONE_BOUND, of, cards(of, busy), vacant)


def spread(placed: FleetPlacement) -> dict[str, int]:
    return dict(placed.grants["minilm"].spread)


@pytest.mark.parametrize(
    ("count", "expected", "nodes"),
    [
        (1, {SMALL: 1}, {SMALL: ("t1",)}),
        (2, {BIG: 1, SMALL: 1}, {BIG: ("b1",), SMALL: ("t1",)}),
        (5, {BIG: 4, SMALL: 1}, {BIG: ("b1", "b2"), SMALL: ("t1",)}),
        (6, {BIG: 4, SMALL: 2}, {BIG: ("b1", "b2"), SMALL: ("t1",)}),
    ],
)
def test_one_after_the_other_goes_where_it_adds_most_for_the_cost(
    count: int, expected: dict[str, int], nodes: dict[str, tuple[str, ...]]
) -> None:
    placed = place(stock(), want(count))
    assert placed == FleetPlacement(
        grants={"minilm": Grant(model="minilm", count=count, spread=tuple(expected.items()))}, nodes=nodes
    )


def test_a_dearer_card_has_to_add_as_much_more() -> None:
    assert spread(place(stock(), want(3, of=types(small_cost=0.5)))) == {BIG: 2, SMALL: 1}
    assert spread(place(stock(), want(3, of=types(small_cost=2.0)))) == {BIG: 3}


def test_a_card_that_is_full_is_left_for_one_of_another_type() -> None:
    full = stock(held={"b1/1": "x", "b2/1": "x"})
    placed = place(full, want(2, of=types(small_cost=2.0)), busy={"b1/1": 0.99, "b2/1": 0.99})
    assert spread(placed) == {SMALL: 2}


def test_where_no_card_of_any_type_has_anything_to_give_growth_stops() -> None:
    full = stock(big=1, held={"b1/1": "x", "t1/1": "x"})
    placed = place(full, want(3, current=1, firm=1, lives={SMALL: 1}), busy={"b1/1": 0.99, "t1/1": 0.99})
    assert placed.grants["minilm"] == Grant(
        model="minilm",
        count=1,
        unplaced=2,
        reason=Reason.SATURATED,
        blocked=(("b1", Blocked.REFUSED), ("t1", Blocked.REFUSED)),
        spread=((SMALL, 1),),
    )


def test_without_any_free_slot_each_node_says_why() -> None:
    taken = stock(
        big=1, held={f"{node}/{index}": f"{node}{index}" for node, n in (("b1", 2), ("t1", 4)) for index in range(n)}
    )
    assert place(taken, want(2, firm=2)).grants["minilm"] == Grant(
        model="minilm",
        count=2,
        unplaced=2,
        reason=Reason.NO_SLOTS,
        blocked=(("b1", Blocked.ALL_SLOTS_HELD), ("t1", Blocked.ALL_SLOTS_HELD)),
        spread=((BIG, 2),),
    )


def test_running_replicas_stay_where_they_are() -> None:
    placed = place(stock(), want(3, current=3, firm=3, lives={BIG: 3}), bound={BIG: 3, SMALL: 0})
    assert (spread(placed), placed.nodes) == ({BIG: 3}, {})


def test_what_was_meant_for_a_pool_stays_meant_for_it() -> None:
    placed = place(stock(), want(2, current=2, firm=1, lives={BIG: 1}, meant={BIG: 2}), bound={BIG: 1, SMALL: 0})
    assert (spread(placed), placed.nodes) == ({BIG: 2}, {BIG: ("b1",)})


def test_what_finds_no_place_where_it_was_meant_goes_elsewhere() -> None:
    held = {f"b{card}/{index}": f"b{card}{index}" for card in (1, 2) for index in (0, 1)}
    placed = place(
        stock(held=held), want(2, current=2, firm=1, lives={BIG: 1}, meant={BIG: 2}), bound={BIG: 1, SMALL: 0}
    )
    assert spread(placed) == {BIG: 1, SMALL: 1}


def test_of_places_worth_the_same_a_worker_that_is_there_comes_first() -> None:
    held = stock(big=1, held={"t1/0": "s/t"})
    alike = types(FAST, FAST, small_cost=0.5)
    placed = place(held, want(1, of=alike), bound={BIG: 0, SMALL: 1}, vacant={SMALL: ["GPU-t1"]})
    assert (spread(placed), placed.nodes) == ({SMALL: 1}, {})


def test_a_vacant_worker_on_a_full_card_is_no_help() -> None:
    held = stock(held={"t1/0": "s/t", "t1/1": "x"})
    placed = place(held, want(1), bound={BIG: 0, SMALL: 1}, vacant={SMALL: ["GPU-t1"]}, busy={"t1/1": 0.99})
    assert spread(placed) == {BIG: 1}


def test_a_short_pool_gives_no_more_than_the_share_before_others_had_theirs() -> None:
    chooses, other = want(6), alone(3, pool=SMALL)
    free = place(stock(), chooses, other)
    assert (spread(free), free.grants["other"].count) == ({BIG: 4, SMALL: 2}, 2)
    shared = place(stock(), replace(chooses, room={SMALL: 1}), other)
    assert (spread(shared), shared.grants["other"].count) == ({BIG: 4, SMALL: 1}, 3)


def test_a_type_where_replicas_did_not_start_is_tried_last() -> None:
    assert spread(place(stock(), want(2, shunned=frozenset({SMALL})))) == {BIG: 2}
    assert spread(place(stock(), want(1, shunned=frozenset({SMALL, BIG})))) == {SMALL: 1}


def test_while_nothing_is_known_the_cheapest_slot_on_a_calm_card_is_taken() -> None:
    unknown = want(1, of=types(None, None))
    assert spread(place(stock(), unknown)) == {SMALL: 1}
    assert spread(place(stock(held={"t1/0": "x"}), unknown, busy={"t1/0": 0.95})) == {BIG: 1}


def test_with_one_of_its_pools_unread_a_model_keeps_what_it_has() -> None:
    unread = want(4, current=2, firm=2, lives={BIG: 2}, meant={BIG: 2})
    assert place(stock(), unread, bound={BIG: 2}).grants["minilm"] == Grant(
        model="minilm", count=2, reason=Reason.WORKERS_UNREADABLE, spread=((BIG, 2),)
    )


def test_replicas_live_in_the_pools_of_their_workers() -> None:
    held = {"b1/0": "s/b1", "t1/0": "s/t1", "t1/1": "s/t2", "t1/2": "s/t3"}
    pools = (
        build.pool(build.worker("s/b1", "b1"), name=BIG),
        build.pool(
            build.worker("s/t1", "t1"),
            build.worker("s/t2", "t1"),
            build.worker("s/t3", "t1", draining=True),
            name=SMALL,
        ),
    )
    running = build.deployment(running={"r1": "s/b1", "r2": "s/t1", "r3": "s/t3"}, target=3)
    seen = build.world(stock(held=held), pools=pools, deployments=[running])
    homes = Homes.of(two_types.fleet(), seen, stock(held=held))
    # The drained one will be vacant: its place comes back with the worker that replaces it.
    assert homes.vacant == {BIG: [], SMALL: ["GPU-t1", "GPU-t1"]}
    state = ModelState.start(two_types.model(), 3, 0.0)
    assert homes.settled(two_types.model(), running, state, state, 0.0) == (state, {"r1": BIG, "r2": SMALL})
    assert Homes.of(build.fleet(), seen, stock(held=held)) == Homes(pools={}, vacant={})
    # On nodes that will be taken away nobody lives for good, and no place is vacant.
    assert Homes.of(two_types.fleet(), seen, stock(held=held), {"s/t1", "s/t2", "s/t3"}) == Homes(
        pools={"s/b1": BIG}, vacant={BIG: [], SMALL: []}
    )


def test_pools_of_replicas_that_were_given_up_are_shunned_for_a_while() -> None:
    homes = Homes(pools={"s/b1": BIG}, vacant={})
    before = replace(ModelState.start(two_types.model(), 2, 0.0), spread={BIG: 1, SMALL: 1})
    after = replace(before, backoff_until_s=160.0)
    running = build.deployment(running={"r1": "s/b1"}, target=2)
    shunned, _ = homes.settled(two_types.model(), running, after, before, 100.0)
    assert shunned.shunned == {SMALL: 100.0 + SHUNNED_S}
    again, _ = homes.settled(two_types.model(), running, shunned, shunned, 110.0)
    assert again is shunned


def test_in_a_short_pool_growth_goes_by_room_and_elsewhere_without_limit() -> None:
    """Of two free slots the other model's share is one; so is the room of the model that has a choice."""
    held = stock(big=2, small=0, held={"b1/0": "x", "b1/1": "y"})
    single = replace(alone(4), current=1, firm=1, share=2, placed=("b1/0",))
    spans = want(
        4,
        current=1,
        firm=1,
        of=types(FAST, FAST),
        share=1,
        lives={BIG: 1},
        meant={BIG: 1},
        room={BIG: 1},
        placed=("b1/1",),
    )
    placed = place(held, single, spans, bound={BIG: 2, SMALL: 0})
    assert {name: grant.count for name, grant in placed.grants.items()} == {"other": 2, "minilm": 2}


def test_a_replica_that_lives_in_none_of_the_model_s_pools_is_not_seated() -> None:
    placed = place(stock(), want(2, current=1, firm=1, lives={"gone": 1}))
    assert placed.grants["minilm"].count == 2
