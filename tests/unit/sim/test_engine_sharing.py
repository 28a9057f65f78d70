"""Shares of a card's engine against closed forms and the emulator's engine; foreign tenants."""

import numpy as np
import pytest

from autoscaler.sim.world import Foreign
from tests.unit.sim.build import BACKLOG, SATURATED, engine_of, serve, service, world_of
from vgpu.core.share import SchedulerPolicy
from vgpu.emulator.engine import NS_PER_MS
from vgpu.emulator.engine import Engine as EmulatedEngine

BEST_EFFORT, EQUAL_SHARE, FIXED_SHARE = SchedulerPolicy


@pytest.mark.parametrize(
    ("policy", "share"),
    [
        pytest.param(BEST_EFFORT, 1 / 2, id="best effort divides by the two at work"),
        pytest.param(EQUAL_SHARE, 1 / 3, id="equal share divides by the three attached"),
        pytest.param(FIXED_SHARE, 1 / 4, id="fixed share divides by the four possible"),
    ],
)
@pytest.mark.parametrize("switch_cost_ratio", [0.0, 0.25])
def test_two_saturated_replicas_share_as_the_policy_says_and_as_the_emulator_does(
    policy: SchedulerPolicy, share: float, switch_cost_ratio: float
) -> None:
    engine = engine_of(world_of(SATURATED, policy=policy, switch_cost_ratio=switch_cost_ratio), BACKLOG)
    serve(engine, 0, 1).attach(2)
    engine.advance(60.0)
    answered = 60.0 * share / (1 + switch_cost_ratio) / 0.05
    assert engine.answered[:4].tolist() == pytest.approx([answered, answered, 0, 0], abs=1)
    assert engine.engine_s[:4].tolist() == pytest.approx([60 * share, 60 * share, 0, 0])
    assert engine.busy_s[:4].tolist() == pytest.approx([60, 60, 0, 0])

    emulated = EmulatedEngine(policy=policy, slice_ns=2 * NS_PER_MS, most_per_gpu=4)
    for name in ("a", "b", "idle"):
        emulated.attach(name)
    for name in ("a", "b"):
        for job in range(1200):
            emulated.submit(name, job, 50 * NS_PER_MS)
    done = emulated.advance(60_000 * NS_PER_MS)
    assert emulated.busy_ns("a") / 1e9 == pytest.approx(float(engine.engine_s[0]), rel=0.02)
    assert emulated.busy_ns("b") / 1e9 == pytest.approx(float(engine.engine_s[1]), rel=0.02)
    if switch_cost_ratio == 0:  # the emulator's switches cost nothing
        assert sum(item.slot == "a" for item in done) == pytest.approx(int(engine.answered[0]), rel=0.02)


def test_a_share_changes_when_a_neighbour_comes_and_goes() -> None:
    engine = engine_of(world_of(SATURATED, policy=EQUAL_SHARE), BACKLOG)
    serve(engine, 0)
    engine.advance(10.0)
    engine.attach(1)
    engine.advance(20.0)
    engine.detach(1)
    engine.advance(30.001)
    assert engine.engine_s[0] == pytest.approx(10 + 5 + 10.001)
    assert engine.answered[0] == 500


def test_cards_do_not_share_with_one_another() -> None:
    engine = serve(engine_of(world_of(SATURATED, cards=2), BACKLOG), 0, 1, 4)
    engine.advance(30.0)
    assert engine.answered.tolist() == pytest.approx([300, 300, 0, 0, 600, 0, 0, 0], abs=1)


def test_engine_time_is_shared_and_host_time_is_not() -> None:
    """Two requests at once: 40 ms of host each, then 2 x 30 ms of engine between them at half speed."""
    engine = serve(engine_of(world_of(service(40, 30)), [1.0, 1.0]), 0, 1)
    engine.advance(2.0)
    assert engine.latency_sum_s[0] == pytest.approx(2 * 0.100)


@pytest.mark.parametrize("busy_ratio", [0.1, 0.4, 0.8])
def test_a_foreign_tenant_alone_uses_what_it_wants(busy_ratio: float) -> None:
    foreign = (Foreign(card=0, phases=((0.0, busy_ratio),)),)
    engine = engine_of(world_of(SATURATED, foreign=foreign))
    engine.advance(5000.0)
    assert engine.engine_s[3] / 5000.0 == pytest.approx(busy_ratio, rel=0.05)
    assert engine.engine_s[:3].tolist() == [0, 0, 0]


def test_a_foreign_tenant_follows_its_phases() -> None:
    foreign = (Foreign(card=0, phases=((1000.0, 0.6), (2000.0, 0.0), (3000.0, 0.2))),)
    engine = engine_of(world_of(SATURATED, foreign=foreign))
    used_s = [0.0]
    for until_s in (1000.0, 2010.0, 3000.0, 4000.0):
        engine.advance(until_s)
        used_s.append(float(engine.engine_s[3]))
    assert np.diff(used_s).tolist() == pytest.approx([0.0, 600.0, 0.0, 200.0], rel=0.1)


def test_a_foreign_tenant_takes_its_share_from_ours_and_sends_the_same_jobs_whatever_we_do() -> None:
    foreign = (Foreign(card=0, phases=((0.0, 1.0),)),)
    alone = engine_of(world_of(SATURATED, foreign=foreign))
    crowded = serve(engine_of(world_of(SATURATED, foreign=foreign), np.zeros(9000)), 0)
    for engine in (alone, crowded):
        engine.advance(300.0)
    assert crowded.engine_s[[0, 3]].tolist() == pytest.approx([150, 150], rel=0.02)
    jobs = [int(engine.answered[3] + engine.refused[3] + engine.in_flight[3]) for engine in (alone, crowded)]
    assert jobs[0] == jobs[1]
    assert jobs[0] == pytest.approx(300 / 0.040, rel=0.05)
    assert crowded.queued[3] <= foreign[0].max_waiting
    assert crowded.refused[3] > 0
