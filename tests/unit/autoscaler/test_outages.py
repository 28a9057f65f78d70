"""Kubernetes or Ray Serve away, for a moment or for an hour, while the load goes on."""

from itertools import pairwise

import pytest

from autoscaler.core.observation import Missing, MissingReason, Source
from autoscaler.loop import Patience
from tests.unit.autoscaler.whole import BUSY, CALM, POOL, Whole, whole

HOUR_S = 3600.0
LONG_S = 600.0
INTERVAL_S = 2.0


def shrinking(interval_s: float = INTERVAL_S) -> Whole:
    """Three replicas that served an overload, and no load any more: left alone, it would shrink within a minute."""
    around = whole(workers=3, target=3, nodes=3, load=BUSY, interval_s=interval_s)
    around.run(20)
    around.changes.clear()
    around.metrics.load = CALM
    return around


def test_this_fleet_shrinks_where_nothing_is_away() -> None:
    around = shrinking()
    around.run(60)
    assert around.replicas == 1


def test_nothing_shrinks_while_the_api_server_is_away() -> None:
    around = shrinking()
    around.cluster.is_away = True
    ticks = around.run(LONG_S)
    assert len(ticks) == LONG_S / INTERVAL_S
    assert all(tick.plan is not None for tick in ticks)
    assert around.changes == []
    assert around.replicas == 3


def test_nothing_shrinks_while_ray_serve_is_away() -> None:
    around = shrinking()
    around.serving.is_away = True
    ticks = around.run(LONG_S)
    assert len(ticks) == LONG_S / INTERVAL_S
    assert around.changes == []
    assert around.replicas == 3


def test_a_server_that_is_away_for_an_hour_is_asked_ever_more_rarely() -> None:
    around = shrinking()
    around.cluster.is_away = around.serving.is_away = True
    before = around.cluster.reads, around.serving.reads
    around.run(HOUR_S)
    # 1, 2, 4, 8 and 16 s, then every 30 s, each times 3/4 for the middle of its jitter, ended by the next tick of 2 s.
    asked = around.cluster.reads - before[0], around.serving.reads - before[1]
    assert asked == (154, 154)


def test_the_pause_between_two_asks_grows_to_its_cap_and_no_further() -> None:
    around = shrinking()
    around.cluster.is_away = True
    asked_s: list[float] = []
    around.cluster.takes = lambda verb: asked_s.append(around.clock.at_s)
    around.run(LONG_S)
    pauses_s = [later - earlier for earlier, later in pairwise(asked_s)]
    assert pauses_s[:6] == [2.0, 2.0, 4.0, 6.0, 12.0, 24.0]
    assert set(pauses_s[5:]) == {24.0}


@pytest.mark.parametrize(("drawn", "pauses_s"), [(0.0, [0.5, 1, 2, 4, 8, 15, 15]), (1.0, [1, 2, 4, 8, 16, 30, 30])])
def test_pauses_are_jittered_between_half_and_whole(drawn: float, pauses_s: list[float]) -> None:
    patience = Patience(draw=lambda: drawn)
    assert [patience.failed("away", now_s=0.0) for _ in pauses_s] == pauses_s


def test_an_answer_makes_the_next_failure_the_first_again() -> None:
    patience = Patience(draw=lambda: 1.0)
    patience.failed("away", 0.0)
    patience.failed("away", 0.0)
    patience.answered()
    assert patience.failed("away", 100.0) == 1.0
    assert patience.not_before_s == 101.0


def test_a_call_that_hangs_is_followed_by_a_pause_all_the_same() -> None:
    around = shrinking()
    around.cluster.is_away = True
    around.cluster.takes = lambda _: around.clock.pass_s(10.0)
    asked = around.cluster.reads
    ticks = around.run(60)
    assert around.cluster.reads - asked == 5
    assert len(ticks) > 5


def test_an_outage_is_said_with_the_time_of_the_next_try() -> None:
    around = shrinking(interval_s=0.5)
    around.cluster.is_away = True
    first, second = around.run(1)
    assert first.problems == ("Kubernetes: the API server is away; next try in 0.8 s",)
    assert second.problems == ("Kubernetes: the API server is away; next try in 0.2 s",)
    assert first.seen.missing == second.seen.missing
    assert first.seen.missing == tuple(
        Missing(source=source, name=name, reason=MissingReason.UNREACHABLE)
        for source, name in (
            (Source.POOL, POOL), (Source.SLOT, "n0/0"), (Source.SLOT, "n1/0"), (Source.SLOT, "n2/0"),
        )
    )  # fmt: skip


def test_after_an_answer_the_next_outage_begins_with_short_pauses_again() -> None:
    around = shrinking()
    around.cluster.is_away = True
    around.run(LONG_S)
    around.cluster.is_away = False
    around.run(60)
    around.cluster.is_away = True
    (first,) = around.run(INTERVAL_S)
    assert first.problems == ("Kubernetes: the API server is away; next try in 0.8 s",)


def test_the_last_reading_is_kept_and_ages() -> None:
    around = shrinking()
    around.serving.is_away = True
    ticks = around.run(6)
    assert [tick.seen.deployments[0].at_s for tick in ticks] == [18.0, 18.0, 18.0]
    assert {entry.source for tick in ticks for entry in tick.seen.missing} == {Source.DEPLOYMENT}


def test_everything_resumes_once_the_api_server_answers_again() -> None:
    around = shrinking()
    around.cluster.is_away = True
    around.run(LONG_S)
    around.cluster.is_away = False
    around.run(90)
    assert around.replicas == 1
    assert around.cluster.wanted == {POOL: 1}


def test_everything_resumes_once_ray_serve_answers_again() -> None:
    around = shrinking()
    around.serving.is_away = True
    around.run(LONG_S)
    around.serving.is_away = False
    around.run(90)
    assert around.replicas == 1


def test_a_load_that_grows_during_an_outage_is_answered_with_the_workers_that_are_there() -> None:
    """Kubernetes is away, Ray Serve is not: replicas may still come to workers that were ready before."""
    around = whole(workers=1, target=1, load=BUSY, nodes=3)
    around.cluster.is_away = True
    ticks = around.run(LONG_S)
    assert all(tick.plan is None or not tick.plan.actions for tick in ticks)
    around.cluster.is_away = False
    around.run(60)
    assert around.replicas == 3


def test_nothing_is_known_of_a_world_that_never_answered() -> None:
    around = whole(load=BUSY)
    around.cluster.is_away = around.serving.is_away = True
    ticks = around.run(60)
    assert all(tick.plan is not None and tick.plan.decisions == () for tick in ticks)
    assert around.changes == []
