"""Worker pods, Ray Serve and the scheduler of the modelled fleet, by the second."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.decision import DrainWorkers, SetReplicas, SetWorkers
from autoscaler.sim.faults import PodsNeverStart
from autoscaler.sim.pods import lognormal
from autoscaler.sim.world import Foreign
from tests.unit.sim.rig import POOL, Rig, evenly, model, pod, world


def test_a_fleet_begins_with_its_replicas_running() -> None:
    rig = Rig(world(model("m0", start_replicas=2), model("m1")))
    assert (rig.homes("m0"), rig.homes("m1"), rig.pods()) == (
        {"m0#00001": ("running", "0001"), "m0#00002": ("running", "0002")},
        {"m1#00003": ("running", "0003")},
        {"0001": "ready", "0002": "ready", "0003": "ready"},
    )
    assert rig.fleet.next_s == math.inf


def test_a_cold_start_takes_the_worker_and_then_the_load() -> None:
    rig = Rig(world()).to(5.0).workers(2).replicas(2)
    new = "m0#00002"
    assert rig.homes() == {"m0#00001": ("running", "0001"), new: ("starting", None)}
    assert (rig.to(14.9).pods()["0002"], rig.homes()[new]) == ("starting", ("starting", None))
    assert (rig.to(15.0).pods()["0002"], rig.homes()[new]) == ("ready", ("starting", "0002"))
    assert rig.to(44.9).running() == 1
    assert (rig.to(45.0).running(), rig.homes()[new]) == (2, ("running", "0002"))


def test_slots_count_from_the_binding_until_the_pod_is_gone() -> None:
    rig = Rig(world()).to(5.0).workers(2).replicas(2).to(60.0)
    assert rig.fleet.pool.slot_seconds(60.0) == 60.0 + 55.0
    rig.replicas(1).to(65.0)
    assert (rig.homes(), rig.pods()["0002"]) == ({"m0#00001": ("running", "0001")}, "ready")
    rig.to(70.0).workers(1, victims=[pod(2)])
    assert rig.pods()["0002"] == "deleting"
    rig.to(100.0)
    assert (rig.pods(), rig.fleet.pool.slot_seconds(100.0)) == ({"0001": "ready"}, 100.0 + 66.0)


def test_new_workers_go_to_the_first_preferred_node_that_is_free() -> None:
    rig = Rig(world(cards=2))
    free = [name for name in ("gpu000-vm1", "gpu001-vm2", "gpu001-vm0") if name not in held(rig)]
    rig.workers(3, prefer=["gpu009-vm0", *held(rig), *free])
    assert [rig.fleet.world.node_name(worker.slot) for worker in slotted(rig)[1:]] == free[:2]
    rig.fleet.kill_worker(0.0)
    assert set(free[:2]) & set(held(rig)), "the wish outlives the pod"


def held(rig: Rig) -> list[str]:
    return [slot.node for slot in rig.fleet.pool.inventory().slots if slot.holder]


def slotted(rig: Rig) -> list:  # type: ignore[type-arg]  # workers, whose slots mypy need not know
    return [worker for worker in rig.fleet.pool.workers if worker.slot is not None]


def test_without_a_preference_any_free_slot_is_as_likely() -> None:
    of = world(cards=2, foreign=(Foreign(card=0, phases=((0.0, 0.1),)),))
    taken = [Rig(of, seed=seed).fleet.pool.workers[0].slot for seed in range(140)]
    counts = np.bincount(taken, minlength=8)
    assert counts[3] == 0, "the foreign tenant's"
    assert counts[[0, 1, 2, 4, 5, 6, 7]].min() >= 8
    assert taken == [Rig(of, seed=seed).fleet.pool.workers[0].slot for seed in range(140)]


def test_the_inventory_names_every_holder_and_is_made_anew_only_after_a_change() -> None:
    rig = Rig(world(foreign=(Foreign(card=0, phases=((0.0, 0.1),)),)))
    before = rig.fleet.pool.inventory()
    holders = sorted(slot.holder for slot in before.slots if slot.holder)
    assert holders == ["default/foreign-0", pod(1)]
    assert {slot.gpu.uuid for slot in before.slots} == {"GPU-000"}
    assert rig.to(5.0).fleet.pool.inventory() is before
    rig.workers(2)
    after = rig.fleet.pool.inventory()
    assert sorted(slot.holder for slot in after.slots if slot.holder) == ["default/foreign-0", pod(1), pod(2)]


def test_a_pod_without_a_slot_waits_for_one() -> None:
    rig = Rig(world()).workers(6)
    assert list(rig.pods().values()) == ["ready", "starting", "starting", "starting", "pending", "pending"]
    rig.to(20.0).workers(5, victims=[pod(2)])
    assert rig.pods() == dict.fromkeys(["0001", "0003", "0004"], "ready") | {
        "0002": "deleting",
        "0005": "pending",
        "0006": "pending",
    }
    rig.to(21.0)
    assert (rig.pods()["0005"], rig.pods()["0006"]) == ("starting", "pending")
    assert rig.to(31.0).pods()["0005"] == "ready"


def test_victims_go_first_then_pods_without_a_slot_then_those_not_ready() -> None:
    rig = Rig(world()).workers(2).to(20.0).workers(5)
    assert rig.pods() == {"0001": "ready", "0002": "ready", "0003": "starting", "0004": "starting", "0005": "pending"}
    rig.workers(4, victims=[pod(2)])
    assert (rig.pods()["0002"], rig.pods()["0005"]) == ("deleting", "pending")
    rig.workers(3)
    assert "0005" not in rig.pods()
    rig.workers(1)
    assert rig.pods() == {"0001": "ready", "0002": "deleting", "0003": "deleting", "0004": "deleting"}


def test_more_victims_than_the_fall_lose_only_as_many_as_it_asks_for() -> None:
    rig = Rig(world()).workers(4).to(20.0).workers(3, victims=[pod(2), pod(3)])
    assert sorted(rig.pods().values()) == ["deleting", "ready", "ready", "ready"]
    assert "deleting" in (rig.pods()["0002"], rig.pods()["0003"])


def test_victims_of_a_pool_that_keeps_its_size_are_replaced() -> None:
    rig = Rig(world()).workers(3).to(20.0).workers(3, victims=[pod(3)])
    assert rig.pods() == {"0001": "ready", "0002": "ready", "0003": "deleting", "0004": "starting"}


def test_a_worker_deleted_without_a_victim_named_may_be_any_and_takes_its_replica_along() -> None:
    """What happens to a law that shrinks workers and does not say which."""
    deaths = 0
    for seed in range(40):
        rig = Rig(world(), {"m0": evenly(10, 0, 30)}, seed=seed).workers(2).to(20.03)
        assert rig.engine.in_flight.sum() == 0
        rig.to(20.07)
        rig.workers(1)
        deaths += rig.fleet.killed
        assert rig.engine.failed_m[0] == rig.fleet.killed, "the one request it held"
    assert 10 <= deaths <= 30


def test_a_replica_killed_with_its_worker_is_started_anew_elsewhere() -> None:
    rig = Rig(world(), {"m0": [20.0]}).workers(2).to(20.03).workers(1, victims=[pod(1)])
    assert (rig.fleet.killed, rig.engine.failed_m[0]) == (1, 1)
    assert rig.homes() == {"m0#00002": ("starting", "0002")}
    assert rig.to(50.1).homes() == {"m0#00002": ("running", "0002")}


def test_a_stopping_replica_finishes_what_it_holds_and_keeps_its_worker_until_then() -> None:
    slow = world(model(host_ms=2000.0, start_replicas=1))
    rig = Rig(slow, {"m0": [1.0, 1.1, 1.2, 1.3, 9.0]}).to(2.0).replicas(0)
    assert rig.homes() == {"m0#00001": ("stopping", "0001")}
    assert rig.to(8.9).homes() == {"m0#00001": ("stopping", "0001")}, "the fourth answer comes at 9.0"
    assert rig.to(9.0).homes() == {}
    assert (rig.engine.answered_m[0], rig.engine.ingress_refused_m[0]) == (4, 1)


def test_a_stopping_replica_that_is_idle_is_still_there_for_the_drain_time() -> None:
    rig = Rig(world(), drain_s=7.0).to(2.0).replicas(0)
    assert (len(rig.to(8.9).homes()), len(rig.to(9.0).homes())) == (1, 0)


def test_a_fall_takes_what_waits_then_what_loads_then_the_newest() -> None:
    rig = Rig(world(model(start_replicas=2))).workers(3).to(10.0).replicas(4).to(20.0)
    assert rig.homes() == {
        "m0#00001": ("running", "0001"),
        "m0#00002": ("running", "0002"),
        "m0#00003": ("starting", "0003"),
        "m0#00004": ("starting", None),
    }
    assert sorted(rig.replicas(3).homes()) == ["m0#00001", "m0#00002", "m0#00003"]
    assert sorted(rig.replicas(2).homes()) == ["m0#00001", "m0#00002"]
    assert rig.replicas(1).homes() == {"m0#00001": ("running", "0001"), "m0#00002": ("stopping", "0002")}
    assert rig.fleet.target_changes == 4


def test_a_target_that_rises_again_lets_what_loads_go_on() -> None:
    rig = Rig(world()).workers(4).to(10.0).replicas(3).to(20.0).replicas(4)
    loading = {f"m0#{number:05d}": ("starting", f"{number:04d}") for number in range(2, 5)}
    assert rig.homes() == {"m0#00001": ("running", "0001"), **loading}
    assert (rig.to(40.0).running(), rig.to(50.0).running()) == (3, 4)


def test_a_cancelled_replica_frees_its_worker_at_once() -> None:
    rig = Rig(world()).workers(2).to(10.0).replicas(2).to(20.0).replicas(1).replicas(2)
    assert rig.homes()["m0#00003"] == ("starting", "0002")
    assert rig.to(50.0).homes()["m0#00003"] == ("running", "0002")


def test_the_drained_replica_is_the_one_that_goes() -> None:
    rig = Rig(world(model(start_replicas=3))).to(10.0).drain(pod(1)).replicas(2)
    assert rig.homes() == {
        "m0#00001": ("stopping", "0001"),
        "m0#00002": ("running", "0002"),
        "m0#00003": ("running", "0003"),
    }
    rig.to(20.0).workers(2, victims=[pod(1)]).to(25.0)
    assert (rig.fleet.killed, rig.pods()) == (0, {"0002": "ready", "0003": "ready"})


def test_a_drained_replica_whose_target_stays_gets_a_substitute_first() -> None:
    rig = Rig(world(model(start_replicas=2))).workers(3).to(10.0).drain(pod(1))
    assert "m0#00003" not in rig.to(10.9).homes()
    assert rig.to(11.0).homes() == {
        "m0#00001": ("running", "0001"),
        "m0#00002": ("running", "0002"),
        "m0#00003": ("starting", "0003"),
    }
    assert rig.to(40.9).running() == 2
    assert rig.to(41.0).homes() == {
        "m0#00001": ("stopping", "0001"),
        "m0#00002": ("running", "0002"),
        "m0#00003": ("running", "0003"),
    }


def test_a_fall_after_the_substitute_began_cancels_it() -> None:
    rig = Rig(world(model(start_replicas=2))).workers(3).to(10.0).drain(pod(1)).to(15.0).replicas(1)
    assert rig.homes() == {"m0#00001": ("stopping", "0001"), "m0#00002": ("running", "0002")}


def test_a_draining_worker_takes_no_replica_and_what_loads_there_begins_again() -> None:
    rig = Rig(world()).workers(2).to(10.0).replicas(2).to(20.0).drain(pod(2))
    assert rig.homes() == {"m0#00001": ("running", "0001"), "m0#00003": ("starting", None)}
    rig.to(60.0).workers(3).to(70.0)
    assert rig.homes()["m0#00003"] == ("starting", "0003")
    assert rig.pods()["0002"] == "draining", "it must be deleted"


def test_a_worker_that_is_not_ready_cannot_be_drained() -> None:
    rig = Rig(world()).workers(2)
    assert not rig.fleet.apply(DrainWorkers(model="m0", workers=(pod(2),)), 0.0)
    assert not rig.fleet.apply(DrainWorkers(model="m0", workers=("serving/nobody",)), 0.0)
    assert rig.to(10.0).pods()["0002"] == "ready"


def test_a_lost_worker_is_replaced_and_its_replica_too() -> None:
    rig = Rig(world(), {"m0": [20.0]}).to(20.03)
    assert rig.fleet.kill_worker(20.03) == pod(1)
    assert (rig.pods(), rig.homes(), rig.engine.failed_m[0]) == (
        {"0002": "starting"},
        {"m0#00002": ("starting", None)},
        1,
    )
    assert rig.to(60.04).homes() == {"m0#00002": ("running", "0002")}


def test_nothing_is_lost_where_nothing_runs() -> None:
    rig = Rig(world()).replicas(0).to(5.0).workers(0).to(6.0)
    assert (rig.fleet.kill_worker(6.0), rig.pods()) == (None, {})


def test_pods_that_never_start_keep_their_slots_until_they_are_removed() -> None:
    rig = Rig(world(), never_start=(PodsNeverStart(from_s=10.0, to_s=20.0),)).to(10.0).workers(2).replicas(2)
    rig.to(20.0).workers(3)
    assert rig.to(500.0).pods() == {"0001": "ready", "0002": "starting", "0003": "ready"}
    rig.workers(2)
    assert rig.to(510.0).pods() == {"0001": "ready", "0003": "ready"}


def test_replicas_of_two_models_get_workers_in_the_order_they_were_asked_for() -> None:
    rig = Rig(world(model("m0"), model("m1"))).replicas(2, "m1").replicas(2, "m0").workers(3).to(10.0)
    assert (rig.homes("m1")["m1#00003"], rig.homes("m0")["m0#00004"]) == (("starting", "0003"), ("starting", None))


def test_what_is_not_there_is_refused() -> None:
    rig = Rig(world())
    with pytest.raises(ValueError, match=f"pool is 'other'; this world has '{POOL}'"):
        rig.do(SetWorkers(pool="other", before=1, count=2))
    with pytest.raises(ValueError, match="model is 'other'; one of m0"):
        rig.do(SetReplicas(model="other", before=1, count=2))
    with pytest.raises(ValueError, match="target of m0 is -1; at least 0"):
        rig.replicas(-1)


def test_draws_have_the_mean_and_spread_that_were_asked_for() -> None:
    rng = np.random.default_rng(1)
    draws = np.array([lognormal(rng, 30.0, 0.3) for _ in range(20_000)])
    assert draws.mean() == pytest.approx(30.0, rel=0.01)
    assert draws.std() / draws.mean() == pytest.approx(0.3, rel=0.03)
    assert lognormal(rng, 30.0, 0.0) == 30.0


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["workers", "replicas", "drain", "kill", "wait"]),
        st.integers(0, 6),
        st.floats(0.0, 40.0, allow_nan=False),
    ),
    max_size=25,
)


@given(steps=STEPS, seed=st.integers(0, 5))
def test_whatever_is_done_no_slot_or_worker_is_held_twice_and_wishes_come_true(
    steps: list[tuple[str, int, float]], seed: int
) -> None:
    rig = Rig(world(model("m0"), model("m1")), {"m0": evenly(5, 0, 100)}, seed=seed)
    for what, count, wait_s in steps:
        if what == "workers":
            rig.workers(count, victims=[pod(count)])
        elif what == "replicas":
            rig.replicas(count, "m0")
        elif what == "kill":
            rig.fleet.kill_worker(rig.engine.now_s)
        elif what == "drain":
            rig.fleet.apply(DrainWorkers(model="m0", workers=(pod(count),)), rig.engine.now_s)
        check(rig)
        rig.to(rig.engine.now_s + wait_s)
        check(rig)
    drained = [worker.pod for worker in rig.fleet.pool.workers if worker.draining]
    rig.replicas(2, "m0").workers(rig.fleet.pool.wanted, victims=drained).workers(4)
    rig.to(rig.engine.now_s + 500.0)
    assert (rig.running(), list(rig.pods().values())) == (3, ["ready"] * 4)
    assert rig.engine.offered[0] == (rig.engine.answered_m + rig.engine.refused_m + rig.engine.failed_m)[0]


def check(rig: Rig) -> None:
    workers = [worker for worker in rig.fleet.pool.workers if worker.slot is not None]
    slots = [worker.slot for worker in workers]
    homes = [id(replica.worker) for each in rig.fleet.deployments for replica in each.replicas if replica.worker]
    holders = {slot.holder for slot in rig.fleet.pool.inventory().slots} - {None}
    assert len(set(slots)) == len(slots)
    assert len(set(homes)) == len(homes)
    assert set(homes) == {id(worker) for worker in workers if not worker.is_free}
    assert holders == {worker.pod for worker in workers}
