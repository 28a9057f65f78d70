"""Nodes of a modelled fleet are taken away and come back while clients ask: who is lost, who moves, what it costs."""

from collections.abc import Sequence
from functools import cache
from itertools import groupby

import numpy as np
import pytest

from autoscaler.core.decision import Plan, Reason, SetReplicas, SetWorkers
from autoscaler.sim.controller import Ours
from autoscaler.sim.faults import Fault, NodesLeave, SlotReadingsMissing
from autoscaler.sim.simulation import Outcome, run
from autoscaler.sim.world import Cards, ColdStart, ServiceTime, SimModel, World
from tests.unit.sim.rig import POOL, Rig, model, pod, world
from vgpu.core.packing import Blocked

SPAN_S, WARM_UP_S = 2400.0, 600.0
DAY, REST, NIGHT = (0, 1, 2, 3), (4, 5, 6, 7), (8,)
"""Slots of a card that is cut finely by day and whole by night, here as cards 0 and 2, and of one that stays."""
SWITCHES = (
    NodesLeave(from_s=0.0, gone_s=0.0, to_s=1100.0, of_slots=NIGHT),
    NodesLeave(from_s=900.0, gone_s=1050.0, to_s=1800.0, of_slots=DAY),
    NodesLeave(from_s=1600.0, gone_s=1750.0, to_s=1e9, of_slots=NIGHT),
)
"""At 900 s the night is announced, at 1100 s it has come, at 1600 s the day is announced, at 1800 s it is back."""


def fleet(*slots: str) -> World:
    served = SimModel(
        name="m0",
        service=ServiceTime(host_ms=33.0, engine_ms=27.0),
        objective_p95_ms=300,
        cold_start=ColdStart(worker_s=10.0, load_s=30.0),
        min_replicas=2,
        start_replicas=2,
        slots=slots,
    )
    return World(models=(served,), cards=2, further=(Cards(cards=1, slots_per_card=1, slot_label="v100d-32q-32GB"),))


@cache
def story(rate_per_s: float, faults: tuple[Fault, ...], *slots: str, seed: int = 1) -> tuple[Outcome, tuple[Plan, ...]]:
    """What came of it, and every plan from the warm-up on."""
    times = np.sort(np.random.default_rng(seed).uniform(0.0, SPAN_S, int(rate_per_s * SPAN_S)))
    ours = Ours(keep_plans=True)
    outcome = run(fleet(*slots), {"m0": times}, ours, seed=seed, span_s=SPAN_S, warm_up_s=WARM_UP_S, faults=faults)
    return outcome, tuple(plan for plan in ours.plans if plan.at_s > WARM_UP_S)


def said(plans: Sequence[Plan], reason: Reason) -> list[float]:
    """When something was decided for this reason."""
    return [plan.at_s for plan in plans if plan.decisions[0].reason is reason]


@pytest.mark.parametrize("slots", [(), ("v100d-8q-8GB", "v100d-32q-32GB")])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_night_and_a_day_lose_nobody_where_what_remains_suffices(slots: tuple[str, ...], seed: int) -> None:
    """15 requests/s are 41 % of one card's engine; four slots stay all the time."""
    outcome, plans = story(15.0, SWITCHES, *slots, seed=seed)
    assert (outcome.failed, outcome.refused, outcome.killed) == (0, 0, 0)
    assert outcome.p95_ms <= 300.0
    assert outcome.attainment_ratio >= 0.99
    moved = said(plans, Reason.NODE_LEAVING)
    assert all(900.0 <= at_s < 1050.0 or 1600.0 <= at_s < 1750.0 for at_s in moved)
    assert any(at_s < 1050.0 for at_s in moved)


def test_there_are_never_fewer_than_before_while_they_move() -> None:
    outcome, _ = story(15.0, SWITCHES)
    before = outcome.timeline.replicas[int(WARM_UP_S) // 10 : 90]
    assert min(outcome.timeline.replicas[90:]) >= min(before)


def test_a_missing_reading_of_a_device_does_not_hold_it_up() -> None:
    blind = SlotReadingsMissing(from_s=800.0, to_s=1200.0)
    outcome, _ = story(15.0, (*SWITCHES, blind))
    assert (outcome.failed, outcome.refused, outcome.killed) == (0, 0, 0)


@pytest.mark.parametrize("after_s", [5.0, 20.0, 35.0, 60.0])
def test_a_word_that_is_taken_back_settles_as_soon_as_any_change_and_without_going_to_and_fro(after_s: float) -> None:
    """Before the workers, the replicas, or the leave-taking are through, and after all of it."""
    back_s = 900.0 + after_s
    outcome, plans = story(15.0, (*SWITCHES[:1], NodesLeave(from_s=900.0, to_s=back_s, of_slots=(*DAY, *REST[:2]))))
    assert (outcome.failed, outcome.refused, outcome.killed, outcome.violation_s) == (0, 0, 0, 0.0)
    path = [count for count, _ in groupby(plan.decisions[0].count for plan in plans if plan.at_s >= back_s)]
    assert path == sorted(path, reverse=True)
    changes = [plan.at_s for plan in plans for action in plan.actions if isinstance(action, SetReplicas | SetWorkers)]
    assert max(changes) <= back_s + 300.0


def test_a_leaving_node_takes_no_pod_and_its_slots_are_gone_with_it() -> None:
    """On the rig: one card of four slots, of which three leave at 10 s and are gone at 20 s."""
    leaves = (NodesLeave(from_s=10.0, gone_s=20.0, to_s=40.0, of_slots=(0, 1, 2)),)
    rig = Rig(world(model(start_replicas=1)), leaves=leaves).to(15.0)
    named = {node.name: node for node in rig.fleet.inventory().nodes}
    assert [(node.leaving, node.ready, len(node.slots)) for node in named.values()] == [
        (True, True, 1), (True, True, 1), (True, True, 1), (False, True, 1),
    ]  # fmt: skip
    rig.fleet.apply(SetWorkers(pool=POOL, before=1, count=4), 15.0)
    bound = [worker.slot for worker in rig.fleet.pool.live if worker.pod != pod(1)]
    assert {slot for slot in bound if slot is not None} <= {3}
    rig.to(25.0)
    nodes = rig.fleet.inventory().nodes
    assert [(node.leaving, node.ready, len(node.slots)) for node in nodes] == [
        (True, False, 0), (True, False, 0), (True, False, 0), (False, True, 1),
    ]  # fmt: skip
    rig.to(60.0)
    assert [(node.leaving, node.usable, len(node.slots)) for node in rig.fleet.inventory().nodes] == [
        (False, True, 1)
    ] * 4  # fmt: skip


def test_who_still_runs_there_when_the_node_is_gone_is_lost() -> None:
    """The word comes too late for a successor."""
    everything = tuple(range(8))
    late = (*SWITCHES[:1], NodesLeave(from_s=900.0, gone_s=905.0, to_s=1200.0, of_slots=everything))
    outcome, plans = story(15.0, late)
    assert outcome.killed >= 1
    assert outcome.refused + outcome.failed > 0
    gone = next(plan for plan in plans if plan.at_s > 910.0)
    assert {why for _, why in gone.decisions[0].blocked} <= {Blocked.NOT_READY}
    assert outcome.models["m0"].timeline.replicas[-1] >= 1


@pytest.mark.parametrize(("from_s", "gone_s", "to_s"), [(10.0, 5.0, 20.0), (20.0, 25.0, 10.0)])
def test_a_span_that_cannot_be_is_refused(from_s: float, gone_s: float, to_s: float) -> None:
    with pytest.raises(ValueError, match="from_s"):
        NodesLeave(from_s=from_s, gone_s=gone_s, to_s=to_s, of_slots=(0,))


def test_a_leave_changes_nothing_before_it_begins() -> None:
    usual, _ = story(15.0, SWITCHES[:1])
    leaving, _ = story(15.0, SWITCHES)
    assert leaving.timeline.replicas[:90].tolist() == usual.timeline.replicas[:90].tolist()
    assert leaving.timeline.p95_ms[:90].tolist() == usual.timeline.p95_ms[:90].tolist()
