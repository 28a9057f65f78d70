"""Machines that go and come under a running kubelet: what the cluster sees of their nodes and pods."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from autoscaler.embedded import kubelet as kubelets
from autoscaler.embedded import node_objects
from autoscaler.embedded.exporters import Exporters
from autoscaler.embedded.fleet import Card, Fleet
from autoscaler.embedded.hypervisor import Hypervisor
from autoscaler.embedded.machines import Action, Fault, FaultKind, Host
from autoscaler.embedded.processes import Children
from tests.fakes.kubernetes import NAMESPACE, kubernetes
from tests.fakes.waiting import eventually, is_gone
from tests.unit.embedded.played import FakeRayNodes, Guests, container, is_ready, kubelet
from vgpu.adapters import kube
from vgpu.core import names

FLEET = Fleet(
    cards=(
        Card(profile="v100-4q-4GB", nodes=("n1", "n2"), gpu="gpu-a"),
        Card(profile="v100-16q-16GB", nodes=("n3",), gpu="gpu-a", powered=False),
    )
)


class Power:
    """Asks the host under the kubelet, as the switcher does over HTTP. Every action takes no time."""

    def __init__(self, host: Host) -> None:
        self.host = host
        host.pace_s.update(dict.fromkeys(Action, 0.0))

    def __call__(self, name: str, action: Action) -> None:
        self.host.ask(name, action, 0.0)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubelets, "PASS_S", 0.025)
    monkeypatch.setattr(kubelets, "RAY_POLL_S", 0.05)
    monkeypatch.setattr(node_objects, "SILENCE_S", 0.1)


@pytest.fixture
def hypervisor() -> Hypervisor:
    return Hypervisor(FLEET, clock=lambda: 0.0)


@pytest.fixture
def power(hypervisor: Hypervisor) -> Power:
    return Power(hypervisor.host)


@pytest.fixture
def guests(tmp_path: Path, hypervisor: Hypervisor) -> Iterator[Guests]:
    ray_nodes = FakeRayNodes()
    with kubernetes(tmp_path) as api, kubelet(api, tmp_path, ray_nodes, fleet=FLEET, hypervisor=hypervisor):
        eventually(lambda: len(api.client.list(kube.NODES)) == 3)
        yield Guests(api, ray_nodes, tmp_path)


def node(guests: Guests, name: str) -> dict[str, Any]:
    return guests.api.client.read(kube.NODES, name)


def ready(guests: Guests, name: str) -> dict[str, Any]:
    """The Ready condition of a node."""
    found = node(guests, name)["status"].get("conditions") or [{}]
    return next((condition for condition in found if condition.get("type") == "Ready"), {})


def until_ready(guests: Guests, name: str, status: str) -> dict[str, Any]:
    return eventually(lambda: ready(guests, name), lambda condition: condition.get("status") == status)


def is_stopped(pid: int) -> bool:
    return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)


def test_a_node_that_sleeps_at_the_start_is_known_not_ready_cordoned_and_said_to_be_asleep(guests: Guests) -> None:
    until_ready(guests, "n3", "Unknown")
    sleeper = eventually(lambda: node(guests, "n3"), lambda found: bool(found.get("spec", {}).get("unschedulable")))
    assert sleeper["metadata"]["labels"][names.LABEL_PROFILE] == "v100-16q-16GB"
    assert sleeper["metadata"]["annotations"] == {names.ANNOTATION_ASLEEP: "off"}
    assert sleeper["status"]["allocatable"][names.RESOURCE_GPU] == "1"
    awake = node(guests, "n1")
    assert not awake["metadata"].get("annotations")
    assert not awake.get("spec", {}).get("unschedulable")


def test_a_suspended_machine_is_silent_and_what_ran_on_it_stands_still_and_goes_on(
    guests: Guests, power: Power
) -> None:
    guests.add()
    pid = guests.until_started()
    guests.until_ready()
    beat = until_ready(guests, "n1", "True")["lastHeartbeatTime"]
    power("n1", Action.SUSPEND)
    eventually(lambda: is_stopped(pid))
    assert all(is_stopped(child.pid) for child in psutil.Process(pid).children(recursive=True))
    silent = until_ready(guests, "n1", "Unknown")
    assert (silent["reason"], silent["lastHeartbeatTime"]) == ("NodeStatusUnknown", beat)
    eventually(lambda: not is_ready(guests.pod()))
    assert ready(guests, "n2")["status"] == "True"
    power("n1", Action.RESUME)
    until_ready(guests, "n1", "True")
    eventually(lambda: is_ready(guests.pod()))
    assert not is_stopped(pid)
    assert container(guests.pod())["restartCount"] == 0
    assert guests.pids() == [pid]


def test_a_pod_that_is_to_end_waits_until_its_machine_is_there_again(guests: Guests, power: Power) -> None:
    guests.add()
    pid = guests.until_started()
    power("n1", Action.SUSPEND)
    eventually(lambda: is_stopped(pid))
    guests.api.client.delete(kube.PODS, "w1", NAMESPACE)
    until_ready(guests, "n1", "Unknown")
    assert [pod["metadata"]["name"] for pod in guests.api.pods()] == ["w1"]
    power("n1", Action.RESUME)
    eventually(lambda: guests.api.pods() == [])
    assert "bye" in guests.said()


def test_a_pod_forgotten_while_its_machine_slept_ends_when_it_is_back(guests: Guests, power: Power) -> None:
    guests.add()
    pid = guests.until_started()
    power("n1", Action.SUSPEND)
    eventually(lambda: is_stopped(pid))
    guests.api.client.delete(kube.PODS, "w1", NAMESPACE, grace_s=0)
    until_ready(guests, "n1", "Unknown")
    assert is_stopped(pid)
    power("n1", Action.RESUME)
    eventually(lambda: is_gone(pid))


def test_a_machine_without_power_loses_what_ran_and_starts_it_anew(guests: Guests, power: Power) -> None:
    guests.add()
    first = guests.until_started()
    power("n1", Action.POWER_OFF)
    eventually(lambda: is_gone(first))
    until_ready(guests, "n1", "Unknown")
    power("n1", Action.POWER_ON)
    second = guests.until_started(times=2)
    guests.until_ready(ray_node="ray-2")
    assert container(guests.pod())["restartCount"] == 1
    assert not is_gone(second)


def test_a_machine_switched_off_and_on_between_two_looks_has_lost_what_ran(guests: Guests, power: Power) -> None:
    guests.add()
    first = guests.until_started()
    power("n1", Action.POWER_OFF)
    power("n1", Action.POWER_ON)
    guests.until_started(times=2)
    assert is_gone(first)


def test_a_card_is_cut_the_other_way_and_its_node_comes_up_with_a_new_heartbeat(guests: Guests, power: Power) -> None:
    for name in ("n1", "n2"):
        power(name, Action.SUSPEND)
        until_ready(guests, name, "Unknown")
    assert "lastHeartbeatTime" not in ready(guests, "n3")
    power("n3", Action.POWER_ON)
    assert until_ready(guests, "n3", "True")["lastHeartbeatTime"]
    # Whoever switches takes away what says that it sleeps.
    assert node(guests, "n3")["spec"]["unschedulable"]


def test_a_machine_can_run_and_its_node_never_become_ready(guests: Guests, power: Power) -> None:
    power.host.faults.append(Fault(kind=FaultKind.NEVER_READY, machine="n1"))
    power("n1", Action.POWER_OFF)
    until_ready(guests, "n1", "Unknown")
    power("n1", Action.POWER_ON)
    guests.add()
    guests.add("w2", node="n2")
    guests.until_started("w2")
    assert (guests.pids("w1"), ready(guests, "n1")["status"]) == ([], "Unknown")
    power.host.clear_faults(0.0)
    until_ready(guests, "n1", "True")
    guests.until_started("w1")


def test_a_node_can_come_up_with_another_profile_in_its_label(guests: Guests, power: Power) -> None:
    def label() -> str:
        return str(node(guests, "n1")["metadata"]["labels"][names.LABEL_PROFILE])

    power.host.faults.append(Fault(kind=FaultKind.WRONG_PROFILE, machine="n1", profile="v100-8q-8GB"))
    found = []
    for _ in range(2):
        power("n1", Action.SUSPEND)
        until_ready(guests, "n1", "Unknown")
        power("n1", Action.RESUME)
        until_ready(guests, "n1", "True")
        found.append(label())
    assert found == ["v100-8q-8GB", "v100-4q-4GB"]


def test_what_the_cluster_could_not_be_told_of_a_silent_node_is_told_again(
    guests: Guests, power: Power, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_objects, "ANNOUNCE_AGAIN_S", 0.1)
    until_ready(guests, "n1", "True")
    guests.api.server.faults.refuse(503, times=3, verb="patch", plural="nodes")
    power("n1", Action.SUSPEND)
    until_ready(guests, "n1", "Unknown")
    assert names.ANNOTATION_ASLEEP not in (node(guests, "n1")["metadata"].get("annotations") or {})


def test_the_exporter_of_a_node_is_there_while_the_node_is(
    tmp_path: Path, hypervisor: Hypervisor, power: Power
) -> None:
    """A shell stands for the exporter; what counts is whose process is there."""
    children = Children(tmp_path)
    exporters = Exporters(FLEET, scratch=tmp_path, children=children, python=_stays(tmp_path))

    def running() -> set[str]:
        return {child.command.name for child in children.running()}

    def keep() -> set[str]:
        exporters.keep({name for name, felt in hypervisor.power().items() if felt.is_up})
        return running()

    try:
        found = [keep()]
        power("n1", Action.SUSPEND)
        found.append(keep())
        power("n1", Action.RESUME)
        found.append(keep())
        power("n2", Action.POWER_OFF)
        found.append(keep())
    finally:
        children.stop(grace_s=0)
    assert found == [{"exporter-n1", "exporter-n2"}, {"exporter-n2"}, {"exporter-n1", "exporter-n2"}, {"exporter-n1"}]


def _stays(directory: Path) -> str:
    path = directory / "python"
    path.write_text("#!/bin/sh\nexec sleep 600\n")
    path.chmod(0o755)
    return str(path)
