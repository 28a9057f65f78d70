"""What holds for guardrails whatever is recommended, and in every small situation."""

import itertools
import math

from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core import guardrails
from autoscaler.core.decision import Reason
from autoscaler.core.policy import Situation
from autoscaler.core.spec import GuardrailSettings
from tests.build import absent, model, signals, situation

PENDING_GIVEN_UP = {Reason.PENDING_EXPIRED, Reason.BOUNDS}


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    """Anything that can be: bounds, pending replicas, gaps, a recent change, a remembered need."""
    low = draw(st.integers(1, 4))
    ages = st.floats(0.0, 400.0)
    return situation(
        signals(
            gaps=(absent(),) if draw(st.booleans()) else (),
            offered_per_s=draw(st.floats(0.0, 500.0)),
            answered_per_s=draw(st.floats(0.0, 500.0)),
            queued=draw(st.floats(0.0, 500.0)),
        ),
        current=draw(st.integers(0, 12)),
        running=draw(st.integers(0, 12)),
        needs=sorted((1000.0 - age_s, value) for age_s, value in draw(st.lists(st.tuples(ages, st.integers(0, 12))))),
        spec=model(min_replicas=low, max_replicas=low + draw(st.integers(0, 8))),
        guardrails=GuardrailSettings(step_up_ratio=draw(st.floats(1.0, 3.0)), step_up_count=draw(st.integers(1, 4))),
        changed_s=draw(st.none() | ages.map(lambda age_s: 1000.0 - age_s)),
        running_since_s=1000.0 - draw(ages),
        backoff_until_s=draw(st.none() | st.floats(900.0, 1100.0)),
    )


recommended = st.integers(0, 40)


def guarded(made: Situation, count: int) -> int:
    steps = guardrails.apply(made, count)
    return steps[-1].after if steps else count


@given(situations(), recommended)
def test_bounds_always_hold(made: Situation, count: int) -> None:
    assert made.spec.min_replicas <= guarded(made, count) <= made.spec.max_replicas


@given(situations(), recommended)
def test_nothing_that_runs_is_taken_without_fresh_readings(made: Situation, count: int) -> None:
    if made.signals.gaps:
        least = min(made.current, made.state.running, made.spec.max_replicas)
        assert guarded(made, count) >= least


@given(situations(), recommended)
def test_a_count_falls_without_fresh_readings_only_when_pending_replicas_are_given_up(
    made: Situation, count: int
) -> None:
    steps = guardrails.apply(made, count)
    if made.signals.gaps and steps and steps[-1].after < made.current:
        assert PENDING_GIVEN_UP & {step.reason for step in steps}


@given(situations(), recommended)
def test_steps_are_limited_unless_bounds_say_otherwise(made: Situation, count: int) -> None:
    current, settings = made.current, made.guardrails
    if made.spec.min_replicas <= current <= made.spec.max_replicas:
        highest = max(math.ceil(current * settings.step_up_ratio), current + settings.step_up_count)
        given_up = made.state.running if made.state.backoff_until_s is not None else current - 1
        assert min(current - 1, given_up) <= guarded(made, count) <= highest


@given(situations(), recommended)
def test_no_guardrail_asks_for_more_than_was_recommended_or_is_there(made: Situation, count: int) -> None:
    assert guarded(made, count) <= max(count, made.current, made.spec.min_replicas)


@given(situations(), recommended, recommended)
def test_a_larger_recommendation_never_gives_a_smaller_count(made: Situation, one: int, other: int) -> None:
    assert guarded(made, min(one, other)) <= guarded(made, max(one, other))


@given(situations(), recommended)
def test_steps_form_a_chain(made: Situation, count: int) -> None:
    for step in guardrails.apply(made, count):
        assert step.before == count
        assert step.after != step.before
        count = step.after


def test_every_small_situation_falls_by_one_with_readings_and_by_none_without() -> None:
    """All counts up to 5, running and recommended, with and without gaps, at rest since long ago."""
    for current, running, count, gap in itertools.product(range(1, 6), range(6), range(6), (False, True)):
        made = situation(
            signals(gaps=(absent(),) if gap else ()),
            current=current,
            running=running,
            needs=[(1000.0, count)],
            spec=model(max_replicas=5),
        )
        after = guarded(made, count)
        pending = running < current
        if count < current:
            assert after == (current if gap or pending else max(1, current - 1))
        else:
            assert current <= after <= count
