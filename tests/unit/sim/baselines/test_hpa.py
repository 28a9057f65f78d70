"""HPA v2 against sequences worked by hand from horizontal.go and replica_calculator.go."""

from typing import Any

import pytest

from autoscaler.sim.baselines.hpa import Hpa, HpaSettings, device_utilization
from tests.unit.sim.baselines.views import MODEL, both, view


def hpa(**numbers: Any) -> Hpa:
    return Hpa(HpaSettings(**{"metric": "in_flight", "target": 10.0, **numbers}))


def wanted(law: Hpa, now_s: float, in_flight: list[int | None], **fields: Any) -> int:
    return law.want(view(now_s, in_flight, **fields))[MODEL]


@pytest.mark.parametrize(
    ("in_flight", "count"),
    [
        pytest.param([11, 11], 2, id="10 % above is tolerated"),
        pytest.param([12, 11], 3, id="15 % above is not"),
        pytest.param([9, 9, 9, 9, 9], 5, id="10 % below is tolerated"),
        pytest.param([9, 9, 9, 9, 8], 5, id="12 % below is not, and still needs five"),
        pytest.param([8, 8, 8, 8, 8], 4, id="20 % below needs four"),
        pytest.param([30, 0], 3, id="the mean counts, not the largest"),
        pytest.param([0, 0], 1, id="nothing needs the least there may be"),
    ],
)
def test_a_ratio_within_tolerance_changes_nothing(in_flight: list[int | None], count: int) -> None:
    assert wanted(hpa(down_window_s=0), 0, in_flight) == count


@pytest.mark.parametrize(
    ("in_flight", "count"),
    [
        pytest.param([20, 20, None], 4, id="a rise takes the missing pod for idle: 40 / 3 pods"),
        pytest.param([16, 16, None], 3, id="a rise that is tolerated with it idle"),
        pytest.param([14, 14, None], 3, id="a rise that becomes a fall with it idle"),
        pytest.param([2, 2, None], 2, id="a fall takes the missing pod as on target: 14 / 30 of 3"),
        pytest.param([8, 9, 9, None, None], 5, id="a fall that is tolerated with them on target"),
        pytest.param([10, 10, None], 3, id="on target"),
    ],
)
def test_missing_pods_weigh_against_the_direction(in_flight: list[int | None], count: int) -> None:
    assert wanted(hpa(down_window_s=0), 0, in_flight) == count


@pytest.mark.parametrize(
    ("in_flight", "target", "count"),
    [
        pytest.param([30, 30], 4, 6, id="a rise counts unready pods as idle: 60 / 4"),
        pytest.param([20, 20], 4, 4, id="a rise that the unready pods will answer"),
        pytest.param([15, 15], 4, 4, id="a rise that becomes a fall with them"),
        pytest.param([5, 5], 4, 1, id="a fall leaves unready pods out"),
    ],
)
def test_unready_pods_count_as_idle_in_a_rise_only(in_flight: list[int | None], target: int, count: int) -> None:
    assert wanted(hpa(down_window_s=0), 0, in_flight, target=target) == count


def test_a_recommendation_against_its_direction_is_dropped() -> None:
    law = hpa(down_window_s=0)
    assert wanted(law, 0, [0] * 9 + [20]) == 2
    # Two were asked for and ten still run, one of them unread: (72 + 10) / 10 pods is a fall, and still nine pods.
    assert wanted(law, 15, [8] * 9 + [None]) == 2


def test_without_any_metric_nothing_is_recommended() -> None:
    law = hpa()
    assert wanted(law, 0, [20]) == 2
    assert [wanted(law, 15, [None]), wanted(law, 30, [90], age_s=11), wanted(law, 45, [], seen=False)] == [2, 2, 2]


def test_a_fall_waits_for_the_largest_of_its_window() -> None:
    law = hpa(down_window_s=60)
    assert wanted(law, 0, [20, 20]) == 4
    assert [wanted(law, at_s, [5, 5, 5, 5]) for at_s in (15, 30, 45)] == [4, 4, 4]
    assert wanted(law, 60, [5, 5, 5, 5]) == 2  # the rise's recommendation is exactly as old as the window


def test_a_rise_waits_for_the_smallest_of_its_window() -> None:
    law = hpa(up_window_s=30)
    assert wanted(law, 0, [10, 10]) == 2
    assert [wanted(law, at_s, [20, 20]) for at_s in (15, 30)] == [2, 4]


@pytest.mark.parametrize(
    ("running", "first", "second"),
    [pytest.param(2, 6, 12, id="four pods"), pytest.param(8, 16, 32, id="all again")],
)
def test_a_rise_is_four_pods_or_all_again_in_fifteen_seconds(running: int, first: int, second: int) -> None:
    law = hpa()
    rise = [wanted(law, at_s, [500] * running, target=running, most=99) for at_s in (0, 10, 15)]
    assert rise == [first, first, second]  # 10 s after a rise its period still counts from where it began


def test_a_fall_within_a_period_is_limited() -> None:
    law = hpa(down_window_s=0, down_ratio=0.5)
    assert [wanted(law, at_s, [0] * 8) for at_s in (0, 10, 15, 30)] == [4, 4, 2, 1]


def test_a_side_can_be_frozen() -> None:
    assert wanted(hpa(down_ratio=0, down_window_s=0), 0, [0, 0, 0]) == 3
    assert wanted(hpa(up_pods=0, up_ratio=0), 0, [90, 90, 90]) == 3


def test_counts_stay_within_the_bounds_of_the_model() -> None:
    assert wanted(hpa(), 0, [90], most=3) == 3
    assert wanted(hpa(down_window_s=0), 0, [0, 0, 0], least=2) == 2


def test_models_are_kept_apart() -> None:
    seen = both(view(0, [20], model="one"), view(0, [40], model="two"))
    assert hpa().want(seen) == {"one": 2, "two": 4}


def test_a_pod_is_shown_the_utilization_of_its_whole_card() -> None:
    busy = device_utilization(view(0, busy_ratio=[0.2, 0.1, 0.0, 0.4, 0.6, 0.3, 0.3, 0.0]))
    assert busy == pytest.approx(
        {"n0/0": 0.7, "n0/1": 0.7, "n0/2": 0.7, "n0/3": 0.7, "n1/0": 1.0, "n1/1": 1.0, "n1/2": 1.0, "n1/3": 1.0}
    )


def test_device_utilization_counts_neighbours_as_the_pods_own_load() -> None:
    law = Hpa(HpaSettings(target=0.5, down_window_s=0))
    # Two idle replicas on a card that somebody else keeps busy: HPA sees 0.9 twice and asks for ceil(2 x 1.8).
    assert law.want(view(0, [0, 0], busy_ratio=[0.0, 0.0, 0.0, 0.9]))[MODEL] == 4


def test_a_slot_without_a_fresh_reading_is_a_missing_pod() -> None:
    law = Hpa(HpaSettings(target=0.5))
    assert law.want(view(0, [0, 0], busy_ratio=[0.9, 0.0], age_s=9))[MODEL] == 4
    assert law.want(view(60, [0, 0], busy_ratio=[0.9, 0.0], age_s=11))[MODEL] == 4
