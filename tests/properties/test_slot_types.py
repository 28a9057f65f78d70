"""What holds for models on several slot types, whatever the cards, the neighbours and the order of listing."""

from dataclasses import replace
from itertools import pairwise
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoscaler.core import capacity, spanning
from autoscaler.core.capacity import Cards
from autoscaler.core.contention import measure
from autoscaler.core.decide import decide
from autoscaler.core.observation import Observation
from autoscaler.core.placement import Want, place_models
from autoscaler.core.seating import Party, targets
from autoscaler.core.service import Demand
from autoscaler.core.spanning import SlotOption
from autoscaler.core.spec import FleetSpec, PolicySettings
from autoscaler.core.state import State
from tests import build
from tests.unit.core import two_types
from tests.unit.core.two_types import BIG, POOLS, SMALL
from vgpu.core.inventory import Inventory, Node, Slot
from vgpu.core.share import SchedulerPolicy

some = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def cards(random: Random) -> Cards:
    """Up to three cards of each type; tenants that want something hold some of the slots."""
    policy = random.choice(list(SchedulerPolicy))
    made = two_types.stock(big=random.randint(0, 3), small=random.randint(0, 3), policy=policy)
    held = {slot.slot_id: f"x/{slot.slot_id}" for slot in made.slots if random.random() < 0.3}
    busy = {slot_id: round(random.random(), 2) for slot_id in held}
    made = made.with_holders(held)
    seen = Observation(slots=tuple(two_types.readings(made, busy)))
    return Cards.of(made, measure(made, seen, PolicySettings(), 0.0), frozenset(), frozenset())


def demand(random: Random) -> Demand:
    return Demand(away_s=random.choice((0.0, 0.01, 0.05)), engine_s=random.choice((0.005, 0.03, 0.1)))


def slot_options(random: Random) -> tuple[SlotOption, ...]:
    made = two_types.types(demand(random), demand(random), small_cost=random.choice((0.05, 0.25, 2.0)))
    return tuple(replace(each, worth=random.choice((0.01, 0.5, 1.0, 1.0))) for each in made)


def placed(random: Random, made: Cards) -> tuple[str | None, ...]:
    slots = sorted(made.contention.directory.slots)
    return (*random.sample(slots, random.randint(0, min(4, len(slots)))), *([None] * random.randint(0, 1)))


@some
@given(st.randoms(use_true_random=False))
def test_more_replicas_never_do_less_and_every_replica_has_its_place_in_the_order(random: Random) -> None:
    made, of = cards(random), slot_options(random)
    slots, most = placed(random, made), random.randint(1, 12)
    found = spanning.reach(made, of, slots, most=most, least_gain_ratio=0.2)
    assert len(found.rates_per_s) == len(found.lone_per_s) == most + 1
    assert all(before <= after for before, after in pairwise(found.rates_per_s))
    assert all(rate <= lone + 1e-9 for rate, lone in zip(found.rates_per_s, found.lone_per_s, strict=True))
    assert found.rates_per_s[1] > 0
    by_id = {f"r{index}": slot for index, slot in enumerate(slots)}
    assert sorted(spanning.expendable(made, of, by_id)) == sorted(by_id)


@some
@given(st.randoms(use_true_random=False))
def test_one_type_by_itself_is_what_a_model_without_a_choice_has(random: Random) -> None:
    made, of, least = cards(random), slot_options(random), random.choice((0.0, 0.2))
    only, slots = replace(of[0], worth=1.0), placed(random, made)
    slots = tuple(slot for slot in slots if slot is None or slot.startswith("b"))
    assert only.demand is not None
    alone = capacity.reach(made, only.demand, slots, only.profile, most=6, least_gain_ratio=least)
    assert spanning.reach(made, (only,), slots, most=6, least_gain_ratio=least) == alone


def want(random: Random, of: tuple[SlotOption, ...]) -> Want:
    lives = {BIG: random.randint(0, 2), SMALL: random.randint(0, 2)}
    running = sum(lives.values())
    return Want(
        model="m",
        pool=BIG,
        profile=POOLS[0].profile,
        count=running + random.randint(0, 8),
        current=running + random.randint(0, 2),
        firm=max(1, running),
        types=of,
        lives=lives,
        meant={pool: count + random.randint(0, 1) for pool, count in lives.items()},
        room={pool: random.randint(0, 2) for pool in (BIG, SMALL) if random.random() < 0.3},
        shunned=frozenset({SMALL}) if random.random() < 0.2 else frozenset(),
    )


@some
@given(st.randoms(use_true_random=False))
def test_a_placement_promises_no_slot_twice_and_no_more_than_was_wanted(random: Random) -> None:
    made, of = cards(random), slot_options(random)
    stock = Inventory(nodes=nodes_of(made))
    asked = want(random, of)
    bound = {pool: count + random.randint(0, 1) for pool, count in asked.lives.items()}
    found = place_models([asked], bound, stock, made)
    grant = found.grants["m"]
    assert sum(count for _, count in grant.spread) == grant.count <= max(asked.count, asked.firm)
    assert grant.count + grant.unplaced >= asked.count
    assert grant.count >= min(asked.count, asked.firm)
    free = {each.pool: sum(slot.profile == each.profile for slot in stock.free_slots) for each in of}
    if not grant.unplaced:
        assert all(count <= bound[pool] + free[pool] for pool, count in grant.spread)
    backwards = place_models(
        [replace(asked, types=tuple(reversed(of)))], bound, Inventory(nodes=stock.nodes[::-1]), made
    )
    assert dict(backwards.grants["m"].spread).keys() <= {BIG, SMALL}
    assert backwards.grants["m"].count == grant.count


def nodes_of(made: Cards) -> tuple[Node, ...]:
    by_node: dict[str, list[Slot]] = {}
    for slot in made.contention.directory.slots.values():
        by_node.setdefault(slot.node, []).append(slot)
    return tuple(
        Node(name=name, ready=True, schedulable=True, slots=tuple(slots)) for name, slots in sorted(by_node.items())
    )


@some
@given(st.randoms(use_true_random=False))
def test_targets_never_rise_beyond_the_workers_that_could_take_the_replicas(random: Random) -> None:
    pools = ("a", "b", "c")
    parties = []
    for index in range(random.randint(1, 4)):
        mine = tuple(random.sample(pools, random.randint(1, 3)))
        held = {pool: random.randint(0, 2) for pool in mine}
        target = sum(held.values())
        parties.append(
            Party(
                model=f"m{index}",
                pools=mine,
                claim=target,
                held=held,
                target=target,
                count=target + random.randint(0, 4),
            )
        )
    ready = {pool: sum(party.held.get(pool, 0) for party in parties) + random.randint(0, 3) for pool in pools}
    found = targets(parties, ready)
    assert all(party.target <= found[party.model] <= party.count for party in parties if party.target is not None)
    assert sum(found.values()) <= sum(ready.values())
    for party in parties:
        others = sum(other.held.get(pool, 0) for other in parties if other is not party for pool in party.pools)
        assert found[party.model] <= max(party.claim, sum(ready[pool] for pool in party.pools) - others)


def told(random: Random, spec: FleetSpec, backwards: bool) -> list[object]:
    """Some ticks of a model with one replica on each type; everything listed forwards or backwards."""
    held = {"b1/0": "s/b1", "t1/0": "s/t1"}
    stock = two_types.stock(held=held)
    stock = Inventory(nodes=stock.nodes[::-1]) if backwards else stock
    state, plans, answered, busy_s = State(), [], 0, 0.0
    for now_s in range(0, 60, 2):
        answered, busy_s = answered + random.randint(0, 60), busy_s + random.random() * 2
        counted = build.counters({40: answered}, busy_s=busy_s)
        replicas = [
            build.sample(name, now_s, counted, slot_id=slot, in_flight=random.randint(0, 9))
            for name, slot in (("r1", "b1/0"), ("r2", "t1/0"))
        ]
        pools = [
            build.pool(build.worker("s/b1", "b1"), name=BIG, at_s=now_s),
            build.pool(build.worker("s/t1", "t1"), name=SMALL, at_s=now_s),
        ]
        running = build.deployment(at_s=now_s, target=2, running={"r1": "s/b1", "r2": "s/t1"})
        readings = two_types.readings(stock, {"b1/0": 0.3, "t1/0": random.random()}, now_s)
        step = -1 if backwards else 1
        seen = Observation(
            replicas=tuple(replicas[::step]),
            deployments=(running,),
            pools=tuple(pools[::step]),
            slots=tuple(readings[::step]),
        )
        state, plan = decide(spec, state, seen, stock, float(now_s))
        plans.append((plan.decisions, set(plan.actions)))
    return plans


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 10**6))
def test_neither_the_order_of_pools_nor_that_of_nodes_matters(seed: int) -> None:
    forwards = two_types.fleet()
    model = two_types.model(pool=SMALL, further_pools=(BIG,))
    backwards = two_types.fleet(model, pools=POOLS[::-1])
    assert told(Random(seed), forwards, backwards=False) == told(Random(seed), backwards, backwards=True)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 10**6))
def test_the_count_stays_within_its_bounds(seed: int) -> None:
    model = two_types.model(min_replicas=2, max_replicas=5)
    for decisions, _ in told(Random(seed), two_types.fleet(model), backwards=False):
        assert all(2 <= decision.count <= 5 for decision in decisions)
        assert all(sum(count for _, count in each.spread) == each.count for each in decisions)
