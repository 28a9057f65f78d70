"""Windows of one replica, and the sliding maximum; time is an argument."""

import pytest

from autoscaler.core.observation import Counters
from autoscaler.core.window import Increase, SlidingMax, increase, with_sample
from tests.build import counters, sample, window


def test_an_increase_is_what_happened_between_the_first_and_the_last_sample() -> None:
    samples = (
        sample(at_s=0, counted=counters({50: 10}, busy_s=1.0), in_flight=2),
        sample(at_s=4, counted=counters({50: 30}, busy_s=2.0), in_flight=8, queued=6),
        sample(at_s=8, counted=counters({50: 30, 300: 20}, refused=5, busy_s=3.5), in_flight=5, queued=3),
    )
    increased = increase(window(*samples))
    assert increased == Increase(samples=samples)
    assert increased.counters == counters({50: 20, 300: 20}, refused=5, busy_s=2.5)
    assert increased.over_s == 8
    assert increased.in_flight_mean == 5.0


def test_requests_that_arrived_are_those_that_ended_and_those_still_there() -> None:
    made = window(sample(at_s=0, in_flight=1), sample(at_s=1, counted=counters({50: 4}, refused=2), in_flight=3))
    increased = increase(made)
    assert increased is not None
    assert increased.arrived == 4 + 2 + 2


def test_one_sample_says_nothing_about_a_rate() -> None:
    assert increase(window(sample())) is None


def test_samples_older_than_the_span_are_dropped() -> None:
    made = window(*(sample(at_s=at_s) for at_s in (0, 5, 10, 15)))
    assert [kept.at_s for kept in made] == [5, 10, 15]


@pytest.mark.parametrize("at_s", [5, 4], ids=["the same scrape again", "an older scrape"])
def test_a_scrape_seen_before_is_ignored(at_s: float) -> None:
    before = window(sample(at_s=0), sample(at_s=5))
    assert with_sample(before, sample(at_s=at_s, counted=counters({50: 9})), 10.0) is before


@pytest.mark.parametrize(
    "restarted",
    [
        counters({50: 9}, refused=1, failed=1, busy_s=1.0),
        counters({50: 10}, refused=0, failed=1, busy_s=1.0),
        counters({50: 11}, refused=1, failed=0, busy_s=1.0),
        counters({50: 10}, refused=1, failed=1, busy_s=0.5),
        counters({500: 10}, refused=1, failed=1, busy_s=1.0),
    ],
    ids=["answers fell", "refusals fell", "failures fell", "busy time fell", "a bucket fell"],
)
def test_a_fallen_counter_starts_the_window_anew(restarted: Counters) -> None:
    before = sample(at_s=0, counted=counters({50: 10}, refused=1, failed=1, busy_s=1.0))
    after = sample(at_s=1, counted=restarted)
    assert window(before, after) == (after,)


def test_the_largest_value_leaves_with_its_time() -> None:
    story = SlidingMax(span_s=10).with_value(0, 5).with_value(4, 2).with_value(8, 3)
    assert [story.largest(now_s) for now_s in (8, 10, 11, 18, 19)] == [5, 5, 3, 3, None]


def test_a_span_of_nothing_keeps_the_present_value() -> None:
    story = SlidingMax(span_s=0).with_value(0, 5).with_value(1, 2)
    assert (story.largest(1), story.largest(2)) == (2, None)
