"""What holds for whole ticks: over random loads and faults, under constant load, and in any order of listing."""

import math
from dataclasses import replace
from itertools import groupby
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoscaler.core.capacity import Cards
from autoscaler.core.contention import measure
from autoscaler.core.decide import decide
from autoscaler.core.decision import Decision, Reason, SetWorkers
from autoscaler.core.observation import Observation
from autoscaler.core.placement import Want, place_models
from autoscaler.core.policy import recommend
from autoscaler.core.spec import GuardrailSettings, PolicySettings
from tests import build
from tests.build import overload, signals, situation
from tests.unit.core.fleet import ToyFleet
from vgpu.core.inventory import Inventory
from vgpu.core.profile import parse_profile
from vgpu.core.share import SchedulerPolicy

LIMITS = GuardrailSettings(
    pending_timeout_s=15.0, pending_backoff_s=10.0, worker_keep_s=5.0, settle_down_s=5.0, step_up_ratio=2.0
)
MODEL = build.model(min_replicas=1, max_replicas=5, scale_down_window_s=15.0)


def stock(policy: SchedulerPolicy, cards: int = 3) -> Inventory:
    return build.inventory(*(build.node(f"n{i}", slots=2, card=f"GPU-{i}", policy=policy) for i in range(cards)))


class Troubles:
    """A load that changes every ten seconds, and each second a chance that some reading is lost."""

    def __init__(self, seed: int, loss: float) -> None:
        self.random = Random(seed)
        self.loss = loss
        self.loads = [self.random.choice([0.0, 3.0, 15.0, 40.0, 90.0]) for _ in range(10)]

    def load_per_s(self, now_s: float) -> float:
        return self.loads[int(now_s) // 10 % len(self.loads)]

    def hide(self, seen: Observation, _now_s: float) -> Observation:
        def keep(readings: tuple) -> tuple:
            return tuple(reading for reading in readings if self.random.random() >= self.loss)

        return replace(
            seen,
            replicas=keep(seen.replicas),
            slots=keep(seen.slots),
            deployments=keep(seen.deployments),
            pools=keep(seen.pools),
        )


def check(fleet: ToyFleet, decision: Decision, running: int) -> None:
    """What must hold for every decision, whatever happened before it."""
    reasons = {step.reason for step in decision.steps}
    assert MODEL.min_replicas <= decision.count <= MODEL.max_replicas
    highest = max(math.ceil(LIMITS.step_up_ratio * decision.current), decision.current + LIMITS.step_up_count)
    assert decision.count <= max(highest, MODEL.min_replicas)
    if decision.count < decision.current:
        gave_up = {Reason.PENDING_EXPIRED, Reason.NO_SLOTS} & reasons
        assert gave_up or decision.count == decision.current - 1
        assert gave_up or (decision.signals is not None and not decision.signals.gaps)
        assert not gave_up or decision.count >= min(running, decision.current)
    assert decision.sentence()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.integers(0, 10**6),
    st.sampled_from([0.0, 0.02, 0.3]),
    st.sampled_from(SchedulerPolicy),
    st.booleans(),
    st.booleans(),
)
def test_whatever_happens_a_tick_is_safe(
    seed: int, loss: float, policy: SchedulerPolicy, restarts: bool, learns: bool
) -> None:
    """The toy fleet itself refuses targets beyond the ready workers and victims that hold a replica."""
    troubles = Troubles(seed, loss)
    fleet = ToyFleet(
        spec=build.fleet(MODEL, guardrails=LIMITS),
        stock=stock(policy),
        load_per_s=troubles.load_per_s,
        seen_filter=troubles.hide,
        replica_delay_s=float(troubles.random.choice([1, 5, 40])),
        learns=learns,
    )
    for second in range(100):
        if restarts and second % 33 == 32:
            fleet.state = replace(fleet.state, models={}, surplus_since_s={})
        if troubles.random.random() < 0.02 and fleet.workers:
            fleet.remove_worker(troubles.random.choice(sorted(fleet.workers)))
        running = len(fleet.running())
        plan = fleet.tick()
        for decision in plan.decisions:
            check(fleet, decision, running)
        for action in plan.actions:
            if isinstance(action, SetWorkers) and action.count > action.before:
                assert action.count - action.before == len(fleet.workers) - action.before or plan.decisions[0].unplaced
        if any(not decision.signals or decision.signals.gaps for decision in plan.decisions):
            assert len(fleet.running()) >= min(running, len(fleet.workers))


@pytest.mark.parametrize("policy", SchedulerPolicy)
@pytest.mark.parametrize("delay_s", [2.0, 15.0])
@pytest.mark.parametrize("load_per_s", [0, 4, 13, 14, 21, 29, 45, 58, 75, 110])
def test_under_constant_load_the_count_settles(policy: SchedulerPolicy, delay_s: float, load_per_s: float) -> None:
    """It rises within two minutes, may give back what it took too much, and never rises again after that.

    This is the law of what clients feel, which decides while costs are unknown.
    """
    model = build.model(max_replicas=8, scale_down_window_s=30.0)
    fleet = ToyFleet(
        spec=build.fleet(model),
        stock=stock(policy, cards=4),
        load_per_s=lambda _: load_per_s,
        replica_delay_s=delay_s,
        learns=False,
    ).run(400)
    path = [count for count, _ in groupby(fleet.counts)]
    peak = path.index(max(path))
    assert path[: peak + 1] == sorted(path[: peak + 1])
    assert path[peak:] == sorted(path[peak:], reverse=True)
    assert max(path) - path[-1] <= 2
    # A backlog fills every card, and as long as all free slots are on full ones a rise is held back and says so.
    held_back = fleet.plans[120].decisions[0].unplaced > 0
    assert held_back or set(fleet.counts[120:]) <= set(range(path[-1], max(path) + 1))
    assert len(set(fleet.counts[-60:])) == 1
    p95_ms = fleet.decision.signals and fleet.decision.signals.p95_ms
    enough = fleet.decision.reason not in (Reason.SATURATED, Reason.BOUNDS, Reason.NO_SLOTS)
    if load_per_s and enough:
        assert p95_ms is not None
        assert p95_ms.value <= model.objective_p95_ms  # type: ignore[union-attr]  # checked above


loads = st.fixed_dictionaries(
    {
        "p95_ms": st.floats(1.0, 2000.0),
        "in_flight": st.floats(0.0, 200.0),
        "queued": st.floats(0.0, 200.0),
        "offered_per_s": st.floats(0.0, 500.0),
        "offered_recent_per_s": st.floats(0.0, 500.0),
        "utilization_ratio": st.floats(0.0, 1.0),
        "refused": st.integers(0, 20),
    }
)


@given(loads, loads, st.integers(1, 10), st.lists(st.tuples(st.integers(1, 10), st.floats(0.1, 500.0)), max_size=4))
def test_a_larger_load_never_asks_for_fewer(
    one: dict[str, float], other: dict[str, float], current: int, missed: list[tuple[int, float]]
) -> None:
    remembered = tuple(overload(count, rate) for count, rate in dict(missed).items())
    low, high = ({name: pick(one[name], other[name]) for name in one} for pick in (min, max))

    def wanted(load: dict[str, float]) -> int:
        made = situation(signals(**load, running=current, fresh=current), current=current, overloads=remembered)
        return recommend(made)[0].count

    assert wanted(low) <= wanted(high)


@given(st.randoms(), st.integers(5, 60), st.sampled_from(SchedulerPolicy))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_order_in_which_things_are_listed_does_not_matter(
    random: Random, seconds: int, policy: SchedulerPolicy
) -> None:
    fleet = ToyFleet(spec=build.fleet(MODEL), stock=stock(policy), load_per_s=lambda _: 50.0).run(seconds)
    seen = fleet.observe()

    def shuffled(items: tuple) -> tuple:
        return tuple(random.sample(items, len(items)))

    listed = replace(
        seen,
        replicas=shuffled(seen.replicas),
        slots=shuffled(seen.slots),
        pools=tuple(replace(pool, workers=shuffled(pool.workers)) for pool in seen.pools),
        deployments=tuple(replace(made, replicas=shuffled(made.replicas)) for made in seen.deployments),
    )
    nodes = Inventory(nodes=shuffled(fleet.stock.nodes))
    _, first = decide(fleet.spec, fleet.state, seen, fleet.stock, fleet.now_s)
    _, second = decide(fleet.spec, fleet.state, listed, nodes, fleet.now_s)
    assert (first.decisions, first.actions) == (second.decisions, second.actions)


@st.composite
def demands(draw: st.DrawFn) -> list[Want]:
    """Up to four models of one pool, in the order of priority."""
    made = []
    for index in range(draw(st.integers(1, 4))):
        firm, current, count = (draw(st.integers(1, 5)) for _ in range(3))
        made.append(
            Want(
                model=f"m{index}",
                pool="p",
                profile=parse_profile(build.PROFILE),
                count=max(count, firm),
                current=current,
                firm=firm,
            )
        )
    return made


def grants(wants: list[Want], bound: int, held: int) -> dict[str, int]:
    slots = {(node, slot): f"other/{node}{slot}" for node in range(4) for slot in range(2) if node * 2 + slot < held}
    nodes = [
        build.node(f"n{node}", slots=2, held={slot: pod for (at, slot), pod in slots.items() if at == node})
        for node in range(4)
    ]
    inventory = build.inventory(*nodes)
    contention = measure(inventory, Observation(), PolicySettings(), 0.0)
    cards = Cards.of(inventory, contention, frozenset(), frozenset())
    return {model: grant.count for model, grant in place_models(wants, {"p": bound}, inventory, cards).grants.items()}


@given(demands(), st.integers(0, 6), st.integers(0, 8), st.data())
def test_a_lower_demand_never_hurts_a_higher_priority(
    wants: list[Want], bound: int, held: int, data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, len(wants) - 1))
    modest = replace(wants[index], count=data.draw(st.integers(1, wants[index].count)))
    before = grants(wants, bound, held)
    after = grants([*wants[:index], modest, *wants[index + 1 :]], bound, held)
    for want in wants[:index]:
        assert after[want.model] >= before[want.model]


@given(demands(), st.integers(0, 6), st.integers(0, 8))
def test_grants_stay_between_what_is_firm_and_what_is_wanted(wants: list[Want], bound: int, held: int) -> None:
    granted = grants(wants, bound, held)
    for want in wants:
        assert min(want.firm, want.count) <= granted[want.model] <= want.count
    firm = sum(want.firm for want in wants)
    assert sum(granted.values()) <= max(firm, bound + 8 - held) + firm
