"""Moves: a successor on a better card first, and only where it is worth a cold start."""

from dataclasses import replace

from autoscaler.core.capacity import Cards
from autoscaler.core.contention import measure
from autoscaler.core.decision import Reason, Step
from autoscaler.core.moves import EVERY_S, LASTING_S, LONGEST_S, begun_for_others, move
from autoscaler.core.observation import Observation, SlotReading
from autoscaler.core.service import Demand
from autoscaler.core.situation import Situation
from autoscaler.core.spec import PolicySettings
from autoscaler.core.state import ModelState, Moving
from tests import build
from tests.unit.core import two_types
from vgpu.core.profile import parse_profile

PROFILE = parse_profile(build.PROFILE)
DEMAND = Demand(away_s=0.01, engine_s=0.05)


def cards(neighbour_ratio: float) -> Cards:
    """One replica at n0/0 beside a neighbour at n0/1; the card of n1 is empty."""
    stock = build.inventory(
        build.node("n0", slots=2, card="GPU-0", held={0: "serving/w1", 1: "default/other"}),
        build.node("n1", slots=2, card="GPU-1"),
    )
    busy = {"n0/0": 0.1, "n0/1": neighbour_ratio, "n1/0": 0.0, "n1/1": 0.0}
    seen = Observation(slots=tuple(SlotReading(slot_id=key, at_s=0.0, busy_ratio=value) for key, value in busy.items()))
    contention = measure(stock, seen, PolicySettings(), 0.0)
    return Cards.of(stock, contention, frozenset({"serving/w1"}), frozenset({"n0/0"}))


def situation(now_s: float, *, running: int = 1, moving: Moving | None = None) -> Situation:
    made = build.situation(current=1, running=running, now_s=now_s)
    return replace(made, demand=DEMAND, state=replace(made.state, moving=moving or Moving()))


def moved(
    now_s: float, *, neighbour_ratio: float = 0.8, running: int = 1, moving: Moving | None = None
) -> tuple[ModelState, Step | None]:
    at = situation(now_s, running=running, moving=moving)
    return move(at, 1, cards(neighbour_ratio), tuple(f"n0/{index}" for index in range(running)), PROFILE)


def test_a_crowded_replica_gets_a_successor_after_a_minute() -> None:
    state, step = moved(1000.0)
    assert (step, state.moving) == (None, Moving(since_s=1000.0))
    state, step = moved(1000.0 + LASTING_S - 1, moving=state.moving)
    assert step is None
    state, step = moved(1000.0 + LASTING_S, moving=state.moving)
    assert step is not None
    assert (step.before, step.after, step.reason) == (1, 2, Reason.MOVE_INTERFERENCE)
    assert step.numbers["there_per_s"] > 1.4 * step.numbers["here_per_s"]
    assert state.moving == Moving(base=1, since_s=1000.0 + LASTING_S)


def test_a_calm_neighbour_is_no_reason_to_move() -> None:
    state, step = moved(1000.0, neighbour_ratio=0.2, moving=Moving(since_s=900.0))
    assert (step, state.moving) == (None, Moving())


def test_the_count_is_one_higher_until_the_successor_runs() -> None:
    under_way = Moving(base=1, since_s=1000.0)
    state, step = moved(1030.0, moving=under_way)
    assert step is not None
    assert (step.after, step.reason) == (2, Reason.MOVING)
    state, step = moved(1040.0, running=2, moving=state.moving)
    assert (step, state.moving) == (None, Moving(ended_s=1040.0))


def test_a_successor_that_never_starts_is_given_up() -> None:
    state, step = moved(1000.0 + LONGEST_S + 1, moving=Moving(base=1, since_s=1000.0))
    assert (step, state.moving) == (None, Moving(ended_s=1001.0 + LONGEST_S))


def test_moves_are_rare() -> None:
    rested, step = moved(2000.0, moving=Moving(since_s=1900.0, ended_s=2000.0 - EVERY_S + 1))
    assert (step, rested.moving.since_s) == (None, None)


def test_a_move_for_others_adds_one_and_goes_on_while_a_guardrail_holds_it() -> None:
    begun, step = begun_for_others(ModelState.start(build.model(), 1, 0.0), 1, 1000.0)
    assert (step.before, step.after, step.reason) == (1, 2, Reason.MOVE_FOR_OTHERS)
    assert begun.moving == Moving(base=1, since_s=1000.0)
    spanning = replace(situation(1005.0, moving=begun.moving), types=two_types.types())
    assert move(spanning, 2, cards(0.2), ("n0/0",), PROFILE)[0].moving == begun.moving
    _, step = move(spanning, 1, cards(0.2), ("n0/0",), PROFILE)
    assert step is not None
    assert (step.before, step.after, step.reason) == (1, 2, Reason.MOVING)
    assert move(spanning, 3, cards(0.2), ("n0/0",), PROFILE)[0].moving == Moving(ended_s=1005.0)
