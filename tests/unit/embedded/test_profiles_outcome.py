"""What `demo-profiles` concludes, and when it calls itself failed."""

from dataclasses import replace
from typing import Any

import pytest

from autoscaler.embedded import profiles_outcome, switch_timeline
from autoscaler.embedded.day_night import SCRIPT
from autoscaler.embedded.outcome import NothingSeen
from autoscaler.embedded.profiles_outcome import ProfilesOutcome
from autoscaler.embedded.switch_timeline import TrainingSeen
from autoscaler.embedded.timeline import Timeline
from tests.unit.embedded.nights import BEGAN_AT_S, SLOT_TYPES, TRAINING_LINES, answer, record, timeline

NIGHT, DAY = record("night", 105), record("day", 170)


def conclude(told: Timeline | None = None, *records: dict[str, Any]) -> ProfilesOutcome:
    return profiles_outcome.conclude(
        timeline() if told is None else told,
        model="minilm",
        phases=SCRIPT.phases,
        switches=switch_timeline.switches(answer(*(records or (NIGHT, DAY))), load_began_at_s=BEGAN_AT_S),
        slot_types=SLOT_TYPES,
        training=switch_timeline.training(TRAINING_LINES),
    )


def test_a_story_that_went_well_as_json() -> None:
    seconds = {
        "check": 1.0, "cordon": 1.0, "make_room": 10.0, "drain": 1.0, "stop": 1.0, "start": 1.0, "ready": 1.0,
        "uncordon": 1.0,
    }  # fmt: skip
    told = {"gpu": "card-a", "cause": "schedule", "result": "done", "why": "", "seconds": seconds}
    by_day = {"v100-4q-4GB": 1, "v100-8q-8GB": 1}
    assert conclude().as_json() == {
        "model": "minilm",
        "device_kind": "emulated",
        "objective_p95_ms": 1000.0,
        "switches": [
            {**told, "from": "day", "to": "night", "began_s": 105.0, "total_seconds": 17.0},
            {**told, "from": "night", "to": "day", "began_s": 170.0, "total_seconds": 17.0},
        ],
        "requests_ok": int(SCRIPT.duration_s),
        "requests_failed": 0,
        "p95_ms": pytest.approx({"day": 300.0, "night": 300.0, "next day": 300.0}),
        "slots": {"day": by_day, "night": {"v100-8q-8GB": 1}, "next day": by_day},
        "training": {"steps": 327, "loss_first": 3.1, "loss_last": 1.7, "stops": 1},
        "phases": tuple({"name": each.name, "from_s": each.from_s, "to_s": each.to_s} for each in SCRIPT.phases),
        "succeeded": True,
        "problems": [],
    }


def test_a_step_taken_twice_is_added_up() -> None:
    spent = [*NIGHT["spent"], {"step": "stop", "goal": "day", "seconds": 4.0, "why": ""}]
    told = conclude(None, {**NIGHT, "spent": spent, "result": "rolled_back"}, DAY).as_json()["switches"][0]
    assert (told["seconds"]["stop"], told["total_seconds"]) == (5.0, 21.0)


@pytest.mark.parametrize(
    ("outcome", "problem"),
    [
        (conclude(timeline(failed=2)), "2 requests failed"),
        (
            conclude(None, {**NIGHT, "result": "refused", "why": "no room"}, DAY),
            "the switch to night is refused: no room",
        ),
        (
            conclude(None, NIGHT, {**DAY, "result": None, "ended_at_s": None}),
            "the switch to day is not over: see its log",
        ),
        (conclude(None, NIGHT), "there were switches to ['night']"),
        (
            replace(conclude(), training=TrainingSeen(steps=0, stops=0)),
            "the training made 0 steps and was ended 0 times",
        ),
        (
            replace(conclude(), training=TrainingSeen(steps=10, stops=0)),
            "the training made 10 steps and was ended 0 times",
        ),
    ],
)
def test_what_did_not_go_well_is_said(outcome: ProfilesOutcome, problem: str) -> None:
    assert (outcome.problems, outcome.succeeded) == ((problem,), False)


def test_a_phase_over_its_objective_or_without_an_answer_is_named() -> None:
    slow = conclude(timeline(latency_ms=1500.0)).problems
    assert slow == tuple(f"p95 was over its objective by the end of {name}" for name in ("day", "night", "next day"))
    short = Timeline()
    first = timeline()
    short.add_sample(first.samples[50])
    short.add_scene(first.scenes[50])
    assert conclude(short).p95_ms == {"day": pytest.approx(300.0), "night": None, "next day": None}


def test_the_first_half_of_a_phase_is_the_way_there() -> None:
    told = timeline()
    for phase in SCRIPT.phases:
        for sample in timeline(latency_ms=9000.0).samples:
            if phase.from_s <= sample.due_s < (phase.from_s + phase.to_s) / 2:
                told.add_sample(sample)
    assert conclude(told).p95_ms == pytest.approx({"day": 300.0, "night": 300.0, "next day": 300.0})


def test_of_an_autoscaler_that_nobody_could_read_nothing_is_concluded() -> None:
    with pytest.raises(NothingSeen, match="could not be read"):
        conclude(Timeline())
