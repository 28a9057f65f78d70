"""NVIDIA's node agents as a node sees them: mig-manager and vgpu-device-manager, step by step at a test's word.

Both follow the node's label by a watch and wait on a condition (`SyncableMigConfig`, `SyncableVGPUConfig` in their
sources): a waiting agent wakes when the label is set to a name, and takes the last one; an agent at work looks, when it
has ended, whether the label is still what it last took.
"""

import threading
from dataclasses import dataclass, field

from tests.fakes.waiting import eventually
from vgpu.adapters.kube import NODES, Kube, Selection
from vgpu.adapters.kube_watch import DeltaKind, Reflector
from vgpu.switcher.providers.node_config import PAUSED, PREFIX_OPERAND, Agent

PLUGIN = f"{PREFIX_OPERAND}device-plugin"


@dataclass
class NodeAgent:
    """Follows one node; `applied` is how its card is cut, `last` the name taken last."""

    client: Kube
    node: str
    labels: Agent
    applied: str = ""
    last: str = ""
    at_work: str | None = None
    _heard: list[str] = field(default_factory=list)
    _reflector: Reflector | None = None

    def start(self) -> None:
        """Begin to follow, as after a boot: the label there is taken up anew."""
        self._heard.clear()
        self.last = ""
        self._reflector = self.client.watch(Selection(kind=NODES, fields=f"metadata.name={self.node}"))
        threading.Thread(target=self._follow, args=(self._reflector,), daemon=True).start()

    def stop(self) -> None:
        if self._reflector is not None:
            self._reflector.stop()

    def _follow(self, reflector: Reflector) -> None:
        current = ""
        for delta in reflector.deltas():
            if delta.kind not in (DeltaKind.ADDED, DeltaKind.MODIFIED):
                continue
            value = delta.item["metadata"].get("labels", {}).get(self.labels.config, "")
            if value != current:
                current = value
                self._heard.append(value)

    def hears(self, *names: str) -> None:
        """Wait until the watch has brought these values, in this order, since it last took one."""
        eventually(lambda: tuple(self._heard), lambda heard: heard == names)

    def is_woken(self) -> bool:
        """Whether a waiting agent has something to do."""
        return any(self._heard)

    def take(self) -> None:
        """Take the label's value: where the card is cut so already it is a success at once, else work begins."""
        assert self.at_work is None
        assert self.is_woken()
        self._take(self._heard[-1])

    def end(self, *, fails: bool = False, leaves_paused: bool = False, loses_state: bool = False) -> None:
        """End the work. Then, if the label has changed meanwhile, another begins at `take_next`."""
        assert self.at_work is not None
        if not fails:
            self.applied = self.at_work
        self.at_work = None
        if not leaves_paused:
            self._write(PLUGIN, "true")
        if not loses_state:
            self._write(self.labels.state, "failed" if fails else "success")

    def take_next(self) -> None:
        """What an agent that was at work does after it: take the label where it is not what it took last."""
        assert self.at_work is None
        if self._heard and self._heard[-1] != self.last:
            self._take(self._heard[-1])

    def _take(self, name: str) -> None:
        self._heard.clear()
        self.last = name
        if name == self.applied:
            self._write(self.labels.state, "success")
            return
        self._write(self.labels.state, "pending")
        self._write(PLUGIN, f"{PAUSED}change")
        self.at_work = name

    def _write(self, label: str, value: str) -> None:
        self.client.label_node(self.node, {label: value})
