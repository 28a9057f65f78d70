"""What a law reads out of a view, and the rate at which requests come in."""

from collections.abc import Sequence

import pytest

from autoscaler.core.observation import ReplicaSample
from autoscaler.sim.baselines.reading import OfferedRate, readings, whole
from tests.build import counters, sample
from tests.unit.sim.baselines.views import MODEL, view


def test_a_model_is_read_with_its_running_replicas_and_their_fresh_samples() -> None:
    reading = readings(view(0, [3, None, 4], target=5))[MODEL]
    assert reading is not None
    assert (reading.target, sorted(reading.running), [seen.replica_id for seen in reading.samples]) == (
        5,
        ["minilm-r0", "minilm-r1", "minilm-r2"],
        ["minilm-r0", "minilm-r2"],
    )
    assert reading.in_flight == 7


@pytest.mark.parametrize(("age_s", "samples"), [(10.0, 2), (10.1, 0)])
def test_a_sample_older_than_the_limit_is_missing(age_s: float, samples: int) -> None:
    reading = readings(view(60, [1, 1], age_s=age_s))[MODEL]
    assert reading is not None
    assert (len(reading.running), len(reading.samples)) == (2, samples)


def test_a_deployment_that_is_not_listed_is_none() -> None:
    assert readings(view(0, seen=False)) == {MODEL: None}


@pytest.mark.parametrize(("count", "up"), [(3.0, 3), (3.0000000000000004, 3), (3.001, 4), (0.0, 0)])
def test_a_rounding_error_costs_no_replica(count: float, up: int) -> None:
    assert whole(count) == up


def measured(*ticks: tuple[float, Sequence[ReplicaSample]], window_s: float = 10.0) -> list[float | None]:
    rate = OfferedRate(window_s=window_s)
    rates = []
    for at_s, samples in ticks:
        rate.add(at_s, samples)
        rates.append(rate.per_s())
    return rates


def seen(replica_id: str, answered: int = 0, *, refused: int = 0, in_flight: int = 0) -> ReplicaSample:
    return sample(replica_id, counted=counters({50: answered}, refused=refused), in_flight=in_flight)


def test_a_rate_is_what_came_in_between_two_ticks() -> None:
    assert measured((0, [seen("a", 100)]), (5, [seen("a", 120, refused=10, in_flight=20)])) == [None, 10.0]


def test_replicas_add_up_and_a_new_one_counts_from_zero() -> None:
    assert measured((0, [seen("a", 100)]), (5, [seen("a", 110), seen("b", 40)])) == [None, 10.0]


def test_a_restarted_replica_counts_from_zero() -> None:
    assert measured((0, [seen("a", 100)]), (5, [seen("a", 50)])) == [None, 10.0]


def test_a_replica_that_left_is_forgotten_and_one_that_was_unread_is_made_up_for() -> None:
    left = measured((0, [seen("a", 100), seen("b", 100)]), (5, [seen("a", 150)]))
    unread = measured((0, [seen("a"), seen("b")]), (5, [seen("a", 50)]), (10, [seen("a", 50), seen("b", 100)]))
    assert (left, unread) == ([None, 10.0], [None, 10.0, 15.0])


def test_only_the_window_counts() -> None:
    ticks = [(at_s, [seen("a", count)]) for at_s, count in ((0, 0), (5, 100), (10, 100), (15, 100), (20, 100))]
    assert measured(*ticks) == [None, 20.0, 10.0, 0.0, 0.0]


def test_a_tick_without_samples_is_left_out() -> None:
    assert measured((0, [seen("a")]), (5, []), (10, [seen("a", 50)])) == [None, None, 5.0]
