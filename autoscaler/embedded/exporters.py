"""The exporter of every emulated node: there while its node is up, as a DaemonSet's pod is."""

import sys
from collections.abc import Collection
from pathlib import Path

from autoscaler.adapters.cluster import EXPORTER_METRICS_PORT
from autoscaler.embedded import pods
from autoscaler.embedded.fleet import Fleet
from autoscaler.embedded.processes import Child, Children, Command
from vgpu.core import names


def nvml_state(scratch: Path, node: str) -> Path:
    """What NVML shows on a node: its emulated card writes it, its exporter reads it."""
    return scratch / f"{node}.nvml"


class Exporters:
    """Starts and stops them. A node that sleeps answers nobody, so what would answer for it is ended."""

    def __init__(self, fleet: Fleet, *, scratch: Path, children: Children, python: str = sys.executable) -> None:
        self._commands = {
            node: _command(python, node, f"{pods.node_address(index)}:{EXPORTER_METRICS_PORT}", scratch)
            for index, node in enumerate(fleet.nodes)
        }
        self._children = children
        self._running: dict[str, Child] = {}

    def keep(self, up: Collection[str]) -> None:
        """Bring what runs in line with which nodes are up; one that has ended by itself is started again."""
        for node, command in self._commands.items():
            if node in up and node not in self._running:
                self._running[node] = self._children.start(command)
            elif node not in up and node in self._running:
                self._children.kill(self._running.pop(node))
        self._children.check()


def _command(python: str, node: str, listen: str, scratch: Path) -> Command:
    arguments = [python, "-m", "vgpu.exporter", "--node", node, "--listen", listen, "--fake-nvml"]
    environment = {names.ENV_FAKE_NVML_STATE: str(nvml_state(scratch, node))}
    return Command(name=f"exporter-{node}", arguments=arguments, environment=environment, kept=True)
