"""Samples and scenes -> the comparison before and after scale-out."""

import json
from dataclasses import fields

import pytest

from autoscaler.embedded.outcome import NothingSeen, Outcome, compare
from autoscaler.embedded.timeline import Scene, Timeline
from autoscaler.load.client import FAILED, Sample
from tests.unit.autoscaler.ticks import golden
from tests.unit.embedded.story import STEPS, state, timeline


def outcome(told: Timeline) -> Outcome:
    return compare(told, model="minilm", steps=STEPS)


def test_a_recovery_is_compared_before_at_its_worst_and_after() -> None:
    assert outcome(timeline()) == Outcome(
        model="minilm",
        device_kind="emulated",
        objective_p95_ms=300.0,
        p95_before_ms=50.0,
        p95_peak_ms=2000.0,
        p95_after_ms=100.0,
        replicas_before=1,
        replicas_after=3,
        nodes_used_before=("node-1",),
        nodes_used_after=("node-1", "node-2", "node-3"),
        requests_total=320,
        requests_failed=0,
        seconds_to_recover=20.0,
        last_decision="minilm: from 1, latency wanted 3, so 3",
        steps=STEPS,
    )


def test_what_is_written_to_a_file_is_public_interface() -> None:
    text = json.dumps(outcome(timeline()).as_json(), indent=2) + "\n"
    assert text == golden("demo.json", text)
    assert set(json.loads(text)) == {field.name for field in fields(Outcome)} | {"succeeded"}


def test_a_p95_that_comes_back_is_a_success() -> None:
    assert outcome(timeline(after_ms=300.0)).succeeded


def test_a_p95_that_stays_above_its_objective_is_none_and_has_no_time_of_recovery() -> None:
    slow = outcome(timeline(after_ms=300.1))
    assert (slow.succeeded, slow.p95_after_ms, slow.seconds_to_recover) == (False, 300.1, None)


def test_an_overload_that_never_ends_is_no_success() -> None:
    never = outcome(timeline(recovered_at_s=1000.0))
    assert (never.succeeded, never.p95_after_ms, never.p95_peak_ms) == (False, 2000.0, 2000.0)


def test_an_objective_that_was_never_missed_was_recovered_at_once() -> None:
    assert outcome(timeline(overload_ms=60.0)).seconds_to_recover == 0.0


def test_a_relapse_counts_until_it_is_over() -> None:
    told = timeline(recovered_at_s=30.0)
    for late_s in (45.0, 45.5, 46.0):
        told.add_sample(Sample(1, late_s, late_s + 2.0, 200))
    assert outcome(told).seconds_to_recover == 28.0  # to the end of the window from 44 to 48 s


def test_failed_requests_are_counted_and_not_averaged_away() -> None:
    told = timeline()
    told.add_sample(Sample(1, 70.0, 70.1, 503))
    told.add_sample(Sample(1, 70.0, 70.1, FAILED))
    failing = outcome(told)
    assert (failing.requests_total, failing.requests_failed, failing.p95_after_ms) == (322, 2, 100.0)


def test_a_window_in_which_nothing_was_answered_is_no_recovery() -> None:
    told = timeline(recovered_at_s=30.0)
    refused = [Sample(1, due_s, due_s + 0.01, 503) for due_s in (81.0, 81.5)]
    for sample in refused:
        told.add_sample(sample)
    assert outcome(told).seconds_to_recover == 64.0


def test_a_count_that_nobody_could_tell_is_zero() -> None:
    told = timeline()
    told.add_scene(Scene(81.0, state(None, nodes=())))
    blind = outcome(told)
    assert (blind.replicas_after, blind.nodes_used_after) == (0, ())


def test_the_last_decision_that_changed_something_is_told_or_else_the_last_one() -> None:
    told = Timeline()
    told.add_sample(Sample(0, 1.0, 1.1, 200))
    told.add_scene(Scene(1.0, state(1, decision="minilm: stays at 1: steady")))
    assert outcome(told).last_decision == "minilm: stays at 1: steady"


@pytest.mark.parametrize("missing", ["scenes", "samples", "scenes before the overload"])
def test_without_anything_to_compare_it_is_said(missing: str) -> None:
    told = Timeline()
    if missing != "samples":
        told.add_sample(Sample(0, 1.0, 1.1, 200))
    if missing != "scenes":
        told.add_scene(Scene(30.0 if "before" in missing else 1.0, state(1)))
    with pytest.raises(NothingSeen, match="could not be read"):
        outcome(told)
