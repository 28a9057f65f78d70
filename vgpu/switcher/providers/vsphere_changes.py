"""What is written into vCenter's requests: a machine's new vGPU, and where it is to move."""

from collections.abc import Iterable, Iterator
from typing import Any

from pyVmomi import vim

from vgpu.core.profile import Profile
from vgpu.switcher.providers.port import ProviderError
from vgpu.switcher.providers.vsphere_capabilities import named, read_host, vgpu_devices
from vgpu.switcher.providers.vsphere_inventory import all_within, read_one
from vgpu.switcher.providers.vsphere_session import Login

_Passed = vim.vm.device.VirtualPCIPassthrough
_Change = vim.vm.device.VirtualDeviceSpec


def vgpu_spec(login: Login, machine: Any, profile: Profile) -> vim.vm.ConfigSpec:  # noqa: ANN401 - made at run time
    """One vGPU of this profile in the place of all that the machine has; raises `ProviderError` if its host has none.

    vSphere starts a machine with a vGPU only while all its memory is reserved, so that is asked for with it.
    """
    own = read_one(login, machine, VirtualMachine=["runtime.host", "config.hardware.device"])
    host = read_host(login, own.get("runtime.host"))
    name = named(profile, host.get("config.sharedPassthruGpuTypes", []), host.get("name", "?"))
    removed = [
        _Change(operation=_Change.Operation.remove, device=device)
        for device in vgpu_devices(own.get("config.hardware.device"))
    ]
    added = _Change(
        operation=_Change.Operation.add, device=_Passed(key=-1, backing=_Passed.VmiopBackingInfo(vgpu=name))
    )
    return vim.vm.ConfigSpec(deviceChange=[*removed, added], memoryReservationLockedToMax=True)


def relocation(login: Login, machine: Any, host: str, what: str) -> vim.vm.RelocateSpec | None:  # noqa: ANN401 - as above
    """A move to the host of this name, into the root pool of its cluster where that is another; None if it is there."""
    hosts = all_within(login, login.content.rootFolder, vim.HostSystem, HostSystem=["name", "parent"])
    there = next((one for one, seen in hosts.items() if seen.get("name") == host), None)
    if there is None:
        known = ", ".join(sorted(seen["name"] for seen in hosts.values() if "name" in seen)) or "none"
        raise ProviderError(what, f"there is no such host; the user sees {known}", permanent=True)
    here = read_one(login, machine, VirtualMachine=["runtime.host"]).get("runtime.host")
    if here == there:
        return None
    cluster = hosts[there].get("parent")
    if cluster is None or hosts.get(here, {}).get("parent") == cluster:
        return vim.vm.RelocateSpec(host=there)
    pool = read_one(login, cluster, ComputeResource=["resourcePool"]).get("resourcePool")
    return vim.vm.RelocateSpec(host=there, pool=pool)


def snapshot_names(tree: Iterable[Any]) -> Iterator[str]:
    """The names of all snapshots of a machine."""
    for node in tree or ():
        yield node.name
        yield from snapshot_names(node.childSnapshotList)
