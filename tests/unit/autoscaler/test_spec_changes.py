"""The models file changes while the loop runs: what takes effect when, what is kept, and who is left alone."""

from dataclasses import replace
from typing import Any

import pytest

from autoscaler.core.decision import SetWorkers
from autoscaler.core.learning import Trust
from autoscaler.core.observation import PoolSeen
from autoscaler.core.spec import FleetSpec, PoolSpec
from autoscaler.ports import Change, Tick
from tests import build
from tests.unit.autoscaler.whole import BUSY, CALM, POOL, Whole, quick_spec, whole
from vgpu.core.profile import parse_profile

OTHER = "t4-4q"
ALONE = quick_spec()
WITH_OCR = replace(ALONE, models=(*ALONE.models, build.model("ocr", scale_down_window_s=5.0)))


def changed(**model: Any) -> FleetSpec:
    """The one model with other settings."""
    return quick_spec(**model)


def elsewhere(**model: Any) -> FleetSpec:
    """The one model on another slot type."""
    spec = quick_spec(**model)
    other = PoolSpec(name=OTHER, profile=parse_profile("t4-4q-4GB"))
    return replace(spec, pools=(other,), models=(replace(spec.models[0], pool=OTHER),))


def with_other_pool(around: Whole, workers: int = 0) -> Whole:
    """The chart has made the pool of the other slot type, whose slots are free."""
    node = build.node("t1", profile="t4-4q-4GB", card="GPU-T", slots=4)
    around.cluster.inventory = replace(around.cluster.inventory, nodes=(*around.cluster.inventory.nodes, node))
    around.cluster.wanted[OTHER] = workers
    return around


def count(tick: Tick, model: str = "minilm") -> int | None:
    return next((made.count for made in tick.plan.decisions if made.model == model), None) if tick.plan else None


def test_a_bound_takes_effect_in_the_next_tick() -> None:
    around = whole(workers=3, target=3, spec=quick_spec(min_replicas=3))
    around.run(15)
    around.models.take(changed(min_replicas=1, max_replicas=2))
    (tick,) = around.run(1)
    assert (tick.models_file.change, tick.spec.models[0].max_replicas, count(tick)) == (Change.APPLIED, 2, 2)
    assert around.changes[-1] == ("minilm", 2)
    around.models.take(changed(min_replicas=4))
    (tick,) = around.run(1)
    assert count(tick) == 4


def test_what_was_learned_stays_when_promises_change() -> None:
    around = whole(workers=2, target=2, spec=quick_spec(min_replicas=2), load=BUSY)
    around.run(20)
    before = around.loop._state.models["minilm"]
    around.models.take(changed(min_replicas=2, objective_p95_ms=100, priority=7, max_replicas=3))
    (tick,) = around.run(1)
    after = around.loop._state.models["minilm"]
    assert tick.spec.models[0].priority == 7
    assert (after.running_ids, after.running_since_s) == (before.running_ids, before.running_since_s)
    assert after.learned.since_s == before.learned.since_s
    assert all(len(after.windows[key]) >= len(before.windows[key]) for key in before.windows)


def test_a_stricter_objective_is_acted_on_with_the_window_that_is_there() -> None:
    around = whole(load=replace(CALM, per_s=10.0, latency_ms=150.0, in_flight=4, queued=1))
    around.run(15)
    assert around.changes == []
    around.models.take(changed(objective_p95_ms=50))
    around.run(2)
    assert around.changes[0][:2] == (POOL, 2)


def test_a_model_that_ray_does_not_have_is_waited_for_and_holds_nobody_up() -> None:
    around = whole(load=BUSY)
    around.run(8)
    around.models.take(WITH_OCR)
    (tick,) = around.run(1)
    assert [model.name for model in tick.spec.models] == ["minilm", "ocr"]
    assert tick.plan is not None
    assert [gap.name for gap in tick.plan.undecided] == ["ocr"]
    around.run(6)
    # The overload of the model that is there is answered as if the other one did not exist.
    assert [change[:2] for change in around.changes] == [(POOL, 3), ("minilm", 3)]


def test_nothing_grows_for_a_model_that_ray_does_not_have() -> None:
    around = whole()
    around.models.take(replace(WITH_OCR, models=(*ALONE.models, build.model("ocr", min_replicas=2))))
    around.run(60)
    assert around.changes == []


def test_workers_stay_while_a_model_that_shall_live_in_them_is_not_there_yet() -> None:
    """An autoscaler that starts anew beside a Ray that starts anew must not give the workers away meanwhile."""
    around = whole(workers=3, target=1, spec=WITH_OCR)
    around.run(60)
    assert around.changes == []
    around.models.take(ALONE)
    around.run(20)
    assert around.changes == [(POOL, 1, (), ("serving/v100-8q-2", "serving/v100-8q-3"))]


def test_a_new_model_is_decided_on_once_ray_has_it_and_read_first() -> None:
    around = whole()
    around.models.take(WITH_OCR)
    around.run(5)
    around.serving.deploy("ocr", 1)
    ticks = around.run(10)
    assert count(ticks[0], "ocr") == 1
    assert around.changes == [(POOL, 2, ("n1",), ())]
    assert [model for _, model in around.serving.running.values()] == ["minilm", "ocr"]
    # Its first readings are missing, and two of a window's samples are needed: nothing falls on that.
    assert all(count(tick, "ocr") == 1 for tick in ticks)


def test_a_pool_that_was_not_made_gives_its_model_nothing_and_stops_nobody_else() -> None:
    around = whole(load=BUSY)
    elsewhere_too = replace(
        ALONE,
        pools=(*ALONE.pools, *elsewhere().pools),
        models=(*ALONE.models, build.model("ocr", pool=OTHER, min_replicas=2)),
    )
    around.models.take(elsewhere_too)
    around.serving.deploy("ocr", 0)
    ticks = around.run(12)
    assert all(f"Deployment {OTHER}: none" in tick.problems for tick in ticks)
    assert count(ticks[-1], "ocr") == 2
    assert [change[:2] for change in around.changes] == [(POOL, 3), ("minilm", 3)]


def test_a_model_that_is_gone_is_forgotten_and_its_workers_go_when_they_are_empty() -> None:
    around = whole(workers=2, target=1, spec=WITH_OCR)
    around.serving.deploy("ocr", 1)
    around.run(10)
    assert set(around.loop._state.models) == {"minilm", "ocr"}
    around.models.take(ALONE)
    ticks = around.run(60)
    # Ray still runs it: the worker below it is not ours to take.
    assert set(around.loop._state.models) == {"minilm"}
    assert around.changes == []
    assert [(pool.wanted, len(pool.workers)) for pool in ticks[-1].seen.pools] == [(1, 1)]
    assert ticks[-1].lent == {POOL: 1}
    around.serving.delete("ocr")
    around.run(10)
    assert around.changes == [(POOL, 1, (), ("serving/v100-8q-2",))]


def test_a_model_beside_one_that_is_leaving_grows_past_its_workers() -> None:
    around = whole(workers=2, target=1, spec=WITH_OCR, load=BUSY)
    around.serving.deploy("ocr", 1)
    around.run(2)
    around.models.take(ALONE)
    around.run(14)
    # Three for the one that is overloaded, on top of the one that still belongs to the other.
    assert around.changes == [(POOL, 4, ("n2", "n3"), ()), ("minilm", 3)]
    assert around.replicas == 4


def test_a_pool_that_no_model_names_is_emptied_and_then_forgotten() -> None:
    around = with_other_pool(whole(workers=2), workers=2)
    ocr = build.model("ocr", pool=OTHER)
    around.models.take(replace(ALONE, pools=(*ALONE.pools, *elsewhere().pools), models=(*ALONE.models, ocr)))
    around.serving.deploy("ocr", 1)
    around.run(10)
    around.changes.clear()
    around.serving.delete("ocr")
    around.models.take(ALONE)
    ticks = around.run(12)
    assert [change[:2] for change in around.changes if change[0] == OTHER] == [(OTHER, 0)]
    assert [pool.name for pool in ticks[0].spec.pools] == [POOL, OTHER]
    assert [pool.name for pool in ticks[-1].spec.pools] == [POOL]
    assert all(tick.problems == () for tick in ticks)


def test_a_pool_whose_deployment_is_gone_with_its_last_model_is_forgotten() -> None:
    around = with_other_pool(whole(), workers=1)
    around.models.take(replace(ALONE, pools=(*ALONE.pools, *elsewhere().pools)))
    around.run(3)
    del around.cluster.wanted[OTHER]
    around.models.take(ALONE)
    ticks = around.run(3)
    assert [[pool.name for pool in tick.spec.pools] for tick in ticks] == [[POOL, OTHER], [POOL], [POOL]]


def test_a_model_on_another_slot_type_gets_its_workers_there_before_it_leaves_the_old_ones() -> None:
    around = with_other_pool(whole(workers=2, target=2, spec=quick_spec(min_replicas=2)))
    around.run(10)
    around.models.take(elsewhere(min_replicas=2))
    ticks = around.run(20)
    assert around.changes == [(OTHER, 2, ("t1",), ())]
    assert around.replicas == 2
    assert ticks[-1].lent == {POOL: 2}
    # Now the deployer's new replicas start there and the old ones stop.
    for worker in ("serving/v100-8q-1", "serving/v100-8q-2"):
        around.serving.drained.add(worker)
    around.run(12)
    assert {node for worker, node in around.cluster.workers.items() if worker in around.serving.running} == {"t1"}
    assert around.changes[-1][:2] == (POOL, 0)
    assert ("minilm", 1) not in around.changes


def test_what_batches_cost_is_forgotten_with_the_board_and_not_with_the_promise() -> None:
    around = with_other_pool(whole(workers=2, target=2, spec=quick_spec(min_replicas=2)))
    around.run(10)
    known = around.loop._state.models["minilm"]
    learned = replace(known.learned, service=replace(known.learned.service, weight=500.0), trust=Trust(trim=1.4))
    around.loop._state = replace(around.loop._state, models={"minilm": replace(known, learned=learned)})
    around.models.take(changed(min_replicas=2, objective_p95_ms=300))
    around.run(1)
    assert around.loop._state.models["minilm"].learned.service.weight == 500.0
    around.models.take(elsewhere(min_replicas=2))
    around.run(1)
    learned = around.loop._state.models["minilm"].learned
    assert (learned.service.weight, learned.trust.trim) == (0.0, 1.0)


def test_a_model_that_does_other_work_is_learned_anew() -> None:
    around = whole()
    around.run(10)
    known = around.loop._state.models["minilm"]
    taught = replace(known, learned=replace(known.learned, service=replace(known.learned.service, weight=500.0)))
    around.loop._state = replace(around.loop._state, models={"minilm": taught})
    around.models.take(ALONE, reworked=frozenset({"minilm"}))
    around.run(1)
    assert around.loop._state.models["minilm"].learned.service.weight == 0.0


def test_a_refused_file_changes_nothing_and_is_a_problem_of_every_tick() -> None:
    around, alike = whole(load=BUSY), whole(load=BUSY)
    around.run(5), alike.run(5)
    around.models.refuse("models.yaml: models.a.slot: 'tape' is no vGPU profile", "models.yaml: models.b: missing")
    ticks = around.run(15)
    alike.run(15)
    assert {tick.problems for tick in ticks} == {around.models.problems}
    assert [tick.models_file.change for tick in ticks] == [Change.REFUSED, *[None] * 14]
    assert around.changes == alike.changes
    around.models.restore()
    (tick,) = around.run(1)
    assert tick.problems == ()


def test_a_file_that_is_refused_while_the_lead_changes_leaves_both_with_the_last_one() -> None:
    around = whole(load=BUSY, spec=changed(max_replicas=2))
    around.run(3)
    around.models.refuse("models.yaml: not YAML")
    around.leadership.held = False
    standing_by = around.run(10)
    assert all(tick.dry_run and tick.problems == ("models.yaml: not YAML",) for tick in standing_by)
    assert around.changes == []
    around.leadership.held = True
    around.run(3)
    assert around.changes == [(POOL, 2, ("n1",), ()), ("minilm", 2)]
    around.leadership.held = False
    around.models.take(changed(max_replicas=4))
    around.run(1)
    around.leadership.held = True
    ticks = around.run(10)
    assert (ticks[0].problems, ticks[0].spec.models[0].max_replicas) == ((), 4)
    assert (POOL, 4) in [change[:2] for change in around.changes]


def test_the_file_is_followed_while_kubernetes_and_ray_are_away() -> None:
    around = whole(workers=3, target=3, spec=quick_spec(min_replicas=3))
    around.run(10)
    around.cluster.is_away = around.serving.is_away = True
    around.models.take(changed(min_replicas=1, max_replicas=2))
    ticks = around.run(30)
    assert ticks[-1].spec.models[0].max_replicas == 2
    assert around.changes == []
    around.cluster.is_away = around.serving.is_away = False
    around.run(40)
    assert around.replicas <= 2


def test_a_defect_keeps_what_is_followed() -> None:
    around = whole()
    around.run(3)

    def broken() -> None:
        raise ZeroDivisionError("division by zero")

    around.models.read = broken  # type: ignore[assignment, method-assign]  # a defect of the adapter
    (tick,) = around.run(1)
    assert tick.defect == "tick failed: ZeroDivisionError: division by zero"
    assert (tick.spec, tick.plan) == (ALONE, None)


def test_a_reset_target_right_after_a_change_is_no_other_writer() -> None:
    """A deployer that applies a change may set the target to the file's own number; two changes are two of those."""
    around = whole(workers=3, target=3, spec=quick_spec(min_replicas=3))
    around.run(10)
    for objective_ms in (300, 400, 500):
        around.models.take(changed(min_replicas=3, objective_p95_ms=objective_ms))
        around.run(2)
        around.serving.deploy("minilm", 1)
        (tick,) = around.run(1)
        assert count(tick) == 3
        assert around.changes[-1] == ("minilm", 3)


@pytest.mark.parametrize("lent", [0, 2])
def test_pools_are_shown_and_sized_with_the_workers_of_others(lent: int) -> None:
    around = whole(workers=1 + lent, target=1, spec=quick_spec(min_replicas=2))
    if lent:
        around.serving.deploy("stranger", lent)
    (tick,) = around.run(1)
    assert tick.plan is not None
    assert tick.plan.actions[0] == SetWorkers(
        pool=POOL, before=1 + lent, count=2 + lent, preferred_nodes=(f"n{1 + lent}",)
    )
    (pool,) = tick.seen.pools
    assert isinstance(pool, PoolSeen)
    assert (pool.wanted, [worker.pod for worker in pool.workers]) == (1, ["serving/v100-8q-1"])
