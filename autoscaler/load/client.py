"""Sends scheduled requests to one model and records what each client felt."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import resources

import httpx

FAILED = 0
MAX_IN_FLIGHT = 1000
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
    stop: asyncio.Event | None = None,
) -> None:
    """Send every request when it is due; returns when all are answered. At most 1000 are in flight: more fail here."""
    limits = httpx.Limits(max_connections=MAX_IN_FLIGHT, max_keepalive_connections=100)
    async with httpx.AsyncClient(base_url=target.url, timeout=TIMEOUT_S, limits=limits) as client:
        began_s = time.monotonic()
        sending: set[asyncio.Task[None]] = set()
        for number, (due_s, step) in enumerate(due):
            await asyncio.sleep(max(0.0, began_s + due_s - time.monotonic()))
            if stop is not None and stop.is_set():
                break
            if len(sending) >= MAX_IN_FLIGHT:
                record(Sample(step, due_s, time.monotonic() - began_s, FAILED))
                continue
            body = target.body(texts[number % len(texts)])
            task = asyncio.create_task(_send(client, target, body, began_s, Sample(step, due_s, 0.0, FAILED), record))
            sending.add(task)
            task.add_done_callback(sending.discard)
        await asyncio.gather(*sending)


async def _send(
    client: httpx.AsyncClient,
    target: Target,
    body: dict[str, object],
    began_s: float,
    planned: Sample,
    record: Callable[[Sample], None],
) -> None:
    try:
        answer = await client.post(f"/v2/models/{target.model}/infer", json=body)
        status = answer.status_code
    except httpx.HTTPError:
        status = FAILED
    record(Sample(planned.step, planned.due_s, time.monotonic() - began_s, status))
