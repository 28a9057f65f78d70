"""Sends scheduled requests to one model and records what each client felt."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from importlib import resources

import httpx

FAILED = 0
MOST_IN_FLIGHT = 1000
KEPT_ALIVE = 100
TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One request: due and answered, in seconds from the start; HTTP status, or 0 where no answer came."""

    step: int
    due_s: float
    answered_s: float
    status: int

    @property
    def latency_s(self) -> float:
        return self.answered_s - self.due_s

    @property
    def failed(self) -> bool:
        return self.status != 200


@dataclass(frozen=True, slots=True)
class Target:
    """A text model behind Open Inference Protocol v2."""

    url: str
    model: str
    input_name: str = "text"

    def body(self, sentence: str) -> dict[str, object]:
        return {"inputs": [{"name": self.input_name, "datatype": "BYTES", "shape": [1], "data": [sentence]}]}


def sentences() -> tuple[str, ...]:
    """The sentences clients send: questions people ask a help desk, 4 to 30 words."""
    text = resources.files("autoscaler.load").joinpath("sentences.txt").read_text()
    return tuple(line for line in text.splitlines() if line)


async def drive(
    target: Target,
    due: Iterable[tuple[float, int]],
    *,
    record: Callable[[Sample], None],
    texts: Sequence[str],
    stop: threading.Event | None = None,
    most_in_flight: int = MOST_IN_FLIGHT,
) -> None:
    """Send every request when it is due; returns when all are answered.

    A request that would be one too many in flight is not sent late but counted as failed at once.
    """
    limits = httpx.Limits(max_connections=most_in_flight, max_keepalive_connections=KEPT_ALIVE)
    # No proxy from the environment: its queue would be measured too.
    async with httpx.AsyncClient(base_url=target.url, timeout=TIMEOUT_S, limits=limits, trust_env=False) as client:
        began_s = time.monotonic()
        sending: set[asyncio.Task[None]] = set()

        async def send(planned: Sample, sentence: str) -> None:
            status = await _status(client, target, sentence)
            record(replace(planned, answered_s=time.monotonic() - began_s, status=status))

        for number, (due_s, step) in enumerate(due):
            await asyncio.sleep(max(0.0, began_s + due_s - time.monotonic()))
            if stop is not None and stop.is_set():
                break
            planned = Sample(step, due_s, answered_s=time.monotonic() - began_s, status=FAILED)
            if len(sending) >= most_in_flight:
                record(planned)
                continue
            task = asyncio.create_task(send(planned, texts[number % len(texts)]))
            sending.add(task)
            task.add_done_callback(sending.discard)
        await asyncio.gather(*sending)


async def _status(client: httpx.AsyncClient, target: Target, sentence: str) -> int:
    try:
        answer = await client.post(f"/v2/models/{target.model}/infer", json=target.body(sentence))
    except httpx.HTTPError:
        return FAILED
    return answer.status_code
