"""Waiting and sharing against numbers that can be looked up or worked out by hand."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.queueing import Tolerance, busy_ratios, closed_rate, companies, late_ratio, waiting_ratio

PATIENCE = 5.0


def bearable_ratio(servers: int, *, patience: float, variation: float = 1.0) -> float:
    """How busy one group may be for at most one request in twenty to come late."""
    tolerances = [Tolerance.of(variation, 0.05)]
    (ratio,) = busy_ratios(np.array([servers]), np.array([patience]), np.array([0]), tolerances).tolist()
    return float(ratio)


@pytest.mark.parametrize(
    ("servers", "load", "waits"),
    [(1, 0.5, 0.5), (2, 1.0, 1 / 3), (3, 2.0, 4 / 9), (10, 8.0, 0.4092), (2, 0.0, 0.0)],
    ids=["one server waits as often as it is busy", "two", "three", "ten at 80 %", "no load"],
)
def test_erlang_c_has_its_table_values(servers: int, load: float, waits: float) -> None:
    assert waiting_ratio(servers, load) == pytest.approx(waits, abs=1e-4)


def test_overloaded_servers_make_everybody_wait() -> None:
    assert waiting_ratio(2, 2.0) == 1.0
    assert late_ratio(2, 1.0, PATIENCE, 1.0) == 1.0


def test_no_server_is_refused() -> None:
    with pytest.raises(ValueError, match="servers is 0; at least 1"):
        waiting_ratio(0, 0.5)


def test_one_exponential_server_is_late_by_the_known_formula() -> None:
    """M/M/1: P(W > t) = load x exp(-(1 - load) t), averaged here over three points of the service time."""
    points = ((0.70, 1 / 6), (0.98, 2 / 3), (1.38, 1 / 6))
    expected = sum(weight * 0.6 * math.exp(-0.4 * (PATIENCE - factor)) for factor, weight in points)
    assert late_ratio(1, 0.6, PATIENCE, 1.0) == pytest.approx(expected)


busy = st.floats(0.0, 1.2)


@given(st.integers(1, 64), busy, busy, st.floats(0.1, 40.0), st.floats(0.1, 4.0))
def test_more_load_is_never_less_late(servers: int, one: float, other: float, patience: float, varied: float) -> None:
    low, high = sorted((one, other))
    assert late_ratio(servers, low, patience, varied) <= late_ratio(servers, high, patience, varied) + 1e-12


@given(st.integers(1, 64), busy, st.floats(0.1, 40.0), st.floats(0.1, 40.0), st.floats(0.1, 4.0))
def test_more_patience_is_never_more_late(servers: int, ratio: float, one: float, other: float, varied: float) -> None:
    short, long = sorted((one, other))
    assert late_ratio(servers, ratio, long, varied) <= late_ratio(servers, ratio, short, varied) + 1e-12


@given(st.integers(1, 40), st.floats(1.5, 30.0), st.floats(0.3, 4.0))
def test_what_is_bearable_is_borne_and_a_little_more_is_not(servers: int, patience: float, varied: float) -> None:
    """Inputs are rounded to what is remembered: patience down, so that what is said is borne for certain."""
    variation = round(varied, 1)
    ratio = bearable_ratio(servers, patience=patience, variation=variation)
    assert late_ratio(servers, ratio, patience, variation) <= 0.05 + 1e-9
    if servers <= 16 and patience < 20:
        rounded = math.floor(patience * 10) / 10
        assert late_ratio(servers, min(1.0, ratio + 0.001), rounded, variation) > 0.05


@given(st.integers(1, 100), st.integers(1, 100), st.floats(0.5, 30.0), st.floats(0.5, 30.0))
def test_more_servers_and_more_patience_bear_no_less(one: int, other: int, hurried: float, calm: float) -> None:
    few, many = sorted((one, other))
    short, long = sorted((hurried, calm))

    def bears(servers: int, patience: float) -> float:
        return bearable_ratio(servers, patience=patience)

    assert bears(few, short) <= bears(many, short)
    assert bears(few, short) <= bears(few, long)


def test_bursts_leave_less_to_bear() -> None:
    ratios = [bearable_ratio(4, patience=PATIENCE, variation=varied) for varied in (0.5, 1.0, 2.0)]
    assert ratios == sorted(ratios, reverse=True)
    assert len(set(ratios)) == 3


def test_many_groups_are_told_what_each_is_told_alone() -> None:
    servers, patience, kinds = (
        [1, 3, 3, 16, 17, 40, 5000],
        [2.0, 2.07, 21.9, 5.0, 5.0, 3000.0, 8.0],
        [0, 1, 1, 0, 1, 1, 2],
    )
    variations = (1.0, 2.5, 1.0)
    told = busy_ratios(
        np.array(servers), np.array(patience), np.array(kinds), [Tolerance.of(varied, 0.05) for varied in variations]
    )
    alone = [
        bearable_ratio(count, patience=each, variation=variations[kind])
        for count, each, kind in zip(servers, patience, kinds, strict=True)
    ]
    assert told.tolist() == alone


def test_an_objective_shorter_than_the_service_bears_nothing() -> None:
    assert bearable_ratio(8, patience=0.5) == 0.0


@pytest.mark.parametrize(
    ("customers", "rate"),
    [(0, 0.0), (1, 10.0), (2, 2 / (0.04 + 0.06 * 1.6)), (3, 3 / (0.04 + 0.06 * (1 + 0.096 * 2 / 0.136)))],
    ids=[
        "nobody",
        "one alone: 1 / (Z + D)",
        "two: the second finds 0.6 of the first",
        "three: two leave 1.4 in the queue",
    ],
)
def test_mean_value_analysis_by_hand(customers: int, rate: float) -> None:
    """Z = 40 ms elsewhere and D = 60 ms on the engine."""
    assert closed_rate(customers, 0.04, 0.06) == pytest.approx(rate)


@given(st.integers(1, 50), st.floats(0.0, 1.0), st.floats(0.001, 1.0), st.floats(0.0, 1.5))
def test_one_engine_gives_no_more_than_its_share_and_each_customer_adds_less(
    customers: int, away_s: float, engine_s: float, open_ratio: float
) -> None:
    rates = [closed_rate(count, away_s, engine_s, open_ratio) for count in range(customers + 2)]
    left = 1 - min(open_ratio, 0.95)
    assert rates[-1] <= left / engine_s + 1e-9
    gains = [after - before for before, after in pairwise(rates)]
    assert all(gain >= -1e-9 for gain in gains)
    assert all(later <= earlier + 1e-9 for earlier, later in pairwise(gains))


def test_an_open_load_stretches_the_engine_part() -> None:
    assert closed_rate(1, 0.04, 0.03, open_ratio=0.5) == pytest.approx(1 / (0.04 + 0.06))


def company(customers: int, used_ratio: float, own_ratio: float) -> float:
    """At one engine."""
    return float(companies(np.array([customers]), np.array([used_ratio]), np.array([own_ratio]))[0])


@pytest.mark.parametrize(
    ("others", "used", "own", "met"),
    [(0, 0.0, 0.5, 0.0), (1, 0.5, 0.0, 0.5), (1, 0.5, 0.5, 1.0), (3, 0.9, 0.1, 3.0), (3, 0.0, 0.5, 0.0)],
    ids=["nobody", "one, seen alone", "two that always have work", "three that always have work", "idle neighbours"],
)
def test_a_newcomer_meets_who_would_be_there_without_it(others: int, used: float, own: float, met: float) -> None:
    assert company(others, used, own) == pytest.approx(met, abs=1e-3)


@given(st.floats(0.3, 5.0), st.floats(0.3, 5.0))
def test_two_that_share_an_engine_meet_as_often_as_the_exact_solution_says(z_one: float, z_two: float) -> None:
    """Product form of two customers, one time unit of work each: weights 2, z2, z1 and z1 z2 of the four states.

    Nearer to a full engine the hundredths of a reading no longer tell.
    """
    weights = (2.0, z_two, z_one, z_one * z_two)
    used_one, used_two = ((1.0 + each) / sum(weights) for each in (z_two, z_one))
    assert company(1, used_two, used_one) == pytest.approx(1 / (1 + z_two), abs=0.05)
