"""What is remembered of one model, and when it is forgotten."""

from dataclasses import replace

from autoscaler.core.spec import GuardrailSettings, PolicySettings
from autoscaler.core.state import ModelState
from tests.build import deployment, model, overload, sample

SETTINGS = GuardrailSettings(pending_timeout_s=100.0, pending_backoff_s=50.0)


def started(desired: int, *running: str, now_s: float = 0.0) -> ModelState:
    return seen(ModelState.start(model(), desired, now_s), *running, now_s=now_s)


def seen(state: ModelState, *running: str, now_s: float) -> ModelState:
    return state.with_deployment(deployment(running=dict.fromkeys(running)), SETTINGS, now_s)


def test_it_begins_with_what_ray_serve_was_asked_for() -> None:
    state = started(3, "r1")
    assert (state.desired, state.running, state.pending, state.pending_since_s) == (3, 1, 2, 0.0)


def test_the_set_of_running_replicas_has_an_age() -> None:
    state = seen(started(2, "r1", "r2"), "r2", "r1", now_s=5.0)
    assert state.running_since_s == 0.0
    assert seen(state, "r1", "r3", now_s=9.0).running_since_s == 9.0


def test_pending_replicas_expire_when_none_starts_in_time() -> None:
    state = seen(started(3, "r1"), "r1", now_s=99.9)
    assert state.backoff_until_s is None
    assert seen(state, "r1", now_s=100.0).backoff_until_s == 150.0


def test_a_replica_that_starts_gives_the_others_their_time_again() -> None:
    state = seen(started(3, "r1"), "r1", "r2", now_s=90.0)
    assert state.pending_since_s == 90.0
    assert seen(state, "r1", "r2", now_s=110.0).backoff_until_s is None


def test_a_replica_that_starts_after_all_ends_the_back_off() -> None:
    expired = seen(started(3, "r1"), "r1", now_s=100.0)
    assert seen(expired, "r1", "r2", now_s=101.0).backoff_until_s is None


def test_a_replica_that_dies_does_not_end_it() -> None:
    expired = seen(started(3, "r1", "r2"), "r1", "r2", now_s=100.0)
    assert seen(expired, "r1", now_s=101.0).backoff_until_s == 150.0


def test_nothing_is_pending_when_all_run() -> None:
    assert seen(started(2, "r1"), "r1", "r2", now_s=10.0).pending_since_s is None


def test_asking_for_more_gives_the_new_ones_their_time() -> None:
    state = replace(started(2, "r1"), desired=2)
    assert state.with_desired(3, 60.0).pending_since_s == 60.0
    assert state.with_desired(1, 60.0).pending_since_s == 0.0


def test_a_change_of_the_count_is_dated_and_a_hold_is_not() -> None:
    state = started(2, "r1", "r2")
    assert state.with_desired(3, 7.0).changed_s == 7.0
    assert state.with_desired(2, 7.0) is state


def test_samples_of_running_replicas_are_kept_and_others_dropped() -> None:
    state = started(2, "r1", "r2")
    windows = state.windows_with([sample("r1"), sample("r2"), sample("dead")], 10.0)
    kept = (sample("r1"),)
    assert windows == {"r1": kept, "r2": (sample("r2"),)}
    later = replace(seen(state, "r1", now_s=1.0), windows=windows)
    assert later.windows_with([], 10.0) == {"r1": kept}


def test_one_overload_is_kept_for_each_count_the_latest() -> None:
    state = started(2).with_overload(overload(1, 10.0)).with_overload(overload(2, 30.0)).with_overload(overload(1, 8.0))
    assert state.overloads == (overload(2, 30.0), overload(1, 8.0))


def test_overloads_are_forgotten_in_time_and_when_disproved() -> None:
    state = replace(
        started(2, "r1", "r2"),
        overloads=(overload(1, 5.0, at_s=2000.0), overload(2, 20.0, at_s=2000.0), overload(3, 9.0, at_s=100.0)),
    )

    def kept(borne_per_s: float | None, now_s: float) -> list[int]:
        left = state.without_overloads(borne_per_s=borne_per_s, settings=PolicySettings(), now_s=now_s)
        return [overload.count for overload in left.overloads]

    assert kept(None, 3700.0) == [1, 2, 3]
    assert kept(None, 3701.0) == [1, 2]
    assert kept(19.9, 3701.0) == [1, 2]
    assert kept(20.0, 3701.0) == [1], "what 2 bear says nothing about 1"
