"""The bound's places: new workers go where most is left, and the replica on the fullest card leaves first."""

from collections.abc import Mapping, Sequence

from autoscaler.config import pool_name
from autoscaler.core.decision import DrainWorkers, SetReplicas, SetWorkers
from autoscaler.sim.baselines.placed import Placed
from autoscaler.sim.baselines.static import Static, StaticSettings
from autoscaler.sim.controller import View, spec_of
from autoscaler.sim.world import ColdStart, Foreign, ServiceTime, SimModel, World
from tests import build
from vgpu.core.inventory import Inventory

WORLD = World(
    models=(
        SimModel(
            name="minilm",
            service=ServiceTime(host_ms=33.0, engine_ms=27.0),
            objective_p95_ms=300,
            cold_start=ColdStart(worker_s=10.0, load_s=30.0),
        ),
    ),
    cards=3,
    foreign=(
        Foreign(card=0, phases=((0.0, 0.9), (1800.0, 0.0))),
        Foreign(card=1, phases=((0.0, 0.0), (1800.0, 0.9))),
    ),
)
POOL = pool_name(WORLD.profile.label)


def seen(now_s: float, slots: Sequence[int]) -> View:
    """A replica in a ready worker on each of these slots, oldest first."""
    held: Mapping[int, str] = {slot: f"serving/w{slot:02d}" for slot in slots}
    holders = {**held, **{slot: f"default/foreign-{slot}" for slot in WORLD.foreign_slots}}
    stock = Inventory(
        nodes=tuple(
            build.node(
                WORLD.node_name(slot),
                profile=WORLD.slot_label,
                card=WORLD.gpu_uuid(slot),
                held={0: holders[slot]} if slot in holders else {},
            )
            for slot in range(WORLD.slot_count)
        )
    )
    workers = [build.worker(held[slot], WORLD.node_name(slot)) for slot in slots]
    deployment = build.deployment(
        at_s=now_s, target=len(slots), running={f"r{place}": held[slot] for place, slot in enumerate(slots)}
    )
    pools = [build.pool(*workers, name=POOL, at_s=now_s)]
    return View(
        now_s=now_s,
        seen=build.world(stock, pools=pools, deployments=[deployment]),
        inventory=stock,
        spec=spec_of(WORLD),
    )


def placed(count: int) -> Placed:
    return Placed(Static(StaticSettings(replicas=count)), WORLD, span_s=3600.0)


def test_new_workers_go_to_the_cards_with_most_left() -> None:
    # Cards 1 and 2 are calm and take turns, the one that holds a replica last; card 0 is busy.
    assert placed(4).tick(seen(0.0, [8])) == [
        SetWorkers(
            pool=POOL,
            before=1,
            count=4,
            preferred_nodes=(WORLD.node_name(4), WORLD.node_name(5), WORLD.node_name(9)),
        ),
        SetReplicas(model="minilm", before=1, count=4),
    ]


def test_it_knows_who_will_be_busy() -> None:
    grown = placed(2).tick(seen(1800.0, [8]))
    assert [action.preferred_nodes for action in grown if isinstance(action, SetWorkers)] == [(WORLD.node_name(0),)]


def test_the_replica_on_the_fullest_card_leaves_first() -> None:
    assert placed(2).tick(seen(0.0, [0, 4, 8])) == [
        DrainWorkers(model="minilm", workers=("serving/w00",)),
        SetReplicas(model="minilm", before=3, count=2),
    ]
    assert placed(1).tick(seen(1800.0, [0, 4, 5, 8]))[0] == DrainWorkers(
        model="minilm", workers=("serving/w05", "serving/w04", "serving/w08")
    )


def test_a_count_that_stays_does_nothing() -> None:
    assert placed(3).tick(seen(0.0, [0, 4, 8])) == []


def test_after_a_restart_it_goes_on() -> None:
    controller = placed(3)
    controller.reset()
    assert controller.tick(seen(0.0, [0, 4, 8])) == []
