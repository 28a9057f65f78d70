"""What the switcher's file says about each kind of provider. Secrets stand in files, never here."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Vsphere:
    """A vCenter. `ca_file` None: the system's certificates. `verify` False is warned of at each start."""

    host: str
    user_file: Path
    password_file: Path
    port: int = 443
    ca_file: Path | None = None
    datacenter: str = ""
    verify: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Libvirt:
    """A libvirt daemon by its URI, which also says how it is reached: qemu+tls://host/system."""

    uri: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VgpuByLabel:
    """NVIDIA's vgpu-device-manager recuts a node's cards by the node's label; a machine is a node."""


VgpuDeviceManager = VgpuByLabel
"""The same under its product's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mig:
    """NVIDIA's mig-manager recuts a node's cards by the node's label; a machine is a node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Emulated:
    """The hypervisor stand-in of the embedded cluster."""

    url: str
    token_file: Path


ProviderSettings = Vsphere | Libvirt | VgpuDeviceManager | Mig | Emulated

KINDS: dict[str, type[ProviderSettings]] = {
    "vsphere": Vsphere,
    "libvirt": Libvirt,
    "vgpu_device_manager": VgpuDeviceManager,
    "mig": Mig,
    "emulated": Emulated,
}
RECUT_IN_PLACE = (VgpuDeviceManager, Mig)
"""Kinds whose machines are nodes that stay while their cards are recut."""
