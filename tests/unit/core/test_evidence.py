"""When a tick teaches that a count is too few, and when it teaches nothing."""

from typing import Any

import pytest

from autoscaler.core.evidence import learn
from tests.build import absent, overload, signals, situation

HOT: dict[str, Any] = {
    "p95_ms": 900.0,
    "in_flight": 40.0,
    "queued": 20.0,
    "offered_per_s": 30.0,
    "answered_per_s": 20.0,
}


def test_a_missed_objective_at_rest_is_remembered_with_its_rate() -> None:
    assert learn(situation(signals(**HOT))).overloads == (overload(2, 30.0, at_s=1000.0),)


def test_so_are_refused_requests() -> None:
    refusing = situation(signals(refused=9, in_flight=40.0, queued=20.0, offered_per_s=30.0))
    assert learn(refusing).overloads == (overload(2, 30.0, at_s=1000.0),)


@pytest.mark.parametrize(
    ("measured", "remembered"),
    [
        ({}, {"running": 1}),
        ({}, {"running_since_s": 995.0}),
        ({"gaps": (absent(),)}, {}),
        ({"offered_per_s": absent()}, {}),
        ({"answered_per_s": 40.0}, {}),
        ({"in_flight": 0.2, "queued": 0.0, "answered_per_s": 30.0}, {}),
        ({"requests": 4}, {}),
    ],
    ids=[
        "a replica is on its way",
        "the window is older than the fleet",
        "a reading is missing",
        "the rate is unknown",
        "an old backlog is draining",
        "nothing waits",
        "a handful of requests",
    ],
)
def test_nothing_is_learnt_while(measured: dict[str, Any], remembered: dict[str, Any]) -> None:
    assert learn(situation(signals(**{**HOT, **measured}), **remembered)).overloads == ()


def test_what_is_borne_now_disproves_what_was_missed_before() -> None:
    before = (overload(1, 5.0, at_s=900.0), overload(2, 9.0, at_s=900.0), overload(2, 11.0, at_s=900.0))
    assert learn(situation(signals(offered_per_s=10.0), overloads=before)).overloads == (before[0], before[2])


@pytest.mark.parametrize("quiet", [{"requests": 0}, {"gaps": (absent(),)}])
def test_a_lull_disproves_nothing(quiet: dict[str, Any]) -> None:
    before = (overload(2, 9.0, at_s=900.0),)
    assert learn(situation(signals(offered_per_s=10.0, **quiet), overloads=before)).overloads == before
