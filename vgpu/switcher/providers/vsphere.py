"""vSphere: machines of a vCenter by pyVmomi.

What is asked becomes a task of vCenter. It is looked at for a moment, so that most refusals come at once; a longer one
goes on by itself while `look` says CHANGING, which holds for a switcher that started anew as well, since vCenter names
a machine's tasks. A task that failed later is reported when the same is asked of the machine again.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pyVmomi import vim, vmodl

from vgpu.core.profile import Profile
from vgpu.core.switching.seen import Capabilities, MachineSeen, MachineState
from vgpu.switcher.providers import vsphere_capabilities as facts
from vgpu.switcher.providers import vsphere_inventory as inventory
from vgpu.switcher.providers.port import Provider, ProviderError
from vgpu.switcher.providers.settings import Vsphere
from vgpu.switcher.providers.vsphere_changes import relocation, snapshot_names, vgpu_spec
from vgpu.switcher.providers.vsphere_faults import provider_error
from vgpu.switcher.providers.vsphere_machines import Asked, Found, look
from vgpu.switcher.providers.vsphere_session import Login, Session

# How long a task is looked at before it is left to itself.
SETTLE_S = 2.0
SETTLE_EACH_S = 0.2
# How long a guest may take to shut down before its power is cut.
SHUTDOWN_S = 120.0
# When nobody has come to cut it so long after that bound, it was another switch that asked the guest.
FORGOTTEN_S = 300.0


def open(settings: Vsphere) -> Provider:
    """A provider of this vCenter; it logs in when it is first asked something."""
    return VsphereProvider(Session(settings), settings.datacenter)


@dataclass(frozen=True, slots=True)
class At:
    """One machine within one login, and what was found of it just now."""

    login: Login
    name: str
    what: str
    machine: Any
    seen: MachineSeen
    facts: facts.Facts
    failed: Exception | None

    def need(self, capability: str) -> None:
        """Raises the permanent `ProviderError` with the reason where this capability is not there."""
        if why := facts.decide(self.facts).why_not.get(capability):
            raise ProviderError(self.what, why, permanent=True)


Ways = Mapping[MachineState, Callable[[At], Any]]


class VsphereProvider:
    """The port over one vCenter. `settle_s` and `shutdown_s` are the bounds of the module, shorter in tests."""

    def __init__(
        self,
        session: Session,
        datacenter: str = "",
        *,
        settle_s: float = SETTLE_S,
        shutdown_s: float = SHUTDOWN_S,
        now_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._session = session
        self._datacenter = datacenter
        self._settle_s = settle_s
        self._shutdown_s = shutdown_s
        self._now_s = now_s
        self._sleep = sleep
        self._asked: dict[str, Asked] = {}
        self._shutting_down_since_s: dict[str, float] = {}

    def capabilities(self, machine: str) -> Capabilities:
        """What the machine, its host, its vGPU, the vCenter and the user's privileges allow."""
        what = f"ask what can be done with machine {machine!r}"

        def operation(login: Login) -> Capabilities:
            found = self._find(login, [machine]).get(machine)
            if found is None:
                raise _unknown(what)
            return facts.decide(facts.gather(login, found.machine))

        return self._session.run(what, operation)

    def look(self, machines: Sequence[str]) -> Mapping[str, MachineSeen]:
        """All machines and their tasks by one call."""

        def operation(login: Login) -> Mapping[str, MachineSeen]:
            return {name: found.seen for name, found in self._find(login, machines).items()}

        return self._session.run("look at the machines", operation)

    def suspend(self, machine: str) -> None:
        """Ask for its suspension."""
        ways: Ways = {MachineState.RUNNING: lambda at: at.machine.SuspendVM_Task()}
        self._change(machine, "suspend", MachineState.SUSPENDED, ways)

    def resume(self, machine: str) -> None:
        """Ask a suspended machine to go on."""
        ways: Ways = {MachineState.SUSPENDED: lambda at: at.machine.PowerOnVM_Task()}
        self._change(machine, "resume", MachineState.RUNNING, ways)

    def power_off(self, machine: str) -> None:
        """Ask its guest to shut down where VMware Tools run there; after a bound, and else at once, cut its power."""
        ways: Ways = {
            MachineState.RUNNING: self._shut_down,
            MachineState.SUSPENDED: lambda at: at.machine.PowerOffVM_Task(),
        }
        self._change(machine, "power_off", MachineState.OFF, ways)

    def power_on(self, machine: str) -> None:
        """Ask for its start."""
        ways: Ways = {MachineState.OFF: lambda at: at.machine.PowerOnVM_Task()}
        self._change(machine, "power_on", MachineState.RUNNING, ways)

    def set_profile(self, machine: str, profile: Profile) -> None:
        """Put one vGPU of this profile in the place of those that the machine has."""

        def operation(at: At) -> None:
            if at.seen.profile == profile.label:
                return
            if at.seen.state is not MachineState.OFF:
                raise _not_now(at, "power it off first")
            spec = vgpu_spec(at.login, at.machine, profile)
            self._ask(at, "set_profile", lambda: at.machine.ReconfigVM_Task(spec))

        self._do(machine, "set_profile", f"give machine {machine!r} a vGPU {profile.name}", operation)

    def set_config(self, machine: str, config: str) -> None:
        """Nothing is recut in place here."""
        self._do(machine, "set_config", f"recut machine {machine!r}", lambda at: None, needs="recuts_in_place")

    def snapshot(self, machine: str, name: str) -> None:
        """Keep the machine under this name, with its memory where it runs and machine, host and vGPU can."""

        def operation(at: At) -> None:
            known = inventory.read_one(at.login, at.machine, VirtualMachine=["snapshot"]).get("snapshot")
            if known is not None and name in snapshot_names(known.rootSnapshotList):
                return
            memory = facts.with_memory(at.facts)
            create = at.machine.CreateSnapshot_Task
            self._ask(at, "snapshot", lambda: create(name, "taken by vgpu-serve before a switch", memory, False))

        self._do(machine, "snapshot", f"take snapshot {name!r} of machine {machine!r}", operation, needs="snapshot")

    def migrate(self, machine: str, host: str) -> None:
        """Move the machine to this host, into the root pool of its cluster where that is another one."""

        def operation(at: At) -> None:
            if at.seen.state is MachineState.RUNNING:
                at.need("live_migrate")
            spec = relocation(at.login, at.machine, host, at.what)
            if spec is not None:
                self._ask(at, "migrate", lambda: at.machine.RelocateVM_Task(spec))

        self._do(machine, "migrate", f"move machine {machine!r} to host {host!r}", operation)

    def close(self) -> None:
        """Log out."""
        self._session.close()

    def _find(self, login: Login, names: Sequence[str]) -> dict[str, Found]:
        found: dict[str, Found] = {}
        for _ in range(2):
            found = look(login, inventory.machines(login, self._datacenter, names), self._asked)
            # One that was removed or renamed since it was found may be there again, as another object of that name.
            gone = [name for name in names if name in login.machines and name not in found]
            for name in gone:
                del login.machines[name]
            if not gone:
                break
        return {name: self._in_shutdown(name, one) for name, one in found.items()}

    def _in_shutdown(self, name: str, found: Found) -> Found:
        since_s = self._shutting_down_since_s.get(name)
        if since_s is None or found.seen.state is MachineState.CHANGING:
            return found
        if found.seen.state is not MachineState.RUNNING:
            del self._shutting_down_since_s[name]
        elif self._now_s() - since_s < self._shutdown_s:
            return replace(found, seen=replace(found.seen, state=MachineState.CHANGING))
        return found

    def _do(self, machine: str, operation: str, what: str, do: Callable[[At], None], needs: str = "") -> None:
        """Do something with a machine that has the capability it needs, and on which nothing is under way."""

        def run(login: Login) -> None:
            found = self._find(login, [machine]).get(machine)
            if found is None:
                raise _unknown(what)
            at = At(login, machine, what, found.machine, found.seen, facts.gather(login, found.machine), None)
            if needs:
                at.need(needs)
            if found.seen.state is MachineState.CHANGING:
                return
            before = self._asked.pop(machine, None)
            if before is not None and found.failed is not None:
                # What goes on after a snapshot relies on it.
                if before.operation == "snapshot":
                    raise provider_error(before.what, found.failed)
                if before.operation == operation:
                    at = replace(at, failed=found.failed)
            do(at)

        self._session.run(what, run)

    def _change(self, machine: str, operation: str, goal: MachineState, ways: Ways) -> None:
        def do(at: At) -> None:
            if at.seen.state is goal:
                return
            if at.seen.state not in ways:
                raise _not_now(at, f"only a machine that is {' or '.join(ways)} can")
            self._ask(at, operation, lambda: ways[at.seen.state](at))

        self._do(machine, operation, f"{operation.replace('_', ' ')} machine {machine!r}", do, needs=operation)

    def _shut_down(self, at: At) -> Any:  # noqa: ANN401 - pyVmomi's types are made at run time
        """The task that cuts the power; None while the guest has been asked to shut down."""
        tools = inventory.read_one(at.login, at.machine, VirtualMachine=["guest.toolsRunningStatus"])
        since_s = self._shutting_down_since_s.get(at.name, float("-inf"))
        was_asked = self._now_s() - since_s < self._shutdown_s + FORGOTTEN_S
        if was_asked or tools.get("guest.toolsRunningStatus") != "guestToolsRunning":
            return at.machine.PowerOffVM_Task()
        try:
            at.machine.ShutdownGuest()
        except (vim.fault.ToolsUnavailable, vmodl.fault.NotSupported):
            return at.machine.PowerOffVM_Task()
        self._shutting_down_since_s[at.name] = self._now_s()
        return None

    def _ask(self, at: At, operation: str, ask: Callable[[], Any]) -> None:
        """Ask for a task and look at it for a moment; or instead say why the one asked for before has failed."""
        if at.failed is not None:
            raise provider_error(at.what, at.failed)
        task = ask()
        if task is None:
            return
        self._asked[at.name] = Asked(operation, at.what, task._moId)
        until_s = self._now_s() + self._settle_s
        while True:
            info = inventory.read_one(at.login, task, Task=["info"]).get("info")
            if info is None or info.state not in ("queued", "running"):
                break
            if self._now_s() >= until_s:
                return
            self._sleep(SETTLE_EACH_S)
        del self._asked[at.name]
        if info is not None and info.error is not None:
            raise provider_error(at.what, info.error)


def _unknown(what: str) -> ProviderError:
    return ProviderError(what, "there is no such machine, or the user may not see it", permanent=True)


def _not_now(at: At, remedy: str) -> ProviderError:
    unknown = at.seen.state is MachineState.UNKNOWN
    why = at.seen.fault if unknown else f"it is {at.seen.state}; {remedy}"
    return ProviderError(at.what, why, permanent=not unknown)
