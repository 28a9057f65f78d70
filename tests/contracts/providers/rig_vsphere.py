"""The vSphere provider over govmomi's vCenter simulator, by TLS with a certificate that is verified."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.contracts.providers.rigs import Rig
from tests.vcenter.server import PASSWORD, USER, VCenter, certificates
from vgpu.core.profile import parse_profile
from vgpu.switcher.providers.settings import Vsphere
from vgpu.switcher.providers.vsphere import VsphereProvider
from vgpu.switcher.providers.vsphere_session import Session

GOES_AWAY = True


def settings(vcenter: VCenter, folder: Path, datacenter: str = "DC0") -> Vsphere:
    """How to reach it, with the credentials written into files of `folder`."""
    (folder / "user").write_text(f"{USER}\n")
    (folder / "password").write_text(f"{PASSWORD}\n")
    return Vsphere(
        host="127.0.0.1",
        port=vcenter.port,
        user_file=folder / "user",
        password_file=folder / "password",
        ca_file=vcenter.certificates.authority,
        datacenter=datacenter,
    )


@contextmanager
def rig(folder: Path) -> Iterator[Rig]:
    vcenter = VCenter(certificates(folder))
    vcenter.start()
    provider = VsphereProvider(Session(settings(vcenter, folder)), "DC0", shutdown_s=0.5)
    # Its host allows what is said of grid_v100-4q in main.go; the host of DC0_H0_VM0 has no card and no vMotion, and
    # that machine says that it takes no snapshots.
    lesser = "DC0_H0_VM0"
    try:
        yield Rig(
            provider=provider,
            machine="DC0_C0_RP0_VM0",
            can=frozenset({"suspend", "resume", "power_off", "power_on", "snapshot", "live_migrate"}),
            cannot={"snapshot": lesser, "live_migrate": lesser, "recuts_in_place": lesser},
            secret=PASSWORD,
            profiles=(parse_profile("v100-4q-4GB"), parse_profile("v100-16q-16GB")),
            host="DC0_C0_H1",
            away=vcenter.stop,
            back=vcenter.start,
        )
    finally:
        provider.close()
        vcenter.stop()
