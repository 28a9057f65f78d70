"""The switcher's own process over this cluster's API, host and kubelet: a switch, and one with each fault of the host.

Nothing is served here; what serving adds is the integration test's.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from autoscaler.embedded import addresses, node_objects
from autoscaler.embedded import kubelet as kubelets
from autoscaler.embedded.fleet import Card, Fleet
from autoscaler.embedded.hypervisor import Hypervisor, Server
from autoscaler.embedded.machines import Action, Fault, FaultKind, State
from autoscaler.embedded.switches import complete
from models import training
from tests.fakes.kubernetes import NAMESPACE, kubernetes
from tests.fakes.waiting import eventually
from tests.unit.embedded.played import FakeRayNodes, Guests, is_ready, kubelet
from tests.unit.embedded.test_power import node, until_ready
from vgpu.adapters import kube
from vgpu.core import names
from vgpu.core.switching.record import Asked, Cause, Result, Switch
from vgpu.switcher.records import Records

FLEET = Fleet(
    cards=(
        Card(profile="v100-4q-4GB", nodes=("n1", "n2"), gpu="card-a"),
        Card(profile="v100-16q-16GB", nodes=("n3",), gpu="card-a", powered=False),
    )
)
# What failed is tried again after 5 s.
TIMEOUTS_S = {"drain": 20, "stop": 7, "start": 7, "ready": 4}
FILE = {
    "time_zone": "UTC",
    "gpus": {"card-a": {"board": "v100", "provider": "here"}},
    "layouts": {
        "day": {"card-a": [{"node": name, "profile": "v100-4q-4GB"} for name in ("n1", "n2")]},
        "night": {"card-a": [{"node": "n3", "profile": "v100-16q-16GB"}]},
    },
    "policy": {"timeouts_s": TIMEOUTS_S},
    "providers": {"here": {"kind": "emulated"}},
}
TOKEN = "a-token-of-this-test"
PATIENCE_S = 60.0


@dataclass
class Cluster:
    """A card that can be cut two ways, and a switcher at work."""

    guests: Guests
    hypervisor: Hypervisor
    records: Records
    asked: int = 0

    def switch(self, layout: str) -> None:
        """Ask for a layout by hand."""
        self.asked += 1
        one = Asked(id=f"{layout}-{self.asked}", layout=layout, cause=Cause.HAND, at_s=time.time())
        self.records.ask("card-a", one)

    def until(self, holds: Callable[[Switch], bool]) -> Switch:
        """The record of what was asked for last, once it is so."""
        until_s, seen = time.monotonic() + PATIENCE_S, None
        while time.monotonic() < until_s:
            seen = self.records.read("card-a").switch
            if seen is not None and seen.id.endswith(f"-{self.asked}") and holds(seen):
                return seen
            time.sleep(0.05)
        raise AssertionError(f"not within {PATIENCE_S} s: {seen}; {self.guests.directory / 'switcher.log'}")

    def ended(self) -> Switch:
        return self.until(lambda seen: seen.result is not None)

    def states(self) -> list[State]:
        return [power.state for power in self.hypervisor.power().values()]

    def layout(self) -> str:
        """The layout that the nodes show."""
        up = {
            name
            for name in ("n1", "n2", "n3")
            if is_ready(found := node(self.guests, name)) and not found.get("spec", {}).get("unschedulable")
        }
        return {frozenset({"n1", "n2"}): "day", frozenset({"n3"}): "night"}.get(frozenset(up), f"{sorted(up)}")


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setattr(kubelets, "PASS_S", 0.05)
    monkeypatch.setattr(kubelets, "TRAINING", [sys.executable, "-m", "models.training"])
    monkeypatch.setattr(node_objects, "SILENCE_S", 0.1)
    monkeypatch.setattr(node_objects, "HEARTBEAT_S", 1.0)  # the API tells heartbeats in whole seconds
    hypervisor = Hypervisor(FLEET)
    hypervisor.host.pace_s.update(dict.fromkeys(Action, 0.2))
    server = Server(hypervisor, port=0, token=TOKEN)
    server.start()
    token_file, config = tmp_path / "token", tmp_path / "switcher.yaml"
    token_file.write_text(TOKEN)
    config.write_text(complete(yaml.safe_dump(FILE), url=server.url, token_file=token_file))
    ray_nodes = FakeRayNodes()
    with kubernetes(tmp_path) as api, kubelet(api, tmp_path, ray_nodes, fleet=FLEET, hypervisor=hypervisor):
        guests = Guests(api, ray_nodes, tmp_path)
        for name, status in (("n1", "True"), ("n2", "True"), ("n3", "Unknown")):
            eventually(lambda: len(api.client.list(kube.NODES)) == 3)
            until_ready(guests, name, status)
        command = [
            sys.executable, "-m", "vgpu.switcher", "--config", str(config), "--kubeconfig", str(api.kubeconfig),
            "--namespace", NAMESPACE, "--listen", f"127.0.0.1:{addresses.choose({}).switcher}", "--interval-s", "0.2",
        ]  # fmt: skip
        with (tmp_path / "switcher.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield Cluster(guests, hypervisor, Records(api.client, NAMESPACE))
        finally:
            process.terminate()
            process.wait(20)
    server.stop()


def test_by_night_a_training_has_the_card_and_by_day_it_has_kept_how_far_it_came(cluster: Cluster) -> None:
    cluster.switch("night")
    done = cluster.ended()
    assert (done.result, cluster.layout()) == (Result.DONE, "night")
    assert cluster.states() == [State.SUSPENDED, State.SUSPENDED, State.RUNNING]
    command = ["python", "-m", "models.training", "--steps=1000000", "--checkpoint=/checkpoints/t.npz"]
    spec = {"containers": [{"name": "train", "image": "models", "command": command}], "nodeName": "n3"}
    cluster.guests.api.client.create(kube.PODS, {"metadata": {"name": "t"}, "spec": spec}, NAMESPACE)
    eventually(lambda: any('"loss"' in line for line in cluster.guests.said("t")))
    cluster.switch("day")
    back = cluster.ended()
    assert (back.result, cluster.layout()) == (Result.DONE, "day")
    assert cluster.guests.api.pods() == []
    kept = training.resume(cluster.guests.directory / "checkpoints" / "t.npz", training.TEXT.read_text(), seed=1)
    assert kept.step >= 10
    assert names.ANNOTATION_ASLEEP in node(cluster.guests, "n3")["metadata"]["annotations"]


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind=FaultKind.FAILS, machine="n1", action=Action.SUSPEND, times=1),
        Fault(kind=FaultKind.LIES, machine="n2", action=Action.SUSPEND, times=1),
    ],
    ids=lambda fault: f"{fault.kind} {fault.action}",
)
def test_what_goes_wrong_once_is_tried_again(cluster: Cluster, fault: Fault) -> None:
    cluster.hypervisor.host.faults.append(fault)
    cluster.switch("night")
    done = cluster.ended()
    assert (done.result, done.exchanges, cluster.layout()) == (Result.DONE, 0, "night")
    assert fault.times == 0


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (Fault(kind=FaultKind.LIES, machine="n3", action=Action.POWER_ON, times=99), "start"),
        (Fault(kind=FaultKind.NEVER_READY, machine="n3"), "ready"),
        (Fault(kind=FaultKind.WRONG_PROFILE, machine="n3", profile="v100-8q-8GB"), "v100-8q-8GB"),
    ],
    ids=lambda given: given.kind if isinstance(given, Fault) else None,
)
def test_what_stays_wrong_is_rolled_back_and_the_day_is_as_before(cluster: Cluster, fault: Fault, why: str) -> None:
    cluster.hypervisor.host.faults.append(fault)
    cluster.switch("night")
    back = cluster.ended()
    assert (back.result, back.exchanges, cluster.layout()) == (Result.ROLLED_BACK, 1, "day")
    assert why in back.why
    assert cluster.states()[:2] == [State.RUNNING, State.RUNNING]
    assert cluster.states()[2] is not State.RUNNING


def test_a_machine_that_hangs_is_stuck_until_somebody_helps_and_the_switch_ends_then(cluster: Cluster) -> None:
    cluster.hypervisor.host.faults.append(Fault(kind=FaultKind.HANGS, machine="n1", action=Action.SUSPEND))
    cluster.switch("night")
    stuck = cluster.until(lambda seen: seen.stuck)
    assert stuck.result is None
    cluster.hypervisor.host.clear_faults(time.monotonic())
    ended = cluster.ended()
    assert ended.result in (Result.DONE, Result.ROLLED_BACK)
    assert cluster.layout() == {Result.DONE: "night", Result.ROLLED_BACK: "day"}[ended.result]
