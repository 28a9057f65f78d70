"""The system as an SRE meets it: nodes and workers by kubectl, faults injected while it serves."""

import asyncio
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from autoscaler.load import client, schedule
from autoscaler.load.client import Sample
from tests.integration.system import System

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]


@contextmanager
def load(system: System, steps: str) -> Iterator[list[Sample]]:
    """An open loop in the background, awaited at the end."""
    samples: list[Sample] = []
    due = schedule.arrivals(schedule.parse_steps(steps), seed=3)
    target = client.Target(system.url, "minilm")
    driving = client.drive(target, due, record=samples.append, texts=client.sentences())
    sender = threading.Thread(target=asyncio.run, args=(driving,))
    sender.start()
    yield samples
    sender.join()


def running(system: System, count: int) -> bool:
    return bool(system.model("minilm")["replicas_running"] == count)


def slots_of(system: System, model: str) -> list[dict[str, str]]:
    nodes = system.state()["nodes"]
    return [slot | {"node": node["name"]} for node in nodes for slot in node["slots"] if slot["model"] == model]


def test_kubectl_shows_labelled_nodes_and_workers(system: System) -> None:
    nodes = system.kubectl("get", "nodes", "-L", "vgpu.type").splitlines()
    assert nodes[0].split() == ["NAME", "STATUS", "ROLES", "AGE", "VERSION", "VGPU.TYPE"]
    shown = [(line.split()[0], line.split()[1], line.split()[-1]) for line in nodes[1:]]
    assert shown == [(f"node-{number}", "Ready", "v100-8q-8GB") for number in range(1, 7)]
    pods = system.kubectl("get", "pods", "-o", "wide").splitlines()
    assert pods[0].split()[:7] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE"]
    assert len(pods) == 1 + 3
    assert all(line.split()[1:3] == ["1/1", "Running"] for line in pods[1:])


def test_an_overload_is_answered_by_replicas_on_other_cards_and_a_lost_worker_by_a_replacement(system: System) -> None:
    """One story, because each part needs the one before: overload, scale-out, a worker killed under load."""
    before = {slot["gpu"] for slot in slots_of(system, "minilm")}
    with load(system, "28:75s") as samples:
        system.wait("a second replica", lambda: (system.model("minilm")["replicas_running"] or 0) >= 2, timeout_s=70)
        system.wait("its slot to be seen", lambda: len(slots_of(system, "minilm")) >= 2, timeout_s=20)
        assert len({slot["gpu"] for slot in slots_of(system, "minilm")}) >= 2 > len(before)
    assert [sample.status for sample in samples if sample.failed] == []
    system.wait("the count to settle", lambda: system.model("minilm")["replicas_starting"] == 0, timeout_s=40)
    count = system.model("minilm")["replicas_running"]

    with load(system, "12:25s") as samples:
        time.sleep(3)
        victim = slots_of(system, "minilm")[-1]["worker"].partition("/")[2]
        in_flight = kill_worker(system, victim)
    failed = [sample.status for sample in samples if sample.failed]
    # Read just before the kill; at 12/s a few more may have come in between.
    assert len(failed) <= in_flight + 3, f"{failed} failed, {in_flight} were in flight on the lost worker"
    system.wait("the replacement", lambda: running(system, count), timeout_s=60)
    pod = json.loads(system.kubectl("get", "pod", victim, "-o", "json"))
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 1


def kill_worker(system: System, name: str) -> int:
    """SIGKILL a worker's first process, as the kernel does when memory runs out; how many requests were in flight."""
    address = json.loads(system.kubectl("get", "pod", name, "-o", "json"))["status"]["podIP"]
    processes = [p for p in system.family() if f"vgpu-serve.io/worker={name}" in " ".join(p.cmdline())]
    ray = next(process for process in processes if "autoscaler.embedded.container" not in process.cmdline())
    text = httpx.get(f"http://{address}:9105/metrics", timeout=5).text
    line = next(line for line in text.splitlines() if line.startswith("vgpu_serve_requests_in_flight{"))
    ray.kill()
    return int(float(line.split()[-1]))


def test_serving_goes_on_and_nothing_shrinks_while_the_api_server_does_not_answer(system: System) -> None:
    before = system.model("minilm")["replicas_target"]
    pid = system.pid("autoscaler.embedded.apiserver")
    os.kill(pid, signal.SIGSTOP)
    try:
        system.wait("the autoscaler to say so", lambda: any("api" in text for text in problems(system)), timeout_s=40)
        with load(system, "5:4s") as samples:
            pass
        assert [sample.status for sample in samples if sample.failed] == []
        assert system.model("minilm")["replicas_target"] >= before
    finally:
        os.kill(pid, signal.SIGCONT)
    system.wait("the autoscaler to recover", lambda: not problems(system), timeout_s=60)


def problems(system: System) -> list[str]:
    return [problem.lower() for problem in system.state()["problems"]]


def test_a_killed_autoscaler_comes_back_and_keeps_the_count(system: System) -> None:
    before = system.model("minilm")["replicas_running"]
    os.kill(system.pid("autoscaler.cli run"), signal.SIGKILL)

    def answers() -> bool:
        try:
            return system.model("minilm")["replicas_running"] == before
        except httpx.HTTPError:
            return False

    time.sleep(1)
    system.wait("the autoscaler", answers, timeout_s=30)


def test_a_lost_exporter_is_named_and_shrinks_nothing(system: System) -> None:
    """SIGSTOP, not SIGKILL: a killed one is back within a second."""
    before = system.model("minilm")["replicas_target"]
    node = slots_of(system, "minilm")[0]["node"]
    pid = system.pid(f"vgpu.exporter --node {node} ")
    os.kill(pid, signal.SIGSTOP)
    try:
        url = system.addresses["autoscaler_url"] + "/v1/models/minilm"

        def named() -> bool:
            decision = httpx.get(url, timeout=5).json()["decision"]
            gaps = decision["signals"]["gaps"] if decision and decision["signals"] else []
            return any(gap["name"].startswith(node) for gap in gaps)

        system.wait("the gap to be named", named, timeout_s=30)
        assert system.model("minilm")["replicas_target"] >= before
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_model_without_a_live_replica_is_refused_at_once_and_comes_back(system: System) -> None:
    body = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["x"]}]}
    refused: list[httpx.Response] = []
    dropped = 0

    def answers() -> bool:
        nonlocal dropped
        try:
            answer = httpx.post(f"{system.url}/v2/models/narrow/infer", json=body, timeout=10)
        except httpx.RemoteProtocolError:
            # In flight on the lost replica, with no other to ask: HAProxy closes the connection without a word.
            dropped += 1
            return False
        if answer.status_code != 200:
            refused.append(answer)
        return answer.status_code == 200

    assert answers()
    kill_worker(system, slots_of(system, "narrow")[0]["worker"].partition("/")[2])
    system.wait("narrow to be missed", lambda: not answers() and bool(refused), timeout_s=30)
    system.wait("narrow to answer again", answers, timeout_s=60)
    assert dropped <= 1
    assert {answer.status_code for answer in refused} <= {502, 503}
    last = refused[-1]
    assert (last.status_code, last.json()["reason"]) == (503, "no_capacity")
    assert int(last.headers["retry-after"]) >= 1
