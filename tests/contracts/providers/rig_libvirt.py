"""The libvirt provider over a real daemon, whose driver plays the host: domains and mediated devices by a file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.contracts.providers.rigs import Rig
from tests.fakes.hypervisor.daemon import running_daemon
from tests.fakes.hypervisor.host_file import CARD, card_xml, domain_xml, mdev_xml, write_node
from vgpu.core.profile import parse_profile
from vgpu.switcher.providers.libvirt import LibvirtProvider, Times
from vgpu.switcher.providers.libvirt_domain import uuid_for
from vgpu.switcher.providers.settings import Libvirt

GOES_AWAY = True
SECRET = "dr0wss4p"
TYPES = {"nvidia-105": "GRID V100-4Q", "nvidia-106": "GRID V100-8Q", "nvidia-107": "GRID V100-16Q"}
PROFILES = {"nvidia-105": parse_profile("v100-4q-4GB"), "nvidia-107": parse_profile("v100-16q-16GB")}


@contextmanager
def rig(folder: Path) -> Iterator[Rig]:
    """`vm-2` has a device of the host, which the driver's version cannot save; `vm-1` gets one only by a profile."""
    with running_daemon() as daemon:
        mdevs = {type_id: uuid_for("vm-1", profile) for type_id, profile in PROFILES.items()}
        parts = [
            domain_xml("vm-1"),
            domain_xml("vm-2", mdev=uuid_for("vm-2", PROFILES["nvidia-105"])),
            card_xml(CARD, TYPES),
            *(mdev_xml(uuid, type_id) for type_id, uuid in mdevs.items()),
        ]
        write_node(daemon.folder / "host.xml", parts)
        uri = f"test+unix://ann:{SECRET}@/{daemon.folder}/host.xml?socket={daemon.socket}"
        provider = LibvirtProvider(Libvirt(uri=uri), Times(answer_s=5.0, shutdown_s=0.5))
        try:
            yield Rig(
                provider=provider,
                machine="vm-1",
                can=frozenset({"suspend", "resume", "power_off", "power_on", "snapshot"}),
                cannot={"suspend": "vm-2", "snapshot": "vm-2", "live_migrate": "vm-1", "recuts_in_place": "vm-1"},
                secret=SECRET,
                profiles=tuple(PROFILES.values()),
                away=daemon.stop,
                back=daemon.start,
            )
        finally:
            provider.close()
