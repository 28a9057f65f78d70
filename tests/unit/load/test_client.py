"""The open loop against a real server: what a client feels does not depend on how fast the server lets it send."""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pytest

from autoscaler.load import client
from autoscaler.load.client import FAILED, Sample, Target, drive, sentences
from autoscaler.load.report import summarise

Handler = Callable[[dict[str, Any]], Awaitable[int]]


class Server:
    """A small HTTP server on loopback; `answer` gives each request's status when it is ready to."""

    def __init__(self, answer: Handler) -> None:
        self._answer = answer
        self.bodies: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.open = 0
        self.most_open = 0
        self._writers: list[asyncio.StreamWriter] = []
        self._serving: list[asyncio.Task[Any]] = []

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*self._serving)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        if (task := asyncio.current_task()) is not None:
            self._serving.append(task)
        while head := await reader.readline():
            self.paths.append(head.decode().split()[1])
            length = 0
            while line := (await reader.readline()).decode().strip().lower():
                if line.startswith("content-length:"):
                    length = int(line.partition(":")[2])
            body = json.loads(await reader.readexactly(length))
            self.bodies.append(body)
            self.open += 1
            self.most_open = max(self.most_open, self.open)
            status = await self._answer(body)
            self.open -= 1
            if status == FAILED:
                break
            writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\n{{}}".encode())
            await writer.drain()
        writer.close()


async def at_once(_: dict[str, Any]) -> int:
    return 200


def felt(
    answer: Handler,
    due: Iterable[tuple[float, int]],
    *,
    most_in_flight: int = client.MOST_IN_FLIGHT,
    stop: threading.Event | None = None,
) -> tuple[list[Sample], Server]:
    """Drive a server through a schedule; what clients felt, and the server."""
    samples: list[Sample] = []
    server = Server(answer)

    async def run() -> None:
        async with server as url:
            await drive(
                Target(url, "minilm"),
                due,
                record=samples.append,
                texts=["one", "two"],
                stop=stop,
                most_in_flight=most_in_flight,
            )

    asyncio.run(run())
    return samples, server


def every(gap_s: float, count: int) -> list[tuple[float, int]]:
    return [(gap_s * index, 0) for index in range(count)]


def test_every_request_is_sent_and_answered() -> None:
    samples, server = felt(at_once, [(0.0, 0), (0.01, 0), (0.02, 1)])
    assert [(sample.step, sample.due_s, sample.status) for sample in samples] == [
        (0, 0.0, 200), (0, 0.01, 200), (1, 0.02, 200),
    ]  # fmt: skip
    assert server.paths == ["/v2/models/minilm/infer"] * 3
    assert server.bodies == [
        {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": [text]}]}
        for text in ("one", "two", "one")
    ]


def test_a_stall_of_one_second_is_felt_by_everybody_who_was_due_in_it() -> None:
    """Fifty requests in a second that the server spends stalled.

    A client that waits for each answer before it sends the next would feel one slow request among fifty fast ones, and
    report a p50 of nothing. Independent clients do not wait for each other: half of them waited longer than 0.4 s.
    """
    stalled_until_s: list[float] = []

    async def stall(_: dict[str, Any]) -> int:
        now_s = asyncio.get_running_loop().time()
        if not stalled_until_s:
            stalled_until_s.append(now_s + 1.0)
        await asyncio.sleep(max(0.0, stalled_until_s[0] - now_s))
        return 200

    samples, server = felt(stall, every(0.02, 50))
    for sample in samples:
        assert 1.0 - sample.due_s <= sample.latency_s <= 1.0 - sample.due_s + 3.0
    summary = summarise(samples)
    assert summary.p50_ms is not None
    assert summary.p50_ms > 400
    assert server.most_open == 50


def test_a_late_sender_still_counts_from_when_the_request_was_due() -> None:
    """The schedule itself stalls the sender: what was due in the past is sent at once and counted from then."""
    samples, _ = felt(at_once, [(-0.5, 0), (0.0, 0)])
    by_due = {sample.due_s: sample.latency_s for sample in samples}
    assert 0.5 <= by_due[-0.5] < 1.5
    assert by_due[0.0] < 0.5


@pytest.mark.parametrize("status", [404, 429, 500, 503])
def test_a_refusal_is_recorded_with_its_status(status: int) -> None:
    async def refuse(_: dict[str, Any]) -> int:
        return status

    samples, _ = felt(refuse, every(0.0, 3))
    assert [sample.status for sample in samples] == [status] * 3
    assert all(sample.failed for sample in samples)


def test_a_connection_that_breaks_off_is_recorded_as_failed_and_the_others_go_on() -> None:
    answers = iter([200, FAILED, 200])

    async def answer(_: dict[str, Any]) -> int:
        return next(answers)

    samples, _ = felt(answer, every(0.05, 3))
    assert [sample.status for sample in samples] == [200, FAILED, 200]


def test_a_server_that_is_not_there_fails_every_request() -> None:
    samples: list[Sample] = []
    asyncio.run(drive(Target("http://127.0.0.1:1", "m"), every(0.0, 3), record=samples.append, texts=["t"]))
    assert [sample.status for sample in samples] == [FAILED] * 3


def test_beyond_the_most_in_flight_requests_fail_at_once_and_are_not_sent() -> None:
    released = asyncio.Event()

    async def hold(_: dict[str, Any]) -> int:
        await released.wait()
        return 200

    async def run() -> tuple[list[Sample], Server]:
        samples: list[Sample] = []

        def record(sample: Sample) -> None:
            samples.append(sample)
            if len(samples) == 2:
                released.set()

        server = Server(hold)
        async with server as url:
            await drive(Target(url, "m"), every(0.02, 5), record=record, texts=["t"], most_in_flight=3)
        return samples, server

    samples, server = asyncio.run(run())
    assert [sample.status for sample in samples] == [FAILED, FAILED, 200, 200, 200]
    assert all(sample.latency_s < 0.5 for sample in samples[:2])
    assert (server.most_open, len(server.bodies)) == (3, 3)


def test_a_stop_ends_sending_and_waits_for_what_was_sent() -> None:
    stop = threading.Event()

    async def answer(_: dict[str, Any]) -> int:
        stop.set()
        await asyncio.sleep(0.05)
        return 200

    samples, _ = felt(answer, [(0.0, 0), (0.3, 0), (60.0, 0)], stop=stop)
    assert [sample.status for sample in samples] == [200]


def test_a_proxy_from_the_environment_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    samples, _ = felt(at_once, every(0.0, 1))
    assert [sample.status for sample in samples] == [200]


def test_clients_send_real_sentences() -> None:
    texts = sentences()
    assert len(set(texts)) == len(texts) >= 40
    for text in texts:
        assert 4 <= len(text.split()) <= 30
        assert text[0].isupper()
        assert text[-1] in ".?!"
