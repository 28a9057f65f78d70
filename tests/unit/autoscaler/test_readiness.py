"""From the decision to add a replica until it runs, told by ticks alone."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from autoscaler.adapters.readiness import Readiness, Stage, Took
from autoscaler.core.decision import Decision, Plan, Reason, SetReplicas, Step
from autoscaler.core.decision import Stage as Place
from autoscaler.core.observation import Observation
from autoscaler.ports import Tick
from tests import build
from tests.unit.autoscaler import ticks
from tests.unit.autoscaler.whole import BUSY, whole


def moment(
    at_s: float, *, current: int, count: int, running: int, target: int, post: int | None = None, **changes: Any
) -> Tick:
    """A tick in which so many run of a target, and the count goes from `current` to `count`."""
    decided = Decision(
        model="minilm",
        current=current,
        count=count,
        steps=(Step(stage=Place.POLICY, before=current, after=count, reason=Reason.STEADY),),
    )
    actions = () if post is None else (SetReplicas(model="minilm", before=target, count=post),)
    homes = {f"r{index}": f"s/w{index}" for index in range(running)}
    seen = Observation(deployments=(build.deployment(target=target, running=homes, at_s=at_s),))
    plan = Plan(at_s=at_s, decisions=(decided,), actions=actions)
    return ticks.tick(**{"at_s": at_s, "seen": seen, "plan": plan, "failed_actions": (), **changes})


def told(*moments: Tick) -> list[tuple[float, Stage, float]]:
    """When each stage ended, and how long it took."""
    readiness = Readiness()
    return [(tick.at_s, took.stage, took.duration_s) for tick in moments for took in readiness.took(tick)]


def test_a_replica_waits_for_its_worker_and_then_starts() -> None:
    assert told(
        moment(10, current=1, count=2, running=1, target=1),
        moment(20, current=2, count=2, running=1, target=1),
        moment(30, current=2, count=2, running=1, target=1, post=2),
        moment(40, current=2, count=2, running=1, target=2),
        moment(55, current=2, count=2, running=2, target=2),
        moment(60, current=2, count=2, running=2, target=2),
    ) == [(30, Stage.WORKER, 20.0), (55, Stage.REPLICA, 25.0), (55, Stage.TOTAL, 45.0)]


def test_a_worker_that_stood_by_took_no_time() -> None:
    assert told(
        moment(10, current=1, count=2, running=1, target=1, post=2),
        moment(18, current=2, count=2, running=2, target=2),
    ) == [(10, Stage.WORKER, 0.0), (18, Stage.REPLICA, 8.0), (18, Stage.TOTAL, 8.0)]


def test_each_of_several_replicas_is_told_by_itself() -> None:
    assert told(
        moment(0, current=1, count=3, running=1, target=1, post=2),
        moment(10, current=3, count=3, running=2, target=2, post=3),
        moment(30, current=3, count=3, running=3, target=3),
    ) == [
        (0, Stage.WORKER, 0.0), (10, Stage.REPLICA, 10.0), (10, Stage.TOTAL, 10.0), (10, Stage.WORKER, 10.0),
        (30, Stage.REPLICA, 20.0), (30, Stage.TOTAL, 30.0),
    ]  # fmt: skip


def test_a_wish_that_is_given_up_is_never_told() -> None:
    assert told(
        moment(0, current=1, count=3, running=1, target=1),
        moment(10, current=3, count=2, running=1, target=1),
        moment(20, current=2, count=3, running=1, target=1),
        moment(30, current=3, count=3, running=3, target=3),
    ) == [
        (30, Stage.WORKER, 30.0), (30, Stage.REPLICA, 0.0), (30, Stage.TOTAL, 30.0),
        (30, Stage.WORKER, 10.0), (30, Stage.REPLICA, 0.0), (30, Stage.TOTAL, 10.0),
    ]  # fmt: skip


def test_a_target_that_could_not_be_posted_is_no_worker() -> None:
    assert told(
        moment(0, current=1, count=2, running=1, target=1, post=2, failed_actions=("Ray Serve is away",)),
        moment(5, current=2, count=2, running=1, target=1, post=2),
    ) == [(5, Stage.WORKER, 5.0)]


def test_a_replica_that_comes_back_was_not_added() -> None:
    assert told(
        moment(0, current=2, count=2, running=2, target=2),
        moment(5, current=2, count=2, running=1, target=2),
        moment(30, current=2, count=2, running=2, target=2),
    ) == []  # fmt: skip


def test_who_stands_by_tells_nothing_and_forgets_what_it_had_begun() -> None:
    assert told(
        moment(0, current=1, count=2, running=1, target=1),
        moment(5, current=2, count=3, running=1, target=1, dry_run=True),
        moment(30, current=3, count=3, running=3, target=3),
    ) == []  # fmt: skip


def test_a_model_that_is_gone_is_forgotten() -> None:
    first = moment(0, current=1, count=2, running=1, target=1)
    without = replace(first, plan=Plan(at_s=5.0, decisions=(), actions=()))
    assert told(first, without, moment(30, current=2, count=2, running=2, target=2)) == []


def test_a_tick_that_failed_and_a_reading_that_is_missing_change_nothing() -> None:
    first = moment(0, current=1, count=2, running=1, target=1)
    unread = replace(moment(10, current=2, count=2, running=1, target=1), seen=Observation())
    last = moment(20, current=2, count=2, running=2, target=2)
    assert told(first, ticks.failed(), unread, last)[-1] == (20, Stage.TOTAL, 20.0)


def test_a_whole_story_tells_both_replicas_that_were_added() -> None:
    readiness, around = Readiness(), whole(load=BUSY)
    told_of: Sequence[Took] = [took for tick in around.run(20) for took in readiness.took(tick)]
    assert [(took.model, took.stage) for took in told_of] == [
        ("minilm", stage) for stage in (Stage.WORKER, Stage.WORKER, *(Stage.REPLICA, Stage.TOTAL) * 2)
    ]
    assert all(0.0 <= took.duration_s <= 3.0 for took in told_of)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5), st.booleans()), max_size=30))
def test_the_stages_add_up_and_none_is_negative(story: list[tuple[int, int, int, bool]]) -> None:
    readiness, current, at_s = Readiness(), 0, 0.0
    for count, running, target, dry_run in story:
        at_s += 1.0
        ended = readiness.took(
            moment(at_s, current=current, count=count, running=running, target=target, dry_run=dry_run)
        )
        current = count
        stages = [took.stage for took in ended]
        assert stages.count(Stage.REPLICA) == stages.count(Stage.TOTAL)
        assert all(0.0 <= took.duration_s <= at_s for took in ended)
        for replica, total in pairwise(ended):
            if replica.stage is Stage.REPLICA:
                assert total.stage is Stage.TOTAL
                assert replica.duration_s <= total.duration_s
