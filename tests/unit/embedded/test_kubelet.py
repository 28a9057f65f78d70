"""The kubelet in its thread against a real API, with a shell script for `ray`: a pod's life seen from outside."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autoscaler.embedded import kubelet as kubelets
from autoscaler.embedded import node_objects, pods
from autoscaler.embedded.fleet import Card, Fleet, card_uuid, slot_uuid
from tests.fakes.kubernetes import NAMESPACE, PROFILE, RAY_IP, Kubernetes, kubernetes
from tests.fakes.waiting import eventually, is_gone
from tests.unit.embedded.played import STUBBORN, FakeRayNodes, Guests, container, is_ready, kubelet
from vgpu.adapters import kube
from vgpu.core import names


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten times its usual pace."""
    monkeypatch.setattr(kubelets, "PASS_S", 0.025)
    monkeypatch.setattr(kubelets, "RAY_POLL_S", 0.05)
    monkeypatch.setattr(node_objects, "ANNOUNCE_AGAIN_S", 0.1)


@pytest.fixture
def guests(tmp_path: Path) -> Iterator[Guests]:
    ray_nodes = FakeRayNodes()
    with kubernetes(tmp_path) as api, kubelet(api, tmp_path, ray_nodes):
        yield Guests(api, ray_nodes, tmp_path)


def test_every_guest_is_announced_with_its_slot_type_and_card(guests: Guests) -> None:
    nodes = eventually(lambda: guests.api.client.list(kube.NODES), lambda found: len(found) == 3)
    assert [node["metadata"]["labels"] for node in nodes] == [
        {
            "kubernetes.io/hostname": node,
            "vgpu.type": PROFILE,
            "vgpu.physical-gpu": card_uuid(card),
            "vgpu.scheduler-policy": "best-effort",
            "vgpu.device-kind": "emulated",
        }
        for node, card in (("n1", 0), ("n2", 0), ("n3", 1))
    ]
    eventually(lambda: all(is_ready(node) for node in guests.api.client.list(kube.NODES)))


def test_a_bound_pod_becomes_a_process_and_ready_once_its_ray_node_has_joined(guests: Guests) -> None:
    uid = guests.add()
    guests.until_started()
    waiting = eventually(guests.pod, lambda pod: container(pod))
    assert container(waiting)["state"] == {"waiting": {"reason": "ContainerCreating"}}
    assert not is_ready(waiting)
    assert waiting["status"]["podIP"] == pods.address(0, uid)
    guests.until_ready()
    assert guests.pod()["status"]["phase"] == "Running"
    assert container(guests.pod())["restartCount"] == 0


def test_the_api_is_told_of_every_stage_once(guests: Guests) -> None:
    """Many passes go by; a status that nobody needs would wake every watcher at each of them."""
    for index, node in enumerate(("n1", "n2", "n3")):
        guests.add(f"w{index}", node=node)
        guests.until_ready(f"w{index}", ray_node=f"ray-{index}")
    assert guests.api.server.faults.seen["patch", "pods"] == 3 * 2


def test_a_worker_is_told_its_slot_and_nothing_that_the_pod_says(guests: Guests, tmp_path: Path) -> None:
    uid = guests.add(node="n3")
    guests.until_started()
    told = dict(line.split("=", 1) for line in guests.said() if line.startswith(("VGPU_", "CUDA_")))
    assert told == {
        "CUDA_VISIBLE_DEVICES": slot_uuid("n3/0"),
        "VGPU_DEVICE_KIND": "emulated",
        "VGPU_EMULATED_COST_RATIO": "8.0",
        "VGPU_EMULATOR_SOCKET": f"{tmp_path}/gpu-1.sock",
        "VGPU_METRICS_ADDRESS": f"{pods.address(2, uid)}:9105",
        "VGPU_SLOT_FRAMEBUFFER_MIB": "8192",
        "VGPU_SLOT_ID": "n3/0",
        "VGPU_SLOT_MOST_PER_GPU": "2",
        "VGPU_SLOT_PROFILE": PROFILE,
        "VGPU_SLOT_SCHEDULER_POLICY": "best-effort",
        "VGPU_SLOT_UNITS": "500",
        "VGPU_WORKER": "w1",
    }
    (asked,) = [line for line in guests.said() if line.startswith("asked: ")]
    assert asked.startswith(f"asked: start --address={RAY_IP}:6379 --block --node-ip-address={RAY_IP}")


def test_a_pod_that_asks_for_something_else_is_refused_with_the_reason_and_only_once(guests: Guests) -> None:
    guests.add("bad", command=["sh", "-c", f"touch {guests.directory}/was-here"])
    refused = eventually(lambda: guests.pod("bad"), lambda pod: container(pod))
    assert container(refused)["state"]["waiting"]["reason"] == "CreateContainerError"
    assert "nothing else" in container(refused)["state"]["waiting"]["message"]
    guests.add("good")
    guests.until_ready("good")
    told = guests.api.server.faults.seen["patch", "pods"]
    assert told == 1 + 2  # the refusal; of the other that it starts and that it is ready
    assert not (guests.directory / "was-here").exists()


def test_a_refused_pod_can_be_deleted(guests: Guests) -> None:
    guests.add("bad", command=["sh"])
    eventually(lambda: container(guests.pod("bad")))
    guests.api.client.delete(kube.PODS, "bad", NAMESPACE)
    eventually(lambda: guests.api.pods() == [])


def test_a_crash_is_counted_and_the_worker_starts_again_on_its_slot(guests: Guests) -> None:
    guests.add()
    first = guests.until_started()
    guests.until_ready()
    os.kill(first, signal.SIGKILL)
    second = guests.until_started(times=2)
    crashed = eventually(guests.pod, lambda pod: container(pod)["restartCount"] == 1)
    assert not is_ready(crashed)
    assert crashed["status"]["phase"] == "Running"
    guests.until_ready(ray_node="ray-2")
    os.kill(second, signal.SIGKILL)
    looping = eventually(guests.pod, lambda pod: "waiting" in container(pod)["state"])
    assert container(looping)["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    guests.until_started(times=3)
    eventually(lambda: container(guests.pod())["restartCount"] == 2)


def test_a_deleted_worker_is_asked_to_end_and_its_pod_goes_when_it_has(guests: Guests) -> None:
    guests.add()
    pid = guests.until_started()
    guests.api.client.delete(kube.PODS, "w1", NAMESPACE)
    eventually(lambda: guests.api.pods() == [])
    assert is_gone(pid)
    assert "bye" in guests.said()


def test_a_worker_that_ignores_its_end_is_killed_when_its_grace_is_over(tmp_path: Path) -> None:
    ray_nodes = FakeRayNodes()
    with kubernetes(tmp_path) as api, kubelet(api, tmp_path, ray_nodes, STUBBORN):
        guests = Guests(api, ray_nodes, tmp_path)
        guests.add()
        pid = guests.until_started()
        api.client.delete(kube.PODS, "w1", NAMESPACE, grace_s=1)
        eventually(lambda: "ignored" in guests.said())
        assert not is_gone(pid)
        eventually(lambda: api.pods() == [])
        assert is_gone(pid)


def test_a_pod_deleted_by_force_is_killed_at_once(guests: Guests) -> None:
    guests.add()
    pid = guests.until_started()
    guests.api.client.delete(kube.PODS, "w1", NAMESPACE, grace_s=0)
    eventually(lambda: is_gone(pid))


def test_a_pod_made_anew_under_an_old_name_is_another_pod(guests: Guests) -> None:
    guests.add()
    first = guests.until_started()
    guests.api.client.delete(kube.PODS, "w1", NAMESPACE, grace_s=0)
    guests.add()
    second = guests.until_started(times=2)
    eventually(lambda: is_gone(first))
    assert not is_gone(second)


def test_a_pod_of_another_node_is_left_alone(guests: Guests) -> None:
    guests.api.client.create(kube.NODES, {"metadata": {"name": "elsewhere"}})
    guests.add("stranger", node="elsewhere")
    guests.add("w1")
    guests.until_started("w1")
    assert guests.said("stranger") == []


def test_workers_live_through_an_api_that_answers_500(guests: Guests) -> None:
    guests.add()
    pid = guests.until_started()
    guests.api.server.faults.clear()
    guests.api.server.faults.refuse(500, times=40)
    guests.ray_nodes.workers["ray-1"] = "w1"
    eventually(lambda: guests.api.server.faults.seen["patch", "pods"] >= 10)
    assert not is_gone(pid)
    guests.api.server.faults.clear()
    # What could not be told is told again.
    eventually(lambda: is_ready(guests.pod()))
    assert not is_gone(pid)
    assert guests.pids() == [pid]


def test_a_crash_during_an_outage_is_told_after_it(guests: Guests) -> None:
    guests.add()
    first = guests.until_started()
    guests.until_ready()
    guests.api.server.faults.refuse(503, times=1000, verb="patch", plural="pods")
    os.kill(first, signal.SIGKILL)
    guests.until_started(times=2)
    guests.api.server.faults.clear()
    eventually(lambda: container(guests.pod())["restartCount"] == 1)


def test_workers_live_through_a_ray_that_does_not_answer(guests: Guests) -> None:
    guests.ray_nodes.is_away = True
    guests.add()
    pid = guests.until_started()
    guests.ray_nodes.is_away = False
    guests.until_ready()
    assert guests.pids() == [pid]


def test_a_node_that_somebody_deleted_is_announced_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_objects, "HEARTBEAT_S", 0.1)
    with kubernetes(tmp_path) as api, kubelet(api, tmp_path, FakeRayNodes()):
        eventually(lambda: len(api.client.list(kube.NODES)) == 3)
        api.client.delete(kube.NODES, "n2")
        eventually(lambda: len(api.client.list(kube.NODES)) == 3)


def test_nodes_that_could_not_be_announced_are_announced_later(tmp_path: Path) -> None:
    with kubernetes(tmp_path) as api:
        api.server.faults.refuse(500, times=4, verb="create", plural="nodes")
        with kubelet(api, tmp_path, FakeRayNodes()):
            eventually(lambda: len(api.client.list(kube.NODES)) == 3)


def test_a_new_kubelet_takes_over_the_nodes_and_starts_their_pods_anew(tmp_path: Path) -> None:
    ray_nodes = FakeRayNodes()
    with kubernetes(tmp_path) as api:
        guests = Guests(api, ray_nodes, tmp_path)
        with kubelet(api, tmp_path, ray_nodes):
            eventually(lambda: len(api.client.list(kube.NODES)) == 3)
            api.client.label_node("n1", {"vgpu.type": "v100-4q-4GB", "mine": "kept"})
            guests.add()
            first = guests.until_started()
        assert is_gone(first)
        with kubelet(api, tmp_path, ray_nodes):
            second = guests.until_started(times=2)
            labels = eventually(
                lambda: api.client.read(kube.NODES, "n1")["metadata"]["labels"],
                lambda found: found["vgpu.type"] == PROFILE,
            )
            assert labels["mine"] == "kept"
            assert not is_gone(second)


SHARED = Fleet(cards=(Card(profile="fraction:500", nodes=("s1",)),))


def add_fraction(api: Kubernetes, name: str, units: int = 500) -> None:
    """A worker of a fraction pool that the extender has bound."""
    manifest = pods.pool_manifest(
        "pool", namespace=NAMESPACE, slot_label=f"fraction-{units}", replicas=1, ray_address=f"{RAY_IP}:6379"
    )
    spec: Any = manifest["spec"]["template"]["spec"] | {"terminationGracePeriodSeconds": 5}
    api.client.create(kube.PODS, {"metadata": {"name": name}, "spec": spec}, NAMESPACE)
    annotations = {
        f"{names.ANNOTATION_PREFIX_DEVICES}worker": card_uuid(0),
        f"{names.ANNOTATION_PREFIX_UNITS}worker": str(units),
        f"{names.ANNOTATION_PREFIX_FRAMEBUFFER_MIB}worker": "8192",
    }
    api.client.bind_pod(name, NAMESPACE, node="s1", annotations=annotations)


def test_a_node_that_shares_its_card_offers_units_and_runs_several_workers(tmp_path: Path) -> None:
    ray_nodes = FakeRayNodes()
    with kubernetes(tmp_path) as api, kubelet(api, tmp_path, ray_nodes, fleet=SHARED):
        shared = Guests(api, ray_nodes, tmp_path)
        (node,) = eventually(
            lambda: api.client.list(kube.NODES), lambda found: [bool(each.get("status")) for each in found] == [True]
        )
        assert node["status"]["capacity"] == {names.RESOURCE_VGPU: "1000", "pods": "2"}
        assert node["metadata"]["annotations"] == {names.ANNOTATION_GPUS: f"v1 {card_uuid(0)}:16384"}
        assert names.LABEL_PROFILE not in node["metadata"]["labels"]
        for name in ("w1", "w2", "w3"):
            add_fraction(api, name)
        shared.until_started("w1")
        shared.until_started("w2")
        parts = {line for name in ("w1", "w2") for line in shared.said(name) if "EMULATOR_SLOT" in line}
        assert parts == {"VGPU_EMULATOR_SLOT=s1/part-0", "VGPU_EMULATOR_SLOT=s1/part-1"}
        assert "VGPU_SLOT_ID=s1/default.w1" in shared.said("w1")
        assert shared.said("w3") == []  # a third would be more than the card
        api.client.delete(kube.PODS, "w1", NAMESPACE)
        shared.until_started("w3")
        add_fraction(api, "odd", units=300)
        refused = eventually(
            lambda: container(shared.pod("odd")), lambda found: found.get("state", {}).get("waiting") is not None
        )
        assert "the pod was given 300 units" in refused["state"]["waiting"]["message"]
