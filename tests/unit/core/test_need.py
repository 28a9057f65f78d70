"""From what replicas can do to what they bear, and from the rate to be ready for to a count."""

import pytest

from autoscaler.core.bearable import (
    LEAST_BUSY_RATIO,
    OUT_OF_REACH_BUSY_RATIO,
    Ability,
    Bearable,
    bearable,
)
from autoscaler.core.capacity import Reach
from autoscaler.core.need import RELAXED, Present, choose, need
from autoscaler.core.rehearsal import Rehearsal
from autoscaler.core.service import Demand, Service
from autoscaler.core.spec import ModelSpec
from tests import build

DEMAND = Demand(away_s=0.02, engine_s=0.02)
RATES = (0.0, 25.0, 50.0, 75.0, 90.0, 100.0)
CURVE = Reach(rates_per_s=RATES, lone_per_s=RATES, useful=4, slots=8)
SPEC = build.model(max_replicas=5)


def borne(
    spec: ModelSpec = SPEC, *, demand: Demand = DEMAND, variation: float = 1.0, trim: float = 1.0, margin: float = 0.5
) -> Bearable:
    (made,) = bearable([Ability(spec, demand, CURVE, variation, trim)], margin)
    return made


def test_replicas_bear_less_than_they_can_do_and_more_of_them_bear_more() -> None:
    made = borne()
    assert made.limits_per_s == CURVE.rates_per_s
    assert all(rate < limit for rate, limit in zip(made.rates_per_s[1:], made.limits_per_s[1:], strict=True))
    assert list(made.rates_per_s[1:]) == sorted(made.rates_per_s[1:])
    assert made.rates_per_s[4] / made.limits_per_s[4] > made.rates_per_s[1] / made.limits_per_s[1]


def test_fewer_than_the_minimum_bear_nothing() -> None:
    made = borne(build.model(min_replicas=3, max_replicas=5))
    assert made.count(0.0) == 3
    assert borne().count(0.0) == 1


def test_distrust_and_bursts_and_a_reserve_leave_less() -> None:
    calm = borne().rates_per_s[3]
    assert borne(trim=1.5).rates_per_s[3] < calm
    assert borne(variation=3.0).rates_per_s[3] < calm
    assert borne(margin=0.9).rates_per_s[3] < calm
    assert borne(trim=1.25).limits_per_s == tuple(rate / 1.25 for rate in CURVE.rates_per_s)


def test_an_objective_out_of_reach_does_not_ask_for_the_whole_fleet() -> None:
    """Where a lone request is late already, company does not help: only the load counts."""
    made = borne(build.model(objective_p95_ms=20, max_replicas=5))
    assert made.rates_per_s[1:] == tuple(
        pytest.approx(OUT_OF_REACH_BUSY_RATIO * rate) for rate in CURVE.rates_per_s[1:]
    )


def test_a_tight_objective_is_no_reason_for_idle_replicas() -> None:
    made = borne(build.model(objective_p95_ms=41, max_replicas=5))
    assert made.rates_per_s[1] == pytest.approx(LEAST_BUSY_RATIO * 25.0)


def test_the_reserve_of_the_promise() -> None:
    assert borne(margin=0.5).allowed_late_ratio == pytest.approx(0.025)
    assert borne(margin=0.0).allowed_late_ratio == pytest.approx(0.05)


def test_a_batch_is_served_as_a_lone_request_that_takes_as_long() -> None:
    """It brings more requests, and the wait for the batch before is the wait that any group makes."""
    four = Demand(away_s=0.02, engine_s=0.02, items=4.0)
    fourfold = Reach(
        rates_per_s=tuple(4 * rate for rate in RATES), lone_per_s=tuple(4 * rate for rate in RATES), useful=4, slots=8
    )
    (batched,) = bearable([Ability(SPEC, four, fourfold, 1.0, 1.0)], 0.5)
    assert batched.rates_per_s[1:] == tuple(pytest.approx(4 * rate) for rate in borne().rates_per_s[1:])
    assert batched.slack_s == pytest.approx(borne().slack_s)


def test_the_batch_leaves_half_of_the_objective_for_waiting() -> None:
    service = Service()
    for items, solo_s in ((1.0, 0.040), (4.0, 0.070), (8.0, 0.110)):
        service = service.with_batches(batches=100.0, items=items, solo_s=solo_s, engine_s=solo_s / 2)
    assert choose(service, build.model(objective_p95_ms=200, max_batch_size=8)).items == 4.0
    assert choose(service, build.model(objective_p95_ms=300, max_batch_size=8)).items == 8.0
    assert choose(service, build.model(objective_p95_ms=300)).items == 1.0


BEARS = Bearable(
    rates_per_s=(-1.0, 10.0, 20.0, 30.0, 40.0),
    limits_per_s=(0.0, 15.0, 30.0, 45.0, 60.0),
    slack_s=0.1,
    allowed_late_ratio=0.025,
)


def rehearsed(rate_per_s: float) -> Rehearsal:
    """At the very beginning the factor is that of the prior."""
    return Rehearsal.begin(0.0, rate_per_s, 0.0, BEARS)


def test_the_count_is_for_the_rate_to_be_ready_for() -> None:
    state = rehearsed(15.0)
    made = need(state, BEARS, DEMAND, present=Present(offered_per_s=0.0), current=2)
    assert (made.rate_per_s, made.present) == (state.need_per_s, False)
    assert made.count == BEARS.count(state.need_per_s) == 3
    assert (made.factor, made.hold_s) == (state.factor, state.hold_s)
    assert (made.replica_per_s, made.solo_ms) == (15.0, pytest.approx(40.0))


def test_a_count_falls_only_with_some_rate_to_spare() -> None:
    state = rehearsed(29.5 / rehearsed(1.0).factor)
    made = need(state, BEARS, DEMAND, present=Present(offered_per_s=0.0), current=4)
    assert (made.count, made.relaxed) == (3, 4)
    assert made.shrink_below_per_s == pytest.approx(30.0 / RELAXED / state.factor)
    assert made.grow_above_per_s == pytest.approx(40.0 / state.factor)


@pytest.mark.parametrize(
    ("missed_per_s", "count", "present"),
    [(None, 2, False), (5.0, 2, False), (35.0, 4, True), (500.0, 4, True)],
    ids=["nothing is missed", "less than is planned for anyhow", "more than planned", "more than anybody bears"],
)
def test_what_is_missed_now_decides_where_it_is_larger(missed_per_s: float | None, count: int, present: bool) -> None:
    made = need(
        rehearsed(10.0), BEARS, DEMAND, present=Present(offered_per_s=0.0, missed_per_s=missed_per_s), current=2
    )
    assert (made.count, made.present) == (count, present)
