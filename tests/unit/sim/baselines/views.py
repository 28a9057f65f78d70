"""Views to step a law through by hand: so many replicas, each with its in-flight count and what it has answered."""

from collections.abc import Sequence

from autoscaler.core.observation import SlotReading
from autoscaler.sim.controller import View
from tests import build
from vgpu.core.inventory import Inventory

MODEL = "minilm"


def stock(cards: int = 2, slots_per_card: int = 4) -> Inventory:
    """One node a card, all its slots on it: slot ids n0/0, n0/1, ..."""
    return build.inventory(
        *(
            build.node(f"n{card}", profile="v100d-8q-8GB", slots=slots_per_card, card=f"GPU-{card}")
            for card in range(cards)
        )
    )


def view(
    now_s: float,
    in_flight: Sequence[int | None] = (),
    *,
    target: int | None = None,
    answered: Sequence[int] = (),
    busy_s: Sequence[float] = (),
    busy_ratio: Sequence[float] = (),
    age_s: float = 0.0,
    seen: bool = True,
    least: int = 1,
    most: int = 24,
    model: str = MODEL,
) -> View:
    """`in_flight` of each running replica r0, r1, ... on the slots in order, None where its sample is missing.

    `answered` and `busy_s` are the replicas' counters, `busy_ratio` the slots' readings in order. `age_s` is the age
    of samples and readings. `seen` False: the deployment could not be listed.
    """
    inventory = stock()
    slot_ids = [slot.slot_id for slot in inventory.slots]
    running = [f"{model}-r{index}" for index in range(len(in_flight))]
    starting = [f"{model}-s{index}" for index in range((target or 0) - len(running))]
    samples = [
        build.sample(
            running[index],
            now_s - age_s,
            build.counters({50: answered[index] if answered else 0}, busy_s=busy_s[index] if busy_s else 0.0),
            model=model,
            slot_id=slot_ids[index % len(slot_ids)],
            in_flight=value,
        )
        for index, value in enumerate(in_flight)
        if value is not None
    ]
    deployment = build.deployment(
        model=model,
        at_s=now_s,
        target=len(running) if target is None else target,
        running=dict.fromkeys(running),
        starting=starting,
    )
    readings = [
        SlotReading(slot_id=slot_id, at_s=now_s - age_s, busy_ratio=ratio)
        for slot_id, ratio in zip(slot_ids, busy_ratio, strict=False)
    ]
    return View(
        now_s=now_s,
        seen=build.world(inventory, deployments=[deployment] if seen else [], replicas=samples, slots=readings),
        inventory=inventory,
        spec=build.fleet(build.model(model, min_replicas=least, max_replicas=most)),
    )


def both(one: View, other: View) -> View:
    """Two models in one view, of the same time and fleet."""
    return View(
        now_s=one.now_s,
        seen=build.world(
            one.inventory,
            deployments=[*one.seen.deployments, *other.seen.deployments],
            replicas=[*one.seen.replicas, *other.seen.replicas],
        ),
        inventory=one.inventory,
        spec=build.fleet(*one.spec.models, *other.spec.models),
    )
