"""What holds for the learned law whatever the load: it settles, more load is never fewer, nothing is done blindly."""

import math
from dataclasses import replace
from itertools import groupby, pairwise
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoscaler.core.capacity import Cards
from autoscaler.core.contention import measure
from autoscaler.core.decision import Decision, Reason
from autoscaler.core.observation import Observation, SlotReading
from autoscaler.core.placement import Want, place_models
from autoscaler.core.service import Demand
from autoscaler.core.spec import GuardrailSettings, PolicySettings
from tests import build
from tests.unit.core.fleet import ToyFleet
from vgpu.core.inventory import Inventory
from vgpu.core.profile import parse_profile
from vgpu.core.share import SchedulerPolicy

LIMITS = GuardrailSettings(pending_timeout_s=15.0, pending_backoff_s=10.0, step_up_ratio=2.0, step_down_part=3)
MODEL = build.model(min_replicas=2, max_replicas=10)
LOADS_PER_S = (4.0, 16.0, 30.0, 45.0, 58.0)
NEED = {Reason.LOAD_EXPECTED, Reason.LOAD_BORNE, Reason.LATENCY_ABOVE_OBJECTIVE_NOW, Reason.NO_TRAFFIC}

slow = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def stock(policy: SchedulerPolicy, cards: int = 5) -> Inventory:
    return build.inventory(*(build.node(f"n{i}", slots=2, card=f"GPU-{i}", policy=policy) for i in range(cards)))


def poisson(random: Random, mean: float) -> int:
    count, passed = 0, random.expovariate(1.0)
    while passed < mean:
        count, passed = count + 1, passed + random.expovariate(1.0)
    return count


def settled(policy: SchedulerPolicy, load_per_s: float) -> ToyFleet:
    """Ten minutes of one load."""
    fleet = ToyFleet(
        spec=build.fleet(build.model(max_replicas=10)),
        stock=stock(policy),
        load_per_s=lambda _: load_per_s,
        replica_delay_s=8.0,
    )
    return fleet.run(600)


@pytest.fixture(scope="module", params=SchedulerPolicy)
def fleets(request: pytest.FixtureRequest) -> dict[float, ToyFleet]:
    return {load_per_s: settled(request.param, load_per_s) for load_per_s in LOADS_PER_S}


def path_without_moves(fleet: ToyFleet) -> list[int]:
    """The counts in turn; one that is higher for a move, make before break, is no rise."""
    path: list[int] = []
    for _, ticks in groupby((plan.decisions[0] for plan in fleet.plans), key=lambda decision: decision.count):
        first = next(ticks)
        if all(step.reason is not Reason.MOVE_INTERFERENCE for step in first.steps):
            path.append(first.count)
    return [count for count, _ in groupby(path)]


def test_under_constant_load_the_count_settles_without_turning_back(fleets: dict[float, ToyFleet]) -> None:
    for fleet in fleets.values():
        path = path_without_moves(fleet)
        peak = path.index(max(path))
        assert path[: peak + 1] == sorted(path[: peak + 1])
        assert path[peak:] == sorted(path[peak:], reverse=True)
        assert len(set(fleet.counts[-60:])) == 1


def test_the_law_under_test_is_the_learned_one(fleets: dict[float, ToyFleet]) -> None:
    for fleet in fleets.values():
        assert {plan.decisions[0].steps[0].reason for plan in fleet.plans[-60:]} <= NEED


def test_once_settled_the_objective_is_met(fleets: dict[float, ToyFleet]) -> None:
    for fleet in fleets.values():
        signals = fleet.decision.signals
        assert signals is not None
        assert signals.p95_ms.value <= MODEL.objective_p95_ms  # type: ignore[union-attr]  # there is traffic


def test_a_larger_load_never_settles_with_fewer(fleets: dict[float, ToyFleet]) -> None:
    counts = [fleets[load_per_s].counts[-1] for load_per_s in LOADS_PER_S]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


@pytest.mark.parametrize("policy", SchedulerPolicy)
@pytest.mark.parametrize("load_per_s", [8.0, 30.0, 50.0])
def test_chance_in_the_arrivals_seldom_moves_the_count(load_per_s: float, policy: SchedulerPolicy) -> None:
    """In the five minutes after five minutes of Poisson arrivals: one rise on average at most, never one a minute."""
    rises = []
    for seed in range(3):
        random = Random(seed)
        fleet = ToyFleet(
            spec=build.fleet(build.model(max_replicas=10)),
            stock=stock(policy),
            load_per_s=lambda _, random=random: poisson(random, load_per_s),
            replica_delay_s=8.0,
        ).run(600)
        rises.append(sum(after > before for before, after in pairwise(fleet.counts[300:])))
    assert sum(rises) / len(rises) <= 1
    assert max(rises) < 5


def check(decision: Decision, blind: bool) -> None:
    """What must hold for every decision of the learned law."""
    reasons = {step.reason for step in decision.steps}
    current, count = decision.current, decision.count
    assert MODEL.min_replicas <= count <= MODEL.max_replicas
    assert count <= max(math.ceil(LIMITS.step_up_ratio * current), current + LIMITS.step_up_count, MODEL.min_replicas)
    if count < current and not {Reason.PENDING_EXPIRED, Reason.NO_SLOTS, Reason.SATURATED} & reasons:
        assert current - count <= max(1, current // LIMITS.step_down_part)
        assert not blind
        assert decision.signals is not None
        assert not decision.signals.gaps
    assert decision.sentence()


@slow
@given(
    st.lists(st.sampled_from([0.0, 5.0, 20.0, 50.0, 90.0, 160.0]), min_size=4, max_size=8),
    st.sampled_from(SchedulerPolicy),
    st.sampled_from([1.0, 8.0, 40.0]),
    st.integers(0, 300),
    st.integers(1, 60),
)
def test_limits_hold_over_any_load_and_nothing_falls_blindly(
    loads: list[float], policy: SchedulerPolicy, delay_s: float, blind_from_s: int, blind_s: int
) -> None:
    """Each load lasts 40 s, and for a while no replica can be read at all."""

    def hide(seen: Observation, now_s: float) -> Observation:
        return replace(seen, replicas=()) if blind_from_s <= now_s < blind_from_s + blind_s else seen

    fleet = ToyFleet(
        spec=build.fleet(MODEL, guardrails=LIMITS),
        stock=stock(policy),
        load_per_s=lambda now_s: loads[int(now_s) // 40 % len(loads)],
        seen_filter=hide,
        replica_delay_s=delay_s,
    )
    for second in range(320):
        # A reading counts for max_age_s, so a tick is blind once that has passed.
        blind = blind_from_s + fleet.spec.policy.max_age_s < second < blind_from_s + blind_s
        check(fleet.tick().decisions[0], blind)


@st.composite
def wants(draw: st.DrawFn) -> list[Want]:
    """Up to four models in the order of priority, with costs learned or not."""
    made = []
    for index in range(draw(st.integers(1, 4))):
        firm, current, count = (draw(st.integers(1, 5)) for _ in range(3))
        engine_ms = draw(st.none() | st.integers(1, 50))
        made.append(
            Want(
                model=f"m{index}",
                pool="p",
                profile=parse_profile(build.PROFILE),
                count=max(count, firm),
                current=current,
                firm=firm,
                demand=None if engine_ms is None else Demand(away_s=0.02, engine_s=engine_ms / 1000),
            )
        )
    return made


@given(wants(), st.lists(st.integers(0, 10), min_size=10, max_size=10), st.integers(0, 10), st.data())
def test_a_lower_demand_of_one_model_never_hurts_a_higher_priority(
    asked: list[Want], busy_tenths: list[int], held: int, data: st.DataObject
) -> None:
    nodes = [
        build.node(
            f"n{card}",
            slots=2,
            card=f"GPU-{card}",
            held={slot: f"other/{card}{slot}" for slot in (0, 1) if 2 * card + slot < held},
        )
        for card in range(5)
    ]
    inventory = build.inventory(*nodes)
    readings = tuple(
        SlotReading(slot_id=slot.slot_id, at_s=0.0, busy_ratio=tenths / 10 if slot.holder else 0.0)
        for slot, tenths in zip(inventory.slots, busy_tenths, strict=True)
    )
    contention = measure(inventory, Observation(slots=readings), PolicySettings(), 0.0)
    cards = Cards.of(inventory, contention, frozenset(), frozenset())
    index = data.draw(st.integers(0, len(asked) - 1))
    modest = replace(asked[index], count=data.draw(st.integers(1, asked[index].count)))
    before = place_models(asked, {"p": 1}, inventory, cards).grants
    after = place_models([*asked[:index], modest, *asked[index + 1 :]], {"p": 1}, inventory, cards).grants
    for want in asked[:index]:
        assert after[want.model].count >= before[want.model].count
