"""The time-sliced engine on worked examples; 8 ms jobs and 2 ms slices unless said otherwise."""

import pytest

from vgpu.core.share import SchedulerPolicy
from vgpu.emulator.engine import NS_PER_MS, Completion, Engine, default_slice_ns

BEST_EFFORT, EQUAL_SHARE, FIXED_SHARE = SchedulerPolicy


def engine_with(policy: SchedulerPolicy, *slots: str, most: int = 4, slice_ms: int = 2) -> Engine:
    engine = Engine(policy=policy, slice_ns=slice_ms * NS_PER_MS, most_per_gpu=most)
    for slot in slots:
        engine.attach(slot)
    return engine


def finishes_ms(completions: tuple[Completion, ...]) -> list[tuple[str, float]]:
    return [(item.slot, item.finished_ns / NS_PER_MS) for item in completions]


@pytest.mark.parametrize(
    ("policy", "finishes"),
    [
        pytest.param(BEST_EFFORT, [("a", 14), ("b", 16)], id="best effort divides by the two busy slots"),
        pytest.param(EQUAL_SHARE, [("a", 20), ("b", 22)], id="equal share divides by the three running slots"),
        pytest.param(FIXED_SHARE, [("a", 26), ("b", 28)], id="fixed share divides by the four possible slots"),
    ],
)
def test_a_policy_decides_who_takes_part_in_the_ring(
    policy: SchedulerPolicy, finishes: list[tuple[str, float]]
) -> None:
    engine = engine_with(policy, "a", "b", "idle")
    for slot in ("a", "b"):
        engine.submit(slot, "job", 8 * NS_PER_MS)
    assert finishes_ms(engine.advance(40 * NS_PER_MS)) == finishes


def test_a_light_job_waits_for_the_slice_of_its_neighbour_and_not_for_the_whole_job() -> None:
    engine = engine_with(BEST_EFFORT, "heavy", "light", slice_ms=1)
    engine.submit("heavy", "long", 50 * NS_PER_MS)
    engine.advance(10 * NS_PER_MS)
    engine.submit("light", "short", 3 * NS_PER_MS)
    assert finishes_ms(engine.advance(30 * NS_PER_MS)) == [("light", 15)]


def test_work_that_arrives_within_its_own_idle_slice_uses_the_rest_of_it() -> None:
    engine = engine_with(EQUAL_SHARE, "a", "b")
    engine.advance(NS_PER_MS)
    engine.submit("a", "job", NS_PER_MS)
    assert finishes_ms(engine.advance(4 * NS_PER_MS)) == [("a", 2)]


def test_an_idle_running_slot_costs_its_neighbour_under_equal_share_until_it_detaches() -> None:
    engine = engine_with(EQUAL_SHARE, "a", "b")
    engine.submit("a", "job", 8 * NS_PER_MS)
    engine.advance(8 * NS_PER_MS)
    assert (engine.busy_ns("a"), engine.reserved_idle_ns) == (4 * NS_PER_MS, 4 * NS_PER_MS)
    engine.detach("b")
    assert finishes_ms(engine.advance(20 * NS_PER_MS)) == [("a", 12)]


def test_an_absent_slot_costs_nothing_to_the_others_under_fixed_share() -> None:
    engine = engine_with(FIXED_SHARE, "a", "b")
    engine.submit("a", "job", 8 * NS_PER_MS)
    engine.advance(8 * NS_PER_MS)
    engine.detach("b")
    assert finishes_ms(engine.advance(40 * NS_PER_MS)) == [("a", 26)]


def test_busy_time_is_kept_over_a_new_attachment() -> None:
    engine = engine_with(BEST_EFFORT, "a")
    engine.submit("a", "job", 5 * NS_PER_MS)
    engine.advance(3 * NS_PER_MS)
    assert engine.detach("a") == ("job",)
    engine.attach("a")
    engine.submit("a", "job", NS_PER_MS)
    engine.advance(9 * NS_PER_MS)
    assert engine.busy_ns("a") == 4 * NS_PER_MS


def test_an_hour_of_two_millisecond_slices_is_passed_in_a_few_steps() -> None:
    engine = engine_with(EQUAL_SHARE, "a", "b")
    engine.submit("a", "job", 3600 * 1000 * NS_PER_MS)
    assert engine.next_completion_ns() == (7200 * 1000 - 2) * NS_PER_MS
    assert finishes_ms(engine.advance(7200 * 1000 * NS_PER_MS)) == [("a", 7200 * 1000 - 2)]


@pytest.mark.parametrize(("most", "slice_ms"), [(1, 2), (8, 2), (9, 1), (32, 1)])
def test_the_default_slice_is_shorter_above_eight_slots(most: int, slice_ms: int) -> None:
    assert default_slice_ns(most) == slice_ms * NS_PER_MS


def test_what_cannot_be_is_refused_with_the_field_and_its_value() -> None:
    engine = engine_with(BEST_EFFORT, "a", most=1)
    engine.advance(10)
    for call, message in [
        (lambda: engine.attach("a"), "slot is 'a'; it is attached already"),
        (lambda: engine.attach("b"), "slot is 'b'; all 1 seats of the GPU are taken"),
        (lambda: engine.submit("b", "job", 1), "slot is 'b'; it is not attached to this GPU"),
        (lambda: engine.submit("a", "job", 0), "demand_ns is 0; a job needs the engine for at least 1 ns"),
        (lambda: engine.advance(9), "to_ns is 9; the engine is at 10 already"),
        (lambda: Engine(policy=BEST_EFFORT, slice_ns=0, most_per_gpu=1), "slice_ns is 0"),
        (lambda: Engine(policy=BEST_EFFORT, slice_ns=1, most_per_gpu=0), "most_per_gpu is 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
