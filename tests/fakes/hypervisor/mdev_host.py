"""A host with one card and mediated devices on it, as far as our code asks libvirt-python for them.

The card has NVIDIA's rule: vGPUs of one size only, and every device that exists counts, used or not. libvirt's own
test driver cannot start or stop such devices.
"""

from dataclasses import dataclass, field

import libvirt

from tests.fakes.hypervisor.host_file import CARD, card_xml, domain_xml, mdev_xml

TYPES = {"nvidia-105": "GRID V100-4Q", "nvidia-107": "GRID V100-16Q"}


def _error(code: int, text: str) -> libvirt.libvirtError:
    error = libvirt.libvirtError(text)
    error.err = (code, 0, text, 2, "", "", "", 0, 0)
    error.args = (text,)  # it takes the last error of the thread for its own
    return error


@dataclass
class FakeDevice:
    """A node device."""

    host: "MdevHost"
    xml: str
    name: str = ""
    type_id: str = ""
    active: bool = True
    kept: bool = True

    def XMLDesc(self) -> str:  # noqa: N802 - libvirt-python's name
        return self.xml

    def isPersistent(self) -> bool:  # noqa: N802 - libvirt-python's name
        return self.kept

    def isActive(self) -> bool:  # noqa: N802 - libvirt-python's name
        return self.active

    def create(self) -> None:
        others = {device.type_id for device in self.host.mdevs.values() if device.active} - {self.type_id}
        if others:
            raise _error(libvirt.VIR_ERR_INTERNAL_ERROR, f"no instance of {self.type_id} is available")
        self.active = True
        self.host.did.append(f"start {self.type_id}")

    def destroy(self) -> None:
        self.active = False
        self.host.did.append(f"stop {self.type_id}")


@dataclass
class FakeDomain:
    """A domain with one mediated device."""

    host: "MdevHost"
    machine: str
    mdev: str
    state_reason: tuple[int, int]

    def name(self) -> str:
        return self.machine

    def state(self) -> tuple[int, int]:
        return self.state_reason

    def XMLDesc(self, flags: int = 0) -> str:  # noqa: N802 - libvirt-python's name
        return domain_xml(self.machine, mdev=self.mdev)

    def create(self) -> None:
        device = self.host.mdevs.get(self.mdev)
        if device is None or not device.active:
            raise _error(libvirt.VIR_ERR_DEVICE_MISSING, "mediated device not found")
        self.state_reason = (libvirt.VIR_DOMAIN_RUNNING, 0)
        self.host.did.append(f"start {self.machine}")


@dataclass
class MdevHost:
    """The connection."""

    mdevs: dict[str, FakeDevice] = field(default_factory=dict)
    domains: dict[str, FakeDomain] = field(default_factory=dict)
    did: list[str] = field(default_factory=list)
    defined: list[str] = field(default_factory=list)

    def add(self, machine: str, uuid: str, type_id: str, *, runs: bool, kept: bool = True, active: bool = True) -> None:
        """A domain and its device."""
        state = libvirt.VIR_DOMAIN_RUNNING if runs else libvirt.VIR_DOMAIN_SHUTOFF
        self.domains[machine] = FakeDomain(self, machine, uuid, (state, 0))
        name = f"mdev_{uuid.replace('-', '_')}"
        xml = mdev_xml(uuid, type_id)
        self.mdevs[uuid] = FakeDevice(self, xml, name=name, type_id=type_id, active=active, kept=kept)

    def lookupByName(self, name: str) -> FakeDomain:  # noqa: N802 - libvirt-python's name
        return self.domains[name]

    def listAllDevices(self, flags: int) -> list[FakeDevice]:  # noqa: N802 - libvirt-python's name
        return [FakeDevice(self, card_xml(CARD, TYPES)), *self.mdevs.values()]

    def listAllDomains(self, flags: int) -> list[FakeDomain]:  # noqa: N802 - libvirt-python's name
        assert flags == libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE
        return [domain for domain in self.domains.values() if domain.state_reason[0] == libvirt.VIR_DOMAIN_RUNNING]

    def nodeDeviceLookupByName(self, name: str) -> FakeDevice:  # noqa: N802 - libvirt-python's name
        return next(device for device in self.mdevs.values() if device.name == name)

    def nodeDeviceDefineXML(self, xml: str) -> None:  # noqa: N802 - libvirt-python's name
        self.defined.append(xml)

    def defineXML(self, xml: str) -> None:  # noqa: N802 - libvirt-python's name
        self.defined.append(xml)
