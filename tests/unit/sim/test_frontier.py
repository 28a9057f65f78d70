"""Fronts and the cost at equal service: small cases by hand, and what must hold for all."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.sim.frontier import Cost, Floats, Ratio, Results, cost_at, pareto, ratio_at_equal_attainment

SERVED = np.array([0.90, 0.99, 0.95, 0.94, 0.99])
TAKEN = np.array([5.0, 10.0, 7.0, 8.0, 9.0])

points = st.lists(
    st.tuples(st.integers(0, 20).map(lambda n: n / 20), st.integers(1, 20).map(float)), min_size=1, max_size=12
)


def test_a_front_leaves_out_what_another_setting_beats() -> None:
    assert pareto(SERVED, TAKEN).tolist() == [0, 2, 4]


@given(points)
def test_no_setting_beats_one_of_the_front_and_each_of_the_others_is_beaten(
    given_points: list[tuple[float, float]],
) -> None:
    served, taken = (np.array(column) for column in zip(*given_points, strict=True))
    front = pareto(served, taken)
    assert (np.diff(served[front]) > 0).all()
    assert (np.diff(taken[front]) > 0).all()
    for index in range(len(served)):
        covered = (served[front] >= served[index]) & (taken[front] <= taken[index])
        assert covered.any()


@pytest.mark.parametrize(
    ("wanted", "cost"),
    [
        (0.90, Cost(slot_hours=5.0, is_reached=True)),
        (0.925, Cost(slot_hours=6.0, is_reached=True)),
        (0.97, Cost(slot_hours=8.0, is_reached=True)),
        (0.99, Cost(slot_hours=9.0, is_reached=True)),
        (0.5, Cost(slot_hours=5.0, is_reached=True)),
        (0.991, Cost(slot_hours=9.0, is_reached=False)),
    ],
)
def test_cost_lies_on_straight_lines_between_settings(wanted: float, cost: Cost) -> None:
    found = cost_at(SERVED, TAKEN, wanted)
    assert found.is_reached == cost.is_reached
    assert found.slot_hours == pytest.approx(cost.slot_hours)


@given(points, st.floats(0, 1), st.floats(0, 1))
def test_better_service_never_costs_less(given_points: list[tuple[float, float]], one: float, other: float) -> None:
    served, taken = (np.array(column) for column in zip(*given_points, strict=True))
    low, high = sorted((one, other))
    assert cost_at(served, taken, low).slot_hours <= cost_at(served, taken, high).slot_hours + 1e-9


def results(served: list[list[float]], taken: list[list[float]]) -> Results:
    def table(given_rows: list[list[float]]) -> Floats:
        return np.array(given_rows, dtype=np.float64)

    return Results(attainment_ratio=table(served), slot_hours=table(taken))


def test_a_ratio_of_one_seed_has_no_interval() -> None:
    ours, other = results([[0.95]], [[4.0]]), results([[0.9, 1.0]], [[4.0, 6.0]])
    found = ratio_at_equal_attainment(ours, other)
    assert found == Ratio(value=pytest.approx(0.8), is_reached=True, low=None, high=None)


def test_an_interval_is_paired_over_seeds() -> None:
    """Seeds differ by a factor of two, and ours takes 90 % in each: resampling them together shows no doubt at all."""
    served = [[0.95]] * 4
    other = results([[0.95]] * 4, [[5.0], [6.0], [8.0], [10.0]])
    ours = results(served, [[4.5], [5.4], [7.2], [9.0]])
    found = ratio_at_equal_attainment(ours, other)
    assert [found.value, found.low, found.high] == pytest.approx([0.9] * 3)
    doubtful = ratio_at_equal_attainment(results(served, [[9.0], [7.2], [5.4], [4.5]]), other)
    assert doubtful.value == pytest.approx(0.9)
    assert doubtful.low is not None
    assert doubtful.high is not None
    assert doubtful.low < 0.7
    assert doubtful.high > 1.1


def test_an_interval_is_the_same_every_time() -> None:
    ours, other = results([[0.9], [0.8]], [[1.0], [3.0]]), results([[0.9], [0.8]], [[2.0], [2.0]])
    assert ratio_at_equal_attainment(ours, other) == ratio_at_equal_attainment(ours, other)


def test_a_policy_that_never_serves_as_well_is_held_to_its_best() -> None:
    ours, other = results([[1.0]] * 3, [[5.0]] * 3), results([[0.9, 0.8]] * 3, [[10.0, 2.0]] * 3)
    assert ratio_at_equal_attainment(ours, other) == Ratio(value=0.5, is_reached=False, low=0.5, high=0.5)
