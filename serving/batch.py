"""Gathers rows of many requests into batches for one engine.

Rule: a request that comes alone never waits. Only where the batch before held rows of several requests is the next one
held open, until `max_wait_s` after that one ended: whoever shared it is likely to be back. Ray's own `serve.batch`
holds every batch open, which costs a lone request its whole wait (10.5 ms instead of 7.7 ms here), does not drop
expired work before the engine, and does not tell queue time from execution.
"""

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from serving import errors

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(slots=True, eq=False)
class _Request:
    queued_at_s: float
    since_s: float
    timeout_s: float
    is_refused: bool = False

    @property
    def deadline_s(self) -> float:
        return self.since_s + self.timeout_s


@dataclass(frozen=True, slots=True, eq=False)
class _Row(Generic[Item, Result]):
    item: Item
    request: _Request
    answer: asyncio.Future[Result]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchTimes:
    """One executed batch: how long each of its rows waited, and how long it ran, in seconds."""

    waited_s: tuple[float, ...]
    executed_s: float


@dataclass(slots=True, kw_only=True)
class Batcher(Generic[Item, Result]):
    """One queue in front of one engine. `start` it inside the event loop that `submit` is awaited in."""

    run: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]]
    observe: Callable[[BatchTimes], None]
    max_batch_size: int
    max_wait_s: float
    max_queue: int
    _rows: "deque[_Row[Item, Result]]" = field(default_factory=deque)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)
    _open_until_s: float = -math.inf
    _executed_s: float = 0.0
    _task: "asyncio.Task[None] | None" = None

    @property
    def queued(self) -> int:
        """Rows waiting now."""
        return len(self._rows)

    def start(self) -> None:
        """Begin executing batches; a second call changes nothing."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._execute_for_ever())

    async def stop(self) -> None:
        """Stop executing; rows still waiting are refused."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        while self._rows:
            _refuse(self._rows.popleft(), errors.stopping())

    def admit(self, rows: int) -> None:
        """Refuse so many rows where the queue cannot take them now: `ApiError` 413 or 429."""
        if rows > self.max_queue:
            raise errors.too_large(f"{rows} rows in one request; at most {self.max_queue}", field="inputs")
        if len(self._rows) + rows > self.max_queue:
            raise errors.queue_full(len(self._rows), self._retry_after_s())

    async def submit(self, items: Sequence[Item], *, timeout_s: float, since_s: float | None = None) -> list[Result]:
        """Results of one request's rows, in order; `timeout_s` counts from `since_s`, or from now.

        Raises `ApiError` 413, 429, 503 or 504, or what the engine raised. An answer that is there when the deadline
        strikes is given.
        """
        self.admit(len(items))
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        request = _Request(now_s, now_s if since_s is None else since_s, timeout_s)
        rows: list[_Row[Item, Result]] = [_Row(item, request, loop.create_future()) for item in items]
        self._rows.extend(rows)
        self._arrived.set()
        answers = [row.answer for row in rows]
        try:
            await asyncio.wait(answers, timeout=request.deadline_s - now_s, return_when=asyncio.FIRST_EXCEPTION)
            results = [answer.result() for answer in answers if answer.done()]
        finally:
            self._forget(rows)
        if len(results) < len(rows):
            raise errors.deadline_passed(timeout_s * 1000)
        return results

    def _forget(self, rows: "Sequence[_Row[Item, Result]]") -> None:
        """Nobody waits for these any more; those without an answer must neither reach the engine nor fill the queue."""
        if all(row.answer.done() for row in rows):
            return
        for row in rows:
            row.answer.cancel()
        self._rows = deque(row for row in self._rows if not row.answer.done())

    def _retry_after_s(self) -> int:
        batches = math.ceil(len(self._rows) / self.max_batch_size)
        return max(1, math.ceil(batches * self._executed_s))

    async def _execute_for_ever(self) -> None:
        while True:
            while not self._rows:
                await self._arrival()
            await self._gather_company()
            batch = self._take()
            if batch:
                await self._execute(batch)

    async def _arrival(self) -> None:
        self._arrived.clear()
        await self._arrived.wait()

    async def _gather_company(self) -> None:
        if self._open_until_s <= asyncio.get_running_loop().time():
            return
        try:
            async with asyncio.timeout_at(self._open_until_s):
                while len(self._rows) < self.max_batch_size:
                    await self._arrival()
        except TimeoutError:
            return

    def _take(self) -> "list[_Row[Item, Result]]":
        """The next rows somebody still waits for; expired ones are refused here, before they cost engine time."""
        now_s = asyncio.get_running_loop().time()
        batch: list[_Row[Item, Result]] = []
        while self._rows and len(batch) < self.max_batch_size:
            row = self._rows.popleft()
            if row.request.deadline_s <= now_s:
                _refuse(row, errors.deadline_passed(row.request.timeout_s * 1000))
            elif not row.request.is_refused:
                batch.append(row)
        return batch

    async def _execute(self, batch: "list[_Row[Item, Result]]") -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        try:
            results = await self.run([row.item for row in batch])
            answered = list(zip(batch, results, strict=True))
        except asyncio.CancelledError:
            for row in batch:
                _refuse(row, errors.stopping())
            raise
        except Exception as error:  # each waiting client must hear of it, whatever it is
            for row in batch:
                _refuse(row, error)
            return
        ended_s = loop.time()
        self._executed_s = ended_s - began_s
        has_company = any(row.request is not batch[0].request for row in batch)
        self._open_until_s = ended_s + self.max_wait_s if has_company else -math.inf
        for row, result in answered:
            if not row.answer.done():
                row.answer.set_result(result)
        waited_s = tuple(began_s - row.request.queued_at_s for row in batch)
        self.observe(BatchTimes(waited_s=waited_s, executed_s=self._executed_s))


def _refuse(row: "_Row[Item, Result]", error: Exception) -> None:
    row.request.is_refused = True
    if not row.answer.done():
        row.answer.set_exception(error)
        # Whoever awaited may have gone; an exception nobody retrieves would be logged as a defect.
        row.answer.exception()
