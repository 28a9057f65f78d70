"""Modelled fleets from a file and by changes: what is left out is the default, what cannot be is refused by name."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from autoscaler.core.plain import as_json_value
from autoscaler.refusal import Refused
from autoscaler.sim import world_file
from autoscaler.sim.world import ServiceTime, World, default_world
from vgpu.core.share import SchedulerPolicy

MODEL = {
    "name": "m",
    "service": {"host_ms": 10, "engine_ms": 30, "max_batch": 4},
    "objective_p95_ms": 200,
    "cold_start": {"worker_s": 5, "load_s": 15},
}


def load(tmp_path: Path, document: object) -> World:
    path = tmp_path / "world.yaml"
    path.write_text(yaml.safe_dump(document))
    return world_file.load(path)


def test_an_empty_mapping_is_the_default_fleet(tmp_path: Path) -> None:
    assert load(tmp_path, {}) == default_world()
    assert load(tmp_path, {"cards": 3}) == default_world(cards=3)


def test_every_field_can_be_written(tmp_path: Path) -> None:
    world = load(
        tmp_path,
        {"models": [MODEL], "cards": 2, "policy": "equal-share", "foreign": [{"card": 1, "phases": [[0, 0.5]]}]},
    )
    assert world.policy is SchedulerPolicy.EQUAL_SHARE
    assert world.models[0].service == ServiceTime(host_ms=10, engine_ms=30, max_batch=4)
    assert world.foreign[0].phases == ((0.0, 0.5),)
    assert load(tmp_path, as_json_value(world)) == world


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"card": 3}, "card: unknown key; World has models, cards, "),
        ({"cards": "many"}, "cards: expected a whole number, got 'many'"),
        ({"models": [{**MODEL, "objective_p95_ms": 0}]}, "models[0]: objective_p95_ms is 0; "),
        ({"policy": "fair"}, "policy: 'fair' is none of best-effort, equal-share, fixed-share"),
        ({"cards": 2, "slots_per_card": 9}, "the record: slots_per_card is 9; "),
        ([], "expected a mapping"),
    ],
)
def test_a_bad_file_is_refused_by_key(tmp_path: Path, document: object, said: str) -> None:
    with pytest.raises(Refused) as raised:
        load(tmp_path, document)
    assert str(raised.value).startswith(f"{tmp_path / 'world.yaml'}: {said}")


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="No such file or directory"):
        world_file.load(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(Refused, match=r"bad\.yaml: not YAML: "):
        world_file.load(tmp_path / "bad.yaml")


@pytest.mark.parametrize(("slots", "label"), [(1, "v100d-32q-32GB"), (3, "v100d-8q-8GB"), (8, "v100d-4q-4GB")])
def test_a_size_brings_its_slot_type(slots: int, label: str) -> None:
    world = world_file.sized(cards=2, slots_per_card=slots)
    assert (world.cards, world.slots_per_card, world.slot_label) == (2, slots, label)


def test_the_usual_size_is_the_default_fleet() -> None:
    assert world_file.sized(cards=8, slots_per_card=4) == default_world()


def test_a_cold_start_keeps_its_parts() -> None:
    (model,) = default_world().models
    changed = world_file.with_cold_start(model, 120.0)
    assert (changed.cold_start.worker_s, changed.cold_start.load_s) == (30.0, 90.0)
    assert world_file.with_cold_start(changed, 40.0) == model
    none = world_file.with_cold_start(model, 0.0)
    assert (none.cold_start.worker_s, none.cold_start.load_s) == (0.0, 0.0)
    assert world_file.with_cold_start(none, 40.0) == model


def test_a_service_time_keeps_its_engine_part_unless_told() -> None:
    (model,) = default_world().models
    slower = world_file.with_service(model, solo_ms=120.0, engine_ratio=None).service
    assert (slower.host_ms, slower.engine_ms) == pytest.approx((66.0, 54.0))
    heavier = world_file.with_service(model, solo_ms=None, engine_ratio=0.9).service
    assert (heavier.host_ms, heavier.engine_ms) == pytest.approx((6.0, 54.0))
    batched = replace(model, service=replace(model.service, engine_per_item_ms=9.0, max_batch=4))
    assert world_file.with_service(batched, solo_ms=120.0, engine_ratio=None).service.engine_per_item_ms == 18.0


def test_without_interference_there_are_as_many_slots_each_alone() -> None:
    world = world_file.without_interference(default_world())
    assert (world.cards, world.slots_per_card, world.foreign) == (24, 1, ())
    assert world.slot_label == "v100d-32q-32GB"
    assert len(world.own_slots) == len(default_world().own_slots)


def test_a_fleet_that_cannot_be_is_refused() -> None:
    with pytest.raises(Refused, match="this fleet cannot be: objective_p95_ms is 0"):
        world_file.with_models(default_world(), lambda model: replace(model, objective_p95_ms=0))
