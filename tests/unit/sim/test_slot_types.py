"""Cards of several slot types in one modelled fleet, and the law on them."""

import os
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from autoscaler.config import pool_name
from autoscaler.core.decision import DrainWorkers, Plan, SetReplicas, SetWorkers
from autoscaler.core.spec import PoolSpec
from autoscaler.sim.controller import Ours, spec_of
from autoscaler.sim.engine import Engine
from autoscaler.sim.faults import ApiAway
from autoscaler.sim.fleet import Fleet
from autoscaler.sim.observe import Observer, edges_of
from autoscaler.sim.simulation import Outcome, run
from autoscaler.sim.world import Cards, Foreign, World, default_world
from tests.unit.sim.build import engine_of, mean_latency_s, poisson, serve, service, world_of
from vgpu.core.profile import parse_profile

GOLDEN = Path(__file__).parents[2] / "goldens" / "decisions" / "two_slot_types.txt"
BIG, SMALL = "v100d-8q-8GB", "t4-4q-4GB"
BIG_POOL, SMALL_POOL = pool_name(BIG), pool_name(SMALL)
T4 = Cards(cards=2, slots_per_card=3, slot_label=SMALL, engine_ratio=1.5)


def two_types(**fields: object) -> World:
    """A V100 in two slots, slots 0 and 1 of three numbers; two T4s in three slots, 3 to 8."""
    made = world_of(service(30, 30), service(30, 30), cards=1, slots_per_card=2, slot_label=BIG, further=(T4,))
    both = replace(made.models[0], slots=(BIG, SMALL))
    return replace(made, **{"models": (both, replace(made.models[1], slots=(SMALL,))), **fields})


def test_slots_are_numbered_by_the_card_that_is_cut_most_finely() -> None:
    made = two_types(foreign=(Foreign(card=0, phases=((0.0, 0.5),)), Foreign(card=2, phases=((0.0, 0.5),))))
    assert (made.card_count, made.stride, made.slot_count) == (3, 3, 9)
    assert made.slots == (0, 1, 3, 4, 5, 6, 7, 8)
    assert (made.foreign_slots, made.own_slots) == ((1, 8), (0, 3, 4, 5, 6, 7))
    assert [made.node_name(slot) for slot in (0, 3, 7)] == ["gpu000-vm0", "gpu001-vm0", "gpu002-vm1"]
    assert [made.most_replicas(model) for model in made.models] == [6, 5]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"further": (replace(T4, slot_label=BIG),)}, f"slot types are {BIG}, {BIG}; each of them once"),
        ({"further": ()}, f"slots of model 'm0' is {BIG}, {SMALL}; {SMALL} is none of this world's slot types: {BIG}"),
        ({"foreign": (Foreign(card=3, phases=((0.0, 0.5),)),)}, "foreign is on card 3; cards are 0 to 2"),
        (
            {"foreign": (Foreign(card=0, phases=((0.0, 0.5),)),) * 3},
            "foreign has 3 tenants on card 0, which has 2 slots",
        ),
    ],
)
def test_a_fleet_that_cannot_be_is_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        two_types(**change)


def test_a_slower_card_takes_as_much_longer_on_the_engine() -> None:
    made = two_types()
    for slot, expected_s in ((0, 0.060), (3, 0.075)):
        engine = serve(engine_of(made, [1.0, 2.0]), slot)
        engine.advance(5.0)
        assert mean_latency_s(engine) == pytest.approx(expected_s)
        assert engine.engine_s[slot] == pytest.approx(2 * (expected_s - 0.030))


def test_each_slot_type_has_its_pool_and_a_model_names_its_own() -> None:
    spec = spec_of(two_types())
    assert spec.pools == (
        PoolSpec(name=BIG_POOL, profile=parse_profile(BIG)),
        PoolSpec(name=SMALL_POOL, profile=parse_profile(SMALL)),
    )
    assert [model.pools for model in spec.models] == [(BIG_POOL, SMALL_POOL), (SMALL_POOL,)]


def homes(fleet: Fleet) -> list[Counter[str]]:
    """By model: replicas by the pool they live in, "" for those that wait."""
    pools = {id(worker): pool.name for pool in fleet.pools for worker in pool.workers}
    return [
        Counter(pools.get(id(replica.worker), "") for replica in deployment.replicas)
        for deployment in fleet.deployments
    ]


def test_a_replica_lives_in_a_pool_of_its_model_and_in_no_other() -> None:
    made = two_types()
    engine = engine_of(made, [], [])
    fleet = Fleet(made, engine, seed=1)
    assert homes(fleet) == [Counter({BIG_POOL: 1}), Counter({SMALL_POOL: 1})]
    for pool, before, count in ((BIG_POOL, 1, 2), (SMALL_POOL, 1, 3)):
        fleet.apply(SetWorkers(pool=pool, before=before, count=count), 0.0)
    fleet.apply(SetReplicas(model="m1", before=1, count=4), 0.0)
    fleet.apply(SetReplicas(model="m0", before=1, count=3), 0.0)
    engine.advance(30.0)
    fleet.step(30.0)
    assert homes(fleet) == [Counter({BIG_POOL: 2, "": 1}), Counter({SMALL_POOL: 3, "": 1})]
    assert fleet.card_seconds(30.0) == pytest.approx(30 * (2 * 0.25 + 3 * 0.25))


def test_a_fleet_that_has_no_room_for_the_first_replicas_is_refused() -> None:
    made = two_types()
    crowded = replace(made, models=(made.models[0], replace(made.models[1], start_replicas=7)))
    with pytest.raises(ValueError, match="start_replicas of m1 is more than its slot types have slots"):
        Fleet(crowded, engine_of(crowded, [], []), seed=1)


def test_every_pool_and_every_slot_is_seen() -> None:
    made = two_types()
    engine = Engine(made, {}, seed=1, edges_s=edges_of(made))
    fleet = Fleet(made, engine, seed=1)
    eyes = Observer(fleet, engine, faults=(ApiAway(from_s=10.0, to_s=20.0),))
    engine.advance(5.0)
    eyes.sample(5.0)
    seen, inventory = eyes.look(5.0)
    assert [pool.pool for pool in seen.pools] == [BIG_POOL, SMALL_POOL]
    assert [slot.slot_id for slot in seen.slots] == [slot.slot_id for slot in inventory.slots]
    assert Counter(slot.profile.label for slot in inventory.slots) == {BIG: 2, SMALL: 6}
    engine.advance(15.0)
    eyes.sample(15.0)
    away, _ = eyes.look(15.0)
    assert [gap.name for gap in away.missing][:2] == [BIG_POOL, SMALL_POOL]


def crowded(slots: tuple[str, ...]) -> World:
    """Four V100s on which a tenant wants most of the engine, and four T4s of which nobody wants anything."""
    usual = default_world()
    tenants = tuple(Foreign(card=card, phases=((0.0, 0.6),)) for card in range(4))
    return replace(
        usual,
        models=(replace(usual.models[0], slots=slots),),
        cards=4,
        foreign=tenants,
        further=(Cards(cards=4, slots_per_card=4, slot_label=SMALL, engine_ratio=1.5),),
    )


def steered(slots: tuple[str, ...]) -> tuple[Outcome, list[Plan]]:
    """A load that rises to 70 requests/s and falls again."""
    span_s = 1500.0
    times = poisson(70.0, span_s)
    kept: NDArray[np.bool_] = np.random.default_rng(2).random(len(times)) < 0.1 + 0.9 * np.sin(times / span_s * np.pi)
    law = Ours(keep_plans=True)
    ended = run(crowded(slots), {"embedder": times[kept]}, law, seed=1, span_s=span_s, warm_up_s=100.0)
    return ended, law.plans


@pytest.fixture(scope="module")
def both() -> tuple[Outcome, list[Plan]]:
    return steered((BIG, SMALL))


def test_the_order_in_which_types_are_named_makes_no_difference(both: tuple[Outcome, list[Plan]]) -> None:
    assert steered((SMALL, BIG))[1] == both[1]


def test_what_is_decided_for_the_pools_adds_up_and_no_worker_dies_with_a_replica(
    both: tuple[Outcome, list[Plan]],
) -> None:
    outcome, plans = both
    assert outcome.killed == 0
    for plan in plans:
        (decision,) = plan.decisions
        assert sum(count for _, count in decision.spread) == decision.count
    assert {pool for plan in plans for pool, _ in plan.decisions[0].spread} == {BIG_POOL, SMALL_POOL}


def told(plan: Plan) -> str:
    said = []
    for action in plan.actions:
        match action:
            case SetWorkers():
                said.append(f"{action.pool} {action.before} to {action.count}")
            case SetReplicas():
                said.append(f"replicas {action.before} to {action.count}")
            case DrainWorkers():
                said.append(f"drain {' '.join(action.workers)}")
    return "".join(f"\n        {entry}" for entry in said)


def test_the_journal_of_two_slot_types_is_the_golden_one(both: tuple[Outcome, list[Plan]]) -> None:
    """Small slots on calm cards first, then what is left of the large ones; each fall takes what adds least."""
    written = "".join(
        f"{plan.at_s:4.0f} s  {plan.decisions[0].sentence()}{told(plan)}\n"
        for plan in both[1]
        if not plan.decisions[0].held or plan.actions
    )
    if os.environ.get("VGPU_REWRITE_GOLDENS"):
        GOLDEN.write_text(written)
    assert written == GOLDEN.read_text()


def test_with_both_types_more_is_answered_in_time_than_with_either(both: tuple[Outcome, list[Plan]]) -> None:
    alone = max(steered((slot,))[0].attainment_ratio for slot in (BIG, SMALL))
    assert both[0].attainment_ratio > max(0.97, alone)
