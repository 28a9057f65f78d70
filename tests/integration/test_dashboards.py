"""Every query of every dashboard, every rule and every alert asks for what a running system really tells Prometheus."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from autoscaler.embedded import addresses
from helm.generate import dashboards, rules
from helm.generate.grafana import VARIABLES
from tests.fakes import waiting
from tests.integration import scraped
from tests.integration.scraped import Json, Prometheus
from tests.integration.system import System
from tests.observability import processes, promql

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]

# What does not run in the session's system, and is served from the process's own registry instead.
STAND_INS = {
    "extender": processes.extender,  # runs only where cards are shared by units; this system's nodes have whole slots
    "device-plugin": processes.device_plugin,  # needs a kubelet; the embedded one says itself what a node offers
    "switcher": processes.switcher,  # runs only where there is something to switch
}
TEXT = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["Where is my parcel?"]}]}
BOARDS = {Path(path).stem: json.loads(text) for path, text in dashboards.files().items()}
ALERTS = [alert for held in rules.groups().values() for alert in held]
RECORDS = rules.recording.rules()


@pytest.fixture(scope="module")
def prometheus(system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Over the session's system under a little load, in which a replica was added and requests were refused."""
    stand_ins = {name: make() for name, make in STAND_INS.items()}
    directory = tmp_path_factory.mktemp("prometheus")
    load = {"minilm": (TEXT, 0.3), "filetype": (file_body(), 0.3), "narrow": (TEXT, 0.5)}
    with (
        scraped.running(system, directory, stand_ins, addresses.choose({}).http) as running,
        scraped.asking(system.url, load),
        one_replica_more(system),
    ):
        refuse_some(system)
        yield running


def file_body() -> Json:
    data = {"name": "content", "datatype": "BYTES", "shape": [1], "data": ["#!/bin/sh\necho hello\n"]}
    return {"inputs": [data]}


@contextmanager
def one_replica_more(system: System) -> Iterator[None]:
    """The models file asks for two of filetype, and in the end for one again."""
    file = system.directory.parent / "models.yaml"
    before = file.read_text()
    document = yaml.safe_load(before)
    document["models"]["filetype"]["autoscaling"] = {"min_replicas": 2, "max_replicas": 2}
    file.write_text(yaml.safe_dump(document))
    try:
        system.wait("a second replica", lambda: system.model("filetype")["replicas_running"] == 2, timeout_s=120)
        yield
    finally:
        file.write_text(before)
    system.wait("one replica", lambda: system.model("filetype")["replicas_running"] == 1, timeout_s=120)


def refuse_some(system: System) -> None:
    """More at once than narrow's queue takes: failures have series too."""

    def ask() -> None:
        httpx.post(f"{system.url}/v2/models/narrow/infer", json=TEXT, timeout=30, trust_env=False)

    senders = [threading.Thread(target=ask) for _ in range(12)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()


def without_series(prometheus: Prometheus, exprs: dict[str, str], *, within_s: float = 60) -> dict[str, str]:
    """Those that have none within a time: rates need two scrapes."""
    left = dict(exprs)

    def look() -> bool:
        for name, expr in list(left.items()):
            if prometheus.series(expr):
                del left[name]
        return not left

    try:
        waiting.eventually(look, within_s=within_s)
    except AssertionError:
        return left
    return {}


def panel_queries(name: str) -> dict[str, str]:
    return {
        f"{panel['title']} / {target['refId']}": promql.substituted(target["expr"])
        for panel in BOARDS[name]["panels"]
        for target in panel.get("targets", ())
    }


def test_every_process_is_scraped(system: System, prometheus: Prometheus) -> None:
    jobs = {"autoscaler", "deployer", "ingress", "worker", "exporter", *STAND_INS}
    up = waiting.eventually(
        lambda: {each["job"] for each in prometheus.series("up == 1")}, lambda found: jobs <= found, within_s=30
    )
    assert up == jobs

    def unscraped() -> set[str]:
        pods = json.loads(system.kubectl("get", "pods", "-l", "vgpu-serve.io/pool", "-o", "json"))["items"]
        there = {f"{pod['status']['podIP']}:9105" for pod in pods if pod["status"].get("podIP")}
        return there - {each["instance"] for each in prometheus.series('up{job="worker"} == 1')}

    waiting.eventually(unscraped, lambda left: not left, within_s=60)


@pytest.mark.parametrize("name", sorted(BOARDS))
def test_every_panel_has_series(prometheus: Prometheus, name: str) -> None:
    queries = panel_queries(name)
    assert queries
    assert without_series(prometheus, queries) == {}


def test_every_variable_has_values(prometheus: Prometheus) -> None:
    for asked in VARIABLES.values():
        selected, _, label = asked.removeprefix("label_values(").removesuffix(")").rpartition(", ")
        found = prometheus.series(f"group by ({label}) ({promql.substituted(selected)})")
        assert any(each.get(label) for each in found), asked


def test_every_mark_asks_for_series_that_are_there(prometheus: Prometheus) -> None:
    """A mark compares, so that it has series only when something happens; what it compares is there always."""
    marks = [mark for board in BOARDS.values() for mark in board.get("annotations", {}).get("list", ())]
    selected = [each for mark in marks for each in promql.selectors(promql.substituted(mark["expr"]))]
    assert selected
    assert without_series(prometheus, {each.text: each.text for each in selected}) == {}


def test_every_recording_rule_records(prometheus: Prometheus) -> None:
    assert without_series(prometheus, {rule["record"]: rule["record"] for rule in RECORDS}) == {}


def test_every_alert_asks_for_series_that_are_there(prometheus: Prometheus) -> None:
    """A silent alert has no series; each thing that it compares has."""
    selected = {f"{alert.name}: {each.text}": each.text for alert in ALERTS for each in promql.selectors(alert.expr)}
    assert without_series(prometheus, selected) == {}


def test_prometheus_evaluates_every_rule_without_an_error(prometheus: Prometheus) -> None:
    def judged() -> list[Json]:
        return [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]

    waiting.eventually(judged, lambda found: all(rule["health"] != "unknown" for rule in found), within_s=30)
    assert [rule for rule in judged() if rule["health"] != "ok"] == []
    assert len(judged()) == len(RECORDS) + len(ALERTS)


def test_a_query_for_what_is_not_there_is_found(prometheus: Prometheus) -> None:
    asked = {"nothing": "vgpu_serve_nonsense"}
    assert without_series(prometheus, asked, within_s=1) == asked
