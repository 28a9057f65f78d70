"""What a model claims of a pool that is too small: never more than its running replicas have shown it to need."""

from typing import Any

import pytest

from autoscaler.core.claims import claim
from autoscaler.core.need import Need
from autoscaler.core.sharing import Claim
from autoscaler.core.window import SlidingMax
from tests.build import absent, model, signals, situation

SPEC = model(min_replicas=1, max_replicas=20, objective_p95_ms=300)
LATE: dict[str, Any] = {"p95_ms": 9000.0, "offered_per_s": 16.0, "answered_per_s": 8.0, "queued": 0.0}


def need(now: int, count: int) -> Need:
    return Need(
        count=count,
        relaxed=count,
        now=now,
        rate_per_s=16.0,
        present=False,
        replica_per_s=8.0,
        factor=1.0,
        hold_s=30.0,
        grow_above_per_s=0.0,
        shrink_below_per_s=0.0,
        solo_ms=60.0,
    )


NOW_S = 1000.0


def claimed(now: int, count: int, *, current: int = 2, lately: int = 0, **seen: Any) -> Claim:
    carried = SlidingMax(span_s=150.0).with_value(900.0, lately)
    state = situation(current=current, spec=SPEC, carried=carried).state
    return claim(SPEC, state, signals(**seen), need(now, count), wanted=count, now_s=NOW_S)


def expected(now: int, count: int, *, current: int = 2, lately: int = 0) -> Claim:
    return Claim(model=SPEC.name, priority=0, floor=1, need=count, now=now, lately=lately, count=current)


def test_replicas_that_answer_in_time_are_enough_for_now() -> None:
    assert claimed(8, 12, p95_ms=290.0) == expected(2, 3)


@pytest.mark.parametrize(
    ("queued", "now"),
    [(0.0, 5), (20.0, 6), (160.0, 8)],
    ids=["twice the rate and a fifth", "the backlog drains in 20 s", "never more than the formulas say"],
)
def test_late_ones_need_as_many_more_as_the_rate_exceeds_what_was_answered(queued: float, now: int) -> None:
    assert claimed(8, 8, **{**LATE, "queued": queued}) == expected(now, now)


def test_late_ones_need_at_least_one_more() -> None:
    assert claimed(8, 8, **{**LATE, "answered_per_s": 16.0}) == expected(3, 3)


def test_a_smaller_need_stands() -> None:
    assert claimed(1, 2) == expected(1, 2)


def test_what_was_refused_is_late() -> None:
    assert claimed(8, 8, **{**LATE, "p95_ms": 100.0, "refused": 3}) == expected(5, 5)


@pytest.mark.parametrize(
    "seen",
    [{"answered_per_s": absent()}, {"gaps": (absent(),)}, {**LATE, "answered_per_s": 0.0}],
    ids=["unknown", "one unread", "nothing answered"],
)
def test_what_shows_nothing_leaves_the_need_as_it_is(seen: dict[str, Any]) -> None:
    assert claimed(8, 12, **seen) == expected(8, 12)


def test_what_the_load_took_lately_is_told() -> None:
    assert claimed(1, 2, lately=4) == expected(1, 2, lately=4)


def test_a_model_whose_need_is_unknown_claims_what_it_has_decided_on() -> None:
    state = situation(current=2, spec=SPEC).state
    assert claim(SPEC, state, None, None, wanted=3, now_s=NOW_S) == expected(3, 3)
