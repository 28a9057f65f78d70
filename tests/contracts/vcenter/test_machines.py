"""Tasks that take long or fail, guests that do not shut down, vGPUs, names and privileges, at the vCenter simulator."""

import pytest
from pyVmomi import vim

from tests.contracts.vcenter.conftest import MakeProvider
from tests.fakes.clock import VirtualClock
from tests.vcenter.operator import Operator
from tests.vcenter.server import USER, VCenter
from vgpu.core.profile import parse_profile
from vgpu.core.switching.seen import MachineSeen, MachineState
from vgpu.switcher.providers.port import ProviderError
from vgpu.switcher.providers.vsphere import SHUTDOWN_S, VsphereProvider
from vgpu.switcher.providers.vsphere_session import Stub

MACHINE, PATH = "DC0_C0_RP0_VM0", "/DC0/vm/DC0_C0_RP0_VM0"
PLAIN, PLAIN_PATH = "DC0_H0_VM0", "/DC0/vm/DC0_H0_VM0"
EIGHT, SIXTEEN = parse_profile("v100-8q-8GB"), parse_profile("v100-16q-16GB")


def state(provider: VsphereProvider, machine: str = MACHINE) -> MachineState:
    return provider.look([machine])[machine].state


def await_change(provider: VsphereProvider, machine: str = MACHINE) -> MachineState:
    while state(provider, machine) is MachineState.CHANGING:
        pass
    return state(provider, machine)


def test_a_task_that_takes_its_time_is_not_waited_for(make: MakeProvider, someone: Operator) -> None:
    someone.misbehave(PATH, of="suspend", delay_ms=1500)
    provider, successor = make(), make()
    provider.suspend(MACHINE)
    assert state(provider) is MachineState.CHANGING
    # A switcher that started meanwhile knows the task from vCenter, and asks for nothing.
    assert state(successor) is MachineState.CHANGING
    successor.suspend(MACHINE)
    assert await_change(successor) is MachineState.SUSPENDED
    assert len(someone.machine(PATH).recentTask) == 1


def test_a_task_that_fails_later_is_reported_when_the_same_is_asked_again(
    make: MakeProvider, someone: Operator
) -> None:
    someone.misbehave(PATH, of="suspend", fault="InsufficientMemoryResourcesFault", delay_ms=600)
    provider = make()
    provider.suspend(MACHINE)
    assert await_change(provider) is MachineState.RUNNING
    someone.misbehave(PATH)
    with pytest.raises(ProviderError, match=f"^suspend machine '{MACHINE}': .*InsufficientMemory") as failed:
        provider.suspend(MACHINE)
    assert not failed.value.permanent
    provider.suspend(MACHINE)
    assert state(provider) is MachineState.SUSPENDED


def test_a_task_that_failed_says_nothing_against_another(make: MakeProvider, someone: Operator) -> None:
    someone.misbehave(PATH, of="suspend", fault="InsufficientMemoryResourcesFault", delay_ms=600)
    provider = make()
    provider.suspend(MACHINE)
    await_change(provider)
    provider.power_off(MACHINE)
    assert state(provider) is MachineState.OFF


def test_a_snapshot_that_failed_later_stops_what_was_to_follow_it(make: MakeProvider, someone: Operator) -> None:
    someone.misbehave(PATH, of="createSnapshot", fault="NoDiskSpace", delay_ms=600)
    provider = make()
    provider.snapshot(MACHINE, "before")
    assert await_change(provider) is MachineState.RUNNING
    with pytest.raises(ProviderError, match=f"^take snapshot 'before' of machine '{MACHINE}': vCenter: NoDiskSpace"):
        provider.suspend(MACHINE)
    assert state(provider) is MachineState.RUNNING


def test_a_snapshot_of_one_name_is_taken_once(make: MakeProvider, someone: Operator) -> None:
    provider = make()
    provider.snapshot(MACHINE, "first")
    provider.snapshot(MACHINE, "second")
    provider.snapshot(MACHINE, "second")
    (first,) = someone.machine(PATH).snapshot.rootSnapshotList
    assert (first.name, [one.name for one in first.childSnapshotList]) == ("first", ["second"])


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize(
    ("fault", "permanent"),
    [
        ("NoPermission", True),
        ("InvalidState", True),
        ("NotSupported", True),
        ("NotEnoughLicenses", True),
        ("InvalidPowerState", False),
        ("TaskInProgress", False),
        ("InsufficientGraphicsResourcesFault", False),
        ("GenericVmConfigFault", False),
        ("HostNotConnected", False),
        ("NoCompatibleHost", False),
        ("SystemError", False),
    ],
)
def test_a_fault_says_whether_to_ask_again(
    make: MakeProvider, someone: Operator, fault: str, permanent: bool, at_once: bool
) -> None:
    someone.misbehave(PATH, of="suspend", fault=fault, at_once=at_once)
    with pytest.raises(ProviderError) as failed:
        make().suspend(MACHINE)
    assert failed.value.permanent is permanent
    assert failed.value.why.startswith(f"vCenter: {fault}")


def test_a_guest_that_shuts_down_keeps_its_power_till_then(make: MakeProvider, someone: Operator) -> None:
    provider = make()
    provider.power_off(MACHINE)
    assert state(provider) is MachineState.OFF
    assert list(someone.machine(PATH).recentTask) == []


def test_a_guest_that_does_not_shut_down_loses_its_power_after_a_bound(
    make: MakeProvider, someone: Operator, clock: VirtualClock
) -> None:
    someone.misbehave(PATH, of="shutdownGuest", deaf=True)
    provider = make()
    provider.power_off(MACHINE)
    provider.power_off(MACHINE)
    assert state(provider) is MachineState.CHANGING
    clock.pass_s(SHUTDOWN_S)
    assert state(provider) is MachineState.RUNNING
    provider.power_off(MACHINE)
    assert state(provider) is MachineState.OFF


@pytest.mark.parametrize("fault", ["ToolsUnavailable", "NotSupported"])
def test_a_guest_whose_tools_went_away_loses_its_power_at_once(
    make: MakeProvider, someone: Operator, fault: str
) -> None:
    someone.misbehave(PATH, of="shutdownGuest", fault=fault, at_once=True)
    provider = make()
    provider.power_off(MACHINE)
    assert state(provider) is MachineState.OFF


def test_a_guest_without_tools_loses_its_power_at_once(make: MakeProvider, someone: Operator) -> None:
    someone.misbehave(PLAIN_PATH, of="shutdownGuest", deaf=True)
    provider = make()
    provider.power_off(PLAIN)
    assert state(provider, PLAIN) is MachineState.OFF


def vgpus(someone: Operator) -> list[str]:
    devices = someone.machine(PATH).config.hardware.device
    return [one.backing.vgpu for one in devices if isinstance(one, vim.vm.device.VirtualPCIPassthrough)]


def test_a_profile_takes_the_place_of_the_one_before(make: MakeProvider, someone: Operator) -> None:
    provider = make()
    provider.power_off(MACHINE)
    before = len(someone.machine(PATH).config.hardware.device)
    for profile, name in ((EIGHT, "grid_v100-8q"), (SIXTEEN, "grid_v100-16q"), (SIXTEEN, "grid_v100-16q")):
        provider.set_profile(MACHINE, profile)
        assert vgpus(someone) == [name]
        assert provider.look([MACHINE]) == {MACHINE: MachineSeen(state=MachineState.OFF, profile=profile.label)}
    assert len(someone.machine(PATH).config.hardware.device) == before + 1


@pytest.mark.parametrize(("machine", "offered"), [(MACHINE, "grid_v100-16q, grid_v100-4q"), (PLAIN, "none")])
def test_a_profile_that_the_host_has_not_is_refused_with_those_it_has(
    make: MakeProvider, machine: str, offered: str
) -> None:
    provider = make()
    provider.power_off(machine)
    with pytest.raises(ProviderError, match=f"vGPU types .*{offered}") as failed:
        provider.set_profile(machine, parse_profile("v100-2q-2GB"))
    assert failed.value.permanent


def test_what_the_host_says_of_the_vgpu_decides(make: MakeProvider) -> None:
    provider = make()
    provider.power_off(MACHINE)
    provider.set_profile(MACHINE, EIGHT)
    provider.power_on(MACHINE)
    said = provider.capabilities(MACHINE)
    assert (said.suspend, said.resume, said.snapshot, said.live_migrate) == (False, False, True, False)
    assert said.why_not["suspend"] == "host DC0_C0_H0 says that vGPU type grid_v100-8q cannot be suspended"
    assert said.why_not["live_migrate"] == "host DC0_C0_H0 says that vGPU type grid_v100-8q cannot move while it runs"
    provider.snapshot(MACHINE, "without memory")


def test_a_user_who_may_only_look_is_told_so(make: MakeProvider, vcenter: VCenter) -> None:
    vcenter.stop()
    vcenter.user = f"{USER}-reader"
    vcenter.start()
    file = vcenter.certificates.authority.with_name("reader")
    file.write_text(vcenter.user)
    provider = make(user_file=file)
    said = provider.capabilities(MACHINE)
    assert not any((said.suspend, said.resume, said.power_off, said.power_on, said.snapshot, said.live_migrate))
    assert said.why_not["suspend"] == "the user lacks the privilege VirtualMachine.Interact.Suspend on it"
    with pytest.raises(ProviderError, match=r"lacks the privilege VirtualMachine\.Interact\.PowerOff"):
        provider.power_off(MACHINE)
    assert state(provider) is MachineState.RUNNING


def test_two_machines_of_one_name_are_told_apart_by_path_uuid_or_datacenter(
    make: MakeProvider, someone: Operator
) -> None:
    with pytest.raises(ProviderError, match="there are 2: /DC0/vm/twin and /DC1/vm/twin; ") as failed:
        make(datacenter="").look(["twin"])
    assert failed.value.permanent
    config = someone.machine("/DC1/vm/twin").config
    make(datacenter="DC0").suspend("twin")
    provider = make(datacenter="")
    names = ["/DC0/vm/twin", "/DC1/vm/twin", config.uuid, config.instanceUuid]
    assert [one.state for one in provider.look(names).values()] == [MachineState.SUSPENDED, *[MachineState.RUNNING] * 3]


def test_a_path_may_lead_to_a_folder_and_to_nothing(make: MakeProvider) -> None:
    assert state(make(datacenter="DC0/vm")) is MachineState.RUNNING
    assert make().look(["/DC0/vm/nobody", "/DC0/host", "3f0c2b1e-0000-4000-8000-000000000000"]) == {}
    with pytest.raises(ProviderError, match="find datacenter 'DC7'") as failed:
        make(datacenter="DC7").look([MACHINE])
    assert failed.value.permanent


def test_a_machine_that_was_removed_is_not_seen_and_one_put_in_its_place_is(
    make: MakeProvider, someone: Operator
) -> None:
    provider = make()
    assert state(provider) is MachineState.RUNNING
    someone.machine(PATH).PowerOffVM_Task()
    someone.machine(PATH).Destroy_Task()
    assert provider.look([MACHINE, PLAIN]) == {PLAIN: MachineSeen(state=MachineState.RUNNING, profile="none")}
    with pytest.raises(ProviderError, match="there is no such machine"):
        provider.suspend(MACHINE)
    someone.machine("/DC0/vm/DC0_C0_RP0_VM1").Rename_Task(MACHINE)
    assert state(provider) is MachineState.RUNNING


def test_many_machines_are_looked_at_by_one_call(make: MakeProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = make()
    names = [f"DC0_{pool}_VM{index}" for pool in ("H0", "C0_RP0") for index in range(2)]
    provider.look(names)
    calls: list[str] = []
    invoke = Stub.InvokeMethod

    def counted(self: Stub, mo: object, info: object, args: object) -> object:
        calls.append(info.wsdlName)  # type: ignore[attr-defined]  # pyVmomi's
        return invoke(self, mo, info, args)

    monkeypatch.setattr(Stub, "InvokeMethod", counted)
    assert set(provider.look(names)) == set(names)
    assert calls == ["RetrievePropertiesEx"]


def test_a_machine_moves_to_another_cluster_while_it_is_off(make: MakeProvider, someone: Operator) -> None:
    provider = make()
    provider.power_off(PLAIN)
    provider.migrate(PLAIN, "DC0_C0_H1")
    moved = someone.machine(PLAIN_PATH)
    assert (moved.runtime.host.name, moved.resourcePool.name) == ("DC0_C0_H1", "Resources")
    with pytest.raises(ProviderError, match="there is no such host; the user sees DC0_C0_H0, DC0_C0_H1, DC0_H0"):
        provider.migrate(PLAIN, "esx-1")


def test_a_machine_that_was_renamed_is_not_taken_for_the_one_that_has_its_name_now(
    make: MakeProvider, someone: Operator
) -> None:
    provider = make()
    assert list(provider.look([MACHINE, PATH])) == [MACHINE, PATH]
    someone.machine(PATH).Rename_Task("retired")
    assert provider.look([MACHINE, PATH]) == {}
    someone.machine("/DC0/vm/DC0_C0_RP0_VM1").Rename_Task(MACHINE)
    provider.suspend(MACHINE)
    assert [state(provider, name) for name in (MACHINE, PATH, "retired")] == [
        MachineState.SUSPENDED,
        MachineState.SUSPENDED,
        MachineState.RUNNING,
    ]


def test_a_guest_asked_long_ago_to_shut_down_is_asked_again(
    make: MakeProvider, someone: Operator, clock: VirtualClock
) -> None:
    someone.misbehave(PATH, of="shutdownGuest", deaf=True)
    provider = make()
    provider.power_off(MACHINE)
    clock.pass_s(24 * 3600)
    provider.power_off(MACHINE)
    assert state(provider) is MachineState.CHANGING
    clock.pass_s(SHUTDOWN_S)
    provider.power_off(MACHINE)
    assert state(provider) is MachineState.OFF
