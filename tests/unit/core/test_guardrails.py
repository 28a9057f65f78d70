"""Each guardrail alone, and their order."""

from typing import Any

import pytest

from autoscaler.core import guardrails
from autoscaler.core.decision import Reason
from autoscaler.core.policy import Situation
from autoscaler.core.spec import GuardrailSettings
from tests.build import absent, model, signals, situation


def guarded(made: Situation, count: int) -> list[tuple[int, Reason]]:
    return [(step.after, step.reason) for step in guardrails.apply(made, count)]


def test_a_recommendation_that_is_safe_passes_untouched() -> None:
    assert guarded(situation(current=2), 4) == []
    assert guarded(situation(current=2, needs=[(990.0, 1)]), 1) == []
    assert guarded(situation(current=2), 2) == []


def test_nothing_falls_while_a_reading_is_missing() -> None:
    assert guarded(situation(signals(gaps=(absent(),)), current=3), 1) == [(3, Reason.NO_FRESH_METRICS)]


def test_partial_readings_may_raise_the_count() -> None:
    assert guarded(situation(signals(gaps=(absent(),)), current=3), 4) == []


def test_nothing_falls_while_replicas_are_awaited() -> None:
    assert guarded(situation(current=3, running=2), 2) == [(3, Reason.COLD_START_PENDING)]


@pytest.mark.parametrize(
    ("offered_per_s", "steps"),
    [(40.0, [(3, Reason.COLD_START_PENDING)]), (60.0, [(5, Reason.COLD_START_PENDING)]), (200.0, [])],
    ids=["3 on their way will do", "5 are needed", "all that is asked for is needed"],
)
def test_while_replicas_are_awaited_only_the_offered_rate_asks_for_more(
    offered_per_s: float, steps: list[tuple[int, Reason]]
) -> None:
    backlogged = signals(offered_per_s=offered_per_s, capacity_per_s=20.0)
    assert guarded(situation(backlogged, current=3, running=1), 6) == steps


def test_replicas_too_new_to_show_are_waited_for_in_the_same_way() -> None:
    new = situation(signals(offered_per_s=40.0), current=3, running_since_s=995.0)
    assert guarded(new, 6) == [(3, Reason.SETTLING)]


def test_a_backlog_that_will_soon_be_gone_needs_no_more() -> None:
    draining = signals(offered_per_s=40.0, answered_per_s=50.0, queued=190.0)
    assert guarded(situation(draining, current=3), 6) == [(3, Reason.BACKLOG_DRAINING)]
    too_slow = signals(offered_per_s=40.0, answered_per_s=50.0, queued=210.0)
    assert guarded(situation(too_slow, current=3), 6) == []
    growing = signals(offered_per_s=50.0, answered_per_s=40.0, queued=10.0)
    assert guarded(situation(growing, current=3), 6) == []


def test_a_fall_stops_at_the_worst_need_of_the_window() -> None:
    needs = [(650.0, 9), (750.0, 4), (900.0, 2), (1000.0, 1)]
    assert guarded(situation(current=5, needs=needs), 1) == [(4, Reason.WORST_NEED)]


def test_a_need_larger_than_the_present_count_keeps_the_present_count() -> None:
    assert guarded(situation(current=3, needs=[(900.0, 9)]), 1) == [(3, Reason.WORST_NEED)]


def test_without_any_remembered_need_nothing_falls() -> None:
    assert guarded(situation(current=3), 2) == [(3, Reason.WORST_NEED)]


@pytest.mark.parametrize(
    ("since_s", "count", "steps"),
    [
        (4.0, 3, [(2, Reason.SETTLING)]),
        (5.0, 3, []),
        (9.0, 1, [(2, Reason.SETTLING)]),
        (10.0, 1, []),
        (0.0, 2, []),
    ],
    ids=["a rise too early", "a rise", "a fall too early", "a fall", "no change needs no patience"],
)
def test_after_a_change_the_count_settles(since_s: float, count: int, steps: list[tuple[int, Reason]]) -> None:
    made = situation(current=2, needs=[(1000.0, 1)], changed_s=1000.0 - since_s)
    assert guarded(made, count) == steps


@pytest.mark.parametrize(
    ("settings", "current", "count", "allowed"),
    [
        ({"step_up_ratio": 2.0, "step_up_count": 1}, 1, 9, 2),
        ({"step_up_ratio": 2.0, "step_up_count": 2}, 1, 9, 3),
        ({"step_up_ratio": 2.0, "step_up_count": 1}, 4, 9, 8),
        ({"step_up_ratio": 1.1, "step_up_count": 1}, 2, 9, 3),
        ({"step_up_ratio": 1.1, "step_up_count": 1}, 15, 19, 17),
    ],
    ids=["doubling", "or by two", "doubling from four", "a small factor still grows", "the ceiling of 16.5"],
)
def test_a_rise_is_limited(settings: dict[str, Any], current: int, count: int, allowed: int) -> None:
    made = situation(current=current, guardrails=GuardrailSettings(**settings))
    assert guarded(made, count) == [(allowed, Reason.STEP_LIMIT)]


def test_a_fall_goes_one_at_a_time() -> None:
    assert guarded(situation(current=5, needs=[(1000.0, 1)]), 1) == [(4, Reason.STEP_LIMIT)]


def test_after_replicas_did_not_start_only_what_runs_counts() -> None:
    expired = situation(signals(offered_per_s=100.0), current=4, running=2, backoff_until_s=1001.0)
    assert guarded(expired, 6) == [(2, Reason.PENDING_EXPIRED)]
    over = situation(signals(offered_per_s=100.0), current=4, running=2, backoff_until_s=1000.0)
    assert guarded(over, 6) == []


@pytest.mark.parametrize(
    ("current", "count", "bounded"), [(4, 6, 5), (1, 1, 2), (9, 9, 5)], ids=["most", "least", "the most was lowered"]
)
def test_bounds_have_the_last_word(current: int, count: int, bounded: int) -> None:
    made = situation(current=current, spec=model(min_replicas=2, max_replicas=5))
    assert guarded(made, count) == [(bounded, Reason.BOUNDS)]


def test_bounds_hold_even_without_readings_and_at_once() -> None:
    blind = situation(signals(gaps=(absent(),)), current=9, changed_s=999.0, spec=model(min_replicas=2, max_replicas=5))
    assert guarded(blind, 1)[-1] == (5, Reason.BOUNDS)


def test_the_minimum_is_asked_for_even_while_replicas_do_not_start() -> None:
    made = situation(current=2, running=0, backoff_until_s=2000.0, spec=model(min_replicas=2, max_replicas=5))
    assert guarded(made, 2) == [(0, Reason.PENDING_EXPIRED), (2, Reason.BOUNDS)]


def test_steps_form_a_chain_from_the_recommendation() -> None:
    made = situation(current=1, running=1, changed_s=0.0, spec=model(max_replicas=2))
    steps = guardrails.apply(made, 8)
    assert [(step.before, step.after, step.reason) for step in steps] == [
        (8, 4, Reason.STEP_LIMIT),
        (4, 2, Reason.BOUNDS),
    ]
