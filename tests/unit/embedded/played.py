"""A kubelet in its thread against a real API, with a shell script for `ray`."""

import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoscaler.embedded import pods
from autoscaler.embedded.fleet import Card, Fleet
from autoscaler.embedded.hypervisor import Hypervisor
from autoscaler.embedded.kubelet import Kubelet, Machine
from autoscaler.embedded.processes import Children
from autoscaler.ports import Unavailable
from tests.fakes.kubernetes import NAMESPACE, PROFILE, RAY_IP, Kubernetes
from tests.fakes.waiting import eventually
from vgpu.adapters import kube
from vgpu.core import names

FLEET = Fleet(cards=(Card(profile=PROFILE, nodes=("n1", "n2")), Card(profile=PROFILE, nodes=("n3",))))
# Plays `ray start --block`: stays until it is asked to end, and says so.
RAY = """#!/bin/sh
trap 'echo bye; exit 0' TERM
env | sort
echo "asked: $*"
echo "pid: $$"
sleep 600 &
wait
"""
STUBBORN = RAY.replace("echo bye; exit 0", "echo ignored").replace("wait\n", "wait; wait\n")


@dataclass
class FakeRayNodes:
    """Ray nodes by id, and the worker each runs in."""

    workers: dict[str, str] = field(default_factory=dict)
    is_away: bool = False

    def workers_by_ray_node(self) -> dict[str, str]:
        if self.is_away:
            raise Unavailable("Ray", "away")
        return dict(self.workers)


@dataclass
class Guests:
    """A running kubelet, the API it serves, and the Ray nodes it sees."""

    api: Kubernetes
    ray_nodes: FakeRayNodes
    directory: Path

    def add(self, name: str = "w1", *, node: str = "n1", command: list[str] | None = None) -> str:
        """Create a worker bound to a node; its uid."""
        manifest = pods.pool_manifest(
            "pool", namespace=NAMESPACE, slot_label=PROFILE, replicas=1, ray_address=f"{RAY_IP}:6379"
        )
        spec: Any = manifest["spec"]["template"]["spec"]
        spec["terminationGracePeriodSeconds"] = 5
        spec["containers"][0]["command"] = command or spec["containers"][0]["command"]
        made = self.api.client.create(kube.PODS, {"metadata": {"name": name}, "spec": spec}, NAMESPACE)
        annotations = {names.ANNOTATION_SLOT: f"{node}/0"}
        self.api.client.bind_pod(name, NAMESPACE, node=node, annotations=annotations)
        return str(made["metadata"]["uid"])

    def pod(self, name: str = "w1") -> dict[str, Any]:
        return self.api.client.read(kube.PODS, name, NAMESPACE)

    def said(self, name: str = "w1") -> list[str]:
        """What the worker's process has written."""
        path = self.directory / f"{name}.log"
        return path.read_text().splitlines() if path.exists() else []

    def pids(self, name: str = "w1") -> list[int]:
        """Of the script's processes, the oldest first."""
        return [int(line.removeprefix("pid: ")) for line in self.said(name) if line.startswith("pid: ")]

    def until_started(self, name: str = "w1", times: int = 1) -> int:
        """Wait until the script has run so many times; the last one's process id."""
        return eventually(lambda: self.pids(name), lambda pids: len(pids) >= times)[-1]

    def until_ready(self, name: str = "w1", *, ray_node: str = "ray-1") -> None:
        self.ray_nodes.workers[ray_node] = name
        eventually(lambda: is_ready(self.pod(name)))


def is_ready(pod: dict[str, Any]) -> bool:
    return any(
        condition["type"] == "Ready" and condition["status"] == "True"
        for condition in pod["status"].get("conditions") or ()
    )


def container(pod: dict[str, Any]) -> dict[str, Any]:
    (status,) = pod["status"].get("containerStatuses") or [{}]
    return dict(status)


@contextmanager
def kubelet(
    api: Kubernetes,
    directory: Path,
    ray_nodes: FakeRayNodes,
    script: str = RAY,
    *,
    fleet: Fleet = FLEET,
    hypervisor: Hypervisor | None = None,
) -> Iterator[Children]:
    """A kubelet in its thread; at the end its workers are ended too."""
    ray = directory / "ray"
    ray.write_text(script)
    ray.chmod(ray.stat().st_mode | stat.S_IXUSR)
    children = Children(directory)
    machine = Machine(
        fleet=fleet,
        hypervisor=hypervisor or Hypervisor(fleet),
        scratch=directory,
        volume=directory / "checkpoints",
        ray_ip=RAY_IP,
        children=children,
        ray=ray,
    )
    played = Kubelet(api.client, ray_nodes, machine)
    thread = threading.Thread(target=played.run, daemon=True)
    thread.start()
    try:
        yield children
    finally:
        played.stop()
        thread.join(10)
        children.stop(grace_s=0)
