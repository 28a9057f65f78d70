"""A changed models file on the live system: what changes does, and what does not never notices."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from tests.chart import helm
from tests.integration.system import System

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

BODIES: dict[str, dict[str, Any]] = {
    "minilm": {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["Where is my parcel?"]},
    "filetype": {"name": "content", "datatype": "BYTES", "shape": [1], "data": ["import os\n"]},
    "narrow": {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["x"]},
    "newcomer": {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["x"]},
}
NEWCOMER = {
    "source": "synthetic",
    "parameters": {"base_us": 5000, "per_item_us": 0},
    "slot": "v100-8q-8GB",
    "objective_p95_ms": 800,
}
EVERY_S = 0.3


class ModelsFile:
    """The models file of a running system, changed as `helm upgrade` changes it: Helm renders the chart's ConfigMap
    from values, and the volume shows it at once."""

    def __init__(self, system: System) -> None:
        self._path = system.directory.parent / "models.yaml"
        self._first = self._path.read_text()
        self.document: dict[str, Any] = yaml.safe_load(self._first)

    @property
    def models(self) -> dict[str, Any]:
        models: dict[str, Any] = self.document["models"]
        return models

    @property
    def is_changed(self) -> bool:
        return self._path.read_text() != self._first

    def write(self) -> None:
        rendered = self.rendered()
        assert rendered.status == 0, rendered.said
        (config_map,) = [each for each in rendered.objects if each["metadata"]["name"].endswith("-vgpu-serve-models")]
        self._replace(config_map["data"]["models.yaml"])

    def rendered(self) -> helm.Outcome:
        return helm.template(yaml.safe_dump(self.document, sort_keys=False))

    def restore(self) -> None:
        self._replace(self._first)

    def _replace(self, text: str) -> None:
        new = Path(f"{self._path}.new")
        new.write_text(text)
        new.rename(self._path)


@pytest.fixture
def models_file(system: System) -> Iterator[ModelsFile]:
    file = ModelsFile(system)
    yield file
    applied = told(system, "changes_total", result="applied")
    if file.is_changed:
        file.restore()
        system.wait("the first file", lambda: told(system, "changes_total", result="applied") > applied, timeout_s=60)


def told(system: System, name: str, **labels: str) -> float:
    """What the deployer says of itself."""
    port = system.addresses["ports"]["deployer"]
    text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=5).raise_for_status().text
    within = ",".join(f'{key}="{value}"' for key, value in labels.items())
    series = f"vgpu_serve_deployer_{name}{{{within}}} " if labels else f"vgpu_serve_deployer_{name} "
    return next(float(line.removeprefix(series)) for line in text.splitlines() if line.startswith(series))


def ask(system: System, model: str) -> str:
    """The status, or what broke."""
    try:
        answer = httpx.post(f"{system.url}/v2/models/{model}/infer", json={"inputs": [BODIES[model]]}, timeout=30)
    except httpx.HTTPError as error:
        return type(error).__name__
    return str(answer.status_code)


@contextmanager
def steady_load(system: System, *models: str) -> Iterator[dict[str, Counter[str]]]:
    """Ask each model, and the gateway, every 0.3 s; what they answered."""
    answers: dict[str, Counter[str]] = {name: Counter() for name in (*models, "gateway")}
    done = threading.Event()

    def send(name: str) -> None:
        while not done.wait(EVERY_S):
            answers[name][ask(system, name) if name in BODIES else listing(system)] += 1

    senders = [threading.Thread(target=send, args=(name,)) for name in answers]
    for sender in senders:
        sender.start()
    try:
        yield answers
    finally:
        done.set()
        for sender in senders:
            sender.join()


def listing(system: System) -> str:
    try:
        return str(httpx.get(f"{system.url}/v1/models", timeout=30).status_code)
    except httpx.HTTPError as error:
        return type(error).__name__


def replica_pids(system: System, *models: str) -> dict[str, list[int]]:
    """The processes that are replicas of these models; Ray names them so."""
    titles = {process.pid: title(process) for process in system.family()}
    return {
        model: sorted(pid for pid, name in titles.items() if name.startswith(f"ray::ServeReplica:{model}:"))
        for model in models
    }


def title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def edges(system: System, model: str) -> set[str]:
    """The edges of the model's request histogram, as each of its workers tells them."""
    found: set[str] = set()
    for pod in json.loads(system.kubectl("get", "pods", "-o", "json"))["items"]:
        address = pod["status"].get("podIP")
        try:
            text = httpx.get(f"http://{address}:9105/metrics", timeout=5).text
        except httpx.HTTPError:
            continue  # a worker without a replica
        lines = [line for line in text.splitlines() if line.startswith("vgpu_serve_request_duration_seconds_bucket")]
        found |= {line.split('le="')[1].split('"')[0] for line in lines if f'model="{model}"' in line}
    return found


def test_models_are_added_changed_and_removed_and_nobody_elses_request_fails(
    system: System, models_file: ModelsFile
) -> None:
    """One story, because each part needs the one before."""
    steady = ("narrow", "filetype")
    system.wait("every model to be up", lambda: all(replica_pids(system, *steady).values()), timeout_s=60)
    before = replica_pids(system, *steady, "gateway")
    with steady_load(system, "minilm", "filetype") as answers:
        models_file.models["newcomer"] = dict(NEWCOMER)
        models_file.write()
        system.wait("the new model to answer", lambda: ask(system, "newcomer") == "200", timeout_s=120)

        assert "0.45" not in edges(system, "filetype")
        models_file.models["filetype"]["objective_p95_ms"] = 450
        models_file.write()
        system.wait("the other objective", lambda: "0.45" in edges(system, "filetype"), timeout_s=60)

        # What the chart refuses never gets here. What only the processes can see, such as one slot type by two names,
        # is refused by the check before an upgrade, and here by whoever reads the file.
        models_file.models["newcomer"]["objective_p95_ms"] = -1
        assert "objective_p95_ms" in models_file.rendered().said
        assert models_file.rendered().status != 0
        models_file.models["newcomer"] = {**NEWCOMER, "slot": ["v100-8q-8GB", "GRID V100-8Q"]}
        refused = told(system, "changes_total", result="refused")
        models_file.write()
        system.wait("a refusal", lambda: told(system, "file_refused") == 1, timeout_s=30)
        assert told(system, "changes_total", result="refused") == refused + 1
        system.wait("the autoscaler to say so", lambda: "newcomer.slot" in str(system.state()), timeout_s=30)
        assert ask(system, "newcomer") == "200"
        assert "0.45" in edges(system, "filetype")

        del models_file.models["newcomer"]
        models_file.write()
        system.wait("the model to be gone", lambda: ask(system, "newcomer") == "404", timeout_s=60)
        assert told(system, "file_refused") == 0
    assert {name: set(seen) for name, seen in answers.items()} == {name: {"200"} for name in answers}
    assert all(seen.total() > 10 for seen in answers.values())
    assert replica_pids(system, *steady, "gateway") == before


def test_a_model_of_one_replica_is_replaced_under_load_and_its_count_and_others_stay(
    system: System, models_file: ModelsFile
) -> None:
    before = replica_pids(system, "narrow", "filetype", "gateway")
    with steady_load(system, "narrow") as answers:
        models_file.models["narrow"]["parameters"]["base_us"] = 40000
        models_file.write()
        first = alone_after(system, "narrow", before["narrow"])
        models_file.restore()
        alone_after(system, "narrow", first)
    assert {name: set(seen) for name, seen in answers.items()} == {"narrow": {"200"}, "gateway": {"200"}}
    after = replica_pids(system, "narrow", "filetype", "gateway")
    assert {**after, "narrow": before["narrow"]} == before


def alone_after(system: System, model: str, gone: list[int]) -> list[int]:
    """The one replica that is there once its predecessor has left."""

    def is_replaced() -> bool:
        now = replica_pids(system, model)[model]
        return len(now) == 1 and now != gone

    system.wait(f"the successor of {gone}", is_replaced, timeout_s=90)
    return replica_pids(system, model)[model]


def test_a_killed_deployer_comes_back_and_replaces_nothing(system: System, models_file: ModelsFile) -> None:
    before = replica_pids(system, "narrow", "filetype", "gateway")
    pid = system.pid("-m serving ")
    psutil.Process(pid).kill()
    system.wait("another deployer", lambda: is_ready(system), timeout_s=60)
    assert system.pid("-m serving ") != pid
    models_file.models["narrow"]["serving"]["max_queue"] = 3
    models_file.write()
    system.wait("a change", lambda: told(system, "changes_total", result="applied") >= 2, timeout_s=60)
    assert replica_pids(system, "narrow", "filetype", "gateway") == before


def is_ready(system: System) -> bool:
    """Whether the present deployer has handed the file to Ray."""
    port = system.addresses["ports"]["deployer"]
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def test_the_autoscaler_follows_the_same_file(system: System, models_file: ModelsFile) -> None:
    """It keeps the newcomer's replica, judges the other objective, and forgets who is removed."""
    models_file.models["newcomer"] = dict(NEWCOMER)
    models_file.models["filetype"]["objective_p95_ms"] = 450
    models_file.write()
    system.wait("the newcomer in its view", lambda: "newcomer" in names_seen(system), timeout_s=30)
    assert system.model("filetype")["objective_p95_ms"] == 450
    system.wait("its replica", lambda: system.model("newcomer")["replicas_running"] == 1, timeout_s=120)

    del models_file.models["newcomer"]
    models_file.write()
    system.wait("it to be forgotten", lambda: "newcomer" not in names_seen(system), timeout_s=30)


def names_seen(system: System) -> set[str]:
    return {model["name"] for model in system.state()["models"]}
