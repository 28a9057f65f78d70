"""The JSON of worker pods and nodes, as the embedded kubelet reads and writes it. Pure."""

import re
from collections.abc import Sequence
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Any

from serving import ray_start
from vgpu.core import allocation, names
from vgpu.core.share import UNITS_PER_GPU
from vgpu.core.slot_type import Fraction, SlotType, parse_slot_type

Json = dict[str, Any]

WORKER_CONTAINER = "worker"
IMAGE = "vgpu-serve/serving:0.1.0"
GRACE_S = 60


class Stage(StrEnum):
    """Where a worker is, in the kubelet's words."""

    STARTING = "ContainerCreating"
    READY = "Running"
    CRASHED = "CrashLoopBackOff"
    REFUSED = "CreateContainerError"
    FINISHED = "Completed"


def pool_manifest(name: str, *, namespace: str, slot_label: str, replicas: int, ray_address: str) -> Json:
    """A worker pool: a Deployment whose pods each hold one slot of one type and run one Ray node.

    A slot of a profile is a node that has one; a fraction is units of any card, and reaches the container as
    environment once it is decided which.
    """
    shape = parse_slot_type(slot_label)
    labels = {names.LABEL_POOL: name, "app.kubernetes.io/name": "vgpu-serve", "app.kubernetes.io/component": "worker"}
    container = {
        "name": WORKER_CONTAINER,
        "image": IMAGE,
        "command": ["ray", "start", f"--address={ray_address}", "--block"],
        **_slot(shape),
    }
    spec = {
        **({} if isinstance(shape, Fraction) else {"nodeSelector": {names.LABEL_PROFILE: slot_label}}),
        # Longer than Ray's own drain plus a replica's graceful stop: a shorter one would kill what it still answers.
        "terminationGracePeriodSeconds": GRACE_S,
        "containers": [container],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {names.LABEL_POOL: name}},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def _slot(shape: SlotType) -> Json:
    """What a worker's container asks for, and how it hears what it got."""
    if not isinstance(shape, Fraction):
        return {"resources": {"limits": {names.RESOURCE_GPU: "1"}, "requests": {names.RESOURCE_GPU: "1"}}}
    amount = {names.RESOURCE_VGPU: str(shape.units)}
    return {"resources": {"limits": amount, "requests": amount}, "env": allocation.environment(WORKER_CONTAINER)}


def refusal(pod: Json, *, ray_ip: str) -> str | None:
    """Why the embedded kubelet does not run this pod, or None."""
    containers = [*(pod["spec"].get("initContainers") or ()), *pod["spec"]["containers"]]
    command = containers[0].get("command") or [] if len(containers) == 1 else []
    address = re.compile(rf"--address={re.escape(ray_ip)}:[0-9]+")
    match command:
        case ["ray", "start", str(given), "--block"] if address.fullmatch(given):
            return None
    return f"the embedded kubelet runs one container of `ray start --address={ray_ip}:PORT --block`, nothing else"


def ray_command(pod: Json, *, ray: Path, ray_ip: str, slot_label: str, scratch: Path) -> Sequence[str]:
    """The pod's `ray start`, with what one machine for all nodes needs: its address, no fixed ports, one slot.

    A folder of its own: Ray nodes that start at once in one folder take the same socket name (2.60), and one dies.
    """
    about, command = pod["metadata"], pod["spec"]["containers"][0]["command"]
    address = next(word.removeprefix("--address=") for word in command if word.startswith("--address="))
    node = ray_start.Node(ip=ray_ip, temp_dir=scratch / about["uid"][:8], agent_port=None, ray=ray)
    return ray_start.worker_command(node, address=address, slot_label=slot_label, worker=about["name"])


def address(node_index: int, uid: str) -> str:
    """A pod's own loopback address: the second byte is the node's, the last two come from the pod's uid.

    The third byte is never 0, for that is the node's own address.
    """
    digest = sha256(uid.encode()).digest()
    return f"127.{1 + node_index}.{1 + digest[0] % 254}.{1 + digest[1] % 254}"


def node_address(node_index: int) -> str:
    """A node's own loopback address."""
    return f"127.{1 + node_index}.0.1"


def silence(now: str) -> Json:
    """The node controller's word on a node whose kubelet is not heard; its last heartbeat stays as it was."""
    return {
        "type": "Ready",
        "status": "Unknown",
        "reason": "NodeStatusUnknown",
        "message": "Kubelet stopped posting node status.",
        "lastTransitionTime": now,
    }


def unheard(now: str) -> Json:
    """The node controller's word on a pod whose node is not heard."""
    return {"type": "Ready", "status": "False", "reason": "NodeNotReady", "lastTransitionTime": now}


def node_status(node_index: int, now: str, version: str, *, parts: int = 0, is_ready: bool = True) -> Json:
    """A node with one slot, or with a card that is shared in so many parts; up, or known of old and silent."""
    amounts = {names.RESOURCE_GPU: "1", "pods": "1"}
    if parts:
        amounts = {names.RESOURCE_VGPU: str(UNITS_PER_GPU), "pods": str(parts)}
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "KubeletReady",
        "message": "the embedded kubelet is running",
        "lastHeartbeatTime": now,
    }
    return {
        "capacity": amounts,
        "allocatable": amounts,
        "addresses": [{"type": "InternalIP", "address": node_address(node_index)}],
        "conditions": [ready if is_ready else silence(now)],
        "nodeInfo": {
            "kubeletVersion": version,
            "osImage": "emulated node with a card of its own" if parts else "emulated vGPU guest",
        },
    }


def status(
    stage: Stage, *, ip: str, now: str, restarts: int = 0, message: str = "", container: str = WORKER_CONTAINER
) -> Json:
    """A pod's status: READY once its Ray node has joined and a replica may come; `message` says why it is refused."""
    is_ready = stage is Stage.READY
    # Conditions are merged into those there: what no longer holds has to be taken out.
    why = None if is_ready else "ContainersNotReady"
    ready = {"status": str(is_ready), "lastTransitionTime": now, "reason": why}
    # Once started, a pod is Running also while its container starts again.
    is_pending = stage is Stage.REFUSED or (stage is Stage.STARTING and not restarts)
    waiting = {"reason": str(stage), **({"message": message} if message else {})}
    states = {
        Stage.READY: {"running": {"startedAt": now}},
        Stage.FINISHED: {"terminated": {"exitCode": 0, "reason": str(stage), "finishedAt": now}},
    }
    phases = {True: "Pending", False: "Succeeded" if stage is Stage.FINISHED else "Running"}
    told = {
        "name": container,
        "image": IMAGE,
        "imageID": "",
        "ready": is_ready,
        "started": is_ready,
        "restartCount": restarts,
        "state": states.get(stage, {"waiting": waiting}),
    }
    return {
        "phase": phases[is_pending],
        "podIP": ip,
        "podIPs": [{"ip": ip}],
        "conditions": [
            {"type": "Initialized", "status": "True", "lastTransitionTime": now},
            {"type": "ContainersReady", **ready},
            {"type": "Ready", **ready},
        ],
        "containerStatuses": [told],
    }
