"""The books of a modelled fleet: nothing lost, nothing counted twice, and the seed alone decides."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from autoscaler.sim.engine import FINE_EDGES_S, Engine, fine_quantile_s
from autoscaler.sim.world import Foreign
from tests.unit.sim.build import engine_of, poisson, serve, service, world_of


def counted(engine: Engine) -> dict[str, list[Any]]:
    names = ("answered", "refused", "failed", "batches", "in_flight", "queued", "busy_s", "engine_s", "buckets")
    of_models = ("offered", "answered_m", "within_m", "refused_m", "ingress_refused_m", "failed_m", "latency_sum_s")
    more = ("fine", "offered_w", "within_w")
    return {name: getattr(engine, name).tolist() for name in names + of_models + more}


MIXED = world_of(
    service(20, 15, spread_ratio=0.35, max_batch=3, engine_per_item_ms=2, max_queue=5),
    service(5, 30, spread_ratio=0.5, max_queue=3),
    cards=2,
    switch_cost_ratio=0.04,
    foreign=(Foreign(card=0, phases=((0.0, 0.5), (3.0, 0.1))),),
)
OURS = MIXED.own_slots
ACTIONS = st.tuples(
    st.sampled_from(["grow", "grow", "close", "kill", "slow"]),
    st.sampled_from(OURS),
    st.integers(0, 1),
    st.sampled_from([0.0, 0.013, 0.2, 1.0]),
)


class Fleet:
    """Does what it is told where that is allowed, and remembers whose replica is on which slot."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.model_of: dict[int, int] = {}
        self.opened: set[int] = set()

    def act(self, action: str, slot: int, model: int) -> None:
        if action == "grow" and slot not in self.opened and self.engine.in_flight[slot] == 0:
            if slot not in self.model_of:
                self.engine.attach(slot)
            self.engine.open(slot, model)
            self.model_of[slot] = model
            self.opened.add(slot)
        elif action == "close" and slot in self.opened:
            self.engine.close(slot)
            self.opened.remove(slot)
        elif action == "kill" and slot in self.model_of:
            self.engine.kill(slot)
            self.engine.detach(slot)
            del self.model_of[slot]
            self.opened.discard(slot)
        elif action == "slow":
            self.engine.slow(slot, 1.0 + model)

    def held(self) -> list[int]:
        """Requests in flight by model."""
        return [
            sum(int(self.engine.in_flight[slot]) for slot, model in self.model_of.items() if model == wanted)
            for wanted in (0, 1)
        ]


def check_books(fleet: Fleet) -> None:
    engine = fleet.engine
    ended = engine.answered_m + engine.refused_m + engine.failed_m
    assert engine.offered.tolist() == (ended + fleet.held()).tolist()
    assert engine.fine.sum(axis=1).tolist() == engine.answered_m.tolist()
    assert engine.buckets.sum(axis=1)[list(OURS)].tolist() == engine.answered[list(OURS)].tolist()
    assert engine.offered_w.sum(axis=1).tolist() == engine.offered.tolist()
    assert engine.within_w.sum(axis=1).tolist() == engine.within_m.tolist()
    assert (engine.queued <= engine.in_flight).all()
    assert (engine.queued >= 0).all()
    assert (engine.engine_s.reshape(2, 4).sum(axis=1) <= engine.now_s + 1e-9).all()
    assert (engine.busy_s <= engine.now_s + 1e-9).all()


@settings(max_examples=150, deadline=None)
@given(actions=st.lists(ACTIONS, max_size=40), seed=st.integers(0, 99))
def test_no_request_is_lost_or_counted_twice(actions: list[tuple[str, int, int, float]], seed: int) -> None:
    engine = engine_of(MIXED, poisson(60, 20, seed), poisson(30, 20, seed + 1), seed=seed)
    fleet = Fleet(engine)
    for action, slot, model, wait_s in actions:
        fleet.act(action, slot, model)
        engine.advance(engine.now_s + wait_s)
        check_books(fleet)
    for slot in fleet.opened:
        engine.close(slot)
    engine.advance(engine.now_s + 60.0)
    check_books(fleet)
    assert fleet.held() == [0, 0]


def run(seed: int, steps: int, times: NDArray[np.float64]) -> dict[str, list[Any]]:
    engine = serve(engine_of(MIXED, times, times[::2], seed=seed), 0, 1, 4)
    serve(engine, 2, 5, model=1)
    for step in range(steps):
        engine.advance(60.0 * (step + 1) / steps)
    return counted(engine)


def test_the_seed_decides_and_nothing_else() -> None:
    """Neither how often somebody looks, nor another engine in between: a difference between laws is the laws'."""
    times = poisson(50, 60)
    once = run(1, 1, times)
    np.random.default_rng(5).normal(size=10)
    assert run(1, 1, times) == once
    assert run(2, 1, times) != once
    often = run(1, 977, times)
    for name in ("busy_s", "engine_s"):  # sums of more terms round differently
        assert often.pop(name) == pytest.approx(once.pop(name))
    assert often == once


def test_two_engines_do_not_disturb_one_another() -> None:
    times = poisson(50, 60)
    first, second = (serve(engine_of(MIXED, times, [], seed=seed), 0, 4) for seed in (1, 2))
    for step in range(1, 11):
        first.advance(6.0 * step)
        second.advance(6.0 * step)
    alone = serve(engine_of(MIXED, times, [], seed=1), 0, 4)
    for step in range(1, 11):
        alone.advance(6.0 * step)
    assert counted(first) == counted(alone)


def test_requests_are_counted_in_the_window_in_which_they_came() -> None:
    """The second is answered at 10.19 s, in the next window, and counts in its own; the last waits too long."""
    engine = serve(engine_of(world_of(service(200, 0)), [1.0, 9.99, 25.0, 25.01]), 0)
    engine.advance(40.0)
    assert engine.offered_w[0, :3].tolist() == [2, 0, 2]
    assert engine.within_w[0, :3].tolist() == [2, 0, 1]
    assert engine.within_m[0] == 3


def test_a_fine_quantile_is_never_below_the_truth_and_at_most_a_bin_above() -> None:
    times = poisson(14, 5000)
    engine = serve(engine_of(world_of(service(0, 50), objective_ms=200), times), 0)
    engine.advance(5100.0)
    answered = int(engine.answered_m[0])
    within_ratio = int(engine.within_m[0]) / answered
    assert 0.2 <= fine_quantile_s(engine.fine[0], within_ratio) <= 0.2 * 1.027
    assert math.isnan(fine_quantile_s(np.zeros_like(engine.fine[0]), 0.5))
    assert len(FINE_EDGES_S) + 1 == engine.fine.shape[1] == 512
    with pytest.raises(ValueError, match="quantile is 0"):
        fine_quantile_s(engine.fine[0], 0)
