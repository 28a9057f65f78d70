"""A modelled fleet from a YAML file, and changes to one that keep it a possible fleet.

The file has the fields of `autoscaler.sim.world.World`; what is left out is that of `default_world`.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from autoscaler.core.plain import as_json_value
from autoscaler.refusal import Refused
from autoscaler.sim.records import Undecodable, decode
from autoscaler.sim.world import SimModel, World, default_world
from vgpu import yaml_document
from vgpu.core.profile import Profile
from vgpu.yaml_document import NotYaml

# A 32 GB card in equal parts.
SLOT_GB = (32, 16, 8, 4, 2, 1)


def load(path: Path) -> World:
    """Read a fleet. Raises `Refused` naming the file and the key."""
    try:
        document = yaml_document.load(path.read_bytes())
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}; give a readable file that describes a fleet") from error
    except NotYaml as error:
        raise Refused(f"{path}: {error}") from error
    if not isinstance(document, dict):
        raise Refused(f"{path}: expected a mapping with fields such as cards, models and foreign")
    cards = document.get("cards")
    usual = default_world(**({"cards": cards} if isinstance(cards, int) and cards >= 1 else {}))
    missing: dict[str, Any] = {"models": as_json_value(usual.models), "foreign": as_json_value(usual.foreign)}
    try:
        return decode(World, {**missing, **document})
    except Undecodable as fault:
        raise Refused(f"{path}: {fault}") from fault


def sized(*, cards: int, slots_per_card: int) -> World:
    """The default fleet in another size; its slots are the largest of which a 32 GB card holds so many.

    On a card of a single slot there is no room for a foreign tenant.
    """
    gigabytes = next((size for size in SLOT_GB if slots_per_card * size <= SLOT_GB[0]), SLOT_GB[-1])
    changes: dict[str, Any] = {"slot_label": f"v100d-{gigabytes}q-{gigabytes}GB"}
    if slots_per_card == 1:
        changes["foreign"] = ()
    return possible(lambda: default_world(cards=cards, slots_per_card=slots_per_card, **changes))


def with_models(world: World, change: Callable[[SimModel], SimModel]) -> World:
    """Every model changed alike. Raises `Refused`."""
    return possible(lambda: replace(world, models=tuple(change(model) for model in world.models)))


def with_cold_start(model: SimModel, total_s: float) -> SimModel:
    """Another cold start; worker and load keep their parts of it."""
    cold = model.cold_start
    usual_s = cold.worker_s + cold.load_s
    worker_ratio = cold.worker_s / usual_s if usual_s else 0.25
    changed = replace(cold, worker_s=total_s * worker_ratio, load_s=total_s * (1 - worker_ratio))
    return replace(model, cold_start=changed)


def with_service(model: SimModel, *, solo_ms: float | None, engine_ratio: float | None) -> SimModel:
    """Another time for a lone request, or another part of it on the engine; further requests of a batch follow."""
    service = model.service
    total_ms = service.solo_ms() if solo_ms is None else solo_ms
    engine_ms = total_ms * (service.engine_ratio if engine_ratio is None else engine_ratio)
    per_item_ms = service.engine_per_item_ms * (engine_ms / service.engine_ms if service.engine_ms else 1.0)
    changed = replace(service, host_ms=total_ms - engine_ms, engine_ms=engine_ms, engine_per_item_ms=per_item_ms)
    return replace(model, service=changed)


def without_interference(world: World) -> World:
    """As many slots of ours, each a whole card that nobody else is on: where a replica is placed changes nothing.

    Raises `Refused` for a fleet of several slot types.
    """
    if world.further:
        raise Refused("a fleet of several slot types has its cards as it says them; leave --no-interference out")
    profile = world.profile
    whole_card = Profile(board=profile.board, gigabytes=profile.board_gigabytes, series=profile.series)
    return replace(world, cards=len(world.own_slots), slots_per_card=1, foreign=(), slot_label=whole_card.label)


def possible(make: Callable[[], World]) -> World:
    """What `make` gives. Raises `Refused` where such a fleet cannot be."""
    try:
        return make()
    except ValueError as error:
        raise Refused(f"this fleet cannot be: {error}") from error
