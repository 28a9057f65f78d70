"""The libvirt provider with a real guest: QEMU emulates a PC whose 512 bytes of software count on its serial port.

A guest that goes on counting was restored with its memory; one that begins at 1 was started anew.
"""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.fakes.hypervisor.daemon import Daemon, running_daemon
from tests.fakes.hypervisor.guest import boot_sector, counts
from tests.fakes.waiting import POLL_S, eventually
from vgpu.core.switching.seen import MachineSeen, MachineState
from vgpu.switcher.providers.libvirt import LibvirtProvider, Times
from vgpu.switcher.providers.port import ProviderError
from vgpu.switcher.providers.settings import Libvirt

TICK_S = 1 / 18.2  # of a PC's timer, by which the guest counts
WAIT_S = 60.0


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running_daemon() as running:
        yield running


@pytest.fixture
def provider(daemon: Daemon) -> Iterator[LibvirtProvider]:
    made = LibvirtProvider(Libvirt(uri=daemon.uri), Times(patience_s=0.0, shutdown_s=3 * TICK_S, answer_s=WAIT_S))
    yield made
    made.close()


def define(provider: LibvirtProvider, xml: str) -> None:
    provider._line.ask("define", lambda connection: connection.defineXML(xml))


def becomes(provider: LibvirtProvider, machine: str, state: MachineState) -> None:
    """Wait until it is so, and see that it was nothing but changing until then."""
    seen = eventually(
        lambda: provider.look([machine])[machine],
        lambda found: found.state is not MachineState.CHANGING,
        within_s=WAIT_S,
    )
    assert seen == MachineSeen(state=state)


def counted(daemon: Daemon, machine: str, more: int) -> list[int]:
    """What the guest has counted, once there is so much more of it than now."""
    least = len(daemon.counts_of(machine)) + more
    return eventually(lambda: daemon.counts_of(machine), lambda found: len(found) >= least, within_s=WAIT_S)


def test_a_guest_keeps_its_memory_through_suspend_and_resume_and_loses_it_without_power(
    daemon: Daemon, provider: LibvirtProvider
) -> None:
    define(provider, daemon.add_guest("counter"))
    assert provider.look(["counter"]) == {"counter": MachineSeen(state=MachineState.OFF)}
    provider.power_on("counter")
    becomes(provider, "counter", MachineState.RUNNING)
    first = counted(daemon, "counter", more=5)
    assert first == list(range(1, len(first) + 1))

    provider.suspend("counter")
    provider.suspend("counter")
    becomes(provider, "counter", MachineState.SUSPENDED)
    before = daemon.counts_of("counter")
    with pytest.raises(AssertionError, match="not within"):  # several ticks, and it does not count
        eventually(lambda: daemon.counts_of("counter"), lambda found: found != before, within_s=5 * TICK_S)

    provider.resume("counter")
    provider.resume("counter")
    becomes(provider, "counter", MachineState.RUNNING)
    after = counted(daemon, "counter", more=5)
    assert after == list(range(1, len(after) + 1)), "it went on where it stopped"

    provider.snapshot("counter", "evening")
    becomes(provider, "counter", MachineState.RUNNING)
    counted(daemon, "counter", more=1)

    provider.power_off("counter")  # it knows nothing of ACPI, so its power is cut after a while
    becomes(provider, "counter", MachineState.OFF)
    ran = len(daemon.counts_of("counter"))
    provider.power_on("counter")
    becomes(provider, "counter", MachineState.RUNNING)
    anew = counted(daemon, "counter", more=3)[ran:]
    assert anew == list(range(1, len(anew) + 1)), "it began again"

    provider.power_off("counter")
    becomes(provider, "counter", MachineState.OFF)
    ran = len(daemon.counts_of("counter"))
    provider._line.ask("revert", lambda connection: _revert(connection, "counter", "evening"))
    assert counted(daemon, "counter", more=1)[ran] > len(after), "the snapshot holds the memory of the evening"
    provider.power_off("counter")
    becomes(provider, "counter", MachineState.OFF)


def _revert(connection: object, machine: str, name: str) -> None:
    domain = connection.lookupByName(machine)  # type: ignore[attr-defined]  # libvirt's types are of its module
    domain.revertToSnapshot(domain.snapshotLookupByName(name))


def suspend_in_vain(provider: LibvirtProvider, machine: str) -> None:
    """What fails after we were answered is heard by who asks again."""
    provider.suspend(machine)
    becomes(provider, machine, MachineState.RUNNING)
    provider.suspend(machine)


def test_a_guest_that_qemu_will_not_save_is_refused_and_that_is_remembered(
    daemon: Daemon, provider: LibvirtProvider
) -> None:
    """As a vGPU whose driver does not take part in VFIO's migration: here a shared memory device of QEMU's own."""
    blocker = """
        <qemu:commandline xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
          <qemu:arg value='-object'/><qemu:arg value='memory-backend-memfd,id=shared,size=1M,share=on'/>
          <qemu:arg value='-device'/><qemu:arg value='ivshmem-plain,memdev=shared,master=off,addr=0x10'/>
        </qemu:commandline></domain>"""
    define(provider, daemon.add_guest("blocked").replace("</domain>", blocker))
    provider.power_on("blocked")
    becomes(provider, "blocked", MachineState.RUNNING)
    counted(daemon, "blocked", more=2)
    assert provider.capabilities("blocked").suspend
    with pytest.raises(ProviderError) as caught:
        suspend_in_vain(provider, "blocked")
    assert caught.value.permanent
    assert caught.value.why.startswith("libvirt refused to save it: ")
    assert "ivshmem" in caught.value.why
    found = provider.capabilities("blocked")
    assert (found.suspend, found.why_not["suspend"]) == (False, caught.value.why)
    counted(daemon, "blocked", more=2)
    provider.power_off("blocked")
    becomes(provider, "blocked", MachineState.OFF)


def test_a_guest_whose_disk_keeps_no_snapshots_says_so(daemon: Daemon, provider: LibvirtProvider) -> None:
    define(provider, daemon.add_guest("raw").replace("type='qcow2'", "type='raw'"))
    able = provider.capabilities("raw")
    assert (able.snapshot, able.why_not["snapshot"]) == (
        False,
        "QEMU keeps no snapshot in a disk that is not qcow2: hda",
    )
    with pytest.raises(ProviderError, match="not qcow2: hda") as refused:
        provider.snapshot("raw", "evening")
    assert refused.value.permanent


def test_a_guest_survives_its_daemon(daemon: Daemon, provider: LibvirtProvider) -> None:
    define(provider, daemon.add_guest("survivor"))
    provider.power_on("survivor")
    becomes(provider, "survivor", MachineState.RUNNING)
    counted(daemon, "survivor", more=2)
    daemon.stop()
    counted(daemon, "survivor", more=2)
    daemon.start()
    becomes(provider, "survivor", MachineState.RUNNING)
    provider.power_off("survivor")
    becomes(provider, "survivor", MachineState.OFF)


def test_a_save_goes_on_when_whoever_asked_for_it_is_killed(daemon: Daemon, provider: LibvirtProvider) -> None:
    define(provider, daemon.add_guest("saved"))
    provider.power_on("saved")
    becomes(provider, "saved", MachineState.RUNNING)
    counted(daemon, "saved", more=2)
    save = f"import libvirt; libvirt.open({daemon.uri!r}).lookupByName('saved').managedSave()"
    other = subprocess.Popen([sys.executable, "-c", save], stderr=subprocess.DEVNULL)
    eventually(lambda: provider.look(["saved"])["saved"].state, lambda state: state is not MachineState.RUNNING)
    other.kill()
    other.wait()
    becomes(provider, "saved", MachineState.SUSPENDED)
    provider.suspend("saved")
    before = daemon.counts_of("saved")
    provider.resume("saved")
    becomes(provider, "saved", MachineState.RUNNING)
    after = counted(daemon, "saved", more=2)
    assert after == list(range(1, len(after) + 1))
    assert len(after) > len(before)
    provider.power_off("saved")
    becomes(provider, "saved", MachineState.OFF)


def test_the_guest_is_a_boot_sector_that_begins_at_one() -> None:
    assert (len(boot_sector()), boot_sector()[-2:]) == (512, b"\x55\xaa")
    assert counts(b"000001\n000002\n0000") == [1, 2]
    assert POLL_S < TICK_S
