"""What the switcher asks beside Kubernetes: a hypervisor and an autoscaler in virtual time."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from vgpu.core.profile import Profile
from vgpu.core.switching.seen import Capabilities, MachineSeen, MachineState, Missing
from vgpu.switcher.connections import Connections, Open
from vgpu.switcher.providers.port import Provider, ProviderError
from vgpu.switcher.providers.settings import ProviderSettings
from vgpu.switcher.room import Wanted

INTERVAL_S = 2.0


@dataclass
class Machine:
    """One virtual machine."""

    profile: str
    state: MachineState = MachineState.RUNNING
    becomes: MachineState | None = None
    at_s: float = 0.0


@dataclass
class Hypervisor:
    """A provider whose machines take two passes to change. `broken` is asked before each call, by its name."""

    machines: dict[str, Machine]
    now_s: Callable[[], float]
    broken: Callable[[str], ProviderError | None] = lambda operation: None
    heard: Callable[[], None] = lambda: None
    """Called when an operation has been asked for."""
    stands_still: bool = False
    asked: list[str] = field(default_factory=list)

    def capabilities(self, machine: str) -> Capabilities:
        self._call("capabilities", machine)
        return Capabilities(suspend=True, resume=True, power_off=True, power_on=True, snapshot=True, live_migrate=True)

    def look(self, machines: Sequence[str]) -> Mapping[str, MachineSeen]:
        self._call("look", "")
        return {name: self._seen(self.machines[name]) for name in machines}

    def suspend(self, machine: str) -> None:
        self._ask("suspend", machine, MachineState.SUSPENDED)

    def resume(self, machine: str) -> None:
        self._ask("resume", machine, MachineState.RUNNING)

    def power_off(self, machine: str) -> None:
        self._ask("power_off", machine, MachineState.OFF)

    def power_on(self, machine: str) -> None:
        self._ask("power_on", machine, MachineState.RUNNING)

    def set_profile(self, machine: str, profile: Profile) -> None:
        self._call("set_profile", machine)
        self.machines[machine].profile = profile.label

    def set_config(self, machine: str, config: str) -> None:
        raise ProviderError(f"set {config} on {machine}", "recuts nothing in place", permanent=True)

    def snapshot(self, machine: str, name: str) -> None:
        self._call("snapshot", machine)

    def migrate(self, machine: str, host: str) -> None:
        self._call("migrate", machine)

    def close(self) -> None:
        return

    def is_running(self, machine: str) -> bool:
        """Whether its kubelet lives."""
        return self._seen(self.machines[machine]).state is MachineState.RUNNING

    def _call(self, operation: str, machine: str) -> None:
        if operation not in ("look", "capabilities"):
            self.asked.append(f"{operation} {machine}")
        if (fault := self.broken(operation)) is not None:
            raise fault

    def _ask(self, operation: str, name: str, state: MachineState) -> None:
        self._call(operation, name)
        machine = self.machines[name]
        if machine.becomes is not state and machine.state is not state:
            machine.becomes, machine.at_s = state, self.now_s() + 1.5 * INTERVAL_S
        self.heard()

    def _seen(self, machine: Machine) -> MachineSeen:
        if machine.becomes is not None and self.now_s() >= machine.at_s and not self.stands_still:
            machine.state, machine.becomes = machine.becomes, None
        state = machine.state if machine.becomes is None else MachineState.CHANGING
        return MachineSeen(state=state, profile=machine.profile)


@dataclass
class Serving:
    """An autoscaler: a worker on each small slot of gpu-a's day, moved elsewhere once its node is leaving."""

    state: tuple[Wanted, ...] | Missing
    moves: bool = True

    def wanted(self) -> tuple[Wanted, ...] | Missing:
        return self.state


class SlowConnections(Connections):
    """Providers of which some wait for something before they answer."""

    def __init__(self, connect: Open, slow: Mapping[str, threading.Event]) -> None:
        super().__init__(connect)
        self._slow = slow

    @contextmanager
    def using(self, name: str, settings: ProviderSettings, operation: str) -> Iterator[Provider]:
        with super().using(name, settings, operation) as provider:
            if name in self._slow:
                self._slow[name].wait(30)
            yield provider
