"""The hypervisor stand-in over HTTP: who may ask, and what each answer is."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from autoscaler.embedded.hypervisor import Hypervisor, Server
from autoscaler.embedded.machines import State
from tests.unit.embedded.test_machines import FLEET

TOKEN = "a-token-of-this-test"


class Clock:
    """Stands until it is moved."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def hypervisor(clock: Clock) -> Hypervisor:
    return Hypervisor(FLEET, clock=clock)


@pytest.fixture
def client(hypervisor: Hypervisor) -> Iterator[TestClient]:
    with TestClient(hypervisor.application(TOKEN), headers={"Authorization": f"Bearer {TOKEN}"}) as opened:
        yield opened


def said(answer: httpx.Response) -> tuple[int, dict[str, Any]]:
    return answer.status_code, answer.json()


def test_machines_are_listed_by_name(client: TestClient) -> None:
    status, machines = said(client.get("/v1/machines"))
    assert (status, list(machines)) == (200, ["n1", "n2", "n3", "n4", "n5", "n6", "n7", "n8", "n9"])
    assert machines["n5"] == {"state": "off", "gpu": "gpu-a", "profile": "v100-16q-16GB", "node": "n5"}


def test_an_action_is_accepted_and_happens_later(client: TestClient, hypervisor: Hypervisor, clock: Clock) -> None:
    assert client.post("/v1/machines/n1/suspend").status_code == 202
    assert client.get("/v1/machines").json()["n1"]["state"] == "changing"
    assert hypervisor.power()["n1"].state is State.RUNNING
    clock.now_s = 2.0
    assert client.get("/v1/machines").json()["n1"]["state"] == "suspended"
    assert hypervisor.power()["n1"].state is State.SUSPENDED


def test_what_the_card_cannot_take_is_a_conflict_for_good(client: TestClient) -> None:
    status, why = said(client.post("/v1/machines/n5/power-on"))
    assert (status, why["permanent"]) == (409, True)
    assert why["error"].startswith("n5 needs 16384 MiB")


def test_a_machine_on_its_way_is_a_conflict_for_now(client: TestClient) -> None:
    client.post("/v1/machines/n1/suspend")
    status, why = said(client.post("/v1/machines/n1/resume"))
    assert (status, why["permanent"]) == (409, False)


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("n0/suspend", "there is no machine 'n0'; there are n1,"),
        ("n1/reboot", "there is no action 'reboot'; there are suspend, resume, power-off, power-on"),
    ],
)
def test_what_is_not_there_is_not_found(client: TestClient, path: str, error: str) -> None:
    status, why = said(client.post(f"/v1/machines/{path}"))
    assert (status, why["permanent"]) == (404, True)
    assert why["error"].startswith(error)


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer other"}, {"Authorization": TOKEN}])
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/machines"), ("POST", "/v1/machines/n1/suspend"), ("POST", "/v1/faults"), ("PUT", "/v1/pace")],
)
def test_without_the_token_nothing_is_told_or_done(
    hypervisor: Hypervisor, header: dict[str, str], method: str, path: str
) -> None:
    with TestClient(hypervisor.application(TOKEN)) as stranger:
        answer = stranger.request(method, path, headers=header, json={})
    assert said(answer) == (401, {"error": "no valid bearer token", "permanent": True})
    assert hypervisor.power()["n1"].state is State.RUNNING


def test_faults_are_asked_for_and_cleared(client: TestClient) -> None:
    assert client.post("/v1/faults", json={"kind": "fails", "machine": "n1", "times": 5}).status_code == 201
    assert said(client.post("/v1/machines/n1/suspend")) == (
        409,
        {"error": "suspend of n1 failed, as a test asked for", "permanent": False},
    )
    assert client.delete("/v1/faults").status_code == 200
    assert client.post("/v1/machines/n1/suspend").status_code == 202


def test_the_pace_can_be_set(client: TestClient, clock: Clock) -> None:
    assert client.put("/v1/pace", json={"suspend": 0.5}).status_code == 200
    client.post("/v1/machines/n1/suspend")
    clock.now_s = 0.5
    assert client.get("/v1/machines").json()["n1"]["state"] == "suspended"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/faults", {"kind": "explodes"}),
        ("/v1/faults", {"kind": "fails", "times": "often"}),
        ("/v1/faults", []),
        ("/v1/pace", {"reboot": 1}),
        ("/v1/pace", {"suspend": -1}),
        ("/v1/pace", "fast"),
    ],
)
def test_what_cannot_be_asked_for_is_said(client: TestClient, path: str, body: Any) -> None:
    answer = client.request("POST" if path == "/v1/faults" else "PUT", path, json=body)
    assert answer.status_code == 422
    assert answer.json()["error"]


def test_it_listens_on_loopback_and_frees_its_port(hypervisor: Hypervisor, tmp_path: Path) -> None:
    server = Server(hypervisor, port=0, token=TOKEN)
    server.start()
    answer = httpx.get(f"{server.url}/v1/machines", headers={"Authorization": f"Bearer {TOKEN}"}, trust_env=False)
    assert answer.status_code == 200
    port = int(server.url.rpartition(":")[2])
    with pytest.raises(OSError, match="in use"):
        Server(hypervisor, port=port, token=TOKEN)
    server.stop()
    again = Server(hypervisor, port=port, token=TOKEN)
    again.start()
    again.stop()
