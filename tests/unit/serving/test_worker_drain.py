"""A worker gives up its slot: against the worker's own server, and against ones that misbehave."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from serving import worker_drain
from serving.drain import DrainRefused
from serving.worker_drain import Clock, DrainFailed
from serving.worker_http import WorkerServer
from tests.unit.serving.build import free_port

HOST = "127.0.0.1"


@dataclass
class Replica:
    """What a worker's server drains: refuses a while, and leaves some looks after it has agreed."""

    token: str = "word"
    refusals: int = 0
    drained: int = 0

    def allows(self, authorization: str) -> bool:
        return authorization == f"Bearer {self.token}"

    def drain(self) -> None:
        if self.refusals:
            self.refusals -= 1
            raise DrainRefused("Ray could not be asked: not yet")
        self.drained += 1


@dataclass
class World:
    """A listening worker, a clock that only waiting moves, and what happens after so many waits."""

    replica: Replica
    server: WorkerServer
    waits: list[float] = field(default_factory=list)
    leaves_after: int | None = None
    is_open: bool = True

    @property
    def clock(self) -> Clock:
        return Clock(now_s=lambda: sum(self.waits), sleep=self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        if self.leaves_after is not None and len(self.waits) >= self.leaves_after:
            self.leave()

    def leave(self) -> None:
        if self.is_open:
            self.is_open = False
            self.server.shutdown()
            self.server.server_close()

    def drain(self, token_file: Path | None, timeout_s: float = 45) -> bool:
        port = self.server.server_port
        return worker_drain.drain(HOST, port, token_file=token_file, timeout_s=timeout_s, clock=self.clock)


@pytest.fixture
def world() -> Iterator[World]:
    replica = Replica()
    server = WorkerServer(HOST, 0, CollectorRegistry(), replica)
    server.start()
    made = World(replica, server)
    yield made
    made.leave()


@pytest.fixture
def token(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text("word\n")
    return tmp_path / "token"


def test_a_worker_is_drained_and_waited_for(world: World, token: Path) -> None:
    world.leaves_after = 3
    assert world.drain(token) is True
    assert (world.replica.drained, world.waits) == (1, [0.5] * 3)


def test_where_nobody_listens_there_is_nothing_to_wait_for(token: Path) -> None:
    assert worker_drain.drain(HOST, free_port(), token_file=token, timeout_s=45) is False


def test_a_replica_that_stays_is_reported_when_time_is_up(world: World, token: Path) -> None:
    with pytest.raises(DrainFailed) as failed:
        world.drain(token, timeout_s=2)
    port = world.server.server_port
    assert str(failed.value) == f"the replica on {HOST}:{port} still runs after 2 s: no substitute took over"
    assert sum(world.waits) == 2


def test_a_drain_that_ray_cannot_take_yet_is_asked_again(world: World, token: Path) -> None:
    world.replica.refusals, world.leaves_after = 2, 4
    assert world.drain(token) is True
    assert world.replica.drained == 1


def test_a_drain_that_ray_never_takes_is_reported(world: World, token: Path) -> None:
    world.replica.refusals = 1000
    with pytest.raises(DrainFailed, match=r"answered 503: Ray could not be asked: not yet$"):
        world.drain(token, timeout_s=3)


@pytest.mark.parametrize("content", [None, "another"])
def test_a_wrong_token_is_reported_at_once(content: str | None, world: World, tmp_path: Path) -> None:
    path = tmp_path / "other"
    path.write_text(content or "")
    with pytest.raises(DrainFailed, match=r"answered 40[13]: send Ray's token: Authorization: Bearer TOKEN$"):
        world.drain(None if content is None else path)
    assert world.waits == []


@pytest.fixture
def serve() -> Iterator[Callable[[int, bytes], int]]:
    """Start a server with one answer to everything; its port."""
    servers: list[HTTPServer] = []

    def start(status: int, body: bytes) -> int:
        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                if status:
                    self.send_response(status)
                    self.end_headers()
                    self.wfile.write(body)

            do_GET = do_POST = answer  # noqa: N815  # the names that http.server calls

            def log_message(self, format: str, *arguments: object) -> None:
                return

        servers.append(HTTPServer((HOST, 0), Handler))
        threading.Thread(target=servers[-1].serve_forever).start()
        return int(servers[-1].server_port)

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_what_is_no_worker_is_reported_with_its_words(serve: Callable[[int, bytes], int]) -> None:
    for status, body, said in ((404, b"nothing here", "nothing here"), (500, b"[1]", "[1]")):
        with pytest.raises(DrainFailed, match=rf"answered {status}: {said}".replace("[", r"\[")):
            worker_drain.drain(HOST, serve(status, body), token_file=None, timeout_s=0)


def test_a_node_has_joined_when_rays_agent_says_so(serve: Callable[[int, bytes], int]) -> None:
    good, bad, mute = serve(200, b"success"), serve(503, b"Local Raylet failed"), serve(0, b"")
    found = [worker_drain.why_not_joined(HOST, port, timeout_s=5) for port in (good, bad, mute)]
    assert found == [
        None,
        f"Ray's agent on {HOST}:{bad} answered 503: Local Raylet failed",
        f"Ray's agent on {HOST}:{mute} does not answer: RemoteDisconnected: "
        "Remote end closed connection without response",
    ]
