"""A domain's vGPU, in its XML and among the host's devices."""

import pytest

from tests.fakes.hypervisor.host_file import CARD, card_xml, mdev_xml
from vgpu.core.profile import parse_profile
from vgpu.switcher.providers import libvirt_domain
from vgpu.switcher.providers.libvirt_domain import Host, Mdev, NoProfile

SMALL, LARGE = parse_profile("v100-4q-4GB"), parse_profile("v100-16q-16GB")
UUID = "c2177883-f1bb-47f0-914d-32a22e3a8804"
TYPES = {"nvidia-105": "GRID V100-4Q", "nvidia-107": "GRID V100-16Q", "i915-GVTg_V5_4": "something else"}
OTHER = "pci_0000_07_00_0"


def domain(*hostdevs: str) -> str:
    return f"<domain type='kvm'><name>vm-1</name><devices><emulator>q</emulator>{''.join(hostdevs)}</devices></domain>"


def mdev(uuid: str) -> str:
    source = f"<source><address uuid='{uuid}'/></source>"
    return f"<hostdev mode='subsystem' type='mdev' managed='no' model='vfio-pci'>{source}</hostdev>"


def test_the_host_says_what_its_cards_offer_and_which_devices_are_there() -> None:
    found = libvirt_domain.host([card_xml(CARD, TYPES), mdev_xml(UUID.upper(), "nvidia-105"), "<device/>"])
    assert found == Host(
        mdevs={
            UUID: Mdev(name=f"mdev_{UUID.upper().replace('-', '_')}", uuid=UUID, type_id="nvidia-105", parent=CARD),
        },
        cards={CARD: {"nvidia-105": SMALL, "nvidia-107": LARGE}},
    )
    assert (found.profile(UUID), found.profile("another")) == (SMALL, None)


def test_a_device_whose_card_is_gone_has_no_profile() -> None:
    assert libvirt_domain.host([mdev_xml(UUID, "nvidia-105")]).profile(UUID) is None


def test_a_domain_stays_on_its_card() -> None:
    host = libvirt_domain.host([card_xml(CARD, TYPES), card_xml(OTHER, TYPES), mdev_xml(UUID, "nvidia-105")])
    assert host.card("vm-1", [UUID], LARGE) == (CARD, "nvidia-107")


def test_a_domain_without_a_vgpu_goes_to_the_only_card() -> None:
    assert libvirt_domain.host([card_xml(CARD, TYPES)]).card("vm-1", [], LARGE) == (CARD, "nvidia-107")


@pytest.mark.parametrize(
    ("cards", "uuids", "why"),
    [
        ([], [], "no card of the host offers v100-16q-16GB; see `virsh nodedev-list --cap mdev_types`"),
        (
            [card_xml(CARD, TYPES), card_xml(OTHER, TYPES)],
            [],
            f"vm-1 lies on {CARD}, {OTHER}: give it one mediated device of the card it shall be on",
        ),
        (
            [card_xml(CARD, {"nvidia-105": "GRID V100-4Q"}), card_xml(OTHER, TYPES), mdev_xml(UUID, "nvidia-105")],
            [UUID],
            f"vm-1 lies on {CARD}: give it one mediated device of the card it shall be on",
        ),
    ],
)
def test_a_card_that_cannot_be_told_is_an_error(cards: list[str], uuids: list[str], why: str) -> None:
    with pytest.raises(NoProfile) as caught:
        libvirt_domain.host(cards).card("vm-1", uuids, LARGE)
    assert str(caught.value) == why


def test_the_vgpu_is_exchanged_and_nothing_else() -> None:
    usb = "<hostdev mode='subsystem' type='usb'><source><vendor id='1'/></source></hostdev>"
    new = libvirt_domain.uuid_for("vm-1", LARGE)
    after = libvirt_domain.with_mdev(domain(usb, mdev(UUID)), "vm-1", new)
    assert libvirt_domain.mdevs_of(after) == (new,)
    assert after.replace(new, UUID).replace('"', "'") == domain(usb, mdev(UUID)).replace("/>", " />")


def test_a_domain_without_a_vgpu_gets_one() -> None:
    for before in (domain(), "<domain><name>vm-1</name></domain>"):
        assert libvirt_domain.mdevs_of(libvirt_domain.with_mdev(before, "vm-1", UUID)) == (UUID,)


def test_a_domain_with_two_is_left_alone() -> None:
    with pytest.raises(NoProfile, match="vm-1 has 2 mediated devices: leave it one, its vGPU"):
        libvirt_domain.with_mdev(domain(mdev(UUID), mdev(UUID)), "vm-1", UUID)


@pytest.mark.parametrize(("kind", "holds"), [("mdev", True), ("pci", True), ("scsi_host", True), ("usb", False)])
def test_what_only_vfio_could_carry_along(kind: str, holds: bool) -> None:
    assert libvirt_domain.has_host_device(domain(f"<hostdev mode='subsystem' type='{kind}'/>")) is holds


def test_a_machine_has_one_device_of_a_profile_for_ever() -> None:
    assert libvirt_domain.uuid_for("vm-1", SMALL) == "84970879-cfcf-5058-9087-7972b998b8e0"
    assert len({libvirt_domain.uuid_for(name, each) for name in ("vm-1", "vm-2") for each in (SMALL, LARGE)}) == 4


def test_the_definition_of_a_device() -> None:
    assert libvirt_domain.mdev_definition(CARD, "nvidia-105", UUID) == (
        f'<device><parent>{CARD}</parent><capability type="mdev"><type id="nvidia-105" />'
        f"<uuid>{UUID}</uuid></capability></device>"
    )


def test_disks_that_keep_no_snapshots_are_named() -> None:
    disks = """<disk type='block' device='disk'><driver type='raw'/><source dev='/dev/vg/a'/><target dev='vda'/></disk>
      <disk type='file'><source file='/b'/><target dev='vdb'/></disk>
      <disk type='file' device='disk'><driver type='qcow2'/><source file='/c'/><target dev='vdc'/></disk>
      <disk type='file' device='cdrom'><driver type='raw'/><source file='/d'/><target dev='sda'/><readonly/></disk>
      <disk type='file' device='disk' snapshot='no'><driver type='raw'/><source file='/e'/><target dev='vdd'/></disk>
      <disk type='network' device='disk'><driver type='raw'/><source protocol='rbd' name='p'/><target dev='e'/></disk>
      <disk type='file' device='cdrom'><target dev='sdb'/></disk>"""
    assert libvirt_domain.disks_without_snapshots(domain(disks)) == ("vda", "vdb")
