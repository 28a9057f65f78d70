"""Training pods on an emulated node: the real training as a process, its checkpoint, and its end."""

import json
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autoscaler.embedded import kubelet as kubelets
from autoscaler.embedded import training as slot_training
from autoscaler.embedded.fleet import Card, Fleet
from models import training
from tests.fakes.kubernetes import NAMESPACE, kubernetes
from tests.fakes.waiting import eventually
from tests.unit.embedded.played import FakeRayNodes, Guests, container, is_ready, kubelet
from vgpu.adapters import kube
from vgpu.core import names
from vgpu.emulator.arbiter import Arbiter
from vgpu.emulator.client import read_status
from vgpu.emulator.config import parse_config
from vgpu.emulator.server import Server

FLEET = Fleet(cards=(Card(profile="v100-16q-16GB", nodes=("n1",)),))
ENDLESS = ("--steps=1000000", "--checkpoint=/checkpoints/t.npz", "--checkpoint-every=1000000")


@pytest.fixture
def guests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Guests]:
    """Without an emulated card below: the training alone."""
    monkeypatch.setattr(kubelets, "PASS_S", 0.025)
    monkeypatch.setattr(kubelets, "TRAINING", [sys.executable, "-m", "models.training"])
    ray_nodes = FakeRayNodes()
    with kubernetes(tmp_path) as api, kubelet(api, tmp_path, ray_nodes, fleet=FLEET):
        eventually(lambda: api.client.list(kube.NODES))
        yield Guests(api, ray_nodes, tmp_path)


def add(guests: Guests, *options: str, **spec: Any) -> None:
    command = ["python", "-m", "models.training", *options]
    manifest = {
        "metadata": {"name": "t"},
        "spec": {"containers": [{"name": "train", "image": "models", "command": command}], **spec},
    }
    guests.api.client.create(kube.PODS, manifest, NAMESPACE)
    guests.api.client.bind_pod("t", NAMESPACE, node="n1", annotations={names.ANNOTATION_SLOT: "n1/0"})


def events(guests: Guests) -> list[dict[str, Any]]:
    return [json.loads(line) for line in guests.said("t") if line.startswith("{")]


def steps(guests: Guests) -> list[int]:
    return [event["step"] for event in events(guests) if event["event"] == "step"]


def test_it_is_ready_when_it_runs_under_the_name_of_its_own_container(guests: Guests) -> None:
    add(guests, *ENDLESS)
    eventually(lambda: is_ready(guests.pod("t")))
    assert container(guests.pod("t"))["name"] == "train"
    eventually(lambda: steps(guests))


def test_an_evicted_training_keeps_its_checkpoint_and_the_next_goes_on_from_it(guests: Guests) -> None:
    add(guests, *ENDLESS)
    eventually(lambda: steps(guests))
    guests.api.client.delete(kube.PODS, "t", NAMESPACE, grace_s=20)
    eventually(lambda: guests.api.pods() == [])
    stopped = events(guests)[-1]
    assert stopped["event"] == "stopped"
    kept = training.resume(guests.directory / "checkpoints" / "t.npz", training.TEXT.read_text(), seed=1)
    assert kept.step == stopped["step"] >= 10
    add(guests, *ENDLESS)
    begun = eventually(lambda: [event for event in events(guests) if event["event"] == "begun"][1:])
    assert begun == [{"event": "begun", "step": stopped["step"], "steps": 1000000}]


def test_one_that_may_finish_is_over_with_its_last_step(guests: Guests) -> None:
    add(guests, "--steps=5", "--checkpoint=/checkpoints/t.npz", restartPolicy="OnFailure")
    done = eventually(lambda: guests.pod("t"), lambda pod: pod["status"]["phase"] == "Succeeded")
    state = container(done)["state"]["terminated"]
    assert (state["exitCode"], state["reason"], is_ready(done)) == (0, "Completed", False)
    time.sleep(0.2)  # many passes of the kubelet
    later = container(guests.pod("t"))
    assert (later["state"]["terminated"], later["restartCount"]) == (state, 0)
    assert [event["event"] for event in events(guests)] == ["begun", "done"]
    guests.api.client.delete(kube.PODS, "t", NAMESPACE)
    eventually(lambda: guests.api.pods() == [])


def test_one_that_must_run_on_is_started_again_when_it_ends(guests: Guests) -> None:
    add(guests, "--steps=5", "--checkpoint=/checkpoints/t.npz")
    eventually(lambda: len([event for event in events(guests) if event["event"] == "done"]) >= 2)
    eventually(lambda: container(guests.pod("t"))["restartCount"] >= 1)


def test_options_that_are_not_on_the_list_are_refused_on_the_pod(guests: Guests) -> None:
    add(guests, "--checkpoint=/etc/passwd")
    refused = eventually(lambda: guests.pod("t"), container)
    waiting = container(refused)["state"]["waiting"]
    assert waiting["reason"] == "CreateContainerError"
    assert waiting["message"].endswith("this pod says --checkpoint /etc/passwd")


@pytest.fixture
def card(tmp_path: Path) -> Iterator[Path]:
    """A whole emulated card in a thread; the socket of its arbiter."""
    socket = tmp_path / "gpu.sock"
    slot = {"slot_id": "n1/0", "profile_name": "GRID V100-16Q", "framebuffer_mib": 16384, "device_uuid": "GPU-1a"}
    document = {
        "gpu_uuid": "GPU-1", "board": "V100", "gpu_name": "Emulated V100", "framebuffer_mib": 16384,
        "policy": "best-effort", "most_per_gpu": 1, "socket": str(socket), "slots": [slot | {"nvml_state": None}],
    }  # fmt: skip
    config = parse_config(json.dumps(document))
    server = Server(config.socket)
    thread = threading.Thread(target=server.serve, args=(Arbiter(config, now_ns=time.monotonic_ns()),), daemon=True)
    thread.start()
    yield socket
    server.stop()
    thread.join(10)


def test_each_step_takes_its_time_on_the_emulated_engine(
    card: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(names.ENV_EMULATOR_SOCKET, str(card))
    monkeypatch.setenv(names.ENV_EMULATED_COST_RATIO, "2")
    monkeypatch.setenv(names.ENV_SLOT_ID, "n1/0")
    monkeypatch.setattr(training.signal, "signal", lambda *_: None)
    began_s = time.monotonic()
    assert slot_training.main(["--checkpoint", str(tmp_path / "t.npz"), "--steps", "5"]) == 0
    took_s = time.monotonic() - began_s
    busy_ns = read_status(card)["slots"]["n1/0"]["busy_ns"]
    assert busy_ns == 5 * 2 * training.STEP_NS
    assert took_s >= busy_ns / 1e9


def test_without_its_card_it_ends_for_the_kubelet_to_start_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(names.ENV_EMULATOR_SOCKET, str(tmp_path / "none.sock"))
    monkeypatch.setenv(names.ENV_EMULATED_COST_RATIO, "2")
    monkeypatch.setenv(names.ENV_SLOT_ID, "n1/0")
    assert slot_training.main(["--checkpoint", str(tmp_path / "t.npz"), "--steps", "5"]) == 1
    assert "no arbiter answers" in capsys.readouterr().err
