"""Each policy alone, then the largest of them."""

import pytest

from autoscaler.core.decision import Reason, Recommendation, numbers
from autoscaler.core.observation import Missing, MissingReason, Source
from autoscaler.core.policy import (
    Situation,
    in_flight_target,
    latency_objective,
    needed_for_offered,
    normalised_utilization,
    recommend,
)
from tests.build import absent, model, overload, signals, situation


def latency(made: Situation) -> tuple[int, Reason] | None:
    recommendation = latency_objective(made)
    return None if recommendation is None else (recommendation.count, recommendation.reason)


SLOW = {"p95_ms": 812.0, "in_flight": 20.0, "queued": 12.0}


def test_a_missed_objective_asks_for_one_more_and_says_by_how_much_it_was_missed() -> None:
    assert latency_objective(situation(signals(**SLOW))) == Recommendation(
        count=3,
        reason=Reason.LATENCY_ABOVE_OBJECTIVE,
        numbers=numbers(needed=1, refused=0, objective_ms=200, p95_ms=812.0),
    )


def test_a_missed_objective_asks_at_once_for_what_the_offered_load_needs() -> None:
    """100 requests/s at 20 requests per engine second, 70 % of it to be used: 7.14, so 8."""
    slow = situation(signals(**SLOW, offered_per_s=100.0, capacity_per_s=20.0))
    assert latency(slow) == (8, Reason.LATENCY_ABOVE_OBJECTIVE)


@pytest.mark.parametrize("missing", ["offered_per_s", "capacity_per_s"])
def test_without_rate_or_capacity_the_search_goes_by_ones(missing: str) -> None:
    slow = situation(signals(**SLOW, **{missing: absent()}))
    assert (needed_for_offered(slow), latency(slow)) == (0, (3, Reason.LATENCY_ABOVE_OBJECTIVE))


def test_the_larger_of_the_two_offered_rates_counts() -> None:
    rising = situation(signals(offered_per_s=14.0, offered_recent_per_s=42.0, capacity_per_s=20.0))
    falling = situation(signals(offered_per_s=42.0, offered_recent_per_s=14.0, capacity_per_s=20.0))
    assert (needed_for_offered(rising), needed_for_offered(falling)) == (3, 3)


def test_an_exact_fit_is_not_rounded_up() -> None:
    exact = situation(signals(offered_per_s=42.0, capacity_per_s=20.0), spec=model(target_utilization_ratio=0.7))
    assert needed_for_offered(exact) == 3


def test_an_objective_missed_with_nothing_waiting_is_out_of_reach() -> None:
    """One request at a time takes 812 ms: a second replica answers the next one just as slowly."""
    lonely = situation(signals(p95_ms=812.0, in_flight=0.6, queued=0.0))
    assert latency(lonely) == (2, Reason.OBJECTIVE_OUT_OF_REACH)


@pytest.mark.parametrize(
    "waiting", [{"in_flight": 1.2}, {"in_flight": 0.6, "queued": 0.2}, {"in_flight": absent()}, {"queued": absent()}]
)
def test_it_is_within_reach_when_requests_wait_or_nobody_knows(waiting: dict[str, float | Missing]) -> None:
    made = situation(signals(**{"p95_ms": 812.0, "in_flight": 0.6, "queued": 0.0, **waiting}))
    assert latency(made) == (3, Reason.LATENCY_ABOVE_OBJECTIVE)


def test_refused_requests_ask_for_more_although_the_answered_ones_were_fast() -> None:
    assert latency(situation(signals(refused=5))) == (3, Reason.REQUESTS_REFUSED)
    assert latency(situation(signals(refused=4))) == (1, Reason.LATENCY_WITHIN_OBJECTIVE)


def test_refused_requests_ask_for_more_when_none_was_answered() -> None:
    none = Missing(source=Source.SIGNAL, name="p95_ms", reason=MissingReason.TOO_FEW_REQUESTS)
    assert latency(situation(signals(refused=50, requests=0, p95_ms=none))) == (3, Reason.REQUESTS_REFUSED)


def test_a_percentile_of_a_handful_of_requests_starts_nothing() -> None:
    assert latency(situation(signals(**SLOW, requests=4))) == (2, Reason.LATENCY_NEAR_OBJECTIVE)


def test_latency_near_the_objective_keeps_the_count() -> None:
    assert latency(situation(signals(p95_ms=141.0))) == (2, Reason.LATENCY_NEAR_OBJECTIVE)
    assert latency(situation(signals(p95_ms=140.0))) == (1, Reason.LATENCY_WITHIN_OBJECTIVE)


def test_latency_near_the_objective_of_an_idle_model_keeps_nothing() -> None:
    """A model that needs 150 ms for one request would otherwise never shrink under a 200 ms objective."""
    idle = situation(signals(p95_ms=150.0, in_flight=0.9, queued=0.0), current=4)
    assert latency(idle) == (1, Reason.LATENCY_WITHIN_OBJECTIVE)


def test_no_traffic_needs_the_minimum() -> None:
    none = Missing(source=Source.SIGNAL, name="p95_ms", reason=MissingReason.NO_TRAFFIC)
    quiet = situation(signals(p95_ms=none, requests=0), spec=model(min_replicas=2))
    assert latency(quiet) == (2, Reason.NO_TRAFFIC)


@pytest.mark.parametrize("reason", [MissingReason.TOO_FEW_REQUESTS, MissingReason.STALE, MissingReason.NO_REPLICAS])
def test_without_a_latency_the_latency_policy_has_no_opinion(reason: MissingReason) -> None:
    none = Missing(source=Source.SIGNAL, name="p95_ms", reason=reason)
    assert latency_objective(situation(signals(p95_ms=none, requests=0))) is None


@pytest.mark.parametrize(
    ("offered_per_s", "expected"),
    [
        (36.0, (3, Reason.OVERLOAD_REMEMBERED)),
        (35.9, (2, Reason.OVERLOAD_REMEMBERED)),
        (13.4, (1, Reason.LATENCY_WITHIN_OBJECTIVE)),
    ],
    ids=["what 2 missed at 40", "what 1 missed at 15", "what nobody missed"],
)
def test_a_count_that_missed_the_objective_at_this_load_is_not_tried_again(
    offered_per_s: float, expected: tuple[int, Reason]
) -> None:
    remembered = (overload(1, 15.0), overload(2, 40.0))
    made = situation(signals(offered_per_s=offered_per_s), current=3, overloads=remembered)
    assert latency(made) == expected


def test_overloads_say_nothing_when_the_offered_rate_is_unknown() -> None:
    made = situation(signals(offered_per_s=absent()), overloads=(overload(5, 1.0),))
    assert latency(made) == (1, Reason.LATENCY_WITHIN_OBJECTIVE)


@pytest.mark.parametrize(
    ("in_flight", "expected"),
    [
        (0.0, (0, Reason.QUEUE_WITHIN_TARGET)),
        (8.0, (1, Reason.QUEUE_WITHIN_TARGET)),
        (8.1, (2, Reason.QUEUE_WITHIN_TARGET)),
        (17.6, (2, Reason.QUEUE_WITHIN_TARGET)),
        (17.7, (3, Reason.QUEUE_ABOVE_TARGET)),
        (80.0, (10, Reason.QUEUE_ABOVE_TARGET)),
    ],
    ids=["none", "one full", "one overfull", "two within tolerance", "two beyond tolerance", "ten"],
)
def test_requests_in_flight_are_divided_by_their_target(in_flight: float, expected: tuple[int, Reason]) -> None:
    made = in_flight_target(situation(signals(in_flight=in_flight)))
    assert made is not None
    assert (made.count, made.reason) == expected


@pytest.mark.parametrize(
    ("utilization", "expected"),
    [
        (0.35, (1, Reason.UTILIZATION_WITHIN_TARGET)),
        (0.36, (2, Reason.UTILIZATION_WITHIN_TARGET)),
        (0.77, (2, Reason.UTILIZATION_WITHIN_TARGET)),
        (0.78, (3, Reason.UTILIZATION_ABOVE_TARGET)),
        (1.0, (3, Reason.UTILIZATION_ABOVE_TARGET)),
    ],
    ids=["fits one exactly", "does not fit one", "within tolerance", "beyond tolerance", "full"],
)
def test_utilization_is_held_at_its_target(utilization: float, expected: tuple[int, Reason]) -> None:
    made = normalised_utilization(situation(signals(utilization_ratio=utilization)))
    assert made is not None
    assert (made.count, made.reason) == expected


def test_float_noise_is_not_rounded_up_to_one_replica_more() -> None:
    """3 x 0.1 / 0.1 is 3.0000000000000004."""
    spec = model(target_utilization_ratio=0.1, max_replicas=20)
    noisy = situation(signals(utilization_ratio=0.1, running=5, fresh=3), current=5, spec=spec)
    made = normalised_utilization(noisy)
    assert made is not None
    assert made.count == 3


def test_utilization_of_replicas_that_cannot_be_read_is_not_invented() -> None:
    """Of 4 replicas 2 are read and full: that alone needs 2.9, whatever the others do."""
    made = normalised_utilization(situation(signals(utilization_ratio=1.0, running=4, fresh=2), current=4))
    assert made is not None
    assert made.count == 3


def test_the_largest_recommendation_wins_and_ties_keep_the_first() -> None:
    full = recommend(situation(signals(in_flight=80.0, utilization_ratio=1.0)))
    assert [(made.count, made.reason) for made in full] == [
        (10, Reason.QUEUE_ABOVE_TARGET),
        (3, Reason.UTILIZATION_ABOVE_TARGET),
        (1, Reason.LATENCY_WITHIN_OBJECTIVE),
    ]
    tied = recommend(situation(signals(in_flight=8.0, utilization_ratio=0.3)))
    assert [made.reason for made in tied] == [
        Reason.LATENCY_WITHIN_OBJECTIVE,
        Reason.QUEUE_WITHIN_TARGET,
        Reason.UTILIZATION_WITHIN_TARGET,
    ]


def test_no_signals_give_no_recommendation() -> None:
    blind = signals(p95_ms=absent(), in_flight=absent(), utilization_ratio=absent())
    assert recommend(situation(blind)) == ()
