"""What is said of a comparison: the setting to choose, the cost at equal service, and all of it as JSON."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from autoscaler.sim.compare import OURS, Sweep
from autoscaler.sim.report import Summary, describe, document, summarise
from autoscaler.sim.world import default_world
from tests.unit.sim.sweeps import COMPARED, row, study, swept


def line(summary: Summary, policy: str) -> Any:
    found = summary.line(policy)
    assert found is not None
    return found


def test_ours_comes_first_and_the_bound_last() -> None:
    assert [entry.policy for entry in summarise(COMPARED).lines] == [OURS, "kpa", "static", "clairvoyant"]


def test_a_baseline_is_shown_at_the_setting_that_reaches_the_goal_for_least() -> None:
    summary = summarise(COMPARED)
    assert summary.goal_ratio == 0.95
    kpa = line(summary, "kpa")
    assert kpa.setting == COMPARED[1].candidate.numbers
    assert (kpa.attainment_ratio, kpa.slot_hours, kpa.settings_tried) == (pytest.approx(0.97), 7.5, 3)
    assert kpa.setting_name.startswith("kpa ")


def test_cost_at_equal_service_lies_on_the_front_of_all_settings() -> None:
    """Ours serves 0.98 for 5.5; on KPA's front that lies 0.01 of 0.025 beyond 7.5, towards 10."""
    kpa = line(summarise(COMPARED), "kpa")
    assert kpa.at_ours.is_reached
    assert kpa.at_ours.slot_hours == pytest.approx(8.5)
    assert kpa.ours_ratio.value == pytest.approx(5.5 / 8.5)
    assert kpa.ours_ratio.low <= kpa.ours_ratio.value <= kpa.ours_ratio.high


def test_a_policy_that_never_serves_as_well_is_said_not_to() -> None:
    static = line(summarise(COMPARED), "static")
    assert not static.at_ours.is_reached
    assert static.at_ours.slot_hours == 4.0


def test_the_best_rival_serves_as_well_for_least_and_is_not_the_bound() -> None:
    best = summarise(COMPARED).best_baseline
    assert best is not None
    assert best.policy == "kpa"
    only = summarise([each for each in COMPARED if each.candidate.policy in (OURS, "static")]).best_baseline
    assert only is not None
    assert only.policy == "static"
    assert summarise([COMPARED[3]]).best_baseline is None


def test_without_ours_nothing_is_held_against_it() -> None:
    summary = summarise(COMPARED[:3])
    assert line(summary, "kpa").at_ours is None
    assert line(summary, "kpa").ours_ratio is None
    assert summary.best_baseline is None


def test_a_goal_that_ours_misses_in_training_is_not_asked_of_others() -> None:
    weaker = swept(OURS, 0, (0.90, 5.0), (0.92, 6.0))
    summary = summarise([*COMPARED[:3], weaker])
    assert summary.goal_ratio == pytest.approx(0.91)
    assert line(summary, "kpa").setting == COMPARED[0].candidate.numbers


def written(sweeps: tuple[Sweep, ...], *, is_tuned: bool = True) -> dict[str, Any]:
    found = document(study(is_tuned=is_tuned), sweeps, summarise(sweeps) if is_tuned else None)
    again: dict[str, Any] = json.loads(json.dumps(found, allow_nan=False))
    assert again == found
    return again


def test_every_run_is_a_row() -> None:
    found = written(COMPARED)
    assert [(entry["policy"], entry["seed"]) for entry in found["rows"]] == [
        (each.candidate.policy, seed) for each in COMPARED for seed in (1, 2)
    ]
    assert {entry["policy"] for entry in found["rows"] if entry["is_default"]} == {OURS}
    needed = {"policy", "is_default", "setting", "seed", "attainment_ratio", "slot_hours", "changes_per_hour"}
    assert needed | {"p95_ms", "refused"} <= set(found["rows"][0])
    for entry in found["rows"]:
        assert all(isinstance(value, int | float) for value in entry["setting"].values())


def test_what_was_simulated_is_told() -> None:
    found = written(COMPARED)
    assert found["trace"] == "made-up"
    assert found["scale"] == {"embedder": 1.5}
    assert found["repairs"] == ["1 row was odd"]
    assert found["span"] == {
        "span_s": 120.0, "trained_from_s": 12.0, "counted_from_s": 60.0, "counted_to_s": 120.0,
    }  # fmt: skip
    assert found["world"] == describe(default_world(cards=2))
    assert found["world"]["slots_of_ours"] == 6
    assert found["tuned"]["kpa"] == COMPARED[1].candidate.numbers
    assert [entry["policy"] for entry in found["summary"]] == [OURS, "kpa", "static", "clairvoyant"]


def test_without_tuning_there_is_no_summary() -> None:
    assert not {"summary", "tuned", "goal_ratio"} & set(written(COMPARED[:1], is_tuned=False))


def test_a_number_that_is_not_finite_is_null() -> None:
    odd = replace(COMPARED[3], rows=(row(OURS, 1, 0.9, 1.0, p95_ms=math.nan, p99_ms=math.inf, recover_s=-math.inf),))
    (entry,) = written((odd,))["rows"]
    assert (entry["p95_ms"], entry["p99_ms"], entry["recover_s"]) == (None, None, None)
