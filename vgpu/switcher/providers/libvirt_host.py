"""What is asked of one libvirt daemon about its domains and its mediated devices. All of it raises libvirtError."""

import logging
from collections.abc import Callable, Sequence
from xml.etree import ElementTree

import libvirt

from vgpu.core.profile import Profile
from vgpu.core.switching.seen import Capabilities, MachineSeen, MachineState
from vgpu.switcher.providers import libvirt_domain
from vgpu.switcher.providers.libvirt_domain import Host, Mdev
from vgpu.switcher.providers.libvirt_faults import is_unsupported

# QEMU itself says whether a device of the host can be saved since libvirt 8.6 asks it; what it says is worth something
# since VFIO's migration left its experimental state in QEMU 8.1.
LIBVIRT_ASKS_QEMU, QEMU_MIGRATES_VFIO = 8_006_000, 8_001_000

CAN_HEAR = (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_BLOCKED)  # states in which a guest can be asked to shut down
_MDEVS = libvirt.VIR_CONNECT_LIST_NODE_DEVICES_CAP_MDEV | libvirt.VIR_CONNECT_LIST_NODE_DEVICES_CAP_MDEV_TYPES
_STATES = {
    libvirt.VIR_DOMAIN_RUNNING: MachineState.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: MachineState.RUNNING,
    libvirt.VIR_DOMAIN_SHUTDOWN: MachineState.CHANGING,
    libvirt.VIR_DOMAIN_SHUTOFF: MachineState.OFF,
}
# A domain that libvirt itself has paused, on its way to something else.
_PASSING = (
    libvirt.VIR_DOMAIN_PAUSED_MIGRATION,
    libvirt.VIR_DOMAIN_PAUSED_SAVE,
    libvirt.VIR_DOMAIN_PAUSED_DUMP,
    libvirt.VIR_DOMAIN_PAUSED_SHUTTING_DOWN,
    libvirt.VIR_DOMAIN_PAUSED_SNAPSHOT,
    libvirt.VIR_DOMAIN_PAUSED_STARTING_UP,
    libvirt.VIR_DOMAIN_PAUSED_POSTCOPY,
)
# States that hold a vGPU without running.
_STUCK = {
    libvirt.VIR_DOMAIN_PAUSED: "it is paused, which keeps its vGPU; `virsh resume` or power it off",
    libvirt.VIR_DOMAIN_CRASHED: "its guest crashed and libvirt kept it, with its vGPU; power it off",
    libvirt.VIR_DOMAIN_PMSUSPENDED: "its guest sleeps (S3), which keeps its vGPU; `virsh dompmwakeup` or power it off",
}

_log = logging.getLogger(__name__)


def look(connection: libvirt.virConnect, machines: Sequence[str]) -> dict[str, MachineSeen]:
    """Those of the machines that are there: two calls for the states of all domains, and one for their devices.

    Saved domains are asked for after the states: one that is saved in between is then seen running, not as off.
    """
    wanted = set(machines)
    stats = connection.getAllDomainStats(libvirt.VIR_DOMAIN_STATS_STATE, 0)
    domains = {domain.name(): (domain, about) for domain, about in stats}
    saved = {domain.name() for domain in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE)}
    host = host_devices(connection)
    seen = {}
    for name in wanted & set(domains):
        domain, about = domains[name]
        state, fault = _state(about["state.state"], about.get("state.reason", 0), is_saved=name in saved)
        seen[name] = MachineSeen(state=state, profile=_profile(domain, host), fault=fault)
    return seen


def _state(state: int, reason: int, *, is_saved: bool) -> tuple[MachineState, str]:
    if state == libvirt.VIR_DOMAIN_PAUSED and reason in _PASSING:
        return MachineState.CHANGING, ""
    if state in _STUCK:
        return MachineState.RUNNING, _STUCK[state]
    if state == libvirt.VIR_DOMAIN_SHUTOFF and is_saved:
        return MachineState.SUSPENDED, ""
    return _STATES.get(state, MachineState.UNKNOWN), ""


def _profile(domain: libvirt.virDomain, host: Host) -> str:
    """Label of the profile of the domain's vGPU; empty where it has none, several, or one of an unknown type."""
    if not host.mdevs:
        return ""
    profiles = [host.profile(uuid) for uuid in libvirt_domain.mdevs_of(domain.XMLDesc())]
    return profiles[0].label if len(profiles) == 1 and profiles[0] is not None else ""


def host_devices(connection: libvirt.virConnect) -> Host:
    """The host's mediated devices, also those that are defined and not started; none where the driver has no such."""
    try:
        devices = connection.listAllDevices(_MDEVS)
    except libvirt.libvirtError as error:
        if is_unsupported(error):
            return Host()
        raise
    return libvirt_domain.host(device.XMLDesc() for device in devices)


def capabilities(connection: libvirt.virConnect, domain: libvirt.virDomain, refused: str | None) -> Capabilities:
    """What can be done with a domain where it is; `refused`: what libvirt said when it was to be saved."""
    why_not = {"recuts_in_place": "libvirt recuts no card in place; use kind mig or vgpu_device_manager"}
    vfio = _no_vfio_migration(connection, domain)
    transient = "" if domain.isPersistent() else "it is transient: libvirt forgets it when it stops; `virsh define` it"
    no_save = transient or _unsupported(domain.hasManagedSaveImage, "managed save") or refused or vfio
    if no_save:
        why_not |= {"suspend": no_save, "resume": no_save}
    if transient:
        why_not |= {"power_off": transient, "power_on": transient}
    no_snapshot = _unsupported(domain.snapshotNum, "snapshots") or (vfio if domain.isActive() else "")
    no_snapshot = no_snapshot or _no_snapshot_of_disks(connection, domain)
    if no_snapshot:
        why_not["snapshot"] = no_snapshot
    no_move = "" if _has_live_migration(connection) else "this driver's capabilities name no live migration"
    no_move = no_move or vfio
    if no_move:
        why_not["live_migrate"] = no_move
    names = ("suspend", "resume", "power_off", "power_on", "snapshot", "live_migrate")
    return Capabilities(**{name: name not in why_not for name in names}, why_not=why_not)


def _no_vfio_migration(connection: libvirt.virConnect, domain: libvirt.virDomain) -> str:
    if not libvirt_domain.has_host_device(domain.XMLDesc()):
        return ""
    ours, hypervisor = connection.getLibVersion(), connection.getVersion()
    if ours >= LIBVIRT_ASKS_QEMU and hypervisor >= QEMU_MIGRATES_VFIO:
        return ""
    return (
        f"it has a device of the host, whose state VFIO can keep since libvirt {_version(LIBVIRT_ASKS_QEMU)} with QEMU "
        f"{_version(QEMU_MIGRATES_VFIO)}; here: libvirt {_version(ours)}, {connection.getType()} {_version(hypervisor)}"
    )


def _no_snapshot_of_disks(connection: libvirt.virConnect, domain: libvirt.virDomain) -> str:
    if connection.getType() != "QEMU":
        return ""
    disks = ", ".join(libvirt_domain.disks_without_snapshots(domain.XMLDesc()))
    return f"QEMU keeps no snapshot in a disk that is not qcow2: {disks}" if disks else ""


def _version(number: int) -> str:
    """libvirt's 1000000 major + 1000 minor + release, as people write it."""
    return f"{number // 1_000_000}.{number // 1_000 % 1_000}.{number % 1_000}"


def _unsupported(call: Callable[[], object], name: str) -> str:
    """Why not, where the driver does not know a call that only asks."""
    try:
        call()
    except libvirt.libvirtError as error:
        if is_unsupported(error):
            return f"this driver of libvirt has no {name}"
        raise
    return ""


def _has_live_migration(connection: libvirt.virConnect) -> bool:
    return ElementTree.fromstring(connection.getCapabilities()).find("./host/migration_features/live") is not None


def start(connection: libvirt.virConnect, machine: str) -> None:
    """Let a domain run: restored where it has a saved state, else from its beginning; a paused one goes on."""
    domain = connection.lookupByName(machine)
    state, reason = domain.state()
    if state == libvirt.VIR_DOMAIN_PAUSED and reason not in _PASSING:
        domain.resume()
    elif state == libvirt.VIR_DOMAIN_PMSUSPENDED:
        domain.pMWakeup()
    elif state == libvirt.VIR_DOMAIN_SHUTOFF:
        _start_mdevs(connection, domain)
        domain.create()


def _start_mdevs(connection: libvirt.virConnect, domain: libvirt.virDomain) -> None:
    """Start the domain's mediated devices that are defined and not there, as after a boot or another layout."""
    host = host_devices(connection)
    for uuid in libvirt_domain.mdevs_of(domain.XMLDesc()):
        mdev = host.mdevs.get(uuid)
        if mdev is None:
            continue  # creating the domain says better than we could what is missing
        device = connection.nodeDeviceLookupByName(mdev.name)
        if not _is_kept(device) or device.isActive():
            continue
        _free_card(connection, host, mdev)
        device.create()


def _free_card(connection: libvirt.virConnect, host: Host, mdev: Mdev) -> None:
    """Stop devices of another size on the card that no domain uses: while they exist, no device of this size can."""
    active = connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)
    used = {uuid for domain in active for uuid in libvirt_domain.mdevs_of(domain.XMLDesc())}
    for other in host.mdevs.values():
        if other.parent != mdev.parent or other.type_id == mdev.type_id or other.uuid in used:
            continue
        device = connection.nodeDeviceLookupByName(other.name)
        if _is_kept(device) and device.isActive():
            _log.info("stopping %s (%s), which no domain uses, for a %s", other.name, other.type_id, mdev.type_id)
            device.destroy()


def _is_kept(device: libvirt.virNodeDevice) -> bool:
    """Whether the host keeps the device's definition, so that it can be stopped and started."""
    try:
        return bool(device.isPersistent())
    except libvirt.libvirtError as error:
        if is_unsupported(error):
            return False
        raise


def set_profile(connection: libvirt.virConnect, machine: str, profile: Profile) -> None:
    """Give a domain that is off a mediated device of this profile; raise NoProfile where the host has none for it."""
    domain = connection.lookupByName(machine)
    host, has = host_devices(connection), libvirt_domain.mdevs_of(domain.XMLDesc())
    if len(has) == 1 and host.profile(has[0]) == profile:
        return
    card, type_id = host.card(machine, has, profile)
    uuid = libvirt_domain.uuid_for(machine, profile)
    if uuid not in host.mdevs:
        connection.nodeDeviceDefineXML(libvirt_domain.mdev_definition(card, type_id, uuid))
    # SECURE: without it the passwords of a console would be lost with the next definition.
    before = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE)
    connection.defineXML(libvirt_domain.with_mdev(before, machine, uuid))


def snapshot(domain: libvirt.virDomain, name: str) -> None:
    """Keep disks, and the memory of a domain that runs, under this name; one of this name is enough."""
    try:
        domain.snapshotLookupByName(name)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN_SNAPSHOT:
            raise
    else:
        return
    about = ElementTree.Element("domainsnapshot")
    ElementTree.SubElement(about, "name").text = name
    domain.snapshotCreateXML(ElementTree.tostring(about, encoding="unicode"))
