"""The modelled data plane against closed forms: one replica, the router, batches, refusals, faults."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.sim.engine import Engine, fine_quantile_s
from autoscaler.sim.world import Foreign
from tests.unit.sim.build import (
    BACKLOG,
    EDGES_S,
    SATURATED,
    engine_of,
    mean_latency_s,
    poisson,
    serve,
    service,
    world_of,
)


def test_a_lone_request_takes_its_host_and_its_engine_time() -> None:
    engine = serve(engine_of(world_of(service(33, 27)), [5.0]), 0)
    engine.advance(5.030)
    assert (engine.in_flight[0], engine.queued[0], engine.answered[0]) == (1, 0, 0)
    assert (engine.busy_s[0], engine.engine_s[0]) == (pytest.approx(0.030), 0.0)
    engine.advance(6.0)
    assert engine.latency_sum_s[0] == pytest.approx(0.060, abs=1e-9)
    assert (engine.busy_s[0], engine.engine_s[0]) == (pytest.approx(0.060), pytest.approx(0.027))
    assert engine.buckets[0].tolist() == [0, 1, 0, 0, 0]
    assert (engine.answered[0], engine.batches[0], engine.within_m[0], engine.in_flight[0]) == (1, 1, 1, 0)


@pytest.mark.parametrize("spread_ratio", [0.0, 0.35, 1.0])
def test_waits_in_one_replica_follow_pollaczek_and_khinchine(spread_ratio: float) -> None:
    """M/G/1: mean wait = load * service * (1 + cv^2) / (2 (1 - load)); cv = 0 is M/D/1."""
    load_ratio, service_s = 0.7, 0.05
    times = poisson(load_ratio / service_s, 40_000.0)
    engine = serve(engine_of(world_of(service(0, 50, spread_ratio=spread_ratio, max_queue=10_000)), times), 0)
    engine.advance(41_000.0)
    wait_s = load_ratio * service_s * (1 + spread_ratio**2) / (2 * (1 - load_ratio))
    assert engine.answered_m[0] == len(times)
    assert mean_latency_s(engine) == pytest.approx(service_s + wait_s, rel=0.03)
    assert engine.busy_s[0] / engine.now_s == pytest.approx(load_ratio, rel=0.03)


def erlang_c_wait_s(rate_per_s: float, service_s: float, servers: int) -> float:
    """Mean wait of M/M/c, from Erlang's C."""
    offered = rate_per_s * service_s
    terms = [offered**k / math.factorial(k) for k in range(servers)]
    last = offered**servers / math.factorial(servers) * servers / (servers - offered)
    return last / (sum(terms) + last) * service_s / (servers - offered)


def test_waits_behind_the_router_lie_between_one_queue_for_all_and_one_queue_each() -> None:
    """To join the shortest queue is a little worse than M/M/c and far better than to split the load at random."""
    servers, service_s, load_ratio = 4, 0.05, 0.8
    rate = load_ratio * servers / service_s
    times = poisson(rate, 10_000.0)
    world = world_of(service(50, 0, spread_ratio=1.0, max_queue=10_000), cards=servers)
    engine = serve(engine_of(world, times), *(4 * card for card in range(servers)))
    engine.advance(11_000.0)
    wait_s = mean_latency_s(engine) - service_s
    shared_s = erlang_c_wait_s(rate, service_s, servers)
    split_s = service_s * load_ratio / (1 - load_ratio)
    assert shared_s < wait_s < 1.6 * shared_s < split_s
    assert np.ptp(engine.answered[::4]) < 0.02 * len(times)


@settings(max_examples=100, deadline=None)
@given(
    gaps=st.lists(st.sampled_from([0.0, 0.011, 0.037, 0.2]), max_size=40),
    replicas=st.integers(1, 4),
    max_queue=st.integers(1, 3),
)
def test_requests_go_where_the_fewest_are(gaps: list[float], replicas: int, max_queue: int) -> None:
    """Host work alone, so that replicas do not meet on the card: a plain list of finish times must agree.

    100.0317 ms times at most 40 is no sum of the gaps, so that no request comes at the moment of an answer.
    """
    times = np.cumsum(gaps)
    engine = serve(engine_of(world_of(service(100.0317, 0, max_queue=max_queue)), times), *range(replicas))
    engine.advance(100.0)
    finishes: list[list[float]] = [[] for _ in range(replicas)]
    chosen = [0] * replicas
    refused, latency_s = [0] * replicas, 0.0
    for turn, now in enumerate(times, start=1):
        held = [sum(finish > now + 1e-9 for finish in each) for each in finishes]
        place = min(range(replicas), key=lambda index: (held[index], chosen[index]))
        chosen[place] = turn
        if held[place] > max_queue:
            refused[place] += 1
            continue
        finishes[place].append(max([now, *finishes[place]]) + 0.1000317)
        latency_s += finishes[place][-1] - now
    assert engine.answered[:replicas].tolist() == [len(each) for each in finishes]
    assert engine.refused[:replicas].tolist() == refused
    assert engine.latency_sum_s[0] == pytest.approx(latency_s, abs=1e-6)


def test_an_idle_replica_takes_at_once_what_waits_up_to_a_batch() -> None:
    """One of 100 ms, then 4 that waited in 100 + 3 x 10 ms, then the last one alone."""
    batching = service(0, 100, engine_per_item_ms=10, max_batch=4)
    engine = serve(engine_of(world_of(batching), [0.0, 0.01, 0.02, 0.03, 0.04, 0.05]), 0)
    engine.advance(0.099)
    assert (engine.in_flight[0], engine.queued[0]) == (6, 5)
    engine.advance(0.101)
    assert (engine.in_flight[0], engine.queued[0], engine.batches[0]) == (5, 1, 2)
    engine.advance(1.0)
    finishes = [0.1, 0.23, 0.23, 0.23, 0.23, 0.33]
    assert engine.latency_sum_s[0] == pytest.approx(sum(finishes) - 0.15)
    assert (engine.answered[0], engine.batches[0], engine.busy_s[0]) == (6, 3, pytest.approx(0.33))


def test_the_spread_has_mean_one_and_is_drawn_once_a_batch() -> None:
    """Host and engine part scaled by one draw: the whole keeps the coefficient of variation of the draw."""
    times = np.arange(20_000) * 10.0
    engine = serve(engine_of(world_of(service(30, 30, spread_ratio=0.5)), times), 0)
    engine.advance(float(times[-1]) + 10.0)
    assert mean_latency_s(engine) == pytest.approx(0.060, rel=0.01)
    middle_s = 0.060 / math.sqrt(1 + 0.5**2)
    assert fine_quantile_s(engine.fine[0], 0.5) == pytest.approx(middle_s, rel=0.03)
    one_sigma_s = middle_s * math.exp(math.sqrt(math.log(1 + 0.5**2)))
    assert fine_quantile_s(engine.fine[0], 0.8413) == pytest.approx(one_sigma_s, rel=0.03)


def test_a_full_queue_refuses_and_the_replica_and_the_model_count_it() -> None:
    engine = serve(engine_of(world_of(service(100, 0, max_queue=2)), np.full(5, 1.0)), 0)
    engine.advance(2.0)
    assert (engine.answered[0], engine.refused[0]) == (3, 2)
    assert (engine.refused_m[0], engine.ingress_refused_m[0], engine.offered[0]) == (2, 0, 5)


def test_a_request_at_the_moment_of_an_answer_finds_the_place_that_it_left() -> None:
    engine = serve(engine_of(world_of(service(500, 0, max_queue=1)), [0.0, 0.0, 0.5]), 0)
    engine.advance(2.0)
    assert (engine.answered[0], engine.refused[0]) == (3, 0)


def test_without_an_open_replica_the_ingress_refuses() -> None:
    engine = engine_of(world_of(service(100, 0), service(100, 0)), [1.0, 2.0], [3.0])
    serve(engine, 0, model=1)
    engine.advance(4.0)
    assert engine.ingress_refused_m.tolist() == engine.refused_m.tolist() == [2, 0]
    assert (engine.refused.tolist(), engine.answered_m.tolist()) == ([0, 0, 0, 0], [0, 1])


def test_a_killed_replica_takes_its_requests_with_it() -> None:
    engine = serve(engine_of(world_of(SATURATED), [0.0, 0.0, 0.01, 0.01]), 0, 1)
    engine.advance(0.02)
    assert engine.kill(0) == 2
    assert (engine.in_flight[0], engine.queued[0], engine.failed[0], engine.failed_m[0]) == (0, 0, 0, 2)
    assert engine.kill(0) == 0
    engine.advance(1.0)
    # Slot 1 had half the engine for 20 ms: 10 of its 50 ms are done, the other 40 follow alone.
    assert engine.latency_sum_s[0] == pytest.approx(0.060 + 0.100)
    assert (engine.answered.tolist(), engine.within_m[0]) == ([0, 2, 0, 0], 2)


def test_a_closed_replica_finishes_what_it_holds_and_gets_nothing_new() -> None:
    engine = serve(engine_of(world_of(SATURATED), [0.0, 0.0, 0.0, 0.01]), 0)
    engine.advance(0.005)
    engine.close(0)
    engine.advance(1.0)
    assert (engine.answered[0], engine.in_flight[0], engine.ingress_refused_m[0]) == (3, 0, 1)
    engine.detach(0)


def test_a_slowed_host_slows_the_batches_that_start_after_it() -> None:
    engine = serve(engine_of(world_of(service(40, 20)), [0.0, 1.0, 2.0]), 0)
    engine.advance(0.01)
    engine.slow(0, 3.0)
    engine.advance(1.5)
    assert engine.latency_sum_s[0] == pytest.approx(0.060 + 0.140)
    engine.slow(0, 1.0)
    engine.advance(3.0)
    assert engine.latency_sum_s[0] == pytest.approx(0.060 + 0.140 + 0.060)


def test_the_counters_of_a_new_replica_start_at_zero_and_the_hosts_reading_goes_on() -> None:
    engine = serve(engine_of(world_of(service(10, 40, max_queue=1)), [0.0, 0.0, 0.0, 5.0]), 0)
    engine.advance(1.0)
    assert (engine.answered[0], engine.refused[0], engine.batches[0], engine.buckets[0].sum()) == (2, 1, 2, 2)
    engine.close(0)
    engine.open(0, 0)
    assert (engine.answered[0], engine.refused[0], engine.batches[0], engine.buckets[0].sum()) == (0, 0, 0, 0)
    assert (engine.busy_s[0], engine.engine_s[0], engine.answered_m[0]) == (0.0, pytest.approx(0.08), 2)
    engine.advance(6.0)
    assert (engine.answered[0], engine.busy_s[0], engine.engine_s[0]) == (1, pytest.approx(0.05), pytest.approx(0.12))


def test_what_cannot_be_done_is_refused_by_name() -> None:
    foreign = (Foreign(card=0, phases=((0.0, 0.5),)),)
    engine = engine_of(world_of(SATURATED, foreign=foreign), BACKLOG)
    engine.advance(0.0)
    with pytest.raises(ValueError, match="slot is 3; a foreign tenant holds it"):
        engine.attach(3)
    with pytest.raises(ValueError, match="slot is 4; slots are 0 to 3"):
        engine.attach(4)
    with pytest.raises(ValueError, match="slot is 0; no guest runs there"):
        engine.open(0, 0)
    with pytest.raises(ValueError, match="slot is 0; no guest runs there"):
        engine.detach(0)
    with pytest.raises(ValueError, match="slot is 0; no replica is open"):
        engine.close(0)
    serve(engine, 0)
    with pytest.raises(ValueError, match="slot is 0; a guest runs there already"):
        engine.attach(0)
    with pytest.raises(ValueError, match="slot is 0; its replica holds"):
        engine.open(0, 0)
    with pytest.raises(ValueError, match="slot is 0; its replica holds"):
        engine.detach(0)
    with pytest.raises(ValueError, match="model is 1; models are 0 to 0"):
        engine.open(1, 1)
    with pytest.raises(ValueError, match="ratio is 0"):
        engine.slow(0, 0)
    engine.advance(1.0)
    for until_s in (0.5, math.inf, math.nan):
        with pytest.raises(ValueError, match="until_s is"):
            engine.advance(until_s)


@pytest.mark.parametrize("times", [[2.0, 1.0], [-1.0], [math.nan], [1.0, math.inf]])
def test_arrivals_that_are_no_rising_times_are_refused(times: list[float]) -> None:
    with pytest.raises(ValueError, match="arrivals of 'm0' are not finite, rising"):
        engine_of(world_of(SATURATED), times)


def test_unknown_models_and_edges_that_fall_are_refused() -> None:
    world = world_of(SATURATED)
    with pytest.raises(ValueError, match="arrivals names other"):
        Engine(world, {"other": np.zeros(1)}, seed=1, edges_s=EDGES_S)
    with pytest.raises(ValueError, match="edges_s is"):
        Engine(world, {}, seed=1, edges_s=[1.0, 0.5])
    with pytest.raises(ValueError, match="edges_s is"):
        Engine(world, {}, seed=1, edges_s=[])
