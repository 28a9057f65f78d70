"""Erlang's formula against published values and closed forms, and what is built on it."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.sim.baselines.queueing import (
    LATE_RATIO,
    Profile,
    erlang_c,
    late_ratio,
    rate_within,
    replicas_for,
    service_draws,
)
from autoscaler.sim.world import ColdStart, ServiceTime, SimModel

PROFILE = Profile(service_s=0.06, latency_s=0.06, engine_s=0.027, spread_ratio=0.35, objective_s=0.3)


def test_one_server_makes_as_many_wait_as_it_is_busy() -> None:
    assert erlang_c(1, 0.6) == pytest.approx(0.6)


def test_two_servers_follow_the_closed_form() -> None:
    a = 1.2
    assert erlang_c(2, a) == pytest.approx(a * a / (2 + a))


@given(servers=st.integers(1, 30), part=st.floats(0.0, 0.99))
def test_waiting_follows_the_definition(servers: int, part: float) -> None:
    a = servers * part
    last = a**servers / math.factorial(servers) * servers / (servers - a)
    expected = last / (sum(a**k / math.factorial(k) for k in range(servers)) + last)
    assert erlang_c(servers, a) == pytest.approx(expected)


def test_arrays_are_taken_element_by_element() -> None:
    loads = np.array([0.0, 0.5, 1.9])
    assert erlang_c(2, loads).tolist() == pytest.approx([erlang_c(2, load) for load in (0.0, 0.5, 1.9)])


@given(spread=st.floats(0.0, 1.0))
def test_service_draws_have_a_mean_of_one(spread: float) -> None:
    draws = service_draws(spread)
    assert (len(draws), draws.mean()) == (10, pytest.approx(1.0))


def test_overload_makes_everyone_late_and_idleness_nobody() -> None:
    assert (late_ratio(2, 34.0, PROFILE), late_ratio(2, 0.0, PROFILE)) == (1.0, 0.0)


def test_a_stretch_beyond_the_objective_makes_everyone_late() -> None:
    assert late_ratio(2, 0.001, PROFILE, stretch=20.0) == 1.0


def test_one_exponential_server_is_as_late_as_its_sojourn_says() -> None:
    # With times that do not vary, the wait beyond t is rho exp(-2 (mu - lam) t), here t = 0.24 s.
    steady = Profile(service_s=0.06, latency_s=0.06, engine_s=0.027, spread_ratio=0.0, objective_s=0.3)
    rho, gap = 0.6, (1 / 0.06) - 10
    assert late_ratio(1, 10.0, steady) == pytest.approx(rho * math.exp(-2 * gap * 0.24))


@given(servers=st.integers(1, 24))
def test_the_largest_rate_is_just_within_the_objective(servers: int) -> None:
    rate_per_s = rate_within(servers, PROFILE)
    assert late_ratio(servers, rate_per_s, PROFILE) <= LATE_RATIO < late_ratio(servers, rate_per_s + 0.01, PROFILE)


def test_an_objective_below_the_service_time_is_never_kept() -> None:
    hopeless = Profile(service_s=0.06, latency_s=0.06, engine_s=0.027, spread_ratio=0.35, objective_s=0.05)
    assert (rate_within(8, hopeless), replicas_for(1.0, hopeless, most=8)) == (0.0, 8)


@given(rate_per_s=st.floats(0.0, 400.0))
def test_replicas_are_the_fewest_that_do(rate_per_s: float) -> None:
    count = replicas_for(rate_per_s, PROFILE, most=24)
    assert count == 24 or rate_within(count, PROFILE) >= rate_per_s
    assert count == 1 or rate_within(count - 1, PROFILE) < rate_per_s


def model(**service: float | int) -> SimModel:
    return SimModel(
        name="m",
        service=ServiceTime(**{"host_ms": 33.0, "engine_ms": 27.0, **service}),  # type: ignore[arg-type]  # mixed
        objective_p95_ms=300,
        cold_start=ColdStart(worker_s=10.0, load_s=30.0),
    )


def test_a_profile_without_batches_is_the_lone_request() -> None:
    assert Profile.of(model()) == Profile(
        service_s=0.06, latency_s=0.06, engine_s=pytest.approx(0.027), spread_ratio=0.35, objective_s=0.3
    )


def test_a_profile_takes_the_largest_batch_within_half_the_objective() -> None:
    # 60 ms and 10 ms an item more: ten items take 150 ms.
    assert Profile.of(model(max_batch=32, engine_per_item_ms=10.0)) == Profile(
        service_s=pytest.approx(0.015),
        latency_s=pytest.approx(0.15),
        engine_s=pytest.approx(0.0117),
        spread_ratio=0.35,
        objective_s=0.3,
    )
