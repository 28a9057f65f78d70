"""Whatever arrives when, every request gets its own rows' results in order, and the engine's limits hold."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from serving.batch import Batcher, BatchTimes
from serving.errors import ApiError
from tests.fakes import virtual_time

Row = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A request of so many rows that comes, may give up waiting, and may go away."""

    at_ms: int
    rows: int
    timeout_ms: int
    leaves_after_ms: int | None


@dataclass(slots=True, kw_only=True)
class Engine:
    """Takes a set time for each batch in turn and fails every one whose turn is among `failing`."""

    durations_ms: Sequence[int]
    failing: frozenset[int]
    batches: list[list[Row]] = field(default_factory=list)
    running: int = 0
    most_running: int = 0

    async def run(self, rows: Sequence[Row]) -> Sequence[tuple[str, Row]]:
        turn = len(self.batches)
        self.batches.append(list(rows))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        await asyncio.sleep(self.durations_ms[turn % len(self.durations_ms)] / 1000)
        self.running -= 1
        if turn in self.failing:
            raise RuntimeError("out of order")
        return [("result", row) for row in rows]


asks = st.builds(
    Ask,
    at_ms=st.integers(0, 60),
    rows=st.integers(1, 7),
    timeout_ms=st.integers(1, 60),
    leaves_after_ms=st.none() | st.integers(0, 20),
)
engines = st.builds(
    Engine,
    durations_ms=st.lists(st.integers(0, 20), min_size=1, max_size=4),
    failing=st.frozensets(st.integers(0, 6), max_size=2),
)
Outcome = list[tuple[str, Row]] | BaseException


async def play(batcher: Batcher[Row, tuple[str, Row]], requests: Sequence[Ask]) -> list[Outcome]:
    async def ask(number: int, request: Ask) -> list[tuple[str, Row]]:
        await asyncio.sleep(request.at_ms / 1000)
        rows = [(number, row) for row in range(request.rows)]
        return await batcher.submit(rows, timeout_s=request.timeout_ms / 1000)

    loop = asyncio.get_running_loop()
    batcher.start()
    tasks = [loop.create_task(ask(number, request)) for number, request in enumerate(requests)]
    for task, request in zip(tasks, requests, strict=True):
        if request.leaves_after_ms is not None:
            loop.call_later((request.at_ms + request.leaves_after_ms) / 1000, task.cancel)
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert batcher.queued == 0
    await batcher.stop()
    return outcomes


@given(
    st.lists(asks, max_size=12),
    engines,
    st.integers(1, 5),
    st.integers(0, 8),
    st.integers(1, 12),
)
def test_every_request_gets_its_own_results_in_order(
    requests: list[Ask], engine: Engine, max_batch_size: int, max_wait_ms: int, max_queue: int
) -> None:
    observed: list[BatchTimes] = []
    batcher = Batcher(
        run=engine.run,
        observe=observed.append,
        max_batch_size=max_batch_size,
        max_wait_s=max_wait_ms / 1000,
        max_queue=max_queue,
    )
    outcomes = virtual_time.run(play(batcher, requests))
    executed = [row for batch in engine.batches for row in batch]
    for number, (request, outcome) in enumerate(zip(requests, outcomes, strict=True)):
        rows = [(number, row) for row in range(request.rows)]
        if isinstance(outcome, list):
            assert outcome == [("result", row) for row in rows]
        elif isinstance(outcome, ApiError):
            assert outcome.status in (413, 429, 504)
            if outcome.status != 504:
                assert not set(rows) & set(executed)
        else:
            assert isinstance(outcome, asyncio.CancelledError) or str(outcome) == "out of order"
    assert all(1 <= len(batch) <= max_batch_size for batch in engine.batches)
    assert len(executed) == len(set(executed))
    assert engine.most_running <= 1
    assert all(min(times.waited_s) >= 0 for times in observed)
