"""The autoscaler's own process: refused at start with all that is wrong, or running until it is told to stop."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from autoscaler import process
from autoscaler.embedded import addresses
from autoscaler.process import Everyone, RealClock, Settings
from autoscaler.refusal import Refused
from tests import build
from tests.fakes import web
from tests.fakes.kubernetes import NAMESPACE, kubernetes
from tests.fakes.ray import RayDashboard
from tests.fakes.recorder import FakeRecorder
from tests.fakes.serving import FakeServing
from tests.fakes.waiting import eventually
from tests.unit.autoscaler.ticks import tick

MODELS = "models: {minilm: {slot: v100-8q-8GB, objective_p95_ms: 200}}"
POOL = "workers-v100-8q-8gb"


def settings(directory: Path, **changes: Any) -> Settings:
    given: dict[str, Any] = {
        "kubeconfig": directory / "kubeconfig",
        "namespace": "default",
        "ray_url": "http://127.0.0.1:1",
        "ray_token_file": None,
        "listen_host": "127.0.0.1",
        "listen_port": 0,
        "interval_s": 1.0,
        "journal": None,
        "dry_run": False,
        **changes,
    }
    return Settings(**given)


def test_everything_that_keeps_it_from_starting_is_said_at_once(tmp_path: Path) -> None:
    journal = tmp_path / "nowhere" / "journal.jsonl"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(Refused) as caught:
            process.run(build.fleet(), settings(tmp_path, listen_port=port, journal=journal))
    listen, write, connect = str(caught.value).splitlines()
    assert listen == f"cannot listen on 127.0.0.1:{port}: Address already in use; choose another with --listen"
    assert write == f"journal {journal}: No such file or directory; name a file that can be written"
    assert connect.startswith(f"kubeconfig {tmp_path / 'kubeconfig'}: ")
    assert connect.endswith("; give one with --kubeconfig")


def test_models_that_nobody_could_wake_are_refused(tmp_path: Path) -> None:
    sleeper = build.fleet(build.model(min_replicas=0), build.model("ocr"))
    with pytest.raises(Refused) as caught:
        process.run(sleeper, settings(tmp_path))
    assert str(caught.value).splitlines()[0] == (
        "minilm: has min_replicas 0 and without --ingress-url nobody hears who asks; "
        "give HAProxy's metrics port, or min_replicas 1"
    )
    with pytest.raises(Refused) as heard:
        process.run(sleeper, settings(tmp_path, ingress_url="http://127.0.0.1:1"))
    assert "min_replicas" not in str(heard.value)


def test_what_was_opened_before_a_refusal_is_closed_again(tmp_path: Path) -> None:
    port = addresses.choose({}).autoscaler
    for _ in range(2):
        with pytest.raises(Refused, match="kubeconfig") as caught:
            process.run(build.fleet(), settings(tmp_path, listen_port=port))
        assert "cannot listen" not in str(caught.value)


def test_every_recorder_is_told_of_every_tick() -> None:
    one, other = FakeRecorder(), FakeRecorder()
    Everyone([one, other]).record(tick())
    assert one.ticks == other.ticks == [tick()]


def test_a_stopped_clock_ends_every_sleep_at_once() -> None:
    clock = RealClock()
    assert clock.sleep(0.0)
    assert clock.now_s() <= clock.now_s()
    clock.stop()
    assert not clock.sleep(3600.0)


def test_an_autoscaler_has_its_name_again_after_a_restart_and_nobody_elses() -> None:
    assert process.identity("127.0.0.1:9106") == process.identity("127.0.0.1:9106")
    assert process.identity("127.0.0.1:9106") != process.identity("127.0.0.1:9107")


def test_without_the_id_of_a_boot_a_name_is_never_had_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "BOOT_ID", tmp_path / "nowhere")
    assert process.identity("127.0.0.1:9106") != process.identity("127.0.0.1:9106")


@contextmanager
def started(*arguments: str) -> "Iterator[subprocess.Popen[str]]":
    command = [sys.executable, "-m", "autoscaler.cli", "run", *arguments]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def state(port: int) -> dict[str, Any]:
    """What it says of itself, nothing while it does not answer."""
    try:
        answer = httpx.get(f"http://127.0.0.1:{port}/v1/state", timeout=1, trust_env=False)
    except httpx.HTTPError:
        return {}
    return dict(answer.json()) if answer.status_code == 200 else {}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_runs_against_a_cluster_until_it_is_told_to_stop(tmp_path: Path, number: signal.Signals) -> None:
    models, journal = tmp_path / "models.yaml", tmp_path / "journal.jsonl"
    models.write_text(MODELS)
    port = addresses.choose({}).autoscaler
    with kubernetes(tmp_path) as running:
        running.add_node("n1")
        running.add_pool(POOL, replicas=1)
        running.settle()
        (worker,) = running.nodes_of_pods()
        memory = FakeServing(lambda: [f"{NAMESPACE}/{worker}"], targets={"minilm": 1})
        with (
            web.serve(RayDashboard(memory).routes()) as ray,
            started(
                "--models", str(models), "--kubeconfig", str(running.kubeconfig), "--ray-url", ray.url,
                "--listen", f"127.0.0.1:{port}", "--interval-s", "0.2", "--journal", str(journal),
            ) as child,
        ):  # fmt: skip
            seen = eventually(lambda: state(port))
            child.send_signal(number)
            assert child.wait(10) == 0, child.communicate()[0]
    (model,) = seen["models"]
    assert (model["name"], model["replicas_running"], model["reason"]) == ("minilm", 1, "no_fresh_metrics")
    assert seen["nodes"][0]["slots"][0]["worker"] == f"{NAMESPACE}/{worker}"
    assert seen["problems"] == []
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    assert set(lines[0]) == {"format", "wall", "spec"}
    assert lines[1]["tick"]["number"] == 1
