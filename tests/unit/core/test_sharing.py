"""Who yields a replica to whom where there are fewer slots than all need."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.sharing import Claim, shares


def claim(
    model: str,
    count: int,
    need: int,
    *,
    now: int | None = None,
    lately: int = 0,
    priority: int = 0,
    floor: int = 1,
) -> Claim:
    present = need if now is None else now
    return Claim(model=model, priority=priority, floor=floor, need=need, now=present, lately=lately, count=count)


def yielded(claims: list[Claim], *, slots: int, most: int) -> dict[str, int]:
    """By model: how many fewer than it has."""
    shared = shares(claims, slots=slots, most=most)
    return {each.model: each.count - shared[each.model] for each in claims if shared[each.model] < each.count}


def test_nobody_yields_while_free_slots_are_enough_for_those_that_lack() -> None:
    assert yielded([claim("a", 3, 3), claim("b", 1, 2)], slots=6, most=4) == {}


def test_headroom_is_yielded_to_a_model_that_cannot_carry_its_load_of_now() -> None:
    assert yielded([claim("a", 6, 6, now=3), claim("b", 1, 3, now=3)], slots=7, most=4) == {"a": 2}


def test_no_more_change_hands_at_once_than_allowed() -> None:
    assert yielded([claim("a", 9, 9, now=2), claim("b", 1, 6)], slots=10, most=1) == {"a": 1}


def test_what_is_on_its_way_counts_as_arrived() -> None:
    """Three slots lie free already, for they were given up a tick ago: that is all that b lacks."""
    assert yielded([claim("a", 3, 6, now=3), claim("b", 1, 4)], slots=7, most=4) == {}


def test_an_exchange_that_only_turns_the_tables_is_not_made() -> None:
    assert yielded([claim("a", 2, 4), claim("b", 2, 4)], slots=4, most=4) == {}


def test_free_slots_go_where_they_lessen_the_shortage_most() -> None:
    found = shares([claim("a", 3, 9, now=3), claim("b", 1, 3), claim("c", 1, 1)], slots=7, most=4)
    assert found == {"a": 3, "b": 3, "c": 1}


def test_what_was_needed_lately_is_not_spare() -> None:
    """b has two of three; a needs one now, yet had use for all its three a minute ago."""
    idle, short = claim("a", 3, 3, now=1, lately=3), claim("b", 2, 3)
    assert shares([idle, short], slots=5, most=4) == {"a": 3, "b": 2}
    assert shares([replace(idle, lately=1), short], slots=5, most=4) == {"a": 2, "b": 3}


def test_what_was_lacking_lately_does_not_hold_on_to_what_is_there() -> None:
    """a lacked three of six before; now one will do, and what it could not use then it does not miss."""
    lacked, starving = claim("a", 3, 3, now=1, lately=6), claim("b", 1, 3)
    assert shares([lacked, starving], slots=4, most=4) == {"a": 2, "b": 2}


def test_priority_is_for_load_and_not_for_headroom() -> None:
    low, high = claim("low", 3, 3), claim("high", 2, 8, now=2, priority=1)
    assert shares([low, high], slots=5, most=4) == {"low": 3, "high": 2}
    assert shares([low, replace(high, lately=3)], slots=5, most=4) == {"low": 2, "high": 3}


def test_one_that_nobody_gives_to_does_not_keep_others_waiting() -> None:
    """The neediest may take from no higher priority; of the higher two, one has headroom that the other lacks."""
    low = claim("low", 1, 9)
    rich, short = claim("rich", 8, 8, now=2, priority=1), claim("short", 2, 3, now=2, priority=1)
    assert shares([low, rich, short], slots=11, most=4) == {"low": 1, "rich": 7, "short": 3}


def test_a_higher_priority_takes_down_to_the_floor_and_a_lower_one_takes_nothing() -> None:
    low, high = claim("low", 4, 4, floor=2), claim("high", 1, 6, priority=1)
    assert yielded([low, high], slots=5, most=9) == {"low": 2}
    assert yielded([claim("low", 1, 4), claim("high", 6, 6, now=2, priority=1)], slots=7, most=9) == {}


claims = st.lists(
    st.tuples(st.integers(0, 2), st.integers(1, 8), st.integers(0, 12), st.integers(0, 12)), min_size=2, max_size=6
).map(
    lambda rows: [
        claim(f"m{place}", count, max(need, now), now=now, priority=priority)
        for place, (priority, count, need, now) in enumerate(rows)
    ]
)


@given(claims, st.integers(0, 8), st.integers(0, 6))
def test_floors_hold_and_the_sum_given_is_bounded(wants: list[Claim], spare: int, most: int) -> None:
    gone = yielded(wants, slots=sum(want.count for want in wants) + spare, most=most)
    assert sum(gone.values()) <= most
    for want in wants:
        assert want.count - gone.get(want.model, 0) >= min(want.count, want.floor)


@given(claims)
def test_a_model_of_the_highest_priority_yields_only_to_its_equals(wants: list[Claim]) -> None:
    top = max(want.priority for want in wants)
    alone = [want.model for want in wants if want.priority == top]
    if len(alone) == 1:
        assert alone[0] not in yielded(wants, slots=sum(want.count for want in wants), most=6)


@pytest.mark.parametrize(("count", "gain"), [(0, 9 * (1 - 0.25)), (1, 9 * 0.25), (2, 0.0)])
def test_the_shorter_a_model_is_the_more_it_gains(count: int, gain: float) -> None:
    assert claim("a", count, 2).gain(count) == pytest.approx(gain)


@given(claims, st.integers(0, 8), st.integers(0, 6), st.data())
def test_a_lower_demand_never_hurts_a_higher_priority(
    wants: list[Claim], spare: int, most: int, data: st.DataObject
) -> None:
    slots = sum(want.count for want in wants) + spare
    place = data.draw(st.integers(0, len(wants) - 1))
    now = data.draw(st.integers(0, wants[place].now))
    modest = replace(wants[place], now=now, need=data.draw(st.integers(now, wants[place].need)))
    before = shares(wants, slots=slots, most=len(wants) * 20)
    after = shares([*wants[:place], modest, *wants[place + 1 :]], slots=slots, most=len(wants) * 20)
    for want in wants:
        if want.priority > modest.priority:
            assert min(after[want.model], want.now) >= min(before[want.model], want.now)
