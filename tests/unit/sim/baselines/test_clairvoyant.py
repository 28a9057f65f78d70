"""The bound's schedule: how much it needs when, and how long before it asks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from autoscaler.sim.baselines.clairvoyant import (
    Clairvoyant,
    ClairvoyantSettings,
    ahead,
    lead_s,
    rate_by_step,
)
from autoscaler.sim.baselines.crowding import Crowding, foreign_load, own_capacity
from autoscaler.sim.baselines.queueing import Profile, rate_within
from autoscaler.sim.world import ColdStart, Foreign, ServiceTime, SimModel, World
from tests.unit.sim.baselines.views import view
from vgpu.core.share import SchedulerPolicy

MODEL = SimModel(
    name="minilm",
    service=ServiceTime(host_ms=33.0, engine_ms=27.0),
    objective_p95_ms=300,
    cold_start=ColdStart(worker_s=10.0, load_s=30.0),
)
ALONE = World(models=(MODEL,), cards=24, slots_per_card=1, slot_label="v100d-32q-32GB")
CROWDED = World(
    models=(MODEL,),
    cards=3,
    foreign=(
        Foreign(card=0, phases=((0.0, 0.1), (60.0, 0.8))),
        Foreign(card=1, phases=((60.0, 0.4),)),
    ),
)


def evenly(*spans: tuple[float, float, float]) -> NDArray[np.float64]:
    """Arrivals at even distances: (from_s, to_s, per second) one after another."""
    return np.concatenate([np.arange(from_s, to_s, 1 / per_s) for from_s, to_s, per_s in spans])


def bound(times: NDArray[np.float64], world: World = ALONE, **numbers: float) -> Clairvoyant:
    return Clairvoyant(ClairvoyantSettings(**numbers), world, {"minilm": times})


def crowding(world: World, segments: int = 2) -> Crowding:
    return Crowding(world=world, profile=Profile.of(world.models[0]), load=foreign_load(world, segments))


def test_it_asks_one_cold_start_before_the_load_comes_and_lets_go_when_it_goes() -> None:
    law = bound(evenly((0, 300, 10), (300, 360, 50), (360, 480, 10)))
    # 50/s takes four replicas alone on their cards, 10/s one; a cold start is at most 47 s, so five steps before.
    assert law.schedule("minilm").tolist() == [1] * 25 + [4] * 11 + [1] * 12
    seen = [law.want(view(at_s, target=1))["minilm"] for at_s in (0, 249, 250, 359, 360, 9999)]
    assert seen == [1, 1, 4, 4, 1, 1]


def test_a_gap_shorter_than_a_cold_start_is_not_worth_a_fall() -> None:
    gap = bound(evenly((0, 120, 50), (120, 160, 5), (160, 240, 50)))
    assert set(gap.schedule("minilm").tolist()) == {4}


def test_headroom_multiplies_the_load() -> None:
    times = evenly((0, 120, 30))
    assert [set(bound(times, headroom_ratio=ratio).schedule("minilm").tolist()) for ratio in (0.5, 1.0, 2.5)] == [
        {2},
        {3},
        {5},
    ]


def test_counts_stay_within_the_bounds_of_the_model_and_of_the_fleet() -> None:
    law = bound(evenly((0, 60, 3000)))
    assert set(law.schedule("minilm").tolist()) == {24}
    assert law.want(view(0, target=1, most=7))["minilm"] == 7
    assert bound(np.array([0.0])).want(view(0, target=3, least=3))["minilm"] == 3


def test_a_model_without_arrivals_gets_its_least() -> None:
    assert Clairvoyant(ClairvoyantSettings(), ALONE, {}).want(view(0, target=2, least=2)) == {"minilm": 2}


def test_each_model_sees_the_others_engine_load() -> None:
    other = SimModel(
        name="other", service=MODEL.service, objective_p95_ms=300, cold_start=MODEL.cold_start, max_replicas=12
    )
    world = World(models=(MODEL, other), cards=3)
    times = {"minilm": evenly((0, 60, 40)), "other": evenly((0, 60, 40))}
    together = Clairvoyant(ClairvoyantSettings(), world, times)
    apart = Clairvoyant(ClairvoyantSettings(), world, {**times, "other": np.array([])})
    assert together.schedule("minilm")[0] > apart.schedule("minilm")[0]


def test_rates_are_counts_by_step() -> None:
    assert rate_by_step(np.array([0.0, 9.9, 10.0, 35.0]), 10.0, 3).tolist() == [0.2, 0.1, 0.0]


@given(need=st.lists(st.integers(1, 9), min_size=1, max_size=40), steps=st.integers(0, 6))
def test_looking_ahead_is_the_largest_of_what_comes(need: list[int], steps: int) -> None:
    expected = [max(need[index : index + steps + 1]) for index in range(len(need))]
    assert ahead(np.array(need), steps).tolist() == expected


def test_the_lead_covers_the_spread_of_both_parts() -> None:
    assert lead_s(ColdStart(worker_s=10.0, load_s=30.0, spread_ratio=0.0)) == 40.0
    assert lead_s(ColdStart(worker_s=30.0, load_s=40.0, spread_ratio=0.1)) == pytest.approx(80.0)


def test_foreign_load_is_that_of_the_phase() -> None:
    assert foreign_load(CROWDED, 2).tolist() == [[0.1, 0.0, 0.0], [0.8, 0.4, 0.0]]
    assert own_capacity(CROWDED).tolist() == [3, 3, 4]


def test_alone_on_their_cards_replicas_do_what_the_queue_formula_says() -> None:
    rates = crowding(ALONE).rates_within(8)[:, 0]
    profile = Profile.of(MODEL)
    assert rates.tolist() == pytest.approx([rate_within(count, profile) for count in range(1, 9)], rel=0.01)


def test_more_replicas_never_do_less_and_a_crowded_fleet_does_less_than_an_idle_one() -> None:
    crowded = crowding(CROWDED).rates_within(10)
    assert (np.diff(crowded, axis=0) >= 0).all()
    idle = crowding(World(models=(MODEL,), cards=3)).rates_within(10)
    assert (crowded[:, 1] <= idle[:, 1]).all()
    assert crowded[-1, 1] < crowded[-1, 0] < idle[-1, 0]


def test_a_lone_replica_beside_a_busy_tenant_is_stretched_by_its_work() -> None:
    world = World(models=(MODEL,), cards=1, foreign=(Foreign(card=0, phases=((0.0, 1.0),)),), switch_cost_ratio=0.1)
    slower = crowding(world, 1).stretch(np.array([[1.0]]), np.array([0.0]))
    assert slower[0].tolist() == pytest.approx([2.2])  # half the engine, and 10 % for switching between two


@pytest.mark.parametrize(("policy", "slower"), [(SchedulerPolicy.EQUAL_SHARE, 3.0), (SchedulerPolicy.FIXED_SHARE, 4.0)])
def test_a_guaranteed_share_is_what_it_is_whoever_works(policy: SchedulerPolicy, slower: float) -> None:
    world = World(models=(MODEL,), cards=1, policy=policy, foreign=(Foreign(card=0, phases=((0.0, 0.0),)),))
    # Three tenants on the card: switching between them costs 2 x 4 % on top.
    stretched = crowding(world, 1).stretch(np.array([[2.0]]), np.array([0.1]))
    assert stretched.tolist() == [[pytest.approx(slower * 1.08)]]
