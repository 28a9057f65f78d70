"""The libvirt provider on hosts that libvirt's test driver plays: in this process, and behind a real daemon."""

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.hypervisor.daemon import Daemon, running_daemon
from tests.fakes.hypervisor.host_file import CARD, card_xml, domain_xml, mdev_xml, write_node
from tests.fakes.waiting import eventually
from vgpu.core.profile import parse_profile
from vgpu.core.switching.seen import Capabilities, MachineSeen, MachineState
from vgpu.switcher.providers import libvirt
from vgpu.switcher.providers.libvirt import LibvirtProvider, Times
from vgpu.switcher.providers.libvirt_domain import uuid_for
from vgpu.switcher.providers.libvirt_line import MOST_LEFT_BEHIND
from vgpu.switcher.providers.port import Provider, ProviderError
from vgpu.switcher.providers.settings import Libvirt

SMALL, LARGE = parse_profile("v100-4q-4GB"), parse_profile("v100-16q-16GB")
UUID = "c2177883-f1bb-47f0-914d-32a22e3a8804"
TYPES = {"nvidia-105": "GRID V100-4Q", "nvidia-107": "GRID V100-16Q"}
VFIO = (
    "it has a device of the host, whose state VFIO can keep since libvirt 8.6.0 with QEMU 8.1.0; "
    "here: libvirt 9.0.0, TEST 0.0.2"
)
IN_PLACE = "libvirt recuts no card in place; use kind mig or vgpu_device_manager"


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[Provider]:
    """day-1 runs and has a vGPU, plain runs and has none, night-1 is off and has none."""
    uri = write_node(
        tmp_path / "host.xml",
        [
            domain_xml("day-1", mdev=UUID),
            domain_xml("plain"),
            domain_xml("night-1", is_off=True),
            card_xml(CARD, TYPES),
            mdev_xml(UUID, "nvidia-105"),
            mdev_xml(uuid_for("night-1", LARGE), "nvidia-107"),
        ],
    )
    made = libvirt.open(Libvirt(uri=uri))
    yield made
    made.close()


def state(provider: Provider, machine: str) -> MachineState:
    return provider.look([machine])[machine].state


def refused(error: ProviderError) -> tuple[str, bool]:
    return str(error), error.permanent


def test_look_tells_state_and_profile_of_all_at_once(provider: Provider) -> None:
    assert provider.look(["day-1", "night-1"]) == {
        "day-1": MachineSeen(state=MachineState.RUNNING, profile="v100-4q-4GB"),
        "night-1": MachineSeen(state=MachineState.OFF),
    }
    assert provider.look([]) == {}


def test_a_machine_is_suspended_to_disk_and_resumed(provider: Provider) -> None:
    provider.suspend("plain")
    provider.suspend("plain")
    assert state(provider, "plain") is MachineState.SUSPENDED
    provider.resume("plain")
    provider.resume("plain")
    assert state(provider, "plain") is MachineState.RUNNING


def test_a_suspended_machine_that_is_powered_off_has_lost_its_memory(provider: Provider) -> None:
    provider.suspend("plain")
    provider.power_off("plain")
    provider.power_off("plain")
    assert state(provider, "plain") is MachineState.OFF
    provider.power_on("plain")
    assert state(provider, "plain") is MachineState.RUNNING


def test_what_the_state_does_not_allow_is_refused_with_the_remedy(provider: Provider) -> None:
    found = {}
    provider.suspend("plain")
    for name, call in {
        "suspend": lambda: provider.suspend("night-1"),
        "resume": lambda: provider.resume("night-1"),
        "power on": lambda: provider.power_on("plain"),
        "profile": lambda: provider.set_profile("day-1", LARGE),
        "config": lambda: provider.set_config("day-1", "all-1g.5gb"),
    }.items():
        with pytest.raises(ProviderError) as caught:
            call()
        found[name] = refused(caught.value)
    assert found == {
        "suspend": ("suspend night-1: it is off, so there is no state to keep; power it on first", True),
        "resume": ("resume night-1: it is off, with no saved state; power it on", True),
        "power on": ("power on plain: it is suspended; resume it, or power it off, which gives up its state", True),
        "profile": ("set profile of day-1: it is running; a vGPU is changed only while its machine is off", True),
        "config": (f"set all-1g.5gb on day-1: {IN_PLACE}", True),
    }


def test_a_machine_that_is_off_gets_another_profile(provider: Provider) -> None:
    provider.set_profile("night-1", LARGE)
    provider.set_profile("night-1", LARGE)
    assert provider.look(["night-1"]) == {"night-1": MachineSeen(state=MachineState.OFF, profile="v100-16q-16GB")}


def test_a_machine_that_is_changing_still_tells_its_profile(provider: Provider) -> None:
    assert isinstance(provider, LibvirtProvider)
    provider.look(["day-1"])
    go = threading.Event()
    provider._jobs.begin("power off", "day-1", lambda: (go.wait(), None)[1])
    assert provider.look(["day-1", "night-1"]) == {
        "day-1": MachineSeen(state=MachineState.CHANGING, profile="v100-4q-4GB"),
        "night-1": MachineSeen(state=MachineState.OFF),
    }
    for call in (provider.power_on, provider.suspend, lambda machine: provider.set_profile(machine, LARGE)):
        with pytest.raises(ProviderError, match="day-1: power off is under way since") as caught:
            call("day-1")
        assert not caught.value.permanent
    provider.power_off("day-1")
    go.set()
    eventually(lambda: state(provider, "day-1"), lambda found: found is MachineState.RUNNING)


def test_a_profile_that_no_card_offers_is_refused(provider: Provider) -> None:
    with pytest.raises(ProviderError, match="no card of the host offers v100-8q-8GB") as caught:
        provider.set_profile("night-1", parse_profile("v100-8q-8GB"))
    assert caught.value.permanent


def test_capabilities_are_asked_of_the_domain(provider: Provider) -> None:
    no_move = "this driver's capabilities name no live migration"
    assert provider.capabilities("plain") == Capabilities(
        suspend=True,
        resume=True,
        power_off=True,
        power_on=True,
        snapshot=True,
        why_not={"recuts_in_place": IN_PLACE, "live_migrate": no_move},
    )
    assert provider.capabilities("day-1") == Capabilities(
        power_off=True,
        power_on=True,
        why_not={
            "recuts_in_place": IN_PLACE,
            "suspend": VFIO,
            "resume": VFIO,
            "snapshot": VFIO,
            "live_migrate": no_move,
        },
    )


def test_what_the_capabilities_deny_is_refused_in_their_words(provider: Provider) -> None:
    for call in (provider.suspend, lambda machine: provider.snapshot(machine, "before")):
        with pytest.raises(ProviderError) as caught:
            call("day-1")
        assert (caught.value.why, caught.value.permanent) == (VFIO, True)
    assert state(provider, "day-1") is MachineState.RUNNING


def test_a_snapshot_is_taken_once(provider: Provider) -> None:
    for _ in range(2):
        provider.snapshot("plain", "before <day>")
    assert isinstance(provider, LibvirtProvider)
    names = provider._line.ask("list", lambda connection: connection.lookupByName("plain").snapshotListNames())
    assert names == ["before <day>"]


def test_a_domain_that_somebody_paused_holds_its_vgpu(provider: Provider) -> None:
    assert isinstance(provider, LibvirtProvider)
    provider._line.ask("pause", lambda connection: connection.lookupByName("plain").suspend())
    why = "it is paused, which keeps its vGPU; `virsh resume` or power it off"
    assert provider.look(["plain"]) == {"plain": MachineSeen(state=MachineState.RUNNING, fault=why)}
    provider.power_on("plain")
    assert provider.look(["plain"]) == {"plain": MachineSeen(state=MachineState.RUNNING)}


@pytest.mark.parametrize(
    ("uri", "to"),
    [
        ("qemu:///system", "qemu+tls://kvm-2/system"),
        ("qemu+unix:///system?socket=/s", "qemu+tls://kvm-2/system"),
        ("qemu+ssh://root@kvm-1/system", "qemu+ssh://kvm-2/system"),
    ],
)
def test_a_machine_moves_to_a_daemon_that_is_reached_as_ours(uri: str, to: str) -> None:
    assert LibvirtProvider(Libvirt(uri=uri), Times()).destination("kvm-2") == to


def test_a_machine_that_is_on_the_host_already_is_not_moved(provider: Provider) -> None:
    provider.migrate("plain", socket.gethostname())
    with pytest.raises(ProviderError, match="name no live migration"):
        provider.migrate("plain", "kvm-2")


@pytest.mark.parametrize("name", ["suspend", "resume", "power_off", "power_on", "capabilities"])
def test_a_machine_that_is_not_there_is_a_permanent_error(provider: Provider, name: str) -> None:
    with pytest.raises(ProviderError) as caught:
        getattr(provider, name)("nobody")
    assert caught.value.permanent


def test_a_closed_provider_can_be_closed_again(provider: Provider) -> None:
    provider.look(["plain"])
    provider.close()
    provider.close()


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running_daemon() as running:
        yield running


@pytest.fixture
def remote(daemon: Daemon) -> Iterator[LibvirtProvider]:
    """The same behind a daemon's socket."""
    write_node(daemon.folder / "host.xml", [domain_xml("plain")])
    uri = f"test+unix://{daemon.folder}/host.xml?socket={daemon.socket}"
    made = LibvirtProvider(Libvirt(uri=uri), Times())
    yield made
    made.close()


def test_a_daemon_that_is_away_is_asked_again(daemon: Daemon, remote: Provider) -> None:
    assert state(remote, "plain") is MachineState.RUNNING
    daemon.stop()
    for _ in range(2):
        with pytest.raises(ProviderError) as caught:
            remote.look(["plain"])
        assert not caught.value.permanent
    daemon.start()
    assert state(remote, "plain") is MachineState.RUNNING


def test_a_daemon_that_says_nothing_holds_nobody_up(daemon: Daemon, remote: LibvirtProvider) -> None:
    impatient = LibvirtProvider(Libvirt(uri=remote._line.uri), Times(answer_s=0.3))
    eventually(lambda: answer(impatient))
    os.kill(daemon.process.pid, signal.SIGSTOP)
    try:
        for _ in range(MOST_LEFT_BEHIND + 2):
            with pytest.raises(ProviderError, match=r"has not answered within 0\.3 s") as caught:
                impatient.look(["plain"])
            assert not caught.value.permanent
        assert sum(thread.name == "libvirt look" for thread in threading.enumerate()) <= MOST_LEFT_BEHIND
    finally:
        os.kill(daemon.process.pid, signal.SIGCONT)
    assert eventually(lambda: answer(impatient)) is MachineState.RUNNING
    impatient.close()


def answer(provider: Provider) -> MachineState | None:
    """The machine's state; None where nobody could say for now."""
    try:
        return state(provider, "plain")
    except ProviderError:
        return None


def test_a_connection_that_broke_is_made_again(daemon: Daemon, remote: Provider) -> None:
    assert state(remote, "plain") is MachineState.RUNNING
    daemon.process.kill()
    daemon.process.wait()
    daemon.socket.unlink()
    daemon.start()
    assert eventually(lambda: answer(remote)) is MachineState.RUNNING


def test_no_user_and_no_password_is_ever_told(caplog: pytest.LogCaptureFixture) -> None:
    settings = Libvirt(uri="qemu+tcp://ann:s3cret@127.0.0.1:1/system?no_verify=1")
    with caplog.at_level(logging.DEBUG):
        provider = libvirt.open(settings)
        with pytest.raises(ProviderError) as caught:
            provider.look(["plain"])
    assert not caught.value.permanent
    told = f"{caught.value} {provider!r} {caplog.text}"
    assert "s3cret" not in told
    assert "ann" not in told.replace("cannot", "")
    assert "certificate is not verified (no_verify)" in caplog.text
    assert "neither encrypted nor verified; use qemu+tls" in caplog.text


def test_libvirt_prints_nothing_itself(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ProviderError):
        libvirt.open(Libvirt(uri="qemu+tcp://127.0.0.1:1/system")).look(["plain"])
    assert capfd.readouterr() == ("", "")
