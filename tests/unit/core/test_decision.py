"""Decisions as sentences and as JSON values; journals of whole stories are goldens.

`VGPU_REWRITE_GOLDENS=1 pytest tests/unit/core/test_decision.py` rewrites them; review the difference.
"""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from autoscaler.core.decision import (
    Action,
    Decision,
    DrainWorkers,
    Plan,
    Reason,
    Recommendation,
    SetReplicas,
    SetWorkers,
    Stage,
    Step,
    numbers,
)
from autoscaler.core.guardrails import apply
from autoscaler.core.observation import MissingReason, Source
from autoscaler.core.plain import as_json_value
from autoscaler.core.policy import recommend
from autoscaler.core.spec import GuardrailSettings
from tests import build
from tests.build import model, signals, situation
from tests.unit.core.fleet import ToyFleet
from tests.unit.core.test_decide import drop, spec, steps_of, stock, toy

GOLDENS = Path(__file__).parents[2] / "goldens" / "decisions"


def step(reason: Reason, before: int, after: int, *, stage: Stage = Stage.GUARDRAIL, **seen: float) -> Step:
    return Step(stage=stage, before=before, after=after, reason=reason, numbers=numbers(**seen))


def decided(*steps: Step, current: int = 1) -> Decision:
    return Decision(model="minilm", current=current, count=steps[-1].after, steps=steps)


LATENCY = step(Reason.LATENCY_ABOVE_OBJECTIVE, 1, 3, stage=Stage.POLICY, p95_ms=812.4, objective_ms=200)


def test_a_change_reads_from_where_through_each_step_to_how_many() -> None:
    made = decided(LATENCY, step(Reason.STEP_LIMIT, 3, 2))
    assert made.sentence() == "minilm: from 1, latency wanted 3 (p95 812 ms > 200 ms), step limit allowed 2, so 2"
    assert (made.held, made.reason) == (False, Reason.STEP_LIMIT)


def test_a_hold_says_what_was_wanted_and_what_held_it() -> None:
    calm = step(Reason.LATENCY_WITHIN_OBJECTIVE, 3, 1, stage=Stage.POLICY, p95_ms=40, objective_ms=200)
    made = decided(calm, step(Reason.NO_FRESH_METRICS, 1, 3, gaps=1), current=3)
    assert made.sentence() == (
        "minilm: stays at 3: latency wanted 1 (p95 40 ms <= 200 ms), missing metrics kept 3 (readings missing: 1)"
    )
    assert (made.held, made.reason) == (True, Reason.NO_FRESH_METRICS)


def test_nothing_to_do_is_steady() -> None:
    calm = step(Reason.LATENCY_WITHIN_OBJECTIVE, 1, 1, stage=Stage.POLICY, p95_ms=40, objective_ms=200)
    assert decided(calm).reason is Reason.STEADY


def test_a_hold_for_a_cause_keeps_its_cause() -> None:
    near = step(Reason.LATENCY_NEAR_OBJECTIVE, 1, 1, stage=Stage.POLICY, p95_ms=180, objective_ms=200)
    assert decided(near).reason is Reason.LATENCY_NEAR_OBJECTIVE


EVERY_NUMBER = dict.fromkeys(
    (
        "p95_ms", "objective_ms", "overloaded_count", "overloaded_per_s", "refused", "in_flight", "target", "gaps",
        "utilization_ratio", "target_ratio", "pending", "window_s", "since_s", "min_replicas", "max_replicas",
        "unplaced", "rate_per_s", "offered_per_s", "replica_per_s", "factor", "hold_s", "solo_ms",
        "left_s", "here_per_s", "there_per_s", "unanswered", "over_s", "quiet_s", "idle_s", "unread_s",
        "on_leaving", "successors_running", "short",
    ),
    1.0,
)  # fmt: skip


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_can_be_said(reason: Reason) -> None:
    said = step(reason, 1, 2, **EVERY_NUMBER).phrase()
    assert said
    assert "{" not in said


def test_the_numbers_that_policies_and_guardrails_give_are_those_their_phrases_need() -> None:
    """A hot model and a calm one pass most reasons; a number missing from one of them would raise KeyError."""
    hot = situation(
        signals(p95_ms=900.0, in_flight=90.0, queued=60.0, utilization_ratio=1.0), spec=model(max_replicas=3)
    )
    calm = situation(current=3, needs=[(999.0, 2)], changed_s=999.0)
    for made in (hot, calm):
        for recommendation in recommend(made):
            first = Step(
                stage=Stage.POLICY,
                before=made.current,
                after=recommendation.count,
                reason=recommendation.reason,
                numbers=recommendation.numbers,
            )
            for said in (first, *apply(made, recommendation.count)):
                assert said.phrase()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_a_bug(value: float) -> None:
    with pytest.raises(ValueError, match="p95_ms is"):
        numbers(p95_ms=value)


def test_numbers_cannot_be_changed_afterwards() -> None:
    with pytest.raises(TypeError):
        numbers(p95_ms=1.0)["p95_ms"] = 2.0  # type: ignore[index]  # the point: it refuses


def test_a_plan_out_of_order_is_refused() -> None:
    grow, raise_, lower, shrink = (
        SetWorkers(pool="p", before=1, count=2),
        SetReplicas(model="a", before=1, count=2),
        SetReplicas(model="b", before=2, count=1),
        SetWorkers(pool="q", before=2, count=1),
    )
    assert Plan(at_s=0, decisions=(), actions=(grow, lower, raise_, shrink)).actions
    for wrong in ((raise_, grow), (raise_, lower), (shrink, lower)):
        with pytest.raises(ValueError, match="actions are out of order"):
            Plan(at_s=0, decisions=(), actions=wrong)


def test_a_decision_becomes_a_json_value_with_all_it_used() -> None:
    made = Decision(
        model="minilm",
        current=1,
        count=3,
        steps=(LATENCY,),
        recommendations=(Recommendation(count=3, reason=Reason.LATENCY_ABOVE_OBJECTIVE, numbers=LATENCY.numbers),),
    )
    assert json.loads(json.dumps(as_json_value(made))) == {
        "model": "minilm",
        "current": 1,
        "count": 3,
        "steps": [
            {
                "stage": "policy",
                "before": 1,
                "after": 3,
                "reason": "latency_above_objective",
                "numbers": {"p95_ms": 812.4, "objective_ms": 200},
            }
        ],
        "recommendations": [
            {"count": 3, "reason": "latency_above_objective", "numbers": {"p95_ms": 812.4, "objective_ms": 200}}
        ],
        "signals": None,
        "unplaced": 0,
        "blocked": [],
        "victims": [],
        "sleeps_in_s": None,
        "starts_in_s": None,
    }


def test_a_whole_plan_becomes_json() -> None:
    fleet = toy(lambda _: 45.0, learns=True).run(40)
    value = as_json_value(fleet.plans[-1])
    assert json.loads(json.dumps(value)) == value


def test_what_has_no_json_form_is_refused() -> None:
    with pytest.raises(TypeError, match="object has no JSON form"):
        as_json_value(object())


def test_a_model_on_several_slot_types_says_how_many_are_where() -> None:
    step = Step(stage=Stage.PLACEMENT, before=3, after=3, reason=Reason.MOVE_FOR_OTHERS)
    made = Decision(model="m", current=2, count=3, steps=(step,), spread=(("big", 1), ("small", 2)))
    assert made.sentence() == (
        "m: from 2, a move to another slot type, for a model that lacks this one, made it 3 for a while, so 3 "
        "(1 in big, 2 in small)"
    )
    assert "spread" not in as_json_value(replace(made, spread=()))


def load_step() -> ToyFleet:
    load = steps_of((0, 5), (30, 45), (150, 5))
    return toy(load).run(450)


def learned_step() -> ToyFleet:
    load = steps_of((0, 5), (60, 45), (240, 5))
    return toy(load, learns=True).run(900)


def small_steps() -> ToyFleet:
    careful = GuardrailSettings(step_up_ratio=2.0, step_up_count=1)
    return toy(lambda _: 60.0, spec=spec(max_replicas=3, guardrails=careful)).run(90)


def saturated_cards() -> ToyFleet:
    return toy(lambda _: 60.0, stock=stock(cards=2)).run(120)


def silent_replica() -> ToyFleet:
    fleet = toy(steps_of((0, 45), (90, 5))).run(90)
    fleet.seen_filter = drop(Source.REPLICA, MissingReason.UNREACHABLE, lambda name: name.endswith("2"))
    fleet.run(120)
    fleet.seen_filter = lambda seen, _: seen
    return fleet.run(300)


def asleep_and_back() -> ToyFleet:
    sleeper = build.fleet(model(min_replicas=0, idle_s=60.0, max_replicas=8, scale_down_window_s=30.0))
    return toy(steps_of((0, 5), (60, 0), (300, 30), (330, 0)), spec=sleeper).run(450)


def told(action: Action) -> str:
    if isinstance(action, DrainWorkers):
        return f"DrainWorkers {' '.join(action.workers)}"
    return f"{type(action).__name__} {action.before} to {action.count}"


def journal(fleet: ToyFleet) -> str:
    """One line for every tick that changed the count, acted, or changed its reason."""
    lines = []
    last = None
    for plan in fleet.plans:
        made = plan.decisions[0]
        if not made.held or plan.actions or made.reason is not last:
            actions = "; ".join(told(action) for action in plan.actions)
            lines.append(f"{plan.at_s:4.0f} s  {made.sentence()}{'  -> ' + actions if actions else ''}\n")
        last = made.reason
    return "".join(lines)


@pytest.mark.parametrize(
    "story",
    [load_step, small_steps, saturated_cards, silent_replica, learned_step, asleep_and_back],
    ids=lambda f: f.__name__,
)
def test_the_journal_of_a_story_is_the_golden_one(story: Callable[[], ToyFleet]) -> None:
    golden = GOLDENS / f"{story.__name__}.txt"
    written = journal(story())
    if os.environ.get("VGPU_REWRITE_GOLDENS"):
        golden.write_text(written)
    assert written == golden.read_text()
