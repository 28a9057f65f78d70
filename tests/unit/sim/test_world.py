from typing import Any

import pytest

from autoscaler.sim.world import ColdStart, Foreign, ServiceTime, SimModel, World, default_world, moving_load
from vgpu.core.inventory import Gpu, Inventory, Node, Slot
from vgpu.core.share import SchedulerPolicy

SERVICE: dict[str, Any] = {"host_ms": 33.0, "engine_ms": 27.0}
COLD: dict[str, Any] = {"worker_s": 10.0, "load_s": 30.0}
MODEL: dict[str, Any] = {
    "name": "m",
    "service": ServiceTime(**SERVICE),
    "objective_p95_ms": 300,
    "cold_start": ColdStart(**COLD),
}
FOREIGN: dict[str, Any] = {"card": 0, "phases": ((0.0, 0.5),)}
WORLD: dict[str, Any] = {"models": (SimModel(**MODEL),), "cards": 2}


@pytest.mark.parametrize(
    ("record", "fields", "change", "named"),
    [
        (ServiceTime, SERVICE, {"host_ms": -1.0}, "host_ms is -1.0"),
        (ServiceTime, SERVICE, {"engine_ms": float("nan")}, "engine_ms is nan"),
        (ServiceTime, SERVICE, {"engine_per_item_ms": -0.5}, "engine_per_item_ms is -0.5"),
        (ServiceTime, SERVICE, {"spread_ratio": -0.1}, "spread_ratio is -0.1"),
        (ServiceTime, SERVICE, {"max_batch": 0}, "max_batch is 0"),
        (ServiceTime, SERVICE, {"max_queue": 0}, "max_queue is 0"),
        (ServiceTime, SERVICE, {"host_ms": 0.0, "engine_ms": 0.0}, "engine_ms is 0.0"),
        (ColdStart, COLD, {"worker_s": -1.0}, "worker_s is -1.0"),
        (ColdStart, COLD, {"load_s": float("inf")}, "load_s is inf"),
        (ColdStart, COLD, {"spread_ratio": -1.0}, "spread_ratio is -1.0"),
        (SimModel, MODEL, {"name": ""}, "name of a model is empty"),
        (SimModel, MODEL, {"objective_p95_ms": 0}, "objective_p95_ms is 0"),
        (SimModel, MODEL, {"min_replicas": -1}, "min_replicas is -1"),
        (SimModel, MODEL, {"idle_s": -1.0}, "idle_s is -1"),
        (SimModel, MODEL, {"min_replicas": 3, "max_replicas": 2}, "max_replicas is 2"),
        (SimModel, MODEL, {"min_replicas": 2}, "start_replicas is 1"),
        (SimModel, MODEL, {"start_replicas": 3, "max_replicas": 2}, "start_replicas is 3"),
        (Foreign, FOREIGN, {"card": -1}, "card is -1"),
        (Foreign, FOREIGN, {"job_ms": 0.0}, "job_ms is 0.0"),
        (Foreign, FOREIGN, {"max_waiting": 0}, "max_waiting is 0"),
        (Foreign, FOREIGN, {"phases": ()}, "phases is empty"),
        (Foreign, FOREIGN, {"phases": ((0.0, 1.5),)}, "busy_ratio is 1.5"),
        (Foreign, FOREIGN, {"phases": ((-1.0, 0.5),)}, "start_s is -1.0"),
        (Foreign, FOREIGN, {"phases": ((5.0, 0.5), (5.0, 0.6))}, "start_s is 5.0"),
        (World, WORLD, {"cards": 0}, "cards is 0"),
        (World, WORLD, {"slots_per_card": 0}, "slots_per_card is 0"),
        (World, WORLD, {"slots_per_card": 5}, "slots_per_card is 5"),
        (World, WORLD, {"slot_label": "v100-8q-8GB"}, "slots_per_card is 4; a card carries 2"),
        (World, WORLD, {"slot_label": "tape"}, "slot_label is 'tape'"),
        (World, WORLD, {"slot_label": "a100-1-5c-5GB"}, "MIG"),
        (World, WORLD, {"switch_cost_ratio": -0.1}, "switch_cost_ratio is -0.1"),
        (World, WORLD, {"metric_age_s": -1.0}, "metric_age_s is -1.0"),
        (World, WORLD, {"foreign": (Foreign(card=2, phases=((0.0, 0.5),)),)}, "foreign is on card 2"),
        (World, WORLD, {"foreign": (Foreign(**FOREIGN),) * 5}, "foreign has 5 tenants on card 0"),
        (World, WORLD, {"models": ()}, "models is empty"),
        (World, WORLD, {"models": (SimModel(**MODEL),) * 2}, "models is m, m"),
        (World, WORLD, {"models": (SimModel(**MODEL, start_replicas=9),)}, "start_replicas of all models is 9; 8"),
    ],
)
def test_a_record_names_what_it_refuses(
    record: type, fields: dict[str, Any], change: dict[str, Any], named: str
) -> None:
    record(**fields)
    with pytest.raises(ValueError, match=named):
        record(**{**fields, **change})


def test_a_service_time_is_host_and_engine() -> None:
    service = ServiceTime(host_ms=33.0, engine_ms=27.0, engine_per_item_ms=4.0)
    assert (service.solo_ms(), service.solo_ms(3), service.engine_ratio) == (60.0, 68.0, 0.45)


def test_foreign_tenants_hold_the_last_slots_of_their_cards() -> None:
    tenants = tuple(Foreign(card=card, phases=((0.0, 0.5),)) for card in (1, 0, 1))
    world = World(models=(SimModel(**MODEL),), cards=2, foreign=tenants)
    assert world.foreign_slots == (7, 3, 6)
    assert world.own_slots == (0, 1, 2, 4, 5)
    assert world.most_replicas(world.models[0]) == 5
    assert world.most_replicas(SimModel(**MODEL, max_replicas=2)) == 2


def test_slots_have_nodes_and_cards() -> None:
    world = default_world()
    assert [world.node_name(slot) for slot in (0, 3, 29)] == ["gpu000-vm0", "gpu000-vm3", "gpu007-vm1"]
    assert [world.gpu_uuid(slot) for slot in (0, 3, 29)] == ["GPU-000", "GPU-000", "GPU-007"]


def test_the_slots_of_a_world_can_be_cut_from_its_cards() -> None:
    """Four slots that the inventory would refuse on one card would be found only when a simulation starts."""
    world = default_world()
    gpus = {
        world.gpu_uuid(slot): Gpu(
            uuid=world.gpu_uuid(slot), framebuffer_mib=world.profile.board_framebuffer_mib, policy=world.policy
        )
        for slot in range(world.slot_count)
    }
    nodes = tuple(
        Node(
            name=world.node_name(slot),
            ready=True,
            schedulable=True,
            slots=(Slot(node=world.node_name(slot), index=0, profile=world.profile, gpu=gpus[world.gpu_uuid(slot)]),),
        )
        for slot in range(world.slot_count)
    )
    cards = Inventory(nodes=nodes).slots_by_gpu()
    assert {key: len(slots) for key, slots in cards.items()} == dict.fromkeys(gpus, 4)


def test_a_model_is_found_by_name() -> None:
    world = default_world()
    assert world.model_index("embedder") == 0
    with pytest.raises(ValueError, match="model is 'other'; one of embedder"):
        world.model_index("other")


def test_the_default_world_is_crowded_and_calm_in_different_places() -> None:
    world = default_world()
    assert (world.cards, len(world.own_slots), world.policy) == (8, 24, SchedulerPolicy.BEST_EFFORT)
    for minute in range(0, 24 * 60, 7):
        ratios = [tenant.phases[minute][1] for tenant in world.foreign]
        assert min(ratios) < 0.2
        assert max(ratios) > 0.7
    every = [ratio for tenant in world.foreign for _, ratio in tenant.phases]
    assert (min(every), max(every)) == (pytest.approx(0.1, abs=0.005), pytest.approx(0.8, abs=0.005))


def test_overrides_of_the_default_world_keep_the_rest() -> None:
    world = default_world(cards=2, policy=SchedulerPolicy.FIXED_SHARE)
    assert world.foreign == (moving_load(0), moving_load(1))
    assert world.models == default_world().models
    assert default_world(foreign=()).foreign == ()
