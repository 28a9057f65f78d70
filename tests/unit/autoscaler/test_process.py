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
from tests.fakes import web
from tests.fakes.kubernetes import NAMESPACE, kubernetes
from tests.fakes.ray import RayDashboard
from tests.fakes.recorder import FakeRecorder
from tests.fakes.serving import FakeServing
from tests.fakes.waiting import eventually
from tests.unit.autoscaler.ticks import tick

MODELS = "models: {minilm: {slot: v100-8q-8GB, objective_p95_ms: 200}}"
SLEEPER = """
models:
  minilm: {slot: v100-8q-8GB, objective_p95_ms: 200, autoscaling: {min_replicas: 0}}
  ocr: {slot: v100-8q-8GB, objective_p95_ms: 200}
"""
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


def models_file(directory: Path, text: str = MODELS) -> Path:
    path = directory / "models.yaml"
    path.write_text(text)
    return path


def test_everything_that_keeps_it_from_starting_is_said_at_once(tmp_path: Path) -> None:
    journal = tmp_path / "nowhere" / "journal.jsonl"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(Refused) as caught:
            process.run(models_file(tmp_path), settings(tmp_path, listen_port=port, journal=journal))
    listen, write, connect = str(caught.value).splitlines()
    assert listen == f"cannot listen on 127.0.0.1:{port}: Address already in use; choose another with --listen"
    assert write == f"journal {journal}: No such file or directory; name a file that can be written"
    assert connect.startswith(f"kubeconfig {tmp_path / 'kubeconfig'}: ")
    assert connect.endswith("; give one with --kubeconfig")


def test_a_models_file_that_cannot_be_followed_is_refused_at_the_start(tmp_path: Path) -> None:
    path = models_file(tmp_path, "models: {minilm: {slot: v100-8q-8GB}}")
    with pytest.raises(Refused) as caught:
        process.run(path, settings(tmp_path))
    assert str(caught.value) == f"{path}: models.minilm.objective_p95_ms: missing; it has no default"


def test_models_that_nobody_could_wake_are_refused(tmp_path: Path) -> None:
    sleeper = models_file(tmp_path, SLEEPER)
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
            process.run(models_file(tmp_path), settings(tmp_path, listen_port=port))
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


def texts(port: int, path: str) -> str:
    """What it answers, nothing while it does not."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=1, trust_env=False).text
    except httpx.HTTPError:
        return ""


def test_the_models_file_is_followed_while_it_runs_on_every_address(tmp_path: Path) -> None:
    """A mounted ConfigMap: a model is added, then a file is refused, then the one before it is back."""
    folder = tmp_path / "etc"

    def mount(name: str, text: str) -> None:
        (folder / name).mkdir(parents=True)
        (folder / name / "models.yaml").write_text(text)
        (folder / "..new").symlink_to(name)
        (folder / "..new").rename(folder / "..data")

    mount("..1", MODELS)
    models, port = folder / "models.yaml", addresses.choose({}).autoscaler
    models.symlink_to("..data/models.yaml")
    two = MODELS.replace("models: {", "models: {ocr: {slot: v100-8q-8GB, objective_p95_ms: 500, source: synthetic}, ")
    with kubernetes(tmp_path) as running:
        running.add_pool(POOL, replicas=0)
        memory = FakeServing(lambda: [], targets={"minilm": 0})
        with (
            web.serve(RayDashboard(memory).routes()) as ray,
            started(
                "--models", str(models), "--kubeconfig", str(running.kubeconfig), "--ray-url", ray.url,
                "--listen", f"0.0.0.0:{port}", "--interval-s", "0.2",
            ) as child,
        ):  # fmt: skip
            assert eventually(lambda: texts(port, "/readyz") == "ok\n")
            assert texts(port, "/healthz") == "ok\n"
            assert [model["name"] for model in state(port)["models"]] == ["minilm"]
            mount("..2", two)
            assert eventually(lambda: [model["name"] for model in state(port)["models"]] == ["ocr", "minilm"])
            mount("..3", MODELS.replace("{slot: v100-8q-8GB", "{autoscaling: {min_replicas: 0}, slot: tape"))
            assert eventually(lambda: state(port)["models_file"]["refused"])
            refused = state(port)
            mount("..4", MODELS.replace("{slot", "{autoscaling: {min_replicas: 0}, slot"))
            assert eventually(lambda: "nobody hears who asks" in str(state(port)["problems"]))
            mount("..5", two)
            assert eventually(lambda: not state(port)["models_file"]["refused"])
            metrics = texts(port, "/metrics")
            child.send_signal(signal.SIGTERM)
            said = child.communicate(timeout=10)[0]
    assert [model["name"] for model in refused["models"]] == ["ocr", "minilm"]
    (problem,) = [line for line in refused["problems"] if "slot" in line]
    assert problem.startswith(f"{models}: models.minilm.slot: 'tape' is no vGPU profile; ")
    assert 'vgpu_serve_models_file_changes_total{result="applied"} 1.0' in metrics
    assert 'vgpu_serve_models_file_changes_total{result="refused"} 2.0' in metrics
    assert 'vgpu_serve_model_info{model="ocr",slot="v100-8q-8GB",source="synthetic",tenant=""} 1.0' in metrics
    assert "has changed and is followed: ocr, minilm" in said
    assert f"models file refused: {problem}" in said
