"""A model with min_replicas 0 on a live system: it begins asleep, a request wakes it, quiet puts it to sleep again."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration import system as systems
from tests.integration.system import START_TIMEOUT_S, System

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

IDLE_S = 8.0
MODELS = f"""
models:
  sleeper:
    source: synthetic
    parameters: {{base_us: 50000, per_item_us: 0}}
    slot: v100-8q-8GB
    objective_p95_ms: 5000
    autoscaling: {{min_replicas: 0, max_replicas: 2, idle_s: {IDLE_S:g}}}
policy: {{window_s: 6}}
guardrails: {{worker_keep_s: 2}}
"""
BODY = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["x"]}]}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A running `up` whose only model may sleep."""
    started = systems.start(Path(tmp_path_factory.mktemp("zero")), MODELS)
    started.wait("the system", started.is_ready, timeout_s=START_TIMEOUT_S)
    yield started
    family = started.family()
    assert systems.stop(started) == 0, started.log.read_text()
    assert systems.left_over(family, within_s=10) == []


def ask(system: System) -> httpx.Response:
    return httpx.post(f"{system.url}/v2/models/sleeper/infer", json=BODY, timeout=30)


def is_asleep(system: System) -> bool:
    """Without a replica and without a worker."""
    held = [slot["worker"] for node in system.state()["nodes"] for slot in node["slots"] if slot["worker"]]
    seen = system.model("sleeper")
    return (seen["replicas_running"], seen["replicas_target"], held) == (0, 0, [])


def explained(system: System) -> dict[str, Any]:
    url = system.addresses["autoscaler_url"] + "/v1/models/sleeper"
    return dict(httpx.get(url, timeout=5).raise_for_status().json())


def unanswered_per_s(system: System) -> float | None:
    """Requests that found no replica, as the last decision knew them."""
    signal = explained(system)["decision"]["signals"]["unanswered_per_s"]
    return signal.get("value")


def woken(system: System) -> list[httpx.Response]:
    """Ask until a replica answers; the refusals before."""
    refused: list[httpx.Response] = []

    def answers() -> bool:
        answer = ask(system)
        if answer.status_code != 200:
            refused.append(answer)
        return answer.status_code == 200

    system.wait("the model to be awake", answers, timeout_s=90)
    assert {(answer.status_code, answer.json()["reason"]) for answer in refused} == {(503, "no_capacity")}
    return refused


def test_it_begins_asleep_a_request_wakes_it_and_quiet_puts_it_to_sleep_again(system: System) -> None:
    """One story, because each part needs the one before."""
    assert is_asleep(system)
    assert explained(system)["sentence"] == "sleeper: stays at 0: asleep until a request comes"

    # Who only looks is told the truth and wakes nobody; the server as a whole is ready.
    assert httpx.get(f"{system.url}/v2/models/sleeper/ready", timeout=5).status_code == 503
    assert httpx.get(f"{system.url}/v2/health/ready", timeout=5).status_code == 200
    system.wait("the ingress to be read twice", lambda: unanswered_per_s(system) is not None, timeout_s=20)
    assert unanswered_per_s(system) == 0

    first = woken(system)
    assert first[0].headers["retry-after"] == "5"  # no start was seen yet
    assert [ask(system).status_code for _ in range(5)] == [200] * 5

    system.wait("the model to be asleep again", lambda: is_asleep(system), timeout_s=90)
    start_s = explained(system)["decision"]["starts_in_s"]
    assert start_s > 5

    # HAProxy was started anew when the replica left: its count begins at nothing, and the time is told again.
    second = woken(system)
    assert 1 <= int(second[0].headers["retry-after"]) <= start_s + 1
    assert int(second[0].headers["retry-after"]) > 5
