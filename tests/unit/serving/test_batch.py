"""The batcher in virtual time, in front of an engine that takes 10 ms a batch unless a test says otherwise."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from serving.batch import Batcher, BatchTimes
from serving.errors import ApiError, Refusal
from tests.fakes import virtual_time

EXECUTION_S = 0.010


class Desk:
    """A batcher, what its engine was given and when, and what it observed."""

    def __init__(self, **limits: Any) -> None:
        settings = {"max_batch_size": 4, "max_wait_s": 0.004, "max_queue": 8, **limits}
        self.batches: list[tuple[float, list[str]]] = []
        self.observed: list[BatchTimes] = []
        self.execution_s = EXECUTION_S
        self.failure: Exception | None = None
        self.batcher: Batcher[str, str] = Batcher(run=self._run, observe=self.observed.append, **settings)

    async def _run(self, items: Sequence[str]) -> Sequence[str]:
        self.batches.append((round(self.now_s, 9), list(items)))
        await asyncio.sleep(self.execution_s)
        if self.failure is not None:
            raise self.failure
        return [item.upper() for item in items]

    @property
    def now_s(self) -> float:
        return asyncio.get_running_loop().time()

    async def ask(self, *items: str, at_s: float = 0.0, timeout_s: float = 60.0) -> list[str] | tuple[int, float]:
        """Submit at a time; the answer, or the refusal's status and when it came."""
        await asyncio.sleep(at_s - self.now_s)
        try:
            return await self.batcher.submit(items, timeout_s=timeout_s)
        except ApiError as refusal:
            return refusal.status, round(self.now_s, 9)


def play(desk: Desk, script: Callable[[], Awaitable[Any]]) -> Any:
    """Run a script against a started batcher, in virtual time."""

    async def started() -> Any:
        desk.batcher.start()
        try:
            return await script()
        finally:
            await desk.batcher.stop()

    return virtual_time.run(started())


async def refusal_of(desk: Desk, *items: str) -> ApiError:
    with pytest.raises(ApiError) as refused:
        await desk.batcher.submit(items, timeout_s=60)
    return refused.value


def test_a_lone_request_never_waits() -> None:
    desk = Desk()
    answers = play(desk, lambda: asyncio.gather(*(desk.ask("a", at_s=at_s) for at_s in (0.0, 0.010, 0.011, 0.5))))
    assert answers == [["A"]] * 4
    assert [began_s for began_s, _ in desk.batches] == [0.0, 0.010, 0.020, 0.5]


def test_a_lone_request_of_several_rows_is_no_company_of_its_own() -> None:
    desk = Desk()
    play(desk, lambda: asyncio.gather(*(desk.ask("a", "b", at_s=at_s) for at_s in (0.0, 0.010, 0.020))))
    assert desk.batches == [(0.0, ["a", "b"]), (0.010, ["a", "b"]), (0.020, ["a", "b"])]


def test_a_batch_after_company_is_held_open_until_the_longest_wait_and_no_longer() -> None:
    desk = Desk()
    arrivals_s = {"a": 0.0, "b": 0.001, "c": 0.002, "d": 0.0205, "e": 0.023, "f": 0.025}
    play(desk, lambda: asyncio.gather(*(desk.ask(item, at_s=at_s) for item, at_s in arrivals_s.items())))
    assert desk.batches == [(0.0, ["a"]), (0.010, ["b", "c"]), (0.024, ["d", "e"]), (0.038, ["f"])]


def test_a_batch_held_open_leaves_as_soon_as_it_is_full() -> None:
    desk = Desk(max_batch_size=2)
    arrivals_s = {"a": 0.0, "b": 0.001, "c": 0.002, "d": 0.021, "e": 0.022}
    play(desk, lambda: asyncio.gather(*(desk.ask(item, at_s=at_s) for item, at_s in arrivals_s.items())))
    assert desk.batches == [(0.0, ["a"]), (0.010, ["b", "c"]), (0.022, ["d", "e"])]


def test_the_first_request_after_a_pause_does_not_wait_for_the_company_of_before() -> None:
    desk = Desk()
    arrivals_s = {"a": 0.0, "b": 0.001, "c": 0.002, "d": 9.0}
    play(desk, lambda: asyncio.gather(*(desk.ask(item, at_s=at_s) for item, at_s in arrivals_s.items())))
    assert desk.batches[-1] == (9.0, ["d"])


def test_without_a_longest_wait_no_batch_is_held_open() -> None:
    desk = Desk(max_wait_s=0.0)
    arrivals_s = {"a": 0.0, "b": 0.001, "c": 0.002, "d": 0.0205}
    play(desk, lambda: asyncio.gather(*(desk.ask(item, at_s=at_s) for item, at_s in arrivals_s.items())))
    assert desk.batches[-1] == (0.0205, ["d"])


def test_a_request_larger_than_a_batch_is_cut_and_put_together_again() -> None:
    desk = Desk()
    assert play(desk, lambda: desk.ask(*"abcdef")) == list("ABCDEF")
    assert desk.batches == [(0.0, list("abcd")), (0.010, list("ef"))]


def test_every_batch_is_observed_with_each_rows_wait() -> None:
    desk = Desk()
    play(desk, lambda: asyncio.gather(desk.ask("a"), desk.ask("b", at_s=0.004), desk.ask("c", at_s=0.005)))
    assert [(times.waited_s, times.executed_s) for times in desk.observed] == [
        (pytest.approx((0.0,)), pytest.approx(EXECUTION_S)),
        (pytest.approx((0.006, 0.005)), pytest.approx(EXECUTION_S)),
    ]


def test_a_row_whose_deadline_passed_in_the_queue_is_refused_and_never_executed() -> None:
    desk = Desk()
    first, late = play(desk, lambda: asyncio.gather(desk.ask("a"), desk.ask("late", at_s=0.001, timeout_s=0.005)))
    assert (first, late) == (["A"], (504, 0.006))
    assert desk.batches == [(0.0, ["a"])]


def test_a_row_that_expires_in_the_instant_the_engine_is_free_is_not_executed() -> None:
    desk = Desk(max_batch_size=1)
    desk.execution_s = 0.25  # binary fractions, so that both come to the very same instant
    late = desk.ask("late", at_s=0.125, timeout_s=0.125)
    play(desk, lambda: asyncio.gather(desk.ask("a"), late, desk.ask("b", at_s=0.125)))
    assert desk.batches == [(0.0, ["a"]), (0.25, ["b"])]


def test_a_deadline_that_passes_during_execution_is_answered_then_and_the_batcher_goes_on() -> None:
    desk = Desk()
    late, after = play(desk, lambda: asyncio.gather(desk.ask("a", timeout_s=0.003), desk.ask("b", at_s=0.004)))
    assert (late, after) == ((504, 0.003), ["B"])


def test_a_deadline_counts_from_the_requests_arrival() -> None:
    desk = Desk()

    async def read_for_a_while() -> float:
        await asyncio.sleep(5.0)
        with pytest.raises(ApiError, match="not answered within the request's 5005 ms"):
            await desk.batcher.submit(["a"], timeout_s=5.005, since_s=0.0)
        return desk.now_s

    assert play(desk, read_for_a_while) == pytest.approx(5.005)


def test_an_answer_that_is_there_when_the_deadline_strikes_is_given() -> None:
    desk = Desk()
    answered = asyncio.Event()

    async def run(items: Sequence[str]) -> Sequence[str]:
        await answered.wait()
        return items

    async def answer_in_the_instant_of_the_deadline() -> list[str]:
        desk.batcher.run = run
        asyncio.get_running_loop().call_at(1.0, answered.set)  # before the deadline's own timer, in the same instant
        return await desk.batcher.submit(["a"], timeout_s=1.0)

    assert play(desk, answer_in_the_instant_of_the_deadline) == ["a"]


def test_a_full_queue_refuses_and_says_when_it_will_have_been_worked_off() -> None:
    desk = Desk()
    desk.execution_s = 0.9

    async def overload() -> ApiError:
        await desk.ask("first")  # now the batcher knows what a batch takes
        begin_s = (1.0, 1.1, 1.1)  # one batch is executed, two fill the queue
        waiting = [asyncio.create_task(desk.ask(*"abcd", at_s=at_s)) for at_s in begin_s]
        await asyncio.sleep(0.5)
        refusal = await refusal_of(desk, "one more")
        await asyncio.gather(*waiting)
        return refusal

    refusal = play(desk, overload)
    assert (refusal.status, refusal.reason, refusal.retry_after_s) == (429, Refusal.QUEUE_FULL, 2)
    assert refusal.message == "8 rows are waiting already; retry in 2 s"
    assert refusal.headers == {"Retry-After": "2"}


def test_a_refusal_before_the_first_batch_asks_to_come_back_in_a_second() -> None:
    desk = Desk(max_queue=1)

    async def overload() -> ApiError:
        waiting = [asyncio.create_task(desk.ask(item, at_s=at_s)) for item, at_s in (("a", 0.0), ("b", 0.001))]
        await asyncio.sleep(0.002)
        refusal = await refusal_of(desk, "c")
        await asyncio.gather(*waiting)
        return refusal

    refusal = play(desk, overload)
    assert (refusal.status, refusal.retry_after_s) == (429, 1)


def test_a_request_with_more_rows_than_the_queue_holds_is_too_large() -> None:
    desk = Desk()
    refusal = play(desk, lambda: refusal_of(desk, *"abcdefghi"))
    assert (refusal.status, refusal.field) == (413, "inputs")
    assert refusal.message == "9 rows in one request; at most 8"


def test_the_rows_of_a_client_that_went_away_leave_the_queue_and_never_reach_the_engine() -> None:
    desk = Desk()

    async def leave() -> int:
        first = asyncio.create_task(desk.ask("a"))
        gone = asyncio.create_task(desk.ask(*"bcdefgh", at_s=0.001))
        await asyncio.sleep(0.002)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        queued = desk.batcher.queued
        await first
        return queued

    assert play(desk, leave) == 0
    assert desk.batches == [(0.0, ["a"])]


def test_expired_rows_leave_room_in_the_queue() -> None:
    desk = Desk()
    answers = play(
        desk,
        lambda: asyncio.gather(
            desk.ask("a"), desk.ask(*"bcdefghi", at_s=0.001, timeout_s=0.002), desk.ask(*"jklmnopq", at_s=0.004)
        ),
    )
    assert answers == [["A"], (504, 0.003), list("JKLMNOPQ")]


def test_a_client_that_goes_away_during_execution_leaves_the_others_their_answers() -> None:
    desk = Desk()

    async def leave() -> Any:
        await asyncio.sleep(0)
        tasks = [asyncio.create_task(desk.ask(item)) for item in "ab"]
        await asyncio.sleep(0.001)
        tasks[0].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    gone, kept = play(desk, leave)
    assert isinstance(gone, asyncio.CancelledError)
    assert kept == ["B"]


def test_an_engine_error_reaches_every_waiter_of_the_batch_and_the_batcher_goes_on() -> None:
    desk = Desk()
    desk.failure = RuntimeError("out of order")

    async def fail_then_recover() -> list[Any]:
        failed = await asyncio.gather(*(desk.ask(item) for item in "abc"), return_exceptions=True)
        desk.failure = None
        return [*failed, await desk.ask("d")]

    *failed, recovered = play(desk, fail_then_recover)
    assert [str(error) for error in failed] == ["out of order"] * 3
    assert recovered == ["D"]


def test_the_other_rows_of_a_failed_request_are_not_executed() -> None:
    desk = Desk()
    desk.failure = RuntimeError("out of order")

    async def script() -> float:
        other = asyncio.create_task(desk.ask("g", at_s=0.001))
        with pytest.raises(RuntimeError, match="out of order"):
            await desk.ask(*"abcdef")
        failed_at_s = desk.now_s
        await asyncio.gather(other, return_exceptions=True)
        return failed_at_s

    assert play(desk, script) == pytest.approx(EXECUTION_S)
    assert desk.batches == [(0.0, list("abcd")), (0.010, ["g"])]


def test_an_engine_that_gives_too_few_results_fails_its_batch_only() -> None:
    desk = Desk()

    async def forgetful(items: Sequence[str]) -> Sequence[str]:
        return items[1:]

    async def script() -> tuple[Any, Any]:
        whole, desk.batcher.run = desk.batcher.run, forgetful
        failed = await asyncio.gather(desk.ask(*"ab"), return_exceptions=True)
        desk.batcher.run = whole
        return failed[0], await desk.ask("c")

    failed, recovered = play(desk, script)
    assert isinstance(failed, ValueError)
    assert recovered == ["C"]


def test_stopping_refuses_what_is_executed_and_what_waits() -> None:
    desk = Desk()

    async def stop() -> Any:
        asking = [asyncio.create_task(desk.ask(*items)) for items in ("abcd", "ef")]
        await asyncio.sleep(0.001)
        await desk.batcher.stop()
        return await asyncio.gather(*asking), desk.batcher.queued

    assert play(desk, stop) == ([(503, 0.001), (503, 0.001)], 0)


def test_starting_twice_starts_once() -> None:
    desk = Desk(max_batch_size=1)

    async def script() -> Any:
        desk.batcher.start()
        return await asyncio.gather(desk.ask("a"), desk.ask("b"))

    assert play(desk, script) == [["A"], ["B"]]
    assert [began_s for began_s, _ in desk.batches] == [0.0, 0.010]
