"""Stories over time, told to `decide` by a toy fleet that obeys it: load steps, faults, restarts."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from autoscaler.core.decide import decide
from autoscaler.core.decision import Decision, DrainWorkers, Reason, SetReplicas, SetWorkers
from autoscaler.core.observation import Missing, MissingReason, Observation, Source
from autoscaler.core.signals import Signal
from autoscaler.core.spec import FleetSpec, GuardrailSettings
from autoscaler.core.state import State
from tests import build
from tests.unit.core.fleet import ToyFleet
from vgpu.core.inventory import Inventory
from vgpu.core.share import SchedulerPolicy


def stock(cards: int = 4, slots: int = 2, policy: SchedulerPolicy = SchedulerPolicy.BEST_EFFORT) -> Inventory:
    return build.inventory(
        *(build.node(f"n{index}", slots=slots, card=f"GPU-{index}", policy=policy) for index in range(1, cards + 1))
    )


def spec(max_replicas: int = 8, window_s: float = 60.0, guardrails: GuardrailSettings | None = None) -> FleetSpec:
    model = build.model(max_replicas=max_replicas, scale_down_window_s=window_s)
    return build.fleet(model, guardrails=guardrails)


def steps_of(*steps: tuple[float, float]) -> Callable[[float], float]:
    """A load in requests/s that changes at the given seconds."""
    return lambda now_s: [load for at_s, load in steps if at_s <= now_s][-1]


def toy(load_per_s: Callable[[float], float], *, learns: bool = False, **given: Any) -> ToyFleet:
    """A fleet whose costs stay unknown unless it `learns`, so that what clients feel decides, not the learned need."""
    return ToyFleet(**{"spec": spec(), "stock": stock(), "load_per_s": load_per_s, "learns": learns, **given})


def grown(load_per_s: float = 45.0, seconds: int = 300, *, learns: bool = False) -> ToyFleet:
    """A fleet that has grown under a steady load: 3 or 4 replicas on as many cards bear 45 requests/s."""
    return toy(lambda _: load_per_s, learns=learns).run(seconds)


either = pytest.mark.parametrize("learns", [False, True], ids=["costs unknown", "costs learned"])


def reasons(decision: Decision) -> list[Reason]:
    return [step.reason for step in decision.steps]


def drop(
    source: Source, reason: MissingReason, names: Callable[[str], bool] = lambda name: True
) -> Callable[[Observation, float], Observation]:
    """A filter that hides readings of one source and says why."""

    def hide(seen: Observation, _now_s: float) -> Observation:
        replicas = [
            sample.replica_id for sample in seen.replicas if source is Source.REPLICA and names(sample.replica_id)
        ]
        slots = [reading.slot_id for reading in seen.slots if source is Source.SLOT and names(reading.slot_id)]
        return replace(
            seen,
            replicas=tuple(sample for sample in seen.replicas if sample.replica_id not in replicas),
            slots=tuple(reading for reading in seen.slots if reading.slot_id not in slots),
            deployments=() if source is Source.DEPLOYMENT else seen.deployments,
            pools=() if source is Source.POOL else seen.pools,
            missing=tuple(Missing(source=source, name=name, reason=reason) for name in (*replicas, *slots)),
        )

    return hide


def test_a_load_step_is_answered_and_taken_back() -> None:
    fleet = toy(steps_of((0, 5), (30, 45), (150, 5)))
    fleet.run(30)
    assert set(fleet.counts) == {1}
    fleet.run(1)
    assert fleet.counts[-1] > 1, "the first tick with the new load must act"
    fleet.run(69)
    p95_ms = fleet.decision.signals and fleet.decision.signals.p95_ms
    assert isinstance(p95_ms, Signal)
    assert p95_ms.value <= 200
    assert len({slot.node for slot in fleet.stock.slots if slot.holder}) == 4, "each replica gets a card of its own"
    peak = max(fleet.counts)
    fleet.run(50 + 60)
    assert fleet.counts[-1] >= peak - 1, "nothing falls within the scale-down window, then one at a time"
    fleet.run(30 * peak + 60)
    assert (fleet.counts[-1], len(fleet.workers)) == (1, 1)


def test_a_fall_goes_one_at_a_time_with_time_to_settle() -> None:
    fleet = grown()
    fleet.load_per_s = lambda _: 2.0
    fleet.run(400)
    falls = [(index, before - after) for index, (before, after) in enumerate(pairwise(fleet.counts)) if after < before]
    assert {size for _, size in falls} == {1}
    assert min(later - earlier for (earlier, _), (later, _) in pairwise(falls)) >= fleet.spec.guardrails.settle_down_s


@either
@pytest.mark.parametrize("source", [Source.REPLICA, Source.SLOT])
@pytest.mark.parametrize("of_all", [True, False], ids=["of all", "of one"])
def test_nothing_falls_while_readings_are_missing(source: Source, of_all: bool, learns: bool) -> None:
    fleet = grown(learns=learns)
    (one, *_) = fleet.observe().replicas
    name = one.replica_id if source is Source.REPLICA else one.slot_id
    hidden = drop(source, MissingReason.UNREACHABLE, lambda read: of_all or read == name)
    before = fleet.counts[-1]
    fleet.load_per_s = lambda _: 0.0
    fleet.seen_filter = hidden
    fleet.run(400)
    assert set(fleet.counts[-390:]) == {before}
    assert fleet.target == before
    assert Reason.NO_FRESH_METRICS in reasons(fleet.decision)
    fleet.seen_filter = lambda seen, _: seen
    fleet.run(400)
    assert fleet.counts[-1] == 1, "it falls once everything can be seen again"


@either
def test_a_device_that_cannot_say_holds_nothing(learns: bool) -> None:
    fleet = grown(learns=learns)
    fleet.load_per_s = lambda _: 0.0
    fleet.seen_filter = drop(Source.SLOT, MissingReason.UNSUPPORTED)
    fleet.run(400)
    assert fleet.counts[-1] == 1


@either
def test_it_grows_on_what_can_be_seen(learns: bool) -> None:
    silent = drop(Source.REPLICA, MissingReason.UNREACHABLE, lambda name: name.endswith("2"))
    fleet = grown(20.0, learns=learns)
    before = fleet.counts[-1]
    fleet.seen_filter = silent
    fleet.load_per_s = lambda _: 70.0
    fleet.run(60)
    assert fleet.counts[-1] > before


def test_no_traffic_needs_no_more_than_the_minimum() -> None:
    fleet = grown()
    fleet.load_per_s = lambda _: 0.0
    fleet.run(300)
    assert fleet.decision.sentence() == "minilm: stays at 1: no traffic"
    assert fleet.decision.reason is Reason.STEADY


@either
def test_an_unreadable_ray_serve_holds_everything(learns: bool) -> None:
    fleet = grown(learns=learns)
    before = fleet.counts[-1]
    fleet.seen_filter = drop(Source.DEPLOYMENT, MissingReason.UNREACHABLE)
    fleet.load_per_s = lambda _: 200.0
    plan = fleet.run(5).plans[-1]
    assert plan.actions == ()
    assert (fleet.decision.count, fleet.decision.reason) == (before, Reason.SERVE_UNREADABLE)


def test_a_model_nobody_has_ever_seen_is_undecided_and_its_pool_left_alone() -> None:
    told = Missing(source=Source.DEPLOYMENT, name="minilm", reason=MissingReason.UNREACHABLE)
    seen = Observation(missing=(told,), pools=(build.pool(wanted=3),))
    state, plan = decide(spec(), State(), seen, stock(), 0.0)
    assert (plan.decisions, plan.actions, plan.undecided) == ((), (), (told,))
    assert state == State(usual=dict.fromkeys(stock().slots_by_id(), 0.0))


def test_an_old_answer_of_ray_serve_is_no_answer() -> None:
    seen = Observation(deployments=(build.deployment(at_s=0.0),))
    _, plan = decide(spec(), State(), seen, stock(), 11.0)
    stale = Missing(source=Source.DEPLOYMENT, name="minilm", reason=MissingReason.STALE, age_s=11.0)
    assert plan.undecided == (stale,)


def test_without_a_view_of_the_workers_nothing_grows() -> None:
    fleet = grown(10.0)
    fleet.seen_filter = drop(Source.POOL, MissingReason.UNREACHABLE)
    fleet.load_per_s = lambda _: 70.0
    fleet.run(30)
    assert (fleet.counts[-1], fleet.decision.reason) == (1, Reason.WORKERS_UNREADABLE)
    fleet.seen_filter = lambda seen, _: seen
    fleet.run(2)
    assert fleet.counts[-1] > 1


@either
def test_a_target_that_a_redeploy_reset_is_set_again(learns: bool) -> None:
    fleet = grown(learns=learns)
    before = fleet.target
    fleet.target = 1
    plan = fleet.run(1).plans[-1]
    assert SetReplicas(model="minilm", before=1, count=before) in plan.actions
    assert fleet.decision.steps[0].reason is Reason.TARGET_RESET
    assert fleet.decision.steps[0].phrase() == f"Ray Serve's target was 1 instead of {before} and is set again"


def test_a_target_seen_before_the_last_post_is_no_reset() -> None:
    """Ray Serve's answer may be some seconds old: the target posted meanwhile is not in it yet."""
    free = build.inventory(build.node("n1", slots=2, held={0: "s/w1", 1: "s/w2"}))
    seen = build.world(
        free,
        pools=[build.pool(build.worker("s/w1"), build.worker("s/w2"), at_s=5.0)],
        deployments=[build.deployment(at_s=5.0, target=1, running={"r1": "s/w1"})],
    )
    two = build.fleet(build.model(min_replicas=2))
    state, plan = decide(two, State(), seen, free, 6.0)
    assert plan.actions == (SetReplicas(model="minilm", before=1, count=2),)
    _, plan = decide(two, state, seen, free, 7.0)
    assert Reason.TARGET_RESET not in reasons(plan.decisions[0])


def test_a_worker_on_its_way_out_does_not_take_the_count_along() -> None:
    full = build.inventory(build.node("n1", slots=2, held={0: "s/w1", 1: "s/w2"}))
    seen = build.world(
        full,
        pools=[build.pool(build.worker("s/w1"), build.worker("s/w2", deleting=True))],
        deployments=[build.deployment(target=2, running={"r1": "s/w1", "r2": "s/w2"})],
    )
    _, plan = decide(spec(), State(), seen, full, 0.0)
    assert (plan.decisions[0].count, plan.decisions[0].unplaced, plan.actions) == (2, 1, ())


def test_a_lost_action_is_found_again() -> None:
    fleet = grown(45.0, seconds=34)
    asked = fleet.run(1).decision.count
    fleet.target, lost = 1, fleet.target
    assert lost <= asked
    fleet.run(60)
    assert len(fleet.running()) == fleet.counts[-1]


@pytest.mark.parametrize("at_s", [31, 34, 38, 45, 60, 90, 120])
def test_a_restart_of_the_autoscaler_takes_no_replica(at_s: int) -> None:
    fleet = toy(steps_of((0, 5), (30, 45)))
    fleet.run(at_s)
    running, workers = len(fleet.running()), len(fleet.workers)
    fleet.state = State()
    for _ in range(60):
        fleet.run(1)
        assert len(fleet.running()) >= running
        assert len(fleet.workers) >= workers
    assert len(fleet.running()) >= 4


@either
def test_a_killed_worker_is_replaced_and_the_target_kept(learns: bool) -> None:
    fleet = grown(learns=learns)
    before = fleet.target
    fleet.remove_worker(sorted(fleet.workers)[0])
    fleet.run(1)
    assert fleet.target == before
    fleet.run(15)
    assert len(fleet.running()) >= before


def test_replicas_that_never_start_are_given_up_and_tried_again_later() -> None:
    fleet = grown(10.0)
    fleet.replica_delay_s = 10_000.0
    fleet.load_per_s = lambda _: 60.0
    fleet.run(60)
    stuck = fleet.counts[-1]
    assert stuck > 1
    fleet.run(80)
    assert (fleet.counts[-1], fleet.target, fleet.decision.reason) == (1, 1, Reason.PENDING_EXPIRED)
    fleet.replicas = {key: replica for key, replica in fleet.replicas.items() if replica.ready_s <= fleet.now_s}
    fleet.replica_delay_s = 3.0
    fleet.run(120)
    assert len(fleet.running()) >= 4


def test_it_stops_when_every_free_slot_is_on_a_saturated_card() -> None:
    """Two cards give 40 requests/s whatever the number of replicas; 60 are offered.

    The first step adds two, both on the second card, before anyone can know that one replica fills a card.
    """
    fleet = toy(lambda _: 60.0, stock=stock(cards=2, slots=2)).run(120)
    assert fleet.counts[-1] == 3
    assert fleet.decision.reason is Reason.SATURATED
    assert fleet.decision.unplaced > 0
    assert {load.saturated for load in fleet.plans[-1].gpus} == {True}


def test_under_fixed_share_the_second_slot_of_a_card_is_as_good_as_the_first() -> None:
    fixed = stock(cards=2, slots=2, policy=SchedulerPolicy.FIXED_SHARE)
    fleet = toy(lambda _: 50.0, stock=fixed).run(120)
    assert fleet.counts[-1] == 4


def test_it_says_when_there_are_no_slots_left() -> None:
    fixed = stock(cards=1, slots=2, policy=SchedulerPolicy.FIXED_SHARE)
    fleet = toy(lambda _: 60.0, stock=fixed).run(60)
    assert (fleet.counts[-1], fleet.decision.reason) == (2, Reason.NO_SLOTS)
    assert [reason for _, reason in fleet.decision.blocked] == ["all_slots_held"]


def test_workers_grow_before_replicas_and_shrink_after_them() -> None:
    fleet = toy(steps_of((0, 5), (30, 45), (120, 5))).run(500)
    acted = [
        (plan.at_s, type(action).__name__, action.count - action.before)
        for plan in fleet.plans
        for action in plan.actions
        if plan.at_s >= 30 and not isinstance(action, DrainWorkers)
    ]
    grew = [name for _, name, change in acted if change > 0]
    shrank = [name for _, name, change in acted if change < 0]
    assert (grew[0], shrank[0]) == (SetWorkers.__name__, SetReplicas.__name__)
    assert (len(fleet.running()), len(fleet.workers)) == (1, 1)


def test_two_models_share_a_pool_by_priority() -> None:
    both = build.fleet(build.model("low"), build.model("high", priority=1))
    free = build.inventory(
        build.node("n1", slots=2, card="GPU-1", held={0: "s/w1", 1: "s/w2"}),
        build.node("n2", slots=1, card="GPU-2"),
    )
    seen = build.world(
        free,
        pools=[build.pool(build.worker("s/w1"), build.worker("s/w2"))],
        deployments=[
            build.deployment(model="low", target=3, running={"l1": "s/w1"}),
            build.deployment(model="high", target=3, running={"h1": "s/w2"}),
        ],
    )
    _, plan = decide(both, State(), seen, free, 0.0)
    assert {made.model: made.count for made in plan.decisions} == {"high": 2, "low": 1}
    assert plan.actions[0] == SetWorkers(pool="v100-8q", before=2, count=3, preferred_nodes=("n2",))


def test_a_tick_changes_neither_its_state_nor_what_it_saw() -> None:
    fleet = grown(45.0, seconds=40)
    seen, state = fleet.observe(), fleet.state
    told = repr((state, seen, fleet.stock))
    first = decide(fleet.spec, state, seen, fleet.stock, fleet.now_s)
    second = decide(fleet.spec, state, seen, fleet.stock, fleet.now_s)
    assert first == second
    assert repr((state, seen, fleet.stock)) == told
