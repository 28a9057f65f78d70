"""What an autoscaler is shown of the modelled fleet, and what each fault does to it."""

import math
from collections.abc import Sequence

import pytest

from autoscaler.core.histogram import Histogram
from autoscaler.core.observation import (
    Counters,
    DeploymentSeen,
    IngressSample,
    Missing,
    MissingReason,
    Observation,
    PoolSeen,
    ReplicaSample,
    ReplicaSeen,
    ReplicaState,
    SlotReading,
    Source,
    WorkerSeen,
)
from autoscaler.sim.faults import (
    ApiAway,
    Fault,
    MetricsFrozen,
    MetricsGarbage,
    MetricsMissing,
    SlotReadingsMissing,
    WorkerKilled,
)
from autoscaler.sim.observe import EDGES_S, Observer, edges_of
from autoscaler.sim.world import Foreign, ServiceTime, World
from tests.unit.sim.rig import POOL, Rig, evenly, model, pod, world

SLOTS = [f"gpu000-vm{index}/0" for index in range(4)]


class Watch:
    """A rig and the eyes on it; each look shows a sample taken at that same time."""

    def __init__(self, rig: Rig, *faults: Fault, seed: int = 0) -> None:
        self.rig = rig
        self.eyes = Observer(rig.fleet, rig.engine, faults=faults, seed=seed)

    def at(self, now_s: float) -> Observation:
        self.rig.to(now_s)
        self.eyes.sample(now_s)
        return self.eyes.look(now_s)[0]


def unreachable(source: Source, *names: str) -> tuple[Missing, ...]:
    return tuple(Missing(source=source, name=name, reason=MissingReason.UNREACHABLE) for name in names)


def home(rig: Rig, place: int = 0) -> str:
    """The node of a worker."""
    slot = rig.fleet.pool.workers[place].slot
    assert slot is not None
    return rig.fleet.world.node_name(slot)


def test_everything_is_seen_as_it_is() -> None:
    """A request of 62.5 ms, one of as much that is half done, and two more that wait; times are exact in binary."""
    rig = Rig(world(model(host_ms=62.5)), {"m0": [1.0, 1.96875, 1.96875, 1.96875]}).workers(2).replicas(2)
    node = home(rig)
    seen = Watch(rig).at(2.0)
    edges = tuple(sorted({*EDGES_S, 0.3}))
    assert seen == Observation(
        replicas=(
            ReplicaSample(
                replica_id="m0#00001",
                model="m0",
                slot_id=f"{node}/0",
                at_s=2.0,
                counters=Counters(
                    answered=1,
                    refused=0,
                    failed=0,
                    duration=Histogram(edges_s=edges, counts=(*(int(edge >= 0.0625) for edge in edges), 1)),
                    engine_busy_s=0.09375,
                    batches=2,
                ),
                in_flight=3,
                queued=2,
            ),
        ),
        deployments=(
            DeploymentSeen(
                model="m0",
                at_s=2.0,
                target=2,
                replicas=(
                    ReplicaSeen(replica_id="m0#00001", state=ReplicaState.RUNNING, worker=pod(1)),
                    ReplicaSeen(replica_id="m0#00002", state=ReplicaState.STARTING, worker=None),
                ),
            ),
        ),
        pools=(
            PoolSeen(
                pool=POOL,
                at_s=2.0,
                wanted=2,
                workers=(
                    WorkerSeen(pod=pod(1), node=node, ready=True),
                    WorkerSeen(pod=pod(2), node=home(rig, 1), ready=False),
                ),
            ),
        ),
        slots=tuple(SlotReading(slot_id=slot_id, at_s=2.0, busy_ratio=0.0) for slot_id in SLOTS),
        ingress=(IngressSample(model="m0", at_s=2.0, unanswered=0),),
    )


def test_the_objectives_are_edges() -> None:
    of = world(model("m0", objective_p95_ms=123), model("m1", objective_p95_ms=300))
    assert edges_of(of) == tuple(sorted({*EDGES_S, 0.123}))


def test_states_of_workers_and_replicas_on_their_way_out() -> None:
    rig = Rig(world(model(start_replicas=3))).drain(pod(1)).replicas(2).to(1.0).workers(6).workers(5, victims=[pod(2)])
    seen = Watch(rig).at(1.5)
    assert {worker.pod[-4:]: (worker.ready, worker.deleting, worker.draining) for worker in seen.pools[0].workers} == {
        "0001": (False, False, True),
        "0002": (False, True, False),
        "0003": (True, False, False),
        "0004": (False, False, False),
        "0005": (False, False, False),
        "0006": (False, False, False),
    }
    assert [worker.node is None for worker in seen.pools[0].workers] == [False, False, False, False, True, True]
    assert [(each.replica_id, each.state, each.worker) for each in seen.deployments[0].replicas] == [
        ("m0#00001", ReplicaState.STOPPING, pod(1)),
        ("m0#00003", ReplicaState.RUNNING, pod(3)),
        ("m0#00004", ReplicaState.STARTING, None),
    ]
    assert [sample.replica_id for sample in seen.replicas] == ["m0#00003"], "only those that run are scraped"


def test_a_loading_replica_shows_no_worker_as_ray_shows_none() -> None:
    rig = Rig(world()).workers(2).replicas(2).to(20.0)
    assert rig.homes()["m0#00002"] == ("starting", "0002")
    assert Watch(rig).at(21.0).deployments[0].replicas[1] == ReplicaSeen(
        replica_id="m0#00002", state=ReplicaState.STARTING
    )


def busy_world() -> World:
    return world(
        model(service=ServiceTime(host_ms=0.0, engine_ms=100.0, spread_ratio=0.0)),
        foreign=(Foreign(card=0, phases=((20.5, 0.5),), job_ms=10.0),),
    )


def test_slot_readings_are_engine_time_since_the_last_ones_tenants_included() -> None:
    rig = Rig(busy_world(), {"m0": evenly(2, 10, 20)})
    watch, mine = Watch(rig), f"{home(rig)}/0"
    quiet, busy, after = (
        {reading.slot_id: reading.busy_ratio for reading in watch.at(at_s).slots} for at_s in (10.0, 20.5, 1000.0)
    )
    assert (quiet[mine], after[mine]) == (0.0, 0.0)
    assert busy[mine] == pytest.approx(2.0 / 10.5), "20 requests of 100 ms in 10.5 s"
    assert after[SLOTS[3]] == pytest.approx(0.5, abs=0.05)
    assert [after[slot_id] for slot_id in SLOTS[:3]] == [0.0, 0.0, 0.0]


def test_two_samples_at_one_moment_leave_nothing_to_read() -> None:
    watch = Watch(Rig(world()))
    watch.at(5.0)
    seen = watch.at(5.0)
    assert seen.slots == ()
    assert [(gap.name, gap.reason) for gap in seen.missing] == [(name, MissingReason.NOT_SEEN) for name in SLOTS]


def test_a_look_shows_the_oldest_sample_not_shown_yet() -> None:
    rig = Rig(world(), {"m0": evenly(1, 0, 10)})
    eyes = Observer(rig.fleet, rig.engine)
    shown = []
    for sample_s, look_s in ((1.0, None), (2.0, 2.5), (3.0, 3.5)):
        eyes_at(rig, eyes, sample_s)
        if look_s is not None:
            rig.to(look_s)
            seen, _ = eyes.look(look_s)
            shown.append((seen.replicas[0].at_s, seen.slots[0].at_s, seen.pools[0].at_s, seen.deployments[0].at_s))
    assert shown == [(1.0, 1.0, 2.5, 2.5), (2.0, 2.0, 3.5, 3.5)]


def eyes_at(rig: Rig, eyes: Observer, now_s: float) -> None:
    rig.to(now_s)
    eyes.sample(now_s)


def three() -> Rig:
    return Rig(world(model(start_replicas=3)), {"m0": evenly(10, 0, 100)})


def answered(seen: Observation) -> list[int]:
    return [sample.counters.answered for sample in seen.replicas]


def test_missing_metrics_are_gaps_for_as_long_as_the_fault_lasts() -> None:
    watch = Watch(three(), MetricsMissing(from_s=10.0, to_s=20.0))
    names = ("m0#00001", "m0#00002", "m0#00003")
    seen = [watch.at(at_s) for at_s in (9.9, 10.0, 19.9, 20.0)]
    assert [tuple(sample.replica_id for sample in each.replicas) for each in seen] == [names, (), (), names]
    assert [each.missing for each in seen] == [(), *[unreachable(Source.REPLICA, *names)] * 2, ()]


def test_a_share_hits_the_same_ones_all_the_time_and_others_under_another_seed() -> None:
    def hit(seed: int) -> list[str]:
        watch = Watch(three(), MetricsMissing(from_s=0.0, to_s=50.0, share=0.5), seed=seed)
        first, second = ([gap.name for gap in watch.at(at_s).missing] for at_s in (10.0, 20.0))
        assert first == second
        return first

    counts = [len(hit(seed)) for seed in range(60)]
    assert 60 <= sum(counts) <= 120, "half of 180"
    assert hit(1) == hit(1)


def test_frozen_metrics_look_fresh_and_stand_still() -> None:
    watch = Watch(three(), MetricsFrozen(from_s=10.0, to_s=20.0))
    before, first, last, after = (watch.at(at_s) for at_s in (9.0, 10.0, 19.0, 20.0))
    assert sum(answered(before)) == 89, "10 requests a second of 60 ms, the last one not done"
    assert answered(first) == answered(last)
    assert [sample.at_s for sample in last.replicas] == [19.0] * 3
    assert sum(answered(after)) == pytest.approx(200, abs=3)


@pytest.mark.parametrize(
    ("busy_ratio", "readings", "reason"),
    [
        (1.02, [1.0] * 4, None),
        (7.0, [], MissingReason.OUT_OF_RANGE),
        (-0.1, [], MissingReason.NOT_SEEN),
        (math.nan, [], MissingReason.NOT_SEEN),
        (math.inf, [], MissingReason.NOT_SEEN),
    ],
)
def test_garbage_is_treated_as_the_live_scraper_treats_it(
    busy_ratio: float, readings: Sequence[float], reason: MissingReason | None
) -> None:
    watch = Watch(three(), MetricsGarbage(from_s=0.0, to_s=20.0, busy_ratio=busy_ratio))
    seen = watch.at(10.0)
    assert [reading.busy_ratio for reading in seen.slots] == readings
    assert [(gap.source, gap.name, gap.reason) for gap in seen.missing] == [
        (Source.SLOT, name, reason) for name in SLOTS if reason is not None
    ]
    assert [reading.busy_ratio for reading in watch.at(20.0).slots] == [0.0] * 4


def test_missing_slot_readings_are_gaps_of_those_slots_alone() -> None:
    watch = Watch(three(), SlotReadingsMissing(from_s=0.0, to_s=20.0, share=0.5), seed=4)
    seen = watch.at(10.0)
    gone = [gap.name for gap in seen.missing]
    assert 0 < len(gone) < 4
    assert seen.missing == unreachable(Source.SLOT, *gone)
    assert {reading.slot_id for reading in seen.slots} == set(SLOTS) - set(gone)
    assert len(seen.replicas) == 3


def test_without_kubernetes_the_last_picture_of_it_grows_old_and_ray_goes_on() -> None:
    rig = three()
    watch = Watch(rig, ApiAway(from_s=10.0, to_s=30.0))
    before = watch.at(5.0)
    rig.to(12.0).workers(4).replicas(4)
    away = watch.at(25.0)
    assert (away.pools, away.slots) == (before.pools, ())
    assert away.missing == (*unreachable(Source.POOL, POOL), *unreachable(Source.SLOT, *SLOTS))
    assert (away.deployments[0].at_s, away.deployments[0].target) == (25.0, 4)
    assert len(away.replicas) == 3
    back = watch.at(30.0)
    assert (back.pools[0].at_s, back.pools[0].wanted, len(back.slots), back.missing) == (30.0, 4, 4, ())


def test_without_kubernetes_nobody_scrapes_a_worker_that_came_since() -> None:
    rig = three()
    watch = Watch(rig, ApiAway(from_s=10.0, to_s=100.0))
    watch.at(5.0)
    rig.workers(4).replicas(4).to(60.0)
    away = watch.at(60.0)
    assert rig.running() == 4
    assert [sample.replica_id for sample in away.replicas] == ["m0#00001", "m0#00002", "m0#00003"]
    assert len(watch.at(100.0).replicas) == 4


def test_the_inventory_of_an_unreadable_kubernetes_is_the_last_one() -> None:
    rig = three()
    eyes = Observer(rig.fleet, rig.engine, faults=(ApiAway(from_s=10.0, to_s=30.0),))
    before = rig.fleet.pool.inventory()
    rig.workers(4)
    eyes_at(rig, eyes, 20.0)
    assert eyes.look(20.0)[1] is before
    eyes_at(rig, eyes, 30.0)
    assert eyes.look(30.0)[1] is rig.fleet.pool.inventory()
    assert rig.fleet.pool.inventory() != before


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: MetricsFrozen(from_s=5.0, to_s=5.0), "from_s is 5.0 and to_s is 5.0"),
        (lambda: ApiAway(from_s=-1.0, to_s=5.0), "from_s is -1.0"),
        (lambda: MetricsMissing(from_s=0.0, to_s=5.0, share=0.0), "share is 0.0; above 0, at most 1"),
        (lambda: WorkerKilled(at_s=-1.0), "at_s is -1.0"),
    ],
)
def test_a_fault_that_cannot_be_is_refused(make: object, words: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=words):
        make()
