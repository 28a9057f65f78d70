"""What machines of a vCenter are doing, with the tasks that are under way on them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyVmomi import vim

from vgpu.core.switching.seen import MachineSeen, MachineState
from vgpu.switcher.providers.vsphere_capabilities import STATES, label, passed_through, vgpu_types
from vgpu.switcher.providers.vsphere_inventory import is_called, read
from vgpu.switcher.providers.vsphere_session import Login

# The tasks that a machine's state waits for, as vCenter describes them; a clone or a backup may go on beside.
_OPERATIONS = ("powerOn", "powerOff", "suspend", "reset", "reconfigure", "relocate", "migrate", "createSnapshot")
CHANGES = frozenset(f"VirtualMachine.{name}" for name in _OPERATIONS) | {
    # What DRS does with a machine of its cluster.
    "Drm.ExecuteVmPowerOnLRO",
    "Drm.ExecuteVMotionLRO",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A task asked for: the operation of the port that it belongs to, that in words, and its key in vCenter."""

    operation: str
    what: str
    key: str


@dataclass(frozen=True, slots=True)
class Found:
    """A machine and what is seen of it; `failed` is the fault that ended the task asked for, if one did."""

    machine: Any
    seen: MachineSeen
    failed: Exception | None = None


def look(login: Login, machines: Mapping[str, Any], asked: Mapping[str, Asked]) -> dict[str, Found]:
    """All of these at once, by their names; without those that are not there, or not called so, any more."""
    tasks = [vim.Task(asked[name].key) for name in machines if name in asked]
    read_now = read(
        login,
        [*machines.values(), *tasks],
        through="recentTask",
        VirtualMachine=["name", "runtime.powerState", "runtime.connectionState", "config.hardware.device"],
        Task=["info"],
    )
    infos = {task._moId: seen["info"] for task, seen in read_now.items() if "info" in seen}
    busy = {info.entity for info in infos.values() if _changes(info, asked)}
    return {
        name: Found(machine, seen_of(read_now[machine], busy=machine in busy), _fault(infos, asked.get(name)))
        for name, machine in machines.items()
        if machine in read_now and is_called(name, read_now[machine].get("name"))
    }


def seen_of(properties: Mapping[str, Any], *, busy: bool) -> MachineSeen:
    """One machine: its power state, unless its host is away or a task is under way; and its vGPUs' profile.

    A machine without a vGPU has the profile "none", so that one is given to it where a layout wants that; unless it was
    given a whole device, of which nobody knows here what it is.
    """
    devices = properties.get("config.hardware.device")
    profile = "+".join(sorted({label(name) for name in vgpu_types(devices)}))
    if devices and not passed_through(devices):
        profile = "none"
    connection = str(properties.get("runtime.connectionState", "unknown"))
    power = str(properties.get("runtime.powerState", "unknown"))
    if connection != "connected" or power not in STATES:
        fault = f"vCenter says that the machine is {connection}, its power {power}"
        return MachineSeen(state=MachineState.UNKNOWN, profile=profile, fault=fault)
    return MachineSeen(state=MachineState.CHANGING if busy else STATES[power], profile=profile)


def _changes(info: Any, asked: Mapping[str, Asked]) -> bool:  # noqa: ANN401 - pyVmomi's types are made at run time
    ours = any(info.key == one.key for one in asked.values())
    return info.state in ("queued", "running") and (ours or info.descriptionId in CHANGES)


def _fault(infos: Mapping[str, Any], asked: Asked | None) -> Exception | None:
    info = infos.get(asked.key) if asked else None
    fault: Exception | None = info.error if info is not None and info.state == "error" else None
    return fault
