"""The JSON of worker pods and of their status, as the embedded kubelet reads and writes it. Pure."""

import sys
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from vgpu.core import names

Json = dict[str, Any]

RAY_START = ("ray", "start")
WORKER_CONTAINER = "worker"
GRACE_S = 60


def pool_manifest(name: str, *, namespace: str, slot_label: str, replicas: int, ray_address: str) -> Json:
    """A worker pool: a Deployment whose pods each hold one slot of one type and run one Ray node."""
    labels = {names.LABEL_POOL: name, "app.kubernetes.io/name": "vgpu-serve", "app.kubernetes.io/component": "worker"}
    container = {
        "name": WORKER_CONTAINER,
        "image": "vgpu-serve/serving:0.1.0",
        "command": [*RAY_START, f"--address={ray_address}", "--block"],
        "resources": {"limits": {names.RESOURCE_GPU: "1"}, "requests": {names.RESOURCE_GPU: "1"}},
    }
    spec = {
        "nodeSelector": {names.LABEL_PROFILE: slot_label},
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


def refusal(pod: Json) -> str | None:
    """Why the embedded kubelet does not run this pod, or None."""
    containers = pod["spec"]["containers"]
    if len(containers) != 1 or tuple(containers[0].get("command") or ())[:2] != RAY_START:
        return "the embedded kubelet runs pods of one container whose command is `ray start`, nothing else"
    return None


def environment(pod: Json) -> Mapping[str, str]:
    """The container's own variables that have plain values."""
    entries = pod["spec"]["containers"][0].get("env") or ()
    return {entry["name"]: entry["value"] for entry in entries if "value" in entry}


def ray_command(pod: Json, *, ray_ip: str, slot_label: str, scratch: Path) -> list[str]:
    """The pod's `ray start`, with what one machine for all nodes needs: its address, no fixed ports, one slot.

    A folder of its own: Ray nodes that start at once in one folder take the same socket name (2.60), and one dies.
    """
    given = pod["spec"]["containers"][0]["command"][2:]
    labels = f"{names.LABEL_PROFILE}={slot_label},{names.LABEL_WORKER}={pod['metadata']['name']}"
    return [
        str(Path(sys.executable).with_name("ray")),
        "start",
        *given,
        f"--node-ip-address={ray_ip}",
        f"--labels={labels}",
        f'--resources={{"{names.RAY_RESOURCE_SLOT}": 1}}',
        "--num-cpus=1",
        "--num-gpus=0",
        "--min-worker-port=0",
        "--max-worker-port=0",
        "--object-store-memory=80000000",
        "--disable-usage-stats",
        "--include-log-monitor=false",
        f"--temp-dir={scratch / pod['metadata']['uid'][:8]}",
    ]


def address(node_index: int, uid: str) -> str:
    """A pod's own loopback address: the second byte is the node's, the last two come from the pod's uid."""
    digest = sha256(uid.encode()).digest()
    return f"127.{1 + node_index % 250}.{digest[0]}.{1 + digest[1] % 254}"


def node_address(node_index: int) -> str:
    """A node's own loopback address."""
    return f"127.{1 + node_index % 250}.0.1"


def node_status(node_index: int, now: str, version: str) -> Json:
    """A node that is up, with one slot."""
    amounts = {names.RESOURCE_GPU: "1", "pods": "1"}
    return {
        "capacity": amounts,
        "allocatable": amounts,
        "addresses": [{"type": "InternalIP", "address": node_address(node_index)}],
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "reason": "KubeletReady",
                "message": "the embedded kubelet is running",
                "lastHeartbeatTime": now,
            }
        ],
        "nodeInfo": {"kubeletVersion": version, "osImage": "emulated vGPU guest"},
    }


def starting_status(ip: str, now: str, *, restarts: int) -> Json:
    """The process is starting and its Ray node has not joined yet."""
    state = {"waiting": {"reason": "ContainerCreating"}}
    return _status("Pending", ip, now, is_ready=False, reason="ContainersNotReady", state=state, restarts=restarts)


def ready_status(ip: str, now: str, *, restarts: int) -> Json:
    """The Ray node has joined: a replica may come."""
    state = {"running": {"startedAt": now}}
    return _status("Running", ip, now, is_ready=True, reason=None, state=state, restarts=restarts)


def crashed_status(ip: str, now: str, *, restarts: int) -> Json:
    """The process ended and will be started again."""
    state = {"waiting": {"reason": "CrashLoopBackOff"}}
    return _status("Running", ip, now, is_ready=False, reason="ContainersNotReady", state=state, restarts=restarts)


def failed_status(message: str, now: str) -> Json:
    """The pod will never run here."""
    return {"phase": "Failed", "reason": "Refused", "message": message, "startTime": now}


def _status(phase: str, ip: str, now: str, *, is_ready: bool, reason: str | None, state: Json, restarts: int) -> Json:
    ready = "True" if is_ready else "False"
    conditions: list[Json] = [
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": now},
        {"type": "Initialized", "status": "True", "lastTransitionTime": now},
        {"type": "ContainersReady", "status": ready, "lastTransitionTime": now},
        {"type": "Ready", "status": ready, "lastTransitionTime": now, **({"reason": reason} if reason else {})},
    ]
    container = {
        "name": WORKER_CONTAINER,
        "image": "vgpu-serve/serving:0.1.0",
        "imageID": "",
        "ready": is_ready,
        "started": is_ready,
        "restartCount": restarts,
        "state": state,
    }
    return {
        "phase": phase,
        "podIP": ip,
        "podIPs": [{"ip": ip}],
        "conditions": conditions,
        "containerStatuses": [container],
    }
