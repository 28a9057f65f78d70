"""What a domain's XML says of its vGPU, and the XML with another one; pure.

A vGPU of KVM is a mediated device of the host, named by a UUID, of a type such as nvidia-105 that has NVIDIA's name of
the profile (GRID V100-4Q). The domain names the UUID in a `hostdev`; which type that is, and on which card, the host's
node devices say. Formats: libvirt's "Domain XML format", "Host device assignment", and "Node device XML format".
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from uuid import NAMESPACE_URL, uuid5
from xml.etree import ElementTree

from vgpu.core.profile import Profile, ProfileError, parse_profile

_MDEV = "./devices/hostdev[@mode='subsystem'][@type='mdev']"
_OTHERS = ("pci", "scsi_host")  # kinds of host device that, as mdev, QEMU reaches by VFIO


class NoProfile(ValueError):
    """The domain cannot get the profile; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mdev:
    """A mediated device of the host."""

    name: str  # of the node device
    uuid: str
    type_id: str
    parent: str  # the card's node device


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The mediated devices of a host by UUID, and what its cards can be cut into: card -> type id -> profile."""

    mdevs: Mapping[str, Mdev] = field(default_factory=dict)
    cards: Mapping[str, Mapping[str, Profile]] = field(default_factory=dict)

    def profile(self, uuid: str) -> Profile | None:
        """What a mediated device is; None where it, or its type, is not known."""
        mdev = self.mdevs.get(uuid)
        return None if mdev is None else self.cards.get(mdev.parent, {}).get(mdev.type_id)

    def card(self, domain: str, uuids: Iterable[str], profile: Profile) -> tuple[str, str]:
        """Card and type id for a profile: of the card that the domain has now, or of the only one that offers it."""
        offers = {
            card: type_id for card, types in self.cards.items() for type_id, each in types.items() if each == profile
        }
        if not offers:
            raise NoProfile(f"no card of the host offers {profile.label}; see `virsh nodedev-list --cap mdev_types`")
        now = {self.mdevs[uuid].parent for uuid in uuids if uuid in self.mdevs}
        at = now & set(offers) or set(offers)
        if len(at) > 1 or (now and not now & set(offers)):
            where = ", ".join(sorted(now or at))
            raise NoProfile(f"{domain} lies on {where}: give it one mediated device of the card it shall be on")
        (card,) = at
        return card, offers[card]


def host(devices: Iterable[str]) -> Host:
    """Read node devices (their XML); those that are no mediated devices and offer none are passed over."""
    mdevs: dict[str, Mdev] = {}
    cards: dict[str, dict[str, Profile]] = {}
    for text in devices:
        device = ElementTree.fromstring(text)
        name, parent = device.findtext("name", ""), device.findtext("parent", "")
        for capability in device.iterfind("./capability[@type='mdev']"):
            type_id, uuid = capability.find("type"), capability.findtext("uuid", "").lower()
            of_type = "" if type_id is None else type_id.get("id", "")
            mdevs[uuid] = Mdev(name=name, uuid=uuid, type_id=of_type, parent=parent)
        offered = _offered(device)
        if offered:
            cards[name] = offered
    return Host(mdevs=mdevs, cards=cards)


def _offered(device: ElementTree.Element) -> dict[str, Profile]:
    """Types that are vGPU profiles; other makers' types are not ours to give."""
    found = {}
    for each in device.iterfind(".//capability[@type='mdev_types']/type"):
        try:
            found[each.get("id", "")] = parse_profile(each.findtext("name", ""))
        except ProfileError:
            continue
    return found


def mdevs_of(domain: str) -> tuple[str, ...]:
    """UUIDs of the mediated devices that a domain's XML names."""
    addresses = ElementTree.fromstring(domain).iterfind(f"{_MDEV}/source/address")
    return tuple(address.get("uuid", "").lower() for address in addresses)


def has_host_device(domain: str) -> bool:
    """Whether the domain holds a device of the host that only VFIO's migration can carry along."""
    kinds = {device.get("type", "") for device in ElementTree.fromstring(domain).iterfind("./devices/hostdev")}
    return bool(kinds & {"mdev", *_OTHERS})


def disks_without_snapshots(domain: str) -> tuple[str, ...]:
    """The domain's disks in which QEMU cannot keep a snapshot, by their names; a pool of Ceph keeps its own."""
    found = []
    for disk in ElementTree.fromstring(domain).iterfind("./devices/disk"):
        driver, source = disk.find("driver"), disk.find("source")
        if source is None or source.get("protocol") == "rbd" or disk.get("device") in ("cdrom", "floppy"):
            continue
        if disk.get("snapshot") == "no" or disk.find("readonly") is not None:
            continue
        if driver is None or driver.get("type") not in ("qcow2", "qed"):
            target = disk.find("target")
            found.append("?" if target is None else target.get("dev", "?"))
    return tuple(found)


def uuid_for(domain: str, profile: Profile) -> str:
    """The UUID of the mediated device that a domain has of a profile: always the same one."""
    return str(uuid5(NAMESPACE_URL, f"https://vgpu-serve.io/libvirt/{domain}/{profile.label}"))


def with_mdev(domain: str, name: str, uuid: str) -> str:
    """The domain's XML with this mediated device instead of the one it has; NoProfile where it has several."""
    root = ElementTree.fromstring(domain)
    found = root.findall(_MDEV)
    if len(found) > 1:
        raise NoProfile(f"{name} has {len(found)} mediated devices: leave it one, its vGPU")
    address = found[0].find("source/address") if found else None
    if address is None:
        devices = root.find("devices")
        if devices is None:
            devices = ElementTree.SubElement(root, "devices")
        device = ElementTree.SubElement(devices, "hostdev", mode="subsystem", type="mdev", model="vfio-pci")
        address = ElementTree.SubElement(ElementTree.SubElement(device, "source"), "address")
    address.set("uuid", uuid)
    return ElementTree.tostring(root, encoding="unicode")


def mdev_definition(card: str, type_id: str, uuid: str) -> str:
    """Node device XML of a mediated device."""
    device = ElementTree.Element("device")
    ElementTree.SubElement(device, "parent").text = card
    capability = ElementTree.SubElement(device, "capability", type="mdev")
    ElementTree.SubElement(capability, "type", id=type_id)
    ElementTree.SubElement(capability, "uuid").text = uuid
    return ElementTree.tostring(device, encoding="unicode")
