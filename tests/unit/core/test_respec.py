"""Another specification for a fleet that runs: what is kept, and what is forgotten because it holds no more."""

from dataclasses import replace
from typing import Any

import pytest

from autoscaler.core.learning import Jumps, Learned, Trust
from autoscaler.core.rehearsal import Rehearsal
from autoscaler.core.respec import respecified
from autoscaler.core.service import Service
from autoscaler.core.spec import FleetSpec, ModelSpec, PolicySettings, PoolSpec
from autoscaler.core.state import UNLEARNED_WINDOW_S, ModelState, Moving, State
from autoscaler.core.window import SlidingMax
from tests import build
from tests.unit.core.two_types import BIG, POOLS, SMALL
from vgpu.core.profile import parse_profile

KNOWN = Service(weight=500.0, items=500.0, solo_s=20.0, engine_s=10.0)
LEARNED = Learned(
    service=KNOWN,
    rehearsal=Rehearsal(at_s=90.0),
    trust=Trust(trim=1.3, at_s=90.0, missed_ratio=0.1),
    jumps=Jumps(variation=2.0),
    since_s=(("r1", 5.0),),
    starts_s=(30.0, 40.0),
)
HALF = PoolSpec(name="half", profile=parse_profile("v100-4q-4GB"))


def spec(*pools: str, policy: PolicySettings | None = None, **model: Any) -> FleetSpec:
    """One model in these pools."""
    first, *further = pools or (BIG,)
    about: dict[str, Any] = {"objective_p95_ms": 200, "max_replicas": 4, "scale_down_window_s": 60.0, **model}
    return FleetSpec(
        pools=tuple(pool for pool in (*POOLS, HALF) if pool.name in (first, *further)),
        models=(ModelSpec(name="minilm", pool=first, further_pools=tuple(further), **about),),
        policy=policy or PolicySettings(),
    )


STATE = ModelState(
    desired=3,
    needs=SlidingMax(span_s=60.0, points=((80.0, 3), (95.0, 1))),
    running_ids=("r1", "r2"),
    running_since_s=10.0,
    windows={"r1": (build.sample("r1"),)},
    overloads=(build.overload(2, 20.0),),
    changed_s=50.0,
    pending_since_s=60.0,
    backoff_until_s=120.0,
    posted=3,
    posted_s=99.0,
    foreign=(1, 98.0),
    yields_until_s=200.0,
    moving=Moving(base=3, since_s=80.0),
    learned=LEARNED,
    spread={BIG: 2, SMALL: 1},
    shunned={SMALL: 300.0},
    boards={"v100": replace(KNOWN, weight=300.0), "t4": replace(KNOWN, weight=200.0)},
)
EXPLAINED = {"foreign": None, "yields_until_s": None}
"""What every change takes away: a target that was reset is no other writer."""


def after(before: FleetSpec, now: FleetSpec, *, reworked: frozenset[str] = frozenset(), **known: Any) -> ModelState:
    state = State(models={"minilm": replace(STATE, **known)}, surplus_since_s={BIG: 7.0}, usual={"n1/0": 0.5})
    made = respecified(state, before, now, reworked=reworked, now_s=100.0)
    assert (made.surplus_since_s, made.usual) == (state.surplus_since_s, state.usual)
    return made.models["minilm"]


def test_the_same_specification_changes_nothing_but_who_reset_the_target() -> None:
    assert after(spec(), spec()) == replace(STATE, **EXPLAINED)


@pytest.mark.parametrize(
    "change",
    [
        {"max_replicas": 9},
        {"min_replicas": 2},
        {"priority": 5},
        {"idle_s": 10.0},
        {"target_in_flight": 2.0},
        {"target_utilization_ratio": 0.5},
        {"objective_p95_ms": 100},
    ],
)
def test_bounds_priority_targets_and_a_stricter_objective_cost_no_memory(change: dict[str, Any]) -> None:
    assert after(spec(), spec(**change)) == replace(STATE, **EXPLAINED)


@pytest.mark.parametrize("change", [{"objective_p95_ms": 201}, {"max_batch_size": 8}])
def test_counts_that_missed_another_promise_are_tried_again(change: dict[str, Any]) -> None:
    """What a batch costs is learned as a line over its size, so another largest size makes none of it void."""
    assert after(spec(), spec(**change)) == replace(STATE, **EXPLAINED, overloads=())


def test_a_longer_window_is_watched_from_now_on_and_a_shorter_one_holds_at_once() -> None:
    longer = after(spec(), spec(scale_down_window_s=120.0)).needs
    assert (longer.span_s, longer.largest(100.0), longer.largest(219.0)) == (120.0, 3, 3)
    shorter = after(spec(), spec(scale_down_window_s=10.0)).needs
    assert (shorter.span_s, shorter.largest(100.0)) == (10.0, 1)
    assert after(spec(), spec(scale_down_window_s=None)).needs.span_s == UNLEARNED_WINDOW_S


def test_readings_are_kept_over_another_window() -> None:
    windows = after(spec(), spec(policy=PolicySettings(window_s=20.0))).windows
    assert windows == STATE.windows


def test_a_shorter_window_holds_no_sample_that_is_older() -> None:
    samples = tuple(build.sample("r1", at_s=at_s) for at_s in (90.0, 94.0, 95.0, 100.0))
    known = {"r1": samples, "r2": ()}
    windows = after(spec(), spec(policy=PolicySettings(window_s=5.0, recent_s=5.0)), windows=known).windows
    assert windows == {"r1": samples[2:], "r2": ()}


def test_a_model_that_does_other_work_keeps_what_is_the_loads_and_the_fleets() -> None:
    forgotten = replace(LEARNED, service=Service(), rehearsal=Rehearsal(), trust=Trust())
    assert after(spec(), spec(), reworked=frozenset({"minilm"})) == replace(
        STATE, **EXPLAINED, learned=forgotten, boards={}, overloads=()
    )
    assert (forgotten.starts_s, forgotten.jumps.variation) == ((30.0, 40.0), 2.0)


def test_costs_are_forgotten_with_the_board() -> None:
    moved = after(spec(BIG), spec(SMALL))
    assert (moved.learned.service, moved.learned.trust.trim, moved.overloads) == (Service(), 1.0, ())
    assert (moved.spread, moved.shunned, moved.boards, moved.moving) == ({}, {}, {}, Moving())
    assert (moved.backoff_until_s, moved.pending_since_s) == (None, None)
    assert (moved.desired, moved.running_ids, moved.needs) == (3, ("r1", "r2"), STATE.needs)


def test_another_part_of_the_same_board_costs_the_same() -> None:
    assert after(spec(BIG), spec("half")).learned == LEARNED


def test_a_further_slot_type_keeps_what_is_known() -> None:
    grown = after(spec(BIG), spec(BIG, SMALL), boards={}, spread={}, shunned={})
    assert (grown.learned, grown.spread, grown.boards) == (LEARNED, {}, {})


def test_the_slot_type_that_stays_keeps_its_own_costs() -> None:
    one = after(spec(BIG, SMALL), spec(SMALL))
    assert one.learned == replace(LEARNED, service=STATE.boards["t4"])
    assert (one.boards, one.spread, one.shunned) == ({}, {}, {})
    assert after(spec(BIG, SMALL), spec(SMALL), boards={}).learned.service == Service()


def test_slot_types_in_another_order_are_no_change() -> None:
    assert after(spec(BIG, SMALL), spec(SMALL, BIG)) == replace(STATE, **EXPLAINED)


def test_what_is_meant_for_a_pool_that_is_left_is_forgotten() -> None:
    kept = after(spec(BIG, SMALL, "half"), spec(BIG, "half"), spread={BIG: 1, SMALL: 1, "half": 1})
    assert (kept.spread, kept.shunned, set(kept.boards)) == ({BIG: 1, "half": 1}, {}, {"v100"})


def test_models_that_are_new_or_gone_are_nobodys_business_here() -> None:
    other = build.fleet(build.model("ocr"))
    state = State(models={"minilm": STATE})
    assert respecified(state, spec(), other, now_s=100.0) == state
    assert respecified(State(), spec(), other, reworked=["ocr"], now_s=100.0) == State()
