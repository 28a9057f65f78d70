"""What is remembered of the ingress' counts, across processes that each count from zero."""

import pytest

from autoscaler.core.ingress import Knocks
from tests.build import ingress

SPAN_S = 10.0


def heard(*counts: tuple[float, int] | tuple[float, int, str]) -> Knocks:
    """Samples of (time, count) or (time, count, process) taken in one after the other."""
    knocks = Knocks()
    for at_s, count, *process in counts:
        knocks = knocks.with_sample(ingress(count, at_s, process="".join(map(str, process))), SPAN_S)
    return knocks


def test_what_was_counted_before_anybody_listened_is_of_unknown_age() -> None:
    knocks = heard((0.0, 900))
    assert (knocks.came, knocks.just_came, knocks.over_s, knocks.heard_s) == (0, 0, 0.0, 0.0)


def test_only_what_came_within_the_window_counts() -> None:
    knocks = heard((0.0, 5), (2.0, 9), (8.0, 9), (14.0, 10))
    assert (knocks.came, knocks.over_s, knocks.just_came) == (1, 6.0, 1)


def test_a_sample_seen_before_changes_nothing() -> None:
    knocks = heard((0.0, 5), (2.0, 9))
    assert knocks.with_sample(ingress(50, 2.0), SPAN_S) is knocks


@pytest.mark.parametrize(
    ("process", "count", "came"),
    [("a", 9, 4), ("a", 3, 3), ("b", 9, 9), ("b", 0, 0)],
    ids=["the same process", "a count that fell", "another process, further", "another process, unasked"],
)
def test_a_process_seen_for_the_first_time_has_counted_since_the_sample_before(
    process: str, count: int, came: int
) -> None:
    assert heard((0.0, 5, "a"), (2.0, count, process)).just_came == came


def test_what_came_while_the_ingress_was_not_read_is_not_lost() -> None:
    knocks = heard((0.0, 5), (100.0, 8))
    assert (knocks.just_came, knocks.came, knocks.over_s) == (3, 3, 100.0)


@pytest.mark.parametrize(
    ("counts", "per_s"),
    [
        ([(0.0, 0), (8.0, 0), (10.0, 40)], 20.0),
        ([(0.0, 0), (8.0, 0), (10.0, 1)], 0.0),
        ([(0.0, 0), (8.0, 32), (10.0, 40)], 0.0),
        ([(0.0, 0)], 0.0),
    ],
    ids=["a step", "one request is chance", "a steady rate", "nothing to compare"],
)
def test_a_leap_is_what_chance_does_not_do_to_the_windows_rate(counts: list[tuple[float, int]], per_s: float) -> None:
    assert heard(*counts).leapt_per_s(1.0) == per_s
