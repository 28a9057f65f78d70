"""Policies against the same loads: who is run, what is counted where, whatever the number of processes."""

import math

import numpy as np
import pytest

from autoscaler.refusal import Refused
from autoscaler.sim.baselines import LAWS
from autoscaler.sim.compare import (
    BOUND,
    OURS,
    Candidate,
    Study,
    candidates,
    goal_of,
    prepare,
    results,
    sweep,
    trained,
    tuned,
)
from autoscaler.sim.demand import Demand
from autoscaler.sim.trace import Trace
from autoscaler.sim.world import default_world
from tests.unit.sim.sweeps import COMPARED, swept, timeline

WORLD = default_world(cards=2)
EVEN = Demand(source=Trace(name="even", span_s=240.0, bins=np.full(240, 10, dtype=np.int64)))
STATIC = LAWS["static"].grid


def even(*, seeds: int = 2, is_tuned: bool = True) -> Study:
    return prepare(WORLD, EVEN, {"embedder": 0.5}, seeds=seeds, is_tuned=is_tuned)


def silent(done: int, total: int) -> None:
    assert 0 < done <= total


def test_ours_has_one_setting_and_a_baseline_its_grid() -> None:
    assert candidates([OURS], is_tuned=True) == (Candidate(policy=OURS),)
    assert [each.setting for each in candidates(["kpa"], is_tuned=True)] == list(LAWS["kpa"].grid)
    assert candidates([OURS, "kpa", OURS], is_tuned=False) == (
        Candidate(policy=OURS),
        Candidate(policy="kpa", setting=LAWS["kpa"].default),
    )


def test_every_unknown_policy_is_named() -> None:
    with pytest.raises(Refused) as raised:
        candidates(["best", OURS, "worst"], is_tuned=True)
    lines = str(raised.value).splitlines()
    assert [line.partition(";")[0] for line in lines] == ["no policy 'best'", "no policy 'worst'"]
    assert lines[0].endswith(f"choose from ours, {', '.join(LAWS)}")


def test_a_setting_is_numbers_only() -> None:
    for policy in (OURS, *LAWS):
        for each in candidates([policy], is_tuned=True):
            assert all(type(value) in (int, float) for value in each.numbers.values())
    assert Candidate(policy=OURS).numbers["policy.window_s"] > 0


def test_the_bound_is_one_of_the_laws() -> None:
    assert BOUND in LAWS


def test_training_comes_before_what_is_counted() -> None:
    study = even()
    assert (study.trained_from_s, study.counted_from_s, study.span_s) == (24.0, 120.0, 240.0)
    alone = even(is_tuned=False)
    assert (alone.trained_from_s, alone.counted_from_s) == (None, 24.0)
    hours = prepare(WORLD, Demand(source="step", span_s=36_000.0), {}, seeds=1, is_tuned=True)
    assert (hours.trained_from_s, hours.counted_from_s) == (300.0, 18_000.0)


def test_a_span_that_tells_nothing_is_refused() -> None:
    with pytest.raises(Refused, match="step: 100 s are too short to tell; give at least 120 s"):
        prepare(WORLD, Demand(source="step", span_s=100.0), {}, seeds=1, is_tuned=False)


def test_a_window_is_trained_on_or_counted_and_never_both() -> None:
    """Windows of 10 s begin at 0, 10, .. 110 s with two slots each; in the last of them nothing came."""
    assert trained(timeline(), 0.0, 60.0) == (1.0, pytest.approx(6 * 10 * 2 / 3600))
    assert trained(timeline(missed=True), 60.0, 120.0) == (0.5, pytest.approx(6 * 10 * 2 / 3600))
    assert trained(timeline(), 110.0, 120.0) == (1.0, pytest.approx(10 * 2 / 3600))


def test_the_cheapest_setting_that_reaches_the_goal_is_tuned() -> None:
    kpa = COMPARED[:3]
    assert tuned(kpa, goal_ratio=0.95) is kpa[1]
    assert tuned(kpa, goal_ratio=0.5) is kpa[0]
    assert tuned(kpa, goal_ratio=0.999) is kpa[2]
    same = (swept("kpa", 1, (0.8, 5.0)), swept("kpa", 2, (0.8, 4.0)))
    assert tuned(same, goal_ratio=0.95) is same[1]


def test_tuning_looks_at_training_alone() -> None:
    good_then = swept("kpa", 1, (0.1, 9.0), training_attainment_ratio=1.0, training_slot_hours=1.0)
    good_now = swept("kpa", 2, (1.0, 1.0), training_attainment_ratio=0.1, training_slot_hours=9.0)
    assert tuned((good_then, good_now), goal_ratio=0.95) is good_then


def test_the_goal_is_the_objectives_unless_ours_missed_it() -> None:
    assert goal_of(COMPARED) == 0.95
    assert goal_of(COMPARED[:3]) == 0.95
    assert goal_of([*COMPARED[:3], swept(OURS, 0, (0.90, 5.0), (0.92, 6.0))]) == pytest.approx(0.91)


def test_results_are_seeds_by_settings_and_nothing_asked_is_nothing_missed() -> None:
    found = results([*COMPARED[:2], swept("kpa", 3, (math.nan, 1.0), (0.5, 2.0))])
    assert found.attainment_ratio.tolist() == [[0.90, 0.96, 1.0], [0.92, 0.98, 0.5]]
    assert found.slot_hours.tolist() == [[4.0, 7.0, 1.0], [5.0, 8.0, 2.0]]


def test_a_fixed_count_takes_what_it_holds() -> None:
    """Four slots, held since the workers came, for the two minutes that are counted."""
    chosen = [Candidate(policy="static", setting=setting) for setting in STATIC if setting.numbers["replicas"] == 4]
    (found,) = sweep(even(), chosen, jobs=1, say=silent)
    for row in found.rows:
        assert row.slot_hours == pytest.approx(4 * 120 / 3600)
        assert row.changes_per_hour == 0
        assert row.attainment_ratio > 0.9
        assert row.offered == pytest.approx(600, rel=0.15)
    assert [row.seed for row in found.rows] == [1, 2]
    assert len({row.offered for row in found.rows}) == 2


def test_the_number_of_processes_changes_nothing() -> None:
    chosen = candidates([OURS, "erlang"], is_tuned=False)
    told: list[tuple[int, int]] = []
    alone = sweep(even(), chosen, jobs=1, say=lambda done, total: told.append((done, total)))
    several = sweep(even(), chosen, jobs=2, say=silent)
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [each.rows for each in several] == [each.rows for each in alone]
    for one, other in zip(alone, several, strict=True):
        np.testing.assert_array_equal(one.timeline.slots, other.timeline.slots)
