"""Whole small runs: who runs when, what it costs, what clients get, and what faults do to it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.decision import Action, SetReplicas, SetWorkers
from autoscaler.core.observation import Missing, MissingReason, Source
from autoscaler.sim.controller import Ours, Plain, View
from autoscaler.sim.faults import (
    ApiAway,
    AutoscalerRestart,
    Fault,
    ForeignWrite,
    MetricsMissing,
    PodsNeverStart,
    TargetReset,
    WorkerKilled,
)
from autoscaler.sim.simulation import Outcome, longest_run, run
from autoscaler.sim.world import World, default_world
from tests.unit.sim.rig import POOL, Schedule, evenly, model, pod, world


def simulate(
    *steps: tuple[float, int],
    of: World | None = None,
    times: Mapping[str, Any] | None = None,
    span_s: float = 200.0,
    seed: int = 1,
    warm_up_s: float = 0.0,
    faults: Sequence[Fault] = (),
) -> Outcome:
    """A run under a fixed schedule of counts."""
    controller = Plain(Schedule(steps or [(0.0, 1)]))
    arrivals = {"m0": evenly(1, 0, span_s)} if times is None else times
    return run(of or world(), arrivals, controller, seed=seed, span_s=span_s, warm_up_s=warm_up_s, faults=faults)


def test_replicas_follow_the_law_after_a_cold_start_and_slots_before_and_after_them() -> None:
    """Asked at 10 s: workers 10 s, load 30 s. Back at 100 s: stopped for 5 s, deleted with the tick at 105 s, 1 s."""
    outcome = simulate((0, 1), (10, 3), (100, 1), span_s=130.0)
    timeline = outcome.timeline
    assert timeline.time_s.tolist() == [10.0 * index for index in range(13)]
    assert timeline.wanted.tolist() == [1, *[3] * 9, *[1] * 3]
    assert timeline.replicas.tolist() == [1] * 5 + [3] * 5 + [1] * 3
    assert timeline.slots.tolist() == pytest.approx([1, *[3] * 9, 2.2, 1, 1])
    assert outcome.slot_hours == pytest.approx((130 + 2 * 96) / 3600)
    assert (outcome.changes, outcome.changes_per_hour) == (2, pytest.approx(2 * 3600 / 130))
    assert (outcome.killed, outcome.failed, outcome.refused) == (0, 0, 0)
    assert outcome.models["m0"].timeline.slots.tolist() == [1, 1, *[3] * 8, 1, 1, 1]


def test_what_clients_feel_is_counted_by_the_time_a_request_came() -> None:
    """The one replica is lost at 100 s and back after a worker's start and a load, at 140 s."""
    outcome = simulate(faults=[WorkerKilled(at_s=100.0)])
    assert (outcome.offered, outcome.refused, outcome.failed, outcome.killed) == (200, 40, 0, 1)
    assert outcome.attainment_ratio == 160 / 200
    assert (outcome.violation_s, outcome.recover_s) == (40.0, 40.0)
    assert outcome.timeline.attainment_ratio.tolist() == [1.0] * 10 + [0.0] * 4 + [1.0] * 6
    assert outcome.timeline.offered_per_s.tolist() == [1.0] * 20
    assert np.isnan(outcome.timeline.p95_ms).tolist() == [False] * 10 + [True] * 4 + [False] * 6
    assert outcome.timeline.p95_ms[0] == pytest.approx(60.0, rel=0.03)
    assert (outcome.p50_ms, outcome.p99_ms) == (pytest.approx(60.0, rel=0.03), pytest.approx(60.0, rel=0.03))


def test_requests_lost_with_a_replica_are_misses() -> None:
    outcome = simulate(times={"m0": [99.96, 150.0]}, faults=[WorkerKilled(at_s=100.0)])
    assert (outcome.offered, outcome.failed, outcome.attainment_ratio) == (2, 1, 0.5)
    assert outcome.violation_s == 10.0


def test_requests_that_come_at_the_very_end_may_still_be_answered_in_time() -> None:
    assert simulate(times={"m0": [199.9]}).attainment_ratio == 1.0
    crowd = simulate(of=world(model(host_ms=55.0)), times={"m0": [199.9] * 6})
    assert crowd.attainment_ratio == 5 / 6, "the sixth waits for 5 x 55 ms"
    assert simulate(times={"m0": [199.9, 200.0, 201.0]}).offered == 1, "the span is over"


def test_a_wait_without_end_is_a_miss() -> None:
    outcome = simulate(of=world(model(host_ms=60_000.0)), times={"m0": [10.0, 11.0]}, span_s=50.0)
    assert (outcome.attainment_ratio, outcome.violation_s) == (0.0, 10.0)
    assert math.isnan(outcome.p95_ms)


def test_the_warm_up_is_simulated_and_not_counted() -> None:
    everything = simulate((0, 1), (10, 2), (150, 1), faults=[WorkerKilled(at_s=60.0)])
    late = simulate((0, 1), (10, 2), (150, 1), faults=[WorkerKilled(at_s=60.0)], warm_up_s=111.0)
    assert (late.offered, late.refused, late.violation_s, late.changes) == (80, 0, 0.0, 1)
    assert late.slot_hours == pytest.approx((30 + 80 + 6) / 3600), "two slots from 120 s until 156 s"
    assert late.changes_per_hour == pytest.approx(1 * 3600 / 80)
    assert late.timeline.time_s.tolist() == everything.timeline.time_s.tolist()
    assert everything.changes == 2


def test_a_span_may_end_within_a_window() -> None:
    outcome = simulate(times={"m0": evenly(2, 0, 25)}, span_s=25.0)
    assert outcome.timeline.time_s.tolist() == [0.0, 10.0, 20.0]
    assert outcome.timeline.offered_per_s.tolist() == [2.0] * 3
    assert outcome.slot_hours == pytest.approx(25 / 3600)
    lost = simulate(times={"m0": evenly(2, 0, 25)}, span_s=25.0, faults=[WorkerKilled(at_s=20.0)])
    assert (lost.violation_s, lost.refused) == (5.0, 10)


def test_nothing_offered_is_no_attainment_and_no_violation() -> None:
    outcome = simulate(times={})
    assert (outcome.offered, outcome.violation_s) == (0, 0.0)
    assert math.isnan(outcome.attainment_ratio)
    assert np.isnan(outcome.timeline.attainment_ratio).all()


def test_a_fleet_violates_when_one_of_its_models_does() -> None:
    of = world(model("m0"), model("m1", host_ms=400.0))
    outcome = simulate(of=of, times={"m0": evenly(10, 0, 100), "m1": [25.0, 45.0, 55.0]}, span_s=100.0)
    slow, fast = outcome.models["m1"], outcome.models["m0"]
    assert (fast.violation_s, slow.violation_s, outcome.violation_s) == (0.0, 30.0, 30.0)
    assert (slow.recover_s, outcome.recover_s) == (20.0, 20.0)
    assert (fast.offered, slow.offered, outcome.offered) == (1000, 3, 1003)
    assert (fast.attainment_ratio, slow.attainment_ratio) == (1.0, 0.0)
    assert outcome.attainment_ratio == 1000 / 1003
    assert outcome.timeline.replicas.tolist() == [2.0] * 10
    assert slow.p95_ms == pytest.approx(400.0, rel=0.03)


class Recording:
    """Does nothing, and remembers what it was shown and when it was reset."""

    def __init__(self, interval_s: float = 5.0, actions: Mapping[float, Sequence[Action]] | None = None) -> None:
        self.interval_s = interval_s
        self.views: list[View] = []
        self.resets: list[int] = []
        self._actions = actions or {}

    def tick(self, view: View) -> Sequence[Action]:
        self.views.append(view)
        return self._actions.get(view.now_s, ())

    def reset(self) -> None:
        self.resets.append(len(self.views))


def watched(recording: Recording, of: World | None = None, span_s: float = 30.0, *faults: Fault) -> Recording:
    run(of or world(), {"m0": evenly(10, 0, span_s)}, recording, seed=1, span_s=span_s, faults=faults)
    return recording


@pytest.mark.parametrize(
    ("metric_age_s", "sampled_s"),
    [(1.0, [4, 9, 14, 19, 24]), (0.0, [5, 10, 15, 20, 25]), (12.0, [0, 0, 3, 8, 13])],
)
def test_a_controller_is_shown_metrics_of_the_age_the_world_says(metric_age_s: float, sampled_s: list[float]) -> None:
    views = watched(Recording(), world(metric_age_s=metric_age_s)).views
    assert [view.now_s for view in views] == [5, 10, 15, 20, 25]
    assert [view.seen.replicas[0].at_s for view in views] == sampled_s
    assert [view.seen.pools[0].at_s for view in views] == [5, 10, 15, 20, 25]
    answered = [view.seen.replicas[0].counters.answered for view in views]
    assert answered == pytest.approx([10 * at_s for at_s in sampled_s], abs=1)


def test_faults_of_metrics_reach_the_controller() -> None:
    views = watched(Recording(), None, 30.0, MetricsMissing(from_s=8.0, to_s=18.0)).views
    gap = Missing(source=Source.REPLICA, name="m0#00001", reason=MissingReason.UNREACHABLE)
    assert [view.seen.missing for view in views] == [(), (gap,), (gap,), (), ()]


def test_a_restart_resets_the_controller_at_its_time() -> None:
    assert watched(Recording(), None, 30.0, AutoscalerRestart(at_s=12.0), AutoscalerRestart(at_s=1.0)).resets == [0, 2]


def test_a_redeploy_resets_targets() -> None:
    of = world(model("m0", start_replicas=2), model("m1", start_replicas=2))
    all_of_them = watched(Recording(), of, 30.0, TargetReset(at_s=12.0, count=1)).views
    one = watched(Recording(), of, 30.0, TargetReset(at_s=12.0, count=1, model="m1")).views
    assert [[seen.target for seen in view.seen.deployments] for view in all_of_them[1:3]] == [[2, 2], [1, 1]]
    assert [[seen.target for seen in view.seen.deployments] for view in one[1:3]] == [[2, 2], [2, 1]]


def test_somebody_else_sizes_the_pool() -> None:
    views = watched(Recording(), None, 30.0, ForeignWrite(at_s=12.0, count=3)).views
    assert [(view.seen.pools[0].wanted, len(view.seen.pools[0].workers)) for view in views[1:3]] == [(1, 1), (3, 3)]
    assert simulate(span_s=30.0, faults=[ForeignWrite(at_s=12.0, count=3)]).changes == 0


def test_pods_that_never_start_hold_up_what_waits_for_them() -> None:
    outcome = simulate((0, 1), (10, 2), faults=[PodsNeverStart(from_s=0.0, to_s=50.0)])
    assert outcome.timeline.replicas.tolist() == [1.0] * 20
    assert outcome.timeline.slots.tolist() == [1.0] + [2.0] * 19


def test_without_kubernetes_workers_cannot_be_sized_and_the_rest_of_the_plan_is_dropped() -> None:
    grow: list[Action] = [SetWorkers(pool=POOL, before=1, count=2), SetReplicas(model="m0", before=1, count=2)]
    away = ApiAway(from_s=8.0, to_s=12.0)
    views = watched(Recording(actions={10.0: grow}), None, 30.0, away).views
    assert {(view.seen.pools[0].wanted, view.seen.deployments[0].target) for view in views} == {(1, 1)}
    views = watched(Recording(actions={10.0: grow[1:]}), None, 30.0, away).views
    assert [view.seen.deployments[0].target for view in views] == [1, 1, 2, 2, 2], "Ray Serve is there"
    views = watched(Recording(actions={15.0: grow}), None, 30.0, away).views
    assert (views[-1].seen.pools[0].wanted, views[-1].seen.deployments[0].target) == (2, 2)


def test_a_wrong_deletion_costs_the_requests_that_were_there() -> None:
    kill = [SetWorkers(pool=POOL, before=1, count=1, victims=(pod(1),))]
    outcome = run(world(), {"m0": evenly(10, 0, 60)}, Recording(actions={10.0: kill}), seed=1, span_s=60.0)
    assert (outcome.killed, outcome.failed, outcome.refused) == (1, 1, 400)
    assert outcome.violation_s == 40.0


def flat(outcome: Outcome) -> list[float]:
    numbers = [
        value
        for name in ("time_s", "attainment_ratio", "p95_ms", "replicas", "slots", "wanted")
        for value in getattr(outcome.timeline, name).tolist()
    ]
    return [*numbers, outcome.slot_hours, outcome.p50_ms, outcome.p99_ms, outcome.offered, outcome.refused]


def some_load(rate_per_s: float, span_s: float, seed: int = 5) -> Any:
    rng = np.random.default_rng(seed)
    return np.sort(rng.uniform(0, span_s, rng.poisson(rate_per_s * span_s)))


def test_equal_seeds_give_equal_runs_and_other_seeds_others() -> None:
    def ours(seed: int) -> list[float]:
        faults = [MetricsMissing(from_s=100.0, to_s=150.0, share=0.5), WorkerKilled(at_s=200.0)]
        arrivals = {"embedder": some_load(20, 400)}
        return flat(run(default_world(cards=2), arrivals, Ours(), seed=seed, span_s=400.0, faults=faults))

    assert str(ours(1)) == str(ours(1))
    assert str(ours(1)) != str(ours(2))


def test_ours_follows_a_step_up_and_down_again() -> None:
    """4 requests/s need one replica of about 12/s; 30/s need at least three, on a fleet of three cards."""
    times = np.concatenate([some_load(4, 300), 300 + some_load(30, 600), 900 + some_load(4, 900)])
    outcome = run(default_world(cards=3), {"embedder": times}, Ours(), seed=1, span_s=1800.0, warm_up_s=60.0)
    replicas = outcome.timeline.replicas
    assert replicas[:30].max() <= 2
    assert replicas[45:90].min() >= 3
    assert replicas[-1] <= replicas[45:90].max() - 2
    assert outcome.timeline.slots[-1] <= replicas[-1] + 1
    assert outcome.timeline.attainment_ratio[50:90].min() > 0.8
    assert (outcome.killed, outcome.failed) == (0, 0)
    assert outcome.models["embedder"].offered == outcome.offered


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"span_s": 10.0, "warm_up_s": 10.0}, "span_s is 10.0 and warm_up_s is 10.0; leave at least one whole window"),
        ({"span_s": 15.0, "warm_up_s": 11.0}, "leave at least one"),
        ({"span_s": math.inf}, "span_s is inf"),
        ({"warm_up_s": -10.0}, "warm_up_s is -10.0"),
    ],
)
def test_a_span_that_leaves_nothing_to_count_is_refused(fields: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        simulate(times={}, **fields)


def test_a_controller_that_never_waits_is_refused() -> None:
    with pytest.raises(ValueError, match=r"interval_s of the controller is 0; above 0"):
        watched(Recording(interval_s=0))


@given(st.lists(st.integers(0, 3), max_size=30))
def test_the_longest_run_is_the_largest_sum_between_zeros(lengths: list[int]) -> None:
    parts = "".join(str(length) for length in lengths).split("0")
    assert longest_run(np.array(lengths, dtype=np.float64)) == max(sum(map(int, part)) for part in parts)
