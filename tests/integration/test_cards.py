"""Cards shared by units on a live system: the extender places each worker over HTTP, and all tell the same story."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.integration import system as systems
from tests.integration.system import START_TIMEOUT_S, System
from vgpu.core import names

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

MODELS = """
models:
  busy:
    source: synthetic
    parameters: {base_us: 20000, per_item_us: 0}
    slot: v100-8q-8GB
    objective_p95_ms: 5000
    autoscaling: {min_replicas: 2, max_replicas: 3}
"""
BODY = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["x"]}]}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A running `up` on three cards, each shared in halves.

    It ends before the session's own system begins, as this file comes first: exporters of both would listen on the same
    addresses, those of the nodes.
    """
    started = systems.start(Path(tmp_path_factory.mktemp("fractions")), MODELS, "--slots", "fraction:500")
    started.wait("the system", started.is_ready, timeout_s=START_TIMEOUT_S)
    yield started
    family = started.family()
    assert systems.stop(started) == 0, started.log.read_text()
    assert systems.left_over(family, within_s=10) == []


def pods(system: System) -> list[dict[str, Any]]:
    return list(json.loads(system.kubectl("get", "pods", "-o", "json"))["items"])


def ready_pods(system: System) -> list[dict[str, Any]]:
    return [
        pod
        for pod in pods(system)
        if "deletionTimestamp" not in pod["metadata"]
        and any(each["type"] == "Ready" and each["status"] == "True" for each in pod["status"].get("conditions", ()))
    ]


def extender(system: System) -> str:
    port = system.addresses["ports"]["extender"]
    return httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=5).raise_for_status().text


def value(text: str, name: str) -> float:
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))


def exporter_slots(system: System) -> set[str]:
    """Every slot that the exporters read, whole cards included."""
    found: set[str] = set()
    for process in system.family():
        command = _command(process)
        if "vgpu.exporter" in command:
            address = command[command.index("--listen") + 1]
            for line in httpx.get(f"http://{address}/metrics", timeout=5).text.splitlines():
                if line.startswith("vgpu_slot_engine_busy_ratio"):
                    found.add(line.split('slot="')[1].split('"')[0])
    return found


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_workers_share_cards_by_units_and_what_leaves_is_given_out_again(system: System) -> None:
    """One story, because each part needs the one before."""
    system.wait("two workers", lambda: len(ready_pods(system)) == 2, timeout_s=60)
    answer = httpx.post(f"{system.url}/v2/models/busy/infer", json=BODY, timeout=30)
    assert answer.status_code == 200

    # The decision is on the pod, written with its node; the container was told the same.
    first, second = ready_pods(system)
    for pod in (first, second):
        about, node = pod["metadata"]["annotations"], pod["spec"]["nodeName"]
        version, where, word = about[names.ANNOTATION_ALLOCATION].split(" ")
        assert (version, where) == ("v1", node)
        assert word.startswith("worker=500:8192@0/")

    # The autoscaler knows the parts by their pods, and so does the node's exporter, from the processes on the card.
    mine = {f"{pod['spec']['nodeName']}/default.{pod['metadata']['name']}" for pod in (first, second)}
    held = {
        f"{node['name']}/{slot['worker'].replace('/', '.')}"
        for node in system.state()["nodes"]
        for slot in node["slots"]
        if slot["worker"]
    }
    assert held == mine
    seen: set[str] = set()  # a crowded machine may let one sample age while the other is taken

    def sees_both() -> bool:
        seen.update(exporter_slots(system))
        return mine <= seen

    system.wait(f"the exporters to see {sorted(mine)}", sees_both, timeout_s=60)
    assert value(extender(system), "vgpu_ledger_drift_pods") == 0

    # A worker that is gone frees its units; the one that comes in its place is given some again.
    system.kubectl("delete", "pod", first["metadata"]["name"], "--wait=false")
    system.wait(
        "a worker in its place",
        lambda: (
            {pod["metadata"]["uid"] for pod in ready_pods(system)} > {second["metadata"]["uid"]}
            and first["metadata"]["uid"] not in {pod["metadata"]["uid"] for pod in pods(system)}
        ),
        timeout_s=120,
    )
    by_node = Counter(pod["spec"]["nodeName"] for pod in ready_pods(system))
    assert max(by_node.values()) <= 2
    system.wait(
        "an answer",
        lambda: httpx.post(f"{system.url}/v2/models/busy/infer", json=BODY, timeout=30).status_code == 200,
        timeout_s=30,
    )
    assert value(extender(system), "vgpu_ledger_drift_pods") == 0
