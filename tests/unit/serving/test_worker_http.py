"""The worker's own HTTP server: metrics for everyone, a drain for who knows Ray's token."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
import pytest
from prometheus_client import CollectorRegistry, Gauge

from serving.drain import DrainRefused
from serving.worker_http import WorkerServer

TOKEN = {"Authorization": "Bearer secret"}


@dataclass
class FakeDrain:
    """Drains for one token."""

    refusal: str = ""
    drained: list[str] = field(default_factory=list)

    def allows(self, authorization: str) -> bool:
        return authorization == "Bearer secret"

    def drain(self) -> None:
        if self.refusal:
            raise DrainRefused(self.refusal)
        self.drained.append("this node")


@contextmanager
def serving(drain: FakeDrain, host: str = "127.0.0.1") -> Iterator[httpx.Client]:
    registry = CollectorRegistry()
    Gauge("vgpu_test", "One series", registry=registry).set(3)
    server = WorkerServer(host, 0, registry, drain)
    server.start()
    shown = f"[{host}]" if ":" in host else host
    with httpx.Client(base_url=f"http://{shown}:{server.server_port}", trust_env=False) as client:
        yield client
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_metrics_need_no_token(host: str) -> None:
    if host == "::1" and not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    with serving(FakeDrain(), host) as client:
        answer = client.get("/metrics")
    assert (answer.status_code, "vgpu_test 3.0" in answer.text) == (200, True)


def test_who_knows_the_token_drains() -> None:
    drain = FakeDrain()
    with serving(drain) as client:
        answers = [client.post("/drain", headers=TOKEN) for _ in range(2)]
    assert [(answer.status_code, answer.json()) for answer in answers] == [(200, {"draining": True})] * 2
    assert drain.drained == ["this node"] * 2


@pytest.mark.parametrize(("headers", "status"), [({}, 401), ({"Authorization": "Bearer guess"}, 403)])
def test_nobody_else_does(headers: dict[str, str], status: int) -> None:
    drain = FakeDrain()
    with serving(drain) as client:
        answer = client.post("/drain", headers=headers)
    assert (answer.status_code, drain.drained) == (status, [])
    assert answer.json() == {"error": "send Ray's token: Authorization: Bearer TOKEN"}


def test_a_get_drains_nothing() -> None:
    drain = FakeDrain()
    with serving(drain) as client:
        answer = client.get("/drain", headers=TOKEN)
    assert (answer.status_code, answer.headers["Allow"], drain.drained) == (405, "POST", [])


def test_a_refusal_is_told_with_its_reason() -> None:
    with serving(FakeDrain(refusal="Ray refused: the node is gone")) as client:
        answer = client.post("/drain", headers=TOKEN)
    assert (answer.status_code, answer.json()) == (503, {"error": "Ray refused: the node is gone"})


def test_a_taken_address_is_an_error_at_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            WorkerServer("127.0.0.1", taken.getsockname()[1], CollectorRegistry(), FakeDrain())
