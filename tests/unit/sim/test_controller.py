"""What controllers ask for: ours through the real core, and any law behind stock plumbing."""

import pytest

from autoscaler.core.decision import SetReplicas, SetWorkers
from autoscaler.core.observation import (
    DeploymentSeen,
    Observation,
    PoolSeen,
    ReplicaSeen,
    ReplicaState,
    WorkerSeen,
)
from autoscaler.core.spec import FleetSpec, ModelSpec, PoolSpec
from autoscaler.sim.controller import Ours, Plain, View, spec_of
from autoscaler.sim.observe import Observer
from autoscaler.sim.world import Foreign
from tests.unit.sim.rig import POOL, Rig, Schedule, evenly, model, pod, world

RUNNING, STARTING, STOPPING = ReplicaState.RUNNING, ReplicaState.STARTING, ReplicaState.STOPPING


def deployment(target: int, *replicas: tuple[ReplicaState, int | None], name: str = "m0") -> DeploymentSeen:
    """Replicas by their state and the number of their worker."""
    seen = tuple(
        ReplicaSeen(replica_id=f"{name}#{index}", state=state, worker=None if worker is None else pod(worker))
        for index, (state, worker) in enumerate(replicas)
    )
    return DeploymentSeen(model=name, at_s=100.0, target=target, replicas=seen)


def pool(wanted: int, *numbers: int, at_s: float = 100.0, unready: tuple[int, ...] = ()) -> PoolSeen:
    workers = tuple(
        WorkerSeen(pod=pod(number), node=f"n{number}", ready=number not in unready) for number in (*numbers, *unready)
    )
    return PoolSeen(pool=POOL, at_s=at_s, wanted=wanted, workers=workers)


def view(*seen: DeploymentSeen | PoolSeen, models: int = 1) -> View:
    of = world(*(model(f"m{index}", max_replicas=4) for index in range(models)), cards=2)
    return View(
        now_s=100.0,
        seen=Observation(
            deployments=tuple(each for each in seen if isinstance(each, DeploymentSeen)),
            pools=tuple(each for each in seen if isinstance(each, PoolSeen)),
        ),
        inventory=Rig(of).fleet.pool.inventory(),
        spec=spec_of(of),
    )


def asked(count: int | None, seen: View) -> list[object]:
    return list(Plain(Schedule([] if count is None else [(0.0, count)])).tick(seen))


def test_the_specification_of_a_world_has_its_objectives_bounds_and_priorities() -> None:
    of = world(
        model("small", objective_p95_ms=150, min_replicas=2, start_replicas=2, max_replicas=3, priority=7),
        model("large"),
        foreign=(Foreign(card=0, phases=((0.0, 0.5),)),),
    )
    assert spec_of(of) == FleetSpec(
        pools=(PoolSpec(name=POOL, profile=of.profile),),
        models=(
            ModelSpec(name="small", pool=POOL, objective_p95_ms=150, min_replicas=2, max_replicas=3, priority=7),
            ModelSpec(name="large", pool=POOL, objective_p95_ms=300, min_replicas=1, max_replicas=3),
        ),
    )


def test_growth_asks_for_workers_first_and_within_bounds() -> None:
    seen = view(deployment(1, (RUNNING, 1)), pool(1, 1))
    assert asked(3, seen) == [
        SetWorkers(pool=POOL, before=1, count=3),
        SetReplicas(model="m0", before=1, count=3),
    ]
    assert asked(9, seen) == [
        SetWorkers(pool=POOL, before=1, count=4),
        SetReplicas(model="m0", before=1, count=4),
    ]


def test_what_is_as_wanted_is_left_alone() -> None:
    assert asked(1, view(deployment(1, (RUNNING, 1)), pool(1, 1))) == []
    assert asked(0, view(deployment(1, (RUNNING, 1)), pool(1, 1))) == []


def test_a_law_that_wants_nothing_of_a_model_leaves_its_target() -> None:
    assert asked(None, view(deployment(2, (RUNNING, 1)), pool(1, 1))) == [SetWorkers(pool=POOL, before=1, count=2)]
    assert asked(None, view(pool(1, 1))) == []


def test_a_fall_takes_the_replica_first_and_its_worker_only_when_it_is_empty() -> None:
    full = view(deployment(2, (RUNNING, 1), (RUNNING, 2)), pool(2, 1, 2))
    assert asked(1, full) == [SetReplicas(model="m0", before=2, count=1)]
    stopping = view(deployment(1, (RUNNING, 1), (STOPPING, 2)), pool(2, 1, 2))
    assert asked(1, stopping) == []
    empty = view(deployment(1, (RUNNING, 1)), pool(2, 1, 2))
    assert asked(1, empty) == [SetWorkers(pool=POOL, before=2, count=1, victims=(pod(2),))]


def test_idle_workers_that_are_not_ready_go_first_and_pods_not_there_before_any() -> None:
    seen = view(deployment(1, (RUNNING, 1)), pool(4, 1, 2, unready=(3,)))
    assert asked(1, seen) == [SetWorkers(pool=POOL, before=4, count=1, victims=(pod(3), pod(2)))]
    assert asked(2, seen) == [
        SetReplicas(model="m0", before=1, count=2),
        SetWorkers(pool=POOL, before=4, count=2, victims=(pod(3),)),
    ]
    assert asked(3, seen) == [
        SetReplicas(model="m0", before=1, count=3),
        SetWorkers(pool=POOL, before=4, count=3, victims=()),
    ]


def test_no_worker_goes_while_a_replica_loads_somewhere_unknown() -> None:
    assert asked(2, view(deployment(2, (RUNNING, 1), (STARTING, None)), pool(3, 1, 2, 3))) == []


def test_two_models_share_the_pool() -> None:
    seen = view(deployment(1, (RUNNING, 1)), deployment(1, (RUNNING, 2), name="m1"), pool(2, 1, 2), models=2)
    assert asked(3, seen) == [
        SetWorkers(pool=POOL, before=2, count=6),
        SetReplicas(model="m0", before=1, count=3),
        SetReplicas(model="m1", before=1, count=3),
    ]


def test_what_cannot_be_read_is_not_sized() -> None:
    growing = [SetReplicas(model="m0", before=1, count=3)]
    assert asked(3, view(deployment(1, (RUNNING, 1)))) == growing
    assert asked(3, view(deployment(1, (RUNNING, 1)), pool(1, 1, at_s=80.0))) == growing
    assert asked(3, view(pool(1, 1))) == [SetWorkers(pool=POOL, before=1, count=3)]
    assert asked(1, view(pool(2, 1, 2))) == [], "who knows where replicas live"


def test_a_restart_makes_the_law_anew_where_it_can() -> None:
    seen = view(deployment(1, (RUNNING, 1)), pool(1, 1))
    plain = Plain(Schedule([(0.0, 3)], interval_s=7.0), remake=lambda: Schedule([(0.0, 2)]))
    assert (plain.interval_s, len(plain.tick(seen))) == (7.0, 2)
    plain.reset()
    assert list(plain.tick(seen))[1:] == [SetReplicas(model="m0", before=1, count=2)]
    kept = Plain(Schedule([(0.0, 3)]))
    kept.reset()
    assert len(kept.tick(seen)) == 2


def test_ours_decides_with_the_core_and_keeps_its_plans_only_if_asked() -> None:
    rig = Rig(world(), {"m0": evenly(30, 0, 30)})
    eyes = Observer(rig.fleet, rig.engine)
    ours, silent = Ours(keep_plans=True), Ours()
    assert ours.interval_s == 5.0
    for at_s in (5.0, 10.0, 15.0):
        eyes.sample(rig.to(at_s).engine.now_s)
        seen, inventory = eyes.look(at_s)
        shown = View(now_s=at_s, seen=seen, inventory=inventory, spec=spec_of(rig.fleet.world))
        assert ours.tick(shown) == silent.tick(shown)
    assert [plan.at_s for plan in ours.plans] == [5.0, 10.0, 15.0]
    assert silent.plans == []
    assert any(isinstance(action, SetWorkers) and action.count > 1 for plan in ours.plans for action in plan.actions)


def test_ours_forgets_when_it_is_reset() -> None:
    """Of two equal ticks the second finds nothing new in the first's samples; after a reset it is the first again."""
    rig = Rig(world(), {"m0": evenly(30, 0, 30)})
    eyes = Observer(rig.fleet, rig.engine)
    ours = Ours(keep_plans=True)
    for at_s in (5.0, 10.0):
        eyes.sample(rig.to(at_s).engine.now_s)
        seen, inventory = eyes.look(at_s)
        shown = View(now_s=at_s, seen=seen, inventory=inventory, spec=spec_of(rig.fleet.world))
        ours.tick(shown)
    ours.reset()
    ours.tick(shown)
    fresh = Ours(keep_plans=True)
    fresh.tick(shown)
    assert ours.plans[2] == fresh.plans[0]
    assert ours.plans[2] != ours.plans[1]


@pytest.mark.parametrize("interval_s", [1.0, 30.0])
def test_ours_can_tick_at_another_pace(interval_s: float) -> None:
    assert Ours(interval_s=interval_s).interval_s == interval_s
