"""Cards that are recut in place by an agent on their node, which is told by a node label: `mig` and
`vgpu_device_manager`.

Both of NVIDIA's agents keep one protocol (mig-parted `cmd/nvidia-mig-manager` and `pkg/mig/reconfigure`,
vgpu-device-manager `cmd/nvidia-k8s-vgpu-dm`, 2026-08): whoever wants a configuration writes its name into one label;
the agent takes a *change* of it up, stops what uses the card by setting `nvidia.com/gpu.deploy.*` to `paused-for-…`,
recuts, starts that again, and writes how it went into another label. What follows from it:

- **A state outlives its configuration.** Between a new name and the agent's `pending` the state is still the last
  one's `success`, and where the card is cut so already there is no `pending` at all. So the state is removed in the
  patch that writes the name: a state that is there was written since. No state means: not taken up yet.
- **An agent that is overtaken ends its work first**, writes the state of that, and only then begins with the new
  name. A state after the label was changed under an agent at work is believed when it has stood for `SETTLE_S`.
- **The same name again is no change.** To have a failed one tried again the label is removed and written anew.
- **A success can leave what it stopped stopped** (vgpu-device-manager only logs it when starting again fails; a
  mig-manager that failed may not start it at all). Without the device plugin the node offers nothing: this is a fault.
- **A state can outlive a boot**, after which nothing is cut until the agent has run. The step that follows, which
  waits for the node's own offer, sees that; this module cannot.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import NoReturn

from vgpu.adapters.kube import NODES, Conflict, NotFound, Unavailable
from vgpu.adapters.kube_verbs import Verbs
from vgpu.core.profile import Profile
from vgpu.core.switching.seen import Capabilities, MachineSeen, MachineState
from vgpu.switcher.providers.port import Provider, ProviderError
from vgpu.switcher.providers.settings import Mig, ProviderSettings

SETTLE_S = 15.0  # an agent that is overtaken needs a few seconds to see that the card is cut otherwise
PREFIX_OPERAND, PAUSED = "nvidia.com/gpu.deploy.", "paused-for-"
_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_IN_PLACE = "a node's agent recuts its card in place: the node runs on"


@dataclass(frozen=True, slots=True)
class Agent:
    """Who recuts, and by which labels."""

    name: str
    config: str
    state: str


MIG_MANAGER = Agent("mig-manager", "nvidia.com/mig.config", "nvidia.com/mig.config.state")
VGPU_DEVICE_MANAGER = Agent("vgpu-device-manager", "nvidia.com/vgpu.config", "nvidia.com/vgpu.config.state")


def open(settings: ProviderSettings, kube: Verbs) -> Provider:
    """A provider by the node labels of the agent that `settings` are of: mig-manager, else vgpu-device-manager."""
    return NodeConfig(MIG_MANAGER if isinstance(settings, Mig) else VGPU_DEVICE_MANAGER, kube)


class NodeConfig:
    """See `Provider`. A machine is a node."""

    def __init__(self, agent: Agent, kube: Verbs, *, clock: Callable[[], float] = monotonic) -> None:
        self._agent = agent
        self._kube = kube
        self._clock = clock
        self._overtaken: dict[str, float | None] = {}  # node -> since when its state is seen

    def __repr__(self) -> str:
        return f"NodeConfig({self._agent.name!r})"

    def capabilities(self, machine: str) -> Capabilities:
        self._labels(f"ask what {machine} can do", machine)
        names = ("suspend", "resume", "power_off", "power_on", "snapshot", "live_migrate")
        return Capabilities(recuts_in_place=True, why_not=dict.fromkeys(names, _IN_PLACE))

    def look(self, machines: Sequence[str]) -> Mapping[str, MachineSeen]:
        found = {}
        for machine in machines:
            labels = self._read("look", machine)
            if labels is not None:
                found[machine] = self._seen(machine, labels)
        return found

    def set_config(self, machine: str, config: str) -> None:
        what = f"set {self._agent.config}={config} on {machine}"
        if not _LABEL_VALUE.fullmatch(config):
            raise ProviderError(what, "a configuration's name must be a label value", permanent=True)
        labels = self._labels(what, machine)
        there, state = labels.get(self._agent.config), labels.get(self._agent.state)
        if there == config and state != "failed":
            return
        if there == config:
            self._write(what, machine, {self._agent.config: None, self._agent.state: None})
        # An agent may be at work where one has begun, and where a name has not been taken up yet.
        is_overtaken = state in ("pending", "rebooting") or (there is not None and state is None)
        self._write(what, machine, {self._agent.config: config, self._agent.state: None})
        if is_overtaken:
            self._overtaken[machine] = None
        else:
            self._overtaken.pop(machine, None)

    def _seen(self, machine: str, labels: Mapping[str, str]) -> MachineSeen:
        config, state = labels.get(self._agent.config, ""), labels.get(self._agent.state, "")
        has_ended = state in ("success", "failed") or (not config and not state)  # or nobody ever asked for anything
        if not self._stands(machine, has_ended=has_ended):
            return MachineSeen(state=MachineState.CHANGING, config=config)
        fault = self._fault(labels, config or "its default") if state else ""
        return MachineSeen(state=MachineState.RUNNING, config=config, fault=fault)  # the node itself runs on

    def _fault(self, labels: Mapping[str, str], config: str) -> str:
        agent = self._agent.name
        if labels[self._agent.state] == "failed":
            return f"{agent} reports {config} as failed; its log says why"
        stopped = sorted(
            name for name, value in labels.items() if name.startswith(PREFIX_OPERAND) and value.startswith(PAUSED)
        )
        return f"{agent} reports success and left {', '.join(stopped)} paused; set it to true" if stopped else ""

    def _stands(self, machine: str, *, has_ended: bool) -> bool:
        """Whether a state is of the configuration asked for last. After a restart of ours it is taken to be."""
        if machine not in self._overtaken:
            return has_ended
        since_s = self._overtaken[machine]
        if not has_ended:
            if since_s is not None:  # what had ended is followed by something: by the configuration asked for last
                del self._overtaken[machine]
            return False
        if since_s is None:
            self._overtaken[machine] = self._clock()
        elif self._clock() - since_s >= SETTLE_S:
            del self._overtaken[machine]
            return True
        return False

    def suspend(self, machine: str) -> None:
        self._refuse(f"suspend {machine}", machine)

    def resume(self, machine: str) -> None:
        self._refuse(f"resume {machine}", machine)

    def power_off(self, machine: str) -> None:
        self._refuse(f"power off {machine}", machine)

    def power_on(self, machine: str) -> None:
        self._refuse(f"power on {machine}", machine)

    def set_profile(self, machine: str, profile: Profile) -> None:
        self._refuse(f"set profile of {machine}", machine)

    def snapshot(self, machine: str, name: str) -> None:
        self._refuse(f"snapshot {machine}", machine)

    def migrate(self, machine: str, host: str) -> None:
        self._refuse(f"migrate {machine}", machine)

    def close(self) -> None:
        """The client of Kubernetes belongs to whoever gave it."""

    def _refuse(self, what: str, machine: str) -> NoReturn:
        self._labels(what, machine)
        raise ProviderError(what, _IN_PLACE, permanent=True)

    def _labels(self, what: str, node: str) -> Mapping[str, str]:
        labels = self._read(what, node)
        if labels is None:
            raise ProviderError(what, f"there is no node {node}", permanent=True)
        return labels

    def _read(self, what: str, node: str) -> Mapping[str, str] | None:
        """The node's labels; None where there is no such node."""
        try:
            labels: dict[str, str] = self._kube.read(NODES, node)["metadata"].get("labels", {})
        except NotFound:
            return None
        except (Unavailable, Conflict) as fault:
            raise ProviderError(what, str(fault), permanent=False) from fault
        return labels

    def _write(self, what: str, node: str, labels: Mapping[str, str | None]) -> None:
        try:
            self._kube.label_node(node, labels)
        except (Unavailable, Conflict, NotFound) as fault:
            raise ProviderError(what, str(fault), permanent=isinstance(fault, NotFound)) from fault
