"""The host that libvirt's own `test` driver plays: domains and devices by a file, no daemon, no machine."""

from collections.abc import Iterable, Mapping
from pathlib import Path

CARD = "pci_0000_06_00_0"
_OFF = "<runstate xmlns='http://libvirt.org/schemas/domain/test/1.0'>5</runstate>"


def card_xml(name: str, types: Mapping[str, str]) -> str:
    """A node device that can be cut into mediated devices: type id -> the maker's name of the type."""
    offered = "".join(
        f"<type id='{type_id}'><name>{label}</name><deviceAPI>vfio-pci</deviceAPI>"
        f"<availableInstances>4</availableInstances></type>"
        for type_id, label in types.items()
    )
    return (
        f"<device><name>{name}</name><parent>computer</parent><capability type='pci'>"
        "<domain>0</domain><bus>6</bus><slot>0</slot><function>0</function>"
        "<product id='0x1db4'/><vendor id='0x10de'/>"
        f"<capability type='mdev_types'>{offered}</capability></capability></device>"
    )


def mdev_xml(uuid: str, type_id: str, card: str = CARD) -> str:
    """A node device that is a mediated device."""
    return (
        f"<device><name>mdev_{uuid.replace('-', '_')}</name><parent>{card}</parent><capability type='mdev'>"
        f"<type id='{type_id}'/><uuid>{uuid}</uuid><iommuGroup number='12'/></capability></device>"
    )


def domain_xml(name: str, *, mdev: str = "", is_off: bool = False) -> str:
    """A domain that runs; with a mediated device by its UUID."""
    source = f"<source><address uuid='{mdev}'/></source>"
    device = f"<hostdev mode='subsystem' type='mdev' model='vfio-pci'>{source}</hostdev>" if mdev else ""
    return (
        f"<domain type='test'><name>{name}</name><memory unit='MiB'>64</memory><os><type>hvm</type></os>"
        f"<devices>{device}</devices>{_OFF if is_off else ''}</domain>"
    )


def write_node(path: Path, parts: Iterable[str]) -> str:
    """Write the file of a host; return its URI. A connection of its own begins with what the file says."""
    path.write_text(f"<node>{''.join(parts)}</node>")
    return f"test://{path}"
