"""The plain queueing planner: its rate, its hold, its headroom."""

from typing import Any

from autoscaler.sim.baselines.erlang import Erlang, ErlangSettings
from autoscaler.sim.baselines.queueing import Profile, rate_within
from tests.unit.sim.baselines.views import MODEL, both, view

PROFILE = Profile(service_s=0.06, latency_s=0.06, engine_s=0.027, spread_ratio=0.35, objective_s=0.3)
THREE = round(rate_within(3, PROFILE)) - 1
"""Requests/s that three replicas answer and two do not."""


def erlang(**numbers: Any) -> Erlang:
    return Erlang(ErlangSettings(**numbers), dict.fromkeys((MODEL, "one", "two"), PROFILE))


def story(law: Erlang, *counts: int, from_s: float = 0.0, **fields: Any) -> list[int]:
    """What it wants in ticks of 5 s, with so many requests answered by then."""
    return [law.want(view(from_s + 5 * tick, [0], answered=[n], **fields))[MODEL] for tick, n in enumerate(counts)]


def test_it_wants_the_fewest_that_keep_the_objective_at_the_measured_rate() -> None:
    assert rate_within(2, PROFILE) < THREE < rate_within(3, PROFILE)
    assert story(erlang(), 0, 5 * THREE, 10 * THREE) == [1, 3, 3]


def test_headroom_multiplies_the_rate() -> None:
    law = erlang(headroom_ratio=4.0)
    assert story(law, 0, 5 * 10) == story(erlang(), 0, 5 * 40)


def test_requests_that_still_wait_came_in_too() -> None:
    law = erlang()
    law.want(view(0, [0]))
    assert law.want(view(5, [5 * THREE]))[MODEL] == 3


def test_the_largest_need_is_held() -> None:
    law = erlang(hold_s=20, window_s=5)
    assert story(law, 0, 5 * THREE, 5 * THREE, 5 * THREE, 5 * THREE, 5 * THREE, 5 * THREE) == [1, 3, 3, 3, 3, 3, 1]


def test_the_rate_is_that_of_the_window() -> None:
    law = erlang(hold_s=0, window_s=10)
    assert story(law, 0, 0, 0, 5 * THREE, 10 * THREE, 10 * THREE, 10 * THREE) == [1, 1, 1, 2, 3, 2, 1]


def test_without_a_reading_the_count_stays() -> None:
    law = erlang(hold_s=0)
    assert story(law, 0, 5 * THREE) == [1, 3]
    assert law.want(view(10, [None]))[MODEL] == 3
    assert law.want(view(15, seen=False)) == {MODEL: 3}


def test_counts_stay_within_the_bounds_of_the_model() -> None:
    assert story(erlang(), 0, 5000, most=2) == [1, 2]
    assert story(erlang(), 0, 0, least=1) == [1, 1]


def test_models_are_kept_apart() -> None:
    law = erlang()
    for at_s in (0, 5):
        wanted = law.want(
            both(
                view(at_s, [0], model="one", answered=[at_s * THREE]),
                view(at_s, [0], model="two", answered=[at_s]),
            )
        )
    assert wanted == {"one": 3, "two": 1}
