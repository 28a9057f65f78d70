"""The `ray start` of a head and of a worker, as one command line. Pure.

One rule for containers and for the embedded installation: the head holds no slot, a worker offers exactly one. Ray's
own counts of CPUs and GPUs place nothing here.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from vgpu.core import names

POD_IP = "POD_IP"  # in a container's environment, by the downward API: status.podIP
RAY = Path(sys.executable).with_name("ray")
AGENT_PORT = 52365
"""Where Ray's agent on each node answers its health; Ray's own default."""
# Serve passes requests by HTTP and hardly uses the store: little above the least that Ray takes, 75 MiB.
OBJECT_STORE_BYTES = 80_000_000


class StartRefused(Exception):
    """A container cannot start; the message has one line for each problem."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a container's first process becomes."""

    command: list[str]
    environment: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What head and worker have in common: an address, and a folder for Ray's sessions."""

    ip: str
    temp_dir: Path
    agent_port: int | None = AGENT_PORT
    """None leaves the choice to Ray: where several nodes share a machine."""
    ray: Path = RAY


def head_command(node: Node, *, port: int, dashboard_host: str, dashboard_port: int, client_port: int) -> list[str]:
    """Begin a cluster; what needs no slot runs here."""
    return [
        str(node.ray),
        "start",
        "--head",
        "--block",
        *_options(node),
        f"--port={port}",
        f"--ray-client-server-port={client_port}",
        f"--dashboard-host={dashboard_host}",
        f"--dashboard-port={dashboard_port}",
        f'--resources={{"{names.RAY_RESOURCE_HEAD}": 1}}',
    ]


def worker_command(node: Node, *, address: str, slot_label: str, worker: str) -> list[str]:
    """Join the cluster at `address` with one slot of this type, as the worker pod of this name."""
    return [
        str(node.ray),
        "start",
        f"--address={address}",
        "--block",
        *_options(node),
        f"--labels={names.LABEL_PROFILE}={slot_label},{names.LABEL_WORKER}={worker}",
        f'--resources={{"{names.RAY_RESOURCE_SLOT}": 1}}',
    ]


def _options(node: Node) -> list[str]:
    return [
        f"--node-ip-address={node.ip}",
        *([] if node.agent_port is None else [f"--dashboard-agent-listen-port={node.agent_port}"]),
        "--num-cpus=1",
        "--num-gpus=0",
        "--min-worker-port=0",
        "--max-worker-port=0",
        f"--object-store-memory={OBJECT_STORE_BYTES}",
        "--disable-usage-stats",
        "--include-log-monitor=false",
        f"--temp-dir={node.temp_dir}",
    ]
