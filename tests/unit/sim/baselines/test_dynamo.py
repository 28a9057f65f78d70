"""The planner of Dynamo's form, step by step. Its engines take 60 ms a request alone; the objective is 200 ms."""

from typing import Any

import pytest

from autoscaler.sim.baselines.dynamo import Dynamo, DynamoSettings
from autoscaler.sim.baselines.queueing import Profile, rate_within
from tests.unit.sim.baselines.views import MODEL, both, view

PROFILE = Profile(service_s=0.06, latency_s=0.06, engine_s=0.027, spread_ratio=0.35, objective_s=0.2)


def dynamo(**numbers: Any) -> Dynamo:
    return Dynamo(DynamoSettings(**numbers), dict.fromkeys((MODEL, "one", "two"), PROFILE))


def wanted(law: Dynamo, now_s: float, in_flight: list[int | None], busy_ms: float = 60, **fields: Any) -> int:
    """One fast tick in which every engine has answered 100 requests of `busy_ms` each."""
    count = len(in_flight)
    answers = {"answered": [100] * count, "busy_s": [100 * busy_ms / 1000] * count}
    return law.want(view(now_s, in_flight, **{**answers, **fields}))[MODEL]


@pytest.mark.parametrize(
    ("in_flight", "count"),
    [
        pytest.param([3, 3], 3, id="all expect 240 ms, beyond 200: one more"),
        pytest.param([9, 2], 2, id="one alone far beyond: blind to it"),
        pytest.param([2, 2], 2, id="180 ms each, 300 with one fewer"),
        pytest.param([1, 1, 1], 2, id="150 ms with one fewer and 0.8 x 200 = 160: fits"),
        pytest.param([0, 0], 1, id="nothing waits"),
    ],
)
def test_the_fast_loop_asks_all_engines(in_flight: list[int | None], count: int) -> None:
    assert wanted(dynamo(), 0, in_flight) == count


def test_the_expected_latency_is_fitted_to_what_the_engines_took() -> None:
    assert wanted(dynamo(), 0, [1, 1], busy_ms=90) == 2
    assert wanted(dynamo(), 0, [1, 1], busy_ms=101) == 3


def test_an_old_fit_is_forgotten() -> None:
    law = dynamo(fit_s=10)
    assert wanted(law, 0, [1, 1], busy_ms=90) == 2
    assert wanted(law, 5, [1, 1], answered=[200, 200], busy_s=[20.0, 20.0]) == 2  # (90 + 110) / 2 = 100 ms, 200 in all
    assert wanted(law, 10, [1, 1], answered=[300, 300], busy_s=[31.0, 31.0]) == 3  # 110 ms


def test_nothing_new_while_a_change_is_pending() -> None:
    law = dynamo()
    assert wanted(law, 0, [3, 3]) == 3
    assert wanted(law, 5, [9, 9], target=3) == 3
    assert wanted(law, 10, [9, 9, 9]) == 4


def test_the_slow_loop_sets_a_floor_after_its_interval() -> None:
    law = dynamo(slow_interval_s=10)
    rate_per_s = 4 * rate_within(1, PROFILE)
    for at_s in (0, 5):
        assert wanted(law, at_s, [1, 1], answered=[int(at_s * rate_per_s), 0], busy_s=[at_s * 2, 0.0]) == 2
    assert wanted(law, 10, [1, 1], answered=[int(10 * rate_per_s), 0], busy_s=[20.0, 0.0]) == 4
    # Idle engines alone would let one go.
    assert wanted(law, 15, [0] * 4, answered=[int(10 * rate_per_s), 0, 0, 0], busy_s=[20.0, 0.0, 0.0, 0.0]) == 4


def test_half_the_capacity_asks_for_twice_the_engines() -> None:
    law = dynamo(slow_interval_s=10, capacity_ratio=0.5)
    answered = int(10 * 2 * rate_within(1, PROFILE))
    for at_s in (0, 10):
        count = wanted(law, at_s, [1, 1], answered=[answered * at_s // 10, 0], busy_s=[at_s * 0.06, 0.0])
    assert count == 4


def test_a_trend_is_carried_on() -> None:
    law = dynamo(slow_interval_s=10, trend_ratio=1.0)
    unit = 10 * rate_within(1, PROFILE)
    story = ((0, 0), (10, int(0.9 * unit)), (20, int(2.8 * unit)))
    counts = [wanted(law, at_s, [1], answered=[count], busy_s=[0.06 * count]) for at_s, count in story]
    assert counts == [1, 1, 3]  # 0.9 then 1.9 of an engine; 2.9 ahead


def test_without_traffic_it_does_not_fall() -> None:
    law = dynamo(slow_interval_s=10)
    counts = [law.want(view(at_s, [0, 0, 0]))[MODEL] for at_s in range(0, 60, 5)]
    assert counts == [3] * 12


def test_engines_that_were_not_seen_hold_the_fast_loop() -> None:
    assert wanted(dynamo(), 0, [9, None]) == 2
    assert wanted(dynamo(), 0, [0, None]) == 2
    law = dynamo()
    wanted(law, 0, [3, 3])
    assert law.want(view(5, seen=False)) == {MODEL: 3}


def test_counts_stay_within_the_bounds_of_the_model() -> None:
    assert wanted(dynamo(), 0, [9, 9], most=2) == 2
    assert wanted(dynamo(), 0, [0, 0], least=2) == 2


def test_models_are_kept_apart() -> None:
    counted = {"answered": [100], "busy_s": [6.0]}
    seen = both(view(0, [9], model="one", **counted), view(0, [1], model="two", **counted))
    assert dynamo().want(seen) == {"one": 2, "two": 1}
