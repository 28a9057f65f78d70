"""A card takes vGPUs of one size: idle devices of another size make room, and those in use never do."""

import pytest

from tests.fakes.hypervisor.host_file import CARD
from tests.fakes.hypervisor.mdev_host import MdevHost, libvirt
from vgpu.core.profile import parse_profile
from vgpu.switcher.providers import libvirt_domain, libvirt_host

DAY = "c2177883-f1bb-47f0-914d-32a22e3a8804"
NIGHT = "d2177883-f1bb-47f0-914d-32a22e3a8804"


def test_a_start_by_night_stops_the_idle_devices_of_the_day() -> None:
    host = MdevHost()
    host.add("day-1", DAY, "nvidia-105", runs=False)
    host.add("night-1", NIGHT, "nvidia-107", runs=False, active=False)
    libvirt_host.start(host, "night-1")
    assert host.did == ["stop nvidia-105", "start nvidia-107", "start night-1"]


def test_a_device_that_a_domain_uses_stays_and_the_start_fails() -> None:
    host = MdevHost()
    host.add("day-1", DAY, "nvidia-105", runs=True)
    host.add("night-1", NIGHT, "nvidia-107", runs=False, active=False)
    with pytest.raises(libvirt.libvirtError, match="no instance of nvidia-107 is available"):
        libvirt_host.start(host, "night-1")
    assert host.did == []


def test_devices_of_the_same_size_stay() -> None:
    host = MdevHost()
    host.add("day-1", DAY, "nvidia-105", runs=False)
    host.add("day-2", NIGHT, "nvidia-105", runs=False, active=False)
    libvirt_host.start(host, "day-2")
    assert host.did == ["start nvidia-105", "start day-2"]


def test_a_device_that_could_not_be_started_again_is_not_stopped() -> None:
    host = MdevHost()
    host.add("day-1", DAY, "nvidia-105", runs=False, kept=False)
    host.add("night-1", NIGHT, "nvidia-107", runs=False, active=False)
    with pytest.raises(libvirt.libvirtError, match="no instance"):
        libvirt_host.start(host, "night-1")
    assert host.did == []


def test_a_device_that_is_there_is_used() -> None:
    host = MdevHost()
    host.add("day-1", DAY, "nvidia-105", runs=False)
    libvirt_host.start(host, "day-1")
    libvirt_host.start(host, "day-1")
    assert host.did == ["start day-1"]


def test_a_device_that_nobody_knows_is_the_domains_own_error() -> None:
    host = MdevHost()
    host.add("day-1", DAY, "nvidia-105", runs=False)
    host.mdevs.clear()
    with pytest.raises(libvirt.libvirtError, match="mediated device not found"):
        libvirt_host.start(host, "day-1")


def test_another_profile_is_defined_on_the_card_and_given_to_the_domain() -> None:
    host = MdevHost()
    host.add("vm-1", DAY, "nvidia-105", runs=False)
    libvirt_host.set_profile(host, "vm-1", parse_profile("v100-16q-16GB"))
    uuid = libvirt_domain.uuid_for("vm-1", parse_profile("v100-16q-16GB"))
    device, domain = host.defined
    assert device == libvirt_domain.mdev_definition(CARD, "nvidia-107", uuid)
    assert libvirt_domain.mdevs_of(domain) == (uuid,)


def test_the_profile_that_it_has_changes_nothing() -> None:
    host = MdevHost()
    host.add("vm-1", DAY, "nvidia-105", runs=False)
    libvirt_host.set_profile(host, "vm-1", parse_profile("v100-4q-4GB"))
    assert host.defined == []
