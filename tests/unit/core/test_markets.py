"""Shares of pools that are joined by a model on several slot types: who grows where, and who makes way for whom."""

from collections.abc import Mapping
from dataclasses import replace

from autoscaler.core.draft import Draft
from autoscaler.core.markets import Shares, shared
from autoscaler.core.sharing import Claim
from autoscaler.core.spec import FleetSpec, ModelSpec
from autoscaler.core.state import ModelState, Moving
from tests import build
from tests.build import absent, signals
from tests.unit.core import two_types
from tests.unit.core.two_types import BIG, FAST, POOLS, SMALL, cards, stock, types
from vgpu.core.inventory import Inventory

BIG_ONLY, SMALL_ONLY = build.model("b", pool=BIG, max_replicas=8), build.model("t", pool=SMALL, max_replicas=8)
BOTH = two_types.model("s")
FLEET = FleetSpec(pools=POOLS, models=(BIG_ONLY, SMALL_ONLY, BOTH))


def draft(spec: ModelSpec, *, need: int, lives: str = "", priority: int = 0, blind: bool = False) -> Draft:
    """A model with running replicas in these slots, as b1/0 or t1/0, that needs so many for the load of now."""
    slots = dict(enumerate(lives.split()))
    count, floor = len(slots), spec.min_replicas
    state = replace(ModelState.start(spec, count, 0.0), running_ids=tuple(f"{spec.name}{index}" for index in slots))
    claim = Claim(model=spec.name, priority=priority, floor=floor, need=need, now=need, lately=0, count=count)
    return Draft(
        spec=spec,
        current=count,
        count=count,
        decided=count,
        state=state,
        steps=(),
        claim=claim,
        signals=signals(gaps=(absent(),) if blind else ()),
        placed={f"{spec.name}{index}": slot for index, slot in slots.items()},
        demand=FAST,
        types=types(FAST, FAST) if spec.further_pools else (),
        lives={f"{spec.name}{index}": BIG if slot[0] == "b" else SMALL for index, slot in slots.items()}
        if spec.further_pools
        else {},
    )


def of(*drafts: Draft, big: int = 1, small: int = 1, busy: Mapping[str, float] | None = None) -> Shares:
    """The shares on so many cards of each type, all slots free but those that the drafts' replicas hold."""
    held = {slot: f"s/{name}" for each in drafts for name, slot in each.placed.items() if slot}
    made: Inventory = stock(big=big, small=small, held=held)
    return shared(FLEET, drafts, cards(made, busy), 0.0)


def test_where_there_is_enough_nobody_has_a_share() -> None:
    drafts = (draft(BIG_ONLY, need=1, lives="b1/0"), draft(BOTH, need=3, lives="t1/0"), draft(SMALL_ONLY, need=1))
    assert of(*drafts) == Shares(counts={})


def test_what_one_pool_lacks_another_one_gives_to_who_may_live_there() -> None:
    """The V100 is full; the T4 has room for all that the model lacks, so nobody yields for it."""
    drafts = (draft(BIG_ONLY, need=2, lives="b1/0 b1/1"), draft(BOTH, need=3, lives="t1/0"), draft(SMALL_ONLY, need=1))
    assert of(*drafts) == Shares(counts={})


def test_who_could_live_elsewhere_first_gets_a_successor_there() -> None:
    drafts = (draft(BIG_ONLY, need=2, lives="b1/0"), draft(BOTH, need=1, lives="b1/1"))
    assert of(*drafts) == Shares(counts={"b": 1, "s": 1}, changes={"s": {BIG: 0}}, moves=frozenset({"s"}))


def test_and_then_gives_its_slot() -> None:
    drafts = (draft(BIG_ONLY, need=2, lives="b1/0"), draft(BOTH, need=1, lives="b1/1 t1/0"))
    assert of(*drafts) == Shares(counts={"b": 2, "s": 1}, changes={"s": {BIG: -1}})


def test_who_has_nowhere_else_to_go_does_not_move() -> None:
    full = {f"t1/{index}": 0.99 for index in range(4)}
    drafts = (draft(BIG_ONLY, need=2, lives="b1/0"), draft(BOTH, need=1, lives="b1/1"))
    assert of(*drafts, busy=full).moves == frozenset()


def test_who_cannot_be_read_gives_nothing_and_moves_nowhere() -> None:
    drafts = (draft(BIG_ONLY, need=2, lives="b1/0"), draft(BOTH, need=1, lives="b1/1 t1/0", blind=True))
    assert of(*drafts) == Shares(counts={"b": 1, "s": 2}, changes={"s": {BIG: 0}})


def test_a_model_gives_only_what_it_has_in_the_pool_that_is_short() -> None:
    """All are needed: for the load of a model of higher priority two yield, and never what lives on the other type."""
    drafts = (
        draft(BIG_ONLY, need=4, lives="b1/0 b2/0", priority=1),
        draft(BOTH, need=6, lives="b1/1 t1/0 t1/1 t1/2 t1/3"),
    )
    found = of(*drafts, big=2)
    assert found.counts["b"] == 4
    assert found.changes == {"s": {BIG: -1}}


def test_pools_that_nobody_joins_are_shared_each_alone() -> None:
    apart = FleetSpec(pools=POOLS, models=(BIG_ONLY, build.model("b2", pool=BIG, max_replicas=8), SMALL_ONLY))
    drafts = (
        draft(BIG_ONLY, need=2, lives="b1/0"),
        draft(apart.models[1], need=2, lives="b1/1"),
        draft(SMALL_ONLY, need=9, lives="t1/0"),
    )
    held = {"b1/0": "x", "b1/1": "y", "t1/0": "z"}
    assert shared(apart, drafts, cards(stock(big=1, held=held)), 0.0) == Shares(counts={"b": 1, "b2": 1})


def on_its_way(of: Draft, *, pool: str, held: Mapping[str, int]) -> Draft:
    """The draft with one more replica decided on, meant for `pool`, that does not run yet."""
    count = of.current + 1
    state = replace(of.state, desired=count, spread={**held, pool: held.get(pool, 0) + 1})
    return replace(of, current=count, count=count, claim=replace(of.claim, count=count), state=state)


def test_what_a_model_will_find_elsewhere_is_no_reason_to_take_what_it_runs() -> None:
    """It needs ten and runs one: its growth on the other type is still to come, so nothing is taken and none cut."""
    drafts = (draft(BIG_ONLY, need=2, lives="b1/0"), draft(replace(BOTH, max_replicas=30), need=10, lives="b1/1"))
    assert of(*drafts, big=1, small=4) == Shares(counts={"b": 1, "s": 1}, changes={"s": {BIG: 0}})


def test_while_its_successor_is_on_its_way_a_model_keeps_what_runs() -> None:
    moving = on_its_way(draft(BOTH, need=1, lives="b1/1"), pool=SMALL, held={BIG: 1})
    assert of(draft(BIG_ONLY, need=2, lives="b1/0"), moving) == Shares(counts={"b": 1, "s": 2}, changes={"s": {BIG: 0}})


def test_what_it_gives_runs_and_is_not_one_on_its_way() -> None:
    """It runs two, needs one and awaits a third: to give one it falls to one, not to two."""
    more = on_its_way(draft(BOTH, need=1, lives="b1/1 t1/0"), pool=SMALL, held={BIG: 1, SMALL: 1})
    assert of(draft(BIG_ONLY, need=2, lives="b1/0"), more) == Shares(counts={"b": 2, "s": 1}, changes={"s": {BIG: -1}})


def test_who_may_not_change_now_does_not_move_for_others() -> None:
    lacks, calm = draft(BIG_ONLY, need=2, lives="b1/0"), draft(BOTH, need=1, lives="b1/1")
    for state in (
        replace(calm.state, backoff_until_s=10.0),
        replace(calm.state, yields_until_s=10.0),
        replace(calm.state, moving=Moving(ended_s=0.0)),
    ):
        assert of(lacks, replace(calm, state=state)).moves == frozenset()
    assert of(lacks, replace(calm, count=4)).moves == frozenset()
    assert of(lacks, replace(calm, spec=replace(BOTH, max_replicas=1))).moves == frozenset()
