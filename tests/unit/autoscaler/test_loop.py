"""One tick after the other, in virtual time: what is done, in which order, and when."""

import pytest

from autoscaler import loop as loops
from autoscaler.core.decision import SetReplicas, SetWorkers
from autoscaler.core.observation import Missing, MissingReason, Source
from tests.unit.autoscaler.whole import BUSY, CALM, POOL, Whole, quick_spec, whole

KEEPS_WORKERS = quick_spec(worker_keep_s=600.0)


def test_an_overload_grows_workers_first_and_replicas_once_they_are_ready() -> None:
    around = whole(load=BUSY)
    around.run(12)
    assert around.changes == [(POOL, 3, ("n1", "n2"), ()), ("minilm", 3)]
    assert around.replicas == 3


def test_a_calm_model_gives_up_replicas_before_the_workers_they_lived_in() -> None:
    around = whole(workers=3, target=3)
    around.run(60)
    assert around.changes == [
        ("minilm", 2),
        ("minilm", 1),
        (POOL, 1, (), ("serving/v100-8q-2", "serving/v100-8q-3")),
    ]
    assert around.cluster.workers == {"serving/v100-8q-1": "n0"}
    assert around.replicas == 1


def test_the_actions_of_one_plan_are_carried_out_in_its_order() -> None:
    around = whole(workers=2, load=BUSY, spec=KEEPS_WORKERS)
    plan = around.run(11)[-1].plan
    assert plan is not None
    assert plan.actions == (
        SetWorkers(pool=POOL, before=2, count=3, preferred_nodes=("n2",)),
        SetReplicas(model="minilm", before=1, count=2),
    )
    assert around.changes == [(POOL, 3, ("n2",), ()), ("minilm", 2)]


def test_a_failed_action_stops_the_rest_of_the_plan_and_is_found_again() -> None:
    around = whole(workers=2, load=BUSY, spec=KEEPS_WORKERS)
    around.run(10)
    around.cluster.fail_next("set_workers")
    (failed,) = around.run(1)
    assert failed.plan is not None
    assert len(failed.plan.actions) == 2
    assert failed.failed_actions == ("Kubernetes: the API server is away",)
    assert around.changes == []
    (next_one,) = around.run(1)
    assert next_one.failed_actions == ()
    assert around.changes == [(POOL, 3, ("n2",), ()), ("minilm", 2)]


def test_a_replica_target_that_could_not_be_set_is_set_by_the_next_tick() -> None:
    around = whole(workers=2, load=BUSY, spec=KEEPS_WORKERS)
    around.run(10)
    around.serving.fail_next("set_replicas", times=2)
    failed = around.run(2)
    assert [tick.failed_actions for tick in failed] == [("Ray Serve: the dashboard is away",)] * 2
    around.run(1)
    assert around.changes == [(POOL, 3, ("n2",), ()), ("minilm", 3)]


def test_a_dry_run_decides_and_records_and_changes_nothing() -> None:
    around = whole(load=BUSY, dry_run=True)
    ticks = around.run(20)
    assert around.changes == []
    assert all(tick.dry_run for tick in ticks)
    assert any(tick.plan and tick.plan.actions for tick in ticks)


def test_ticks_keep_their_interval_whatever_each_costs() -> None:
    around = whole(interval_s=5.0)
    around.cluster.takes = lambda _: around.clock.pass_s(1.5)
    ticks = around.run(20)
    assert [tick.at_s for tick in ticks] == [0.0, 5.0, 10.0, 15.0]
    assert [tick.duration_s for tick in ticks] == [1.5] * 4
    assert around.clock.slept_s == [3.5] * 4


def test_a_tick_that_outlasts_the_interval_is_followed_at_once_by_the_next() -> None:
    around = whole(interval_s=5.0)
    around.cluster.takes = lambda _: around.clock.pass_s(7.0)
    ticks = around.run(20)
    assert [tick.at_s for tick in ticks] == [0.0, 7.0, 14.0]
    assert around.clock.slept_s == [0.0, 0.0, 0.0]


def test_a_reading_that_hung_does_not_make_the_next_one_look_older() -> None:
    around = whole()
    around.cluster.takes = lambda _: around.clock.pass_s(7.0)
    (tick,) = around.run(1)
    assert [pool.at_s for pool in tick.seen.pools] == [0.0]
    assert [deployment.at_s for deployment in tick.seen.deployments] == [7.0]
    assert [sample.at_s for sample in tick.seen.replicas] == [7.0]
    assert tick.plan is not None
    assert tick.plan.at_s == 7.0


def test_ticks_are_numbered_and_every_one_is_recorded() -> None:
    assert [tick.number for tick in whole().run(4)] == [1, 2, 3, 4]


def steady() -> Whole:
    """Three replicas that must stay, with full windows."""
    around = whole(workers=3, target=3, spec=quick_spec(min_replicas=3))
    around.run(15)
    return around


def test_a_worker_that_does_not_answer_is_a_gap_of_the_replica_in_it() -> None:
    around = steady()
    replica, _ = around.serving.running["serving/v100-8q-2"]
    around.metrics.silent.add("serving/v100-8q-2")
    (tick,) = around.run(1)
    assert tick.seen.missing == (Missing(source=Source.REPLICA, name=replica, reason=MissingReason.UNREACHABLE),)


def test_a_worker_without_a_replica_is_no_gap() -> None:
    around = whole(workers=3, target=1)
    (tick,) = around.run(1)
    assert len(around.metrics.rounds[0]) == 3 + 4
    assert tick.seen.missing == ()


def test_an_exporter_that_does_not_answer_is_a_gap_of_each_slot_of_its_node() -> None:
    around = steady()
    around.metrics.silent.add("n1")
    (tick,) = around.run(1)
    assert tick.seen.missing == (Missing(source=Source.SLOT, name="n1/0", reason=MissingReason.UNREACHABLE),)


def test_a_silent_worker_holds_the_count_until_it_speaks_again() -> None:
    around = whole(workers=3, target=3, load=BUSY)
    around.run(15)
    around.changes.clear()
    around.metrics.load = CALM
    around.metrics.silent.add("serving/v100-8q-2")
    around.run(120)
    assert around.changes == []
    around.metrics.silent.clear()
    around.run(120)
    assert ("minilm", 1) in around.changes


def test_a_defect_in_deciding_fails_the_tick_and_keeps_the_state(monkeypatch: pytest.MonkeyPatch) -> None:
    around = whole(load=BUSY)
    around.run(8)

    def broken(*_: object) -> None:
        raise ZeroDivisionError("division by zero")

    with monkeypatch.context() as patch:
        patch.setattr(loops, "decide", broken)
        failed = around.run(2)
    assert [tick.plan for tick in failed] == [None, None]
    assert [tick.defect for tick in failed] == ["tick failed: ZeroDivisionError: division by zero"] * 2
    assert [tick.problems for tick in failed] == [("tick failed: ZeroDivisionError: division by zero",)] * 2
    assert around.changes == []
    (mended,) = around.run(1)
    assert mended.defect is None
    # At 10 s, as without the defect: what was learnt in the first eight seconds is still there.
    assert around.changes == [(POOL, 3, ("n1", "n2"), ())]


def test_a_defect_in_an_adapter_fails_the_tick_and_not_the_autoscaler() -> None:
    around = whole(load=BUSY)

    def broken(_: str) -> None:
        raise KeyError("spec")

    around.cluster.takes = broken
    (failed,) = around.run(1)
    assert failed.defect == "tick failed: KeyError: 'spec'"
    around.cluster.takes = lambda _: None
    around.run(12)
    assert around.replicas == 3


def test_a_defect_in_acting_keeps_the_plan_that_was_being_carried_out() -> None:
    around = whole(load=BUSY)
    around.run(10)

    def broken(verb: str) -> None:
        if verb == "set_workers":
            raise KeyError("replicas")

    around.cluster.takes = broken
    (failed,) = around.run(1)
    assert failed.defect == "tick failed: KeyError: 'replicas'"
    assert failed.plan is not None
    assert len(failed.plan.actions) == 1
    around.cluster.takes = lambda _: None
    around.run(1)
    assert around.changes == [(POOL, 3, ("n1", "n2"), ())]
