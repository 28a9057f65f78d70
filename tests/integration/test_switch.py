"""A card of a live system is cut the other way and back under load, and is not where the rest could not carry it."""

import json
import os
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.integration import system as systems
from tests.integration.system import BIN, START_TIMEOUT_S, System

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

EVERY_S = 0.2
QUARTER, HALF, WHOLE = "v100-4q-4GB", "v100-8q-8GB", "v100-16q-16GB"
DAY_NODES, NIGHT_NODE = ("node-1", "node-2"), "node-3"

MODELS = f"""
models:
  busy:
    source: synthetic
    parameters: {{base_us: 5000, per_item_us: 0}}
    slot: [{QUARTER}, {HALF}]
    objective_p95_ms: 5000
    autoscaling: {{min_replicas: 2, max_replicas: 3}}
guardrails: {{settle_up_s: 2, settle_down_s: 2}}
"""
FLEET = f"""
cards:
  - {{gpu: card-a, profile: {QUARTER}, nodes: [node-1, node-2]}}
  - {{gpu: card-a, profile: {WHOLE}, nodes: [{NIGHT_NODE}], powered: false}}
  - {{profile: {HALF}, nodes: [node-4, node-5]}}
"""
SWITCHES = f"""
gpus: {{card-a: {{board: v100, provider: here}}}}
layouts:
  day: {{card-a: [{{node: node-1, profile: {QUARTER}}}, {{node: node-2, profile: {QUARTER}}}]}}
  night: {{card-a: [{{node: {NIGHT_NODE}, profile: {WHOLE}}}]}}
providers: {{here: {{kind: emulated}}}}
time_zone: UTC
"""
BODY = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["x"]}]}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A running `up` on a card that can be cut two ways, and one that stays."""
    directory = Path(tmp_path_factory.mktemp("switch"))
    fleet, switches = directory / "fleet.yaml", directory / "switcher.yaml"
    fleet.write_text(FLEET)
    switches.write_text(SWITCHES)
    started = systems.start(directory, MODELS, "--fleet", str(fleet), "--switches", str(switches))
    started.wait("the system", started.is_ready, timeout_s=START_TIMEOUT_S)
    yield started
    family = started.family()
    assert systems.stop(started) == 0, started.log.read_text()
    assert systems.left_over(family, within_s=10) == []


@contextmanager
def steady_load(system: System) -> Iterator[Counter[str]]:
    """Ask all the time; what was answered."""
    answers: Counter[str] = Counter()
    done = threading.Event()

    def send() -> None:
        while not done.wait(EVERY_S):
            try:
                answer = httpx.post(f"{system.url}/v2/models/busy/infer", json=BODY, timeout=30, trust_env=False)
                answers[str(answer.status_code)] += 1
            except httpx.HTTPError as error:
                answers[type(error).__name__] += 1

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield answers
    finally:
        done.set()
        sender.join()


def switch(system: System, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [str(BIN / "vgpu-serve"), "switch", *arguments, "--run-dir", str(system.directory)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def node(system: System, name: str) -> tuple[str, bool, frozenset[str]]:
    """Whether it is ready, whether it takes pods, and which of the switch's annotations it has."""
    found = json.loads(system.kubectl("get", "node", name, "-o", "json"))
    ready = next(each["status"] for each in found["status"]["conditions"] if each["type"] == "Ready")
    marks = frozenset(found["metadata"].get("annotations") or {}) & {"vgpu-serve.io/leaving", "vgpu-serve.io/asleep"}
    return ready, not found.get("spec", {}).get("unschedulable", False), marks


AWAKE = ("True", True, frozenset[str]())
ASLEEP = ("Unknown", False, frozenset({"vgpu-serve.io/asleep"}))


def record(system: System) -> tuple[str, dict[str, Any]]:
    """The layout that the card is in, and the last switch."""
    data = json.loads(system.kubectl("get", "configmap", "vgpu-switch-card-a", "-o", "json"))["data"]
    return str(data["layout"]), json.loads(data["record"])


def metric(system: System, series: str) -> float:
    text = httpx.get(f"{system.addresses['switcher_url']}/metrics", timeout=5).raise_for_status().text
    return next(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(series))


def machines(system: System) -> dict[str, str]:
    token = Path(system.addresses["hypervisor_token_file"]).read_text()
    answer = httpx.get(
        f"{system.addresses['hypervisor_url']}/v1/machines", headers={"Authorization": f"Bearer {token}"}, timeout=5
    )
    return {name: view["state"] for name, view in answer.raise_for_status().json().items()}


def test_a_card_is_cut_for_the_night_and_for_the_day_again_and_no_request_fails(system: System) -> None:
    with steady_load(system) as answers:
        system.wait("the load", lambda: answers["200"] > 5, timeout_s=30)
        to_night = switch(system, "night")
        assert to_night.returncode == 0, to_night.stdout + to_night.stderr
        layout, told = record(system)
        assert (layout, told["origin"], told["target"], told["result"]) == ("night", "day", "night", "done")
        assert node(system, NIGHT_NODE) == AWAKE
        assert [node(system, name) for name in DAY_NODES] == [ASLEEP] * 2
        assert machines(system) | {"node-4": "", "node-5": ""} == {
            "node-1": "suspended", "node-2": "suspended", NIGHT_NODE: "running", "node-4": "", "node-5": "",
        }  # fmt: skip
        to_day = switch(system, "day")
        assert to_day.returncode == 0, to_day.stdout + to_day.stderr
        layout, told = record(system)
        assert (layout, told["origin"], told["target"], told["result"]) == ("day", "night", "day", "done")
        assert [node(system, name) for name in DAY_NODES] == [AWAKE] * 2
        ready, takes_pods, marks = node(system, NIGHT_NODE)
        assert (ready, takes_pods, marks) == ASLEEP
    assert set(answers) == {"200"}, answers


def test_a_switcher_that_is_killed_half_way_goes_on_and_no_request_fails(system: System) -> None:
    with steady_load(system) as answers:
        for layout in ("night", "day"):
            command = [str(BIN / "vgpu-serve"), "switch", layout, "--run-dir", str(system.directory)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as asking:
                system.wait("machines on their way", lambda: is_half_way(system), timeout_s=60)
                os.kill(system.pid("vgpu.switcher"), signal.SIGKILL)
                said, _ = asking.communicate(timeout=120)
            now, told = record(system)
            assert (now, told["target"], told["result"], asking.returncode) == (layout, layout, "done", 0), said
    assert set(answers) == {"200"}, answers


def is_half_way(system: System) -> bool:
    _, told = record(system)
    return told["result"] is None and told["step"] in ("stop", "start")


def test_a_card_that_the_rest_could_not_do_without_is_left_alone(system: System) -> None:
    """Three replicas and two slots beside the card."""
    file = system.directory.parent / "models.yaml"
    document = yaml.safe_load(MODELS)
    document["models"]["busy"]["autoscaling"]["min_replicas"] = 3
    file.write_text(yaml.safe_dump(document))
    system.wait("three replicas wanted", lambda: system.model("busy")["replicas_desired"] == 3, timeout_s=30)
    before = machines(system)
    to_night = switch(system, "night")
    said = to_night.stdout + to_night.stderr
    assert to_night.returncode == 1, said
    layout, told = record(system)
    assert (layout, told["target"], told["result"]) == ("day", "night", "refused")
    assert "busy" in told["why"]
    assert " ".join(told["why"].split()) in " ".join(said.split())
    # The record is there first; the pass after it tells the metric.
    refused = 'vgpu_serve_switch_refused{gpu="card-a"}'
    system.wait("the metric", lambda: metric(system, refused) == 1, timeout_s=10)
    assert machines(system) == before
    assert [node(system, name) for name in DAY_NODES] == [AWAKE] * 2
    assert node(system, NIGHT_NODE) == ASLEEP
