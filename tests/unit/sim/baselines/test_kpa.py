"""Knative's law against sequences worked by hand from autoscaler.go; a target of 1 makes counts equal requests."""

from typing import Any

import pytest

from autoscaler.sim.baselines.kpa import Kpa, KpaSettings
from tests.unit.sim.baselines.views import MODEL, both, view


def kpa(**numbers: Any) -> Kpa:
    return Kpa(KpaSettings(**{"target_in_flight": 1.0, "target_ratio": 1.0, **numbers}))


def steps(law: Kpa, *in_flight: list[int | None], from_s: float = 0.0) -> list[int]:
    """What it wants, tick by tick of 2 s."""
    return [law.want(view(from_s + 2 * tick, values))[MODEL] for tick, values in enumerate(in_flight)]


def test_the_defaults_aim_at_seven_tenths_of_a_hundred() -> None:
    assert [Kpa().want(view(0, [total]))[MODEL] for total in (70, 71, 139)] == [1, 2, 2]


def test_a_young_revision_uses_the_samples_there_are() -> None:
    assert steps(kpa(panic_threshold=99), [1], [3], [5]) == [1, 2, 3]


def test_the_stable_value_is_the_mean_of_sixty_seconds() -> None:
    law = kpa(panic_threshold=99)
    assert steps(law, *[[0]] * 30) == [1] * 30
    # With 8 requests from 60 s on, after k ticks the mean of 30 samples is 8 k / 30: above 1 at k = 4, above 2 at 8.
    assert steps(law, *[[8]] * 8, from_s=60) == [1, 1, 1, 2, 2, 2, 2, 3]


def test_it_panics_when_six_seconds_ask_for_twice_the_ready_pods() -> None:
    law = kpa()
    steps(law, *[[1]] * 30)
    assert (steps(law, [3], from_s=60), law.in_panic(MODEL)) == ([2], True)  # panic value (1 + 1 + 3) / 3, so 2 of 1


@pytest.mark.parametrize(("in_flight", "panics"), [(5, False), (6, True)])
def test_the_threshold_is_two_of_what_is_asked_for_to_what_is_ready(in_flight: int, panics: bool) -> None:
    law = kpa()
    steps(law, *[[1]] * 30)
    steps(law, *[[in_flight, 0, 0]] * 3, from_s=60)
    assert law.in_panic(MODEL) is panics  # three pods are ready: 5 / 3 and 6 / 3


def test_it_never_goes_down_in_panic_and_leaves_it_after_a_stable_window_below() -> None:
    law = kpa()
    steps(law, *[[0]] * 30)
    assert steps(law, [6], [6], [6], from_s=60) == [2, 4, 6]
    # Six pods are ready and idle: the panic value falls to 4, 2, 0. The last tick over the threshold was that of 64 s.
    idle = steps(law, *[[0] * 6] * 31, from_s=66)
    assert idle[:30] == [6] * 30
    assert law.in_panic(MODEL) is False
    assert idle[30] == 3  # 126 s, more than 60 s after 64 s: the stable mean is 0, and a fall halves at most


def test_meeting_the_threshold_again_starts_the_exit_clock_again() -> None:
    law = kpa()
    steps(law, [4], [4])
    steps(law, *[[0]] * 24, from_s=4)
    assert steps(law, [8], from_s=52) == [4]  # panic value 8 / 3, so 3 of 1 pod; the most so far was 4
    steps(law, *[[0]] * 30, from_s=54)
    assert law.in_panic(MODEL)  # at 112 s: 58 s after 54 s and more than 60 s after the first time


def test_a_fresh_law_that_finds_several_pods_starts_in_panic() -> None:
    law = kpa()
    assert (steps(law, [0, 0, 0]), law.in_panic(MODEL)) == ([3], True)
    alone = kpa()
    assert (steps(alone, [0]), alone.in_panic(MODEL)) == ([1], False)


def test_the_scale_down_delay_holds_the_largest() -> None:
    law = kpa(scale_down_delay_s=30, stable_window_s=6, panic_threshold=99)
    assert steps(law, [4], [4], [4]) == [4, 4, 4]
    # The mean of three falls to 8/3, 4/3, 0 at 6, 8 and 10 s; 4 was last wanted at 4 s and 3 at 6 s.
    assert steps(law, *[[0]] * 18, from_s=6) == [4] * 15 + [3, 2, 1]


@pytest.mark.parametrize(("rate", "wanted"), [(1000.0, 50), (3.0, 6)])
def test_a_rise_is_limited_to_a_multiple_of_the_ready_pods(rate: float, wanted: int) -> None:
    law = kpa(max_up_rate=rate)
    assert law.want(view(0, [25, 25], most=60))[MODEL] == wanted


def test_pods_that_could_not_be_read_count_like_the_others() -> None:
    assert steps(kpa(panic_threshold=99), [2, 2, None, None]) == [8]


def test_without_any_reading_the_count_stays() -> None:
    law = kpa()
    assert steps(law, [3], [None], from_s=0) == [3, 3]
    assert law.want(view(40, [9], age_s=11))[MODEL] == 3
    assert law.want(view(42, seen=False))[MODEL] == 3


def test_counts_stay_within_the_bounds_of_the_model() -> None:
    law = kpa()
    assert [law.want(view(0, [9], most=5))[MODEL], kpa().want(view(0, [0], least=2))[MODEL]] == [5, 2]


def test_models_are_kept_apart() -> None:
    law = kpa()
    assert law.want(both(view(0, [3], model="one"), view(0, [5], model="two"))) == {"one": 3, "two": 5}
