"""What vSphere says can be done with a machine where it is: its own capabilities, its host's, and those of its vGPU.

Hosts state for each vGPU type whether it may be suspended, migrated and kept in a snapshot (HostSharedGpuCapabilities,
API 6.7), and which types they have (sharedPassthruGpuTypes). The privileges are those of the vSphere security guide.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pyVmomi import vim

from vgpu.core.profile import Profile, ProfileError, parse_profile
from vgpu.core.switching.seen import Capabilities, MachineState
from vgpu.switcher.providers.port import ProviderError
from vgpu.switcher.providers.vsphere_inventory import read_one
from vgpu.switcher.providers.vsphere_session import Login

SUSPEND = "VirtualMachine.Interact.Suspend"
POWER_ON = "VirtualMachine.Interact.PowerOn"
POWER_OFF = "VirtualMachine.Interact.PowerOff"
SNAPSHOT = "VirtualMachine.State.CreateSnapshot"
HOT_MIGRATE = "Resource.HotMigrate"
PRIVILEGES = (SUSPEND, POWER_ON, POWER_OFF, SNAPSHOT, HOT_MIGRATE)
IN_PLACE = "vSphere recuts no card in place: give the machine another profile while it is off"
STATES = {
    "poweredOn": MachineState.RUNNING,
    "suspended": MachineState.SUSPENDED,
    "poweredOff": MachineState.OFF,
}
# A vCenter moves a running vGPU only where this option of its own is true.
HOT_MIGRATION = "vgpu.hotmigrate.enabled"


@dataclass(frozen=True, slots=True, kw_only=True)
class VgpuType:
    """What a host says of one vGPU type."""

    suspend: bool
    migrate: bool
    memory_snapshot: bool
    disk_snapshot: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that decides: the machine's power in `state`, the types of its vGPUs, and what its host says of `types`."""

    host: str
    state: MachineState
    snapshots: bool
    memory_snapshots: bool
    vmotion: bool
    is_vcenter: bool = True
    hot_migration: bool = True
    vgpus: tuple[str, ...] = ()
    types: Mapping[str, VgpuType] = field(default_factory=dict)
    lacking: frozenset[str] = frozenset()


def decide(facts: Facts) -> Capabilities:
    """The capabilities, with a reason for each that is not there."""
    reasons = {
        "suspend": _lacks(facts, SUSPEND) or _of_vgpus(facts, "suspend", "be suspended"),
        "resume": _lacks(facts, POWER_ON) or _of_vgpus(facts, "suspend", "be resumed"),
        "power_off": _lacks(facts, POWER_OFF),
        "power_on": _lacks(facts, POWER_ON),
        "snapshot": _lacks(facts, SNAPSHOT) or _snapshot(facts),
        "live_migrate": _lacks(facts, HOT_MIGRATE) or _live_migration(facts),
        "recuts_in_place": IN_PLACE,
    }
    why_not = {name: reason for name, reason in reasons.items() if reason}
    return Capabilities(**{name: name not in why_not for name in reasons}, why_not=why_not)


def with_memory(facts: Facts) -> bool:
    """Whether a snapshot taken now can hold the memory."""
    return (
        facts.state is MachineState.RUNNING and facts.memory_snapshots and not _of_vgpus(facts, "memory_snapshot", "")
    )


def _lacks(facts: Facts, privilege: str) -> str:
    return f"the user lacks the privilege {privilege} on it" if privilege in facts.lacking else ""


def _of_vgpus(facts: Facts, capability: str, verb: str) -> str:
    for name in facts.vgpus:
        said = facts.types.get(name)
        if said is None:
            return f"host {facts.host} says nothing of vGPU type {name}"
        if not getattr(said, capability):
            return f"host {facts.host} says that vGPU type {name} cannot {verb}"
    return ""


def _snapshot(facts: Facts) -> str:
    if not facts.snapshots:
        return "the machine says that it takes no snapshots"
    # The disks of a machine that is off can always be kept.
    unlimited = facts.state is MachineState.OFF or with_memory(facts)
    return "" if unlimited else _of_vgpus(facts, "disk_snapshot", "be kept in a snapshot")


def _live_migration(facts: Facts) -> str:
    if not facts.is_vcenter:
        return "the server is a single host, not a vCenter"
    if not facts.vmotion:
        return f"host {facts.host} has no vMotion"
    if facts.vgpus and not facts.hot_migration:
        return f"vCenter's option {HOT_MIGRATION} is false"
    return _of_vgpus(facts, "migrate", "move while it runs")


def vgpu_types(devices: Any) -> tuple[str, ...]:  # noqa: ANN401 - pyVmomi's types are made at run time
    """The vGPU types among a machine's devices, in their order."""
    return tuple(device.backing.vgpu for device in vgpu_devices(devices))


def vgpu_devices(devices: Any) -> list[Any]:  # noqa: ANN401 - as above
    """A machine's vGPUs."""
    backing = vim.vm.device.VirtualPCIPassthrough.VmiopBackingInfo
    return [device for device in passed_through(devices) if isinstance(device.backing, backing)]


def passed_through(devices: Any) -> list[Any]:  # noqa: ANN401 - as above
    """A machine's vGPUs, and the whole devices of its host that it was given."""
    return [device for device in devices or () if isinstance(device, vim.vm.device.VirtualPCIPassthrough)]


def label(vgpu_type: str) -> str:
    """vSphere's name as the label that nodes carry: grid_v100-4q is v100-4q-4GB. What nobody can read stays."""
    try:
        return parse_profile(vgpu_type).label
    except ProfileError:
        return vgpu_type


def named(profile: Profile, types: list[str], host: str) -> str:
    """The host's name for a profile. Prefixes differ between generations (grid_, nvidia_), so it is looked up."""
    for name in types:
        if label(name) == profile.label:
            return name
    offered = ", ".join(sorted(types)) or "none"
    why = f"host {host} has the vGPU types {offered}; a card's mode and driver decide which there are"
    raise ProviderError(f"find vGPU type {profile.name}", why, permanent=True)


def gather(login: Login, machine: vim.VirtualMachine) -> Facts:
    """Ask the machine, its host and the vCenter."""
    paths = ["runtime.host", "runtime.powerState", "capability", "config.hardware.device"]
    own = read_one(login, machine, VirtualMachine=paths)
    host = read_host(login, own.get("runtime.host"))
    capability = own.get("capability")
    about = login.content.about
    return Facts(
        host=host.get("name", "?"),
        state=STATES.get(str(own.get("runtime.powerState")), MachineState.UNKNOWN),
        snapshots=bool(capability and capability.snapshotOperationsSupported),
        memory_snapshots=bool(capability and capability.memorySnapshotsSupported),
        vmotion=bool(host.get("capability.vmotionSupported")),
        is_vcenter=about.apiType == "VirtualCenter",
        hot_migration=_hot_migration(login),
        vgpus=vgpu_types(own.get("config.hardware.device")),
        types={
            said.vgpu: VgpuType(
                suspend=said.suspendSupported,
                migrate=said.migrateSupported,
                memory_snapshot=said.memorySnapshotSupported,
                disk_snapshot=said.diskSnapshotSupported,
            )
            for said in host.get("config.sharedGpuCapabilities", [])
        },
        lacking=_lacking(login, machine),
    )


def read_host(login: Login, host: Any) -> dict[str, Any]:  # noqa: ANN401 - as above
    """What is asked of a machine's host; nothing where it has none."""
    paths = ["name", "parent", "capability.vmotionSupported", "config.sharedGpuCapabilities"]
    return read_one(login, host, HostSystem=[*paths, "config.sharedPassthruGpuTypes"]) if host else {}


def _lacking(login: Login, machine: vim.VirtualMachine) -> frozenset[str]:
    rights = login.content.authorizationManager
    answer = rights.HasPrivilegeOnEntities([machine], login.session_key, list(PRIVILEGES))
    return frozenset(one.privId for entity in answer for one in entity.privAvailability if not one.isGranted)


def _hot_migration(login: Login) -> bool:
    try:
        found = login.content.setting.QueryView(HOT_MIGRATION)
    except vim.fault.InvalidName:
        return True  # this vCenter has no such switch
    return all(str(option.value).lower() != "false" for option in found)
