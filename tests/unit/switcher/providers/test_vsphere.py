"""What vSphere's answers mean: faults, capabilities, states, names and versions."""

import importlib.resources
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyVmomi import vim, vmodl
from pyVmomi.VmomiSupport import GetVmodlType

from vgpu.core.profile import parse_profile
from vgpu.core.switching.seen import Capabilities, MachineSeen, MachineState
from vgpu.switcher.providers.port import ProviderError
from vgpu.switcher.providers.vsphere_capabilities import (
    PRIVILEGES,
    SNAPSHOT,
    Facts,
    VgpuType,
    decide,
    label,
    named,
    with_memory,
)
from vgpu.switcher.providers.vsphere_faults import is_permanent, said
from vgpu.switcher.providers.vsphere_machines import seen_of
from vgpu.switcher.providers.vsphere_session import NotSoap, newest_version

GOLDEN = Path(__file__).parents[3] / "goldens" / "vsphere_faults.txt"
ABLE = VgpuType(suspend=True, migrate=True, memory_snapshot=True, disk_snapshot=True)
UNABLE = VgpuType(suspend=False, migrate=False, memory_snapshot=False, disk_snapshot=False)
FACTS = Facts(host="esx-1", state=MachineState.RUNNING, snapshots=True, memory_snapshots=True, vmotion=True)


def fault_types() -> dict[str, type[Exception]]:
    """Every fault that pyVmomi knows of the API, by its name."""
    names: set[str] = set()
    for file in ("_typeinfo_core.py", "_typeinfo_vim.py"):
        text = importlib.resources.files("pyVmomi").joinpath(file).read_text()
        names.update(re.findall(r'CreateDataType\("((?:vim|vmodl)\.fault\.[A-Za-z.]+)"', text))
    types = {name: GetVmodlType(name) for name in names}
    return {name: kind for name, kind in types.items() if issubclass(kind, vmodl.MethodFault)}


def test_the_faults_that_pass_by_themselves_are_these() -> None:
    """A new pyVmomi may bring more below one of them: look at each before it is written here."""
    faults = fault_types()
    assert len(faults) > 600
    assert sorted(name for name, kind in faults.items() if not is_permanent(kind)) == GOLDEN.read_text().splitlines()


def test_a_fault_is_told_with_the_parts_that_explain_it() -> None:
    config = vim.fault.GenericVmConfigFault(msg="Could not power on", reason="x")
    config.faultMessage = [vmodl.LocalizableMessage(key="k", message="Could not initialize plugin 'libnvidia-vgx.so'")]
    lacking = vim.fault.NoPermission(privilegeId="VirtualMachine.Interact.PowerOn", msg="Permission denied")
    state = vim.fault.InvalidPowerState(existingState="poweredOff", requestedState="suspended")
    assert said(config) == "GenericVmConfigFault: Could not power on: Could not initialize plugin 'libnvidia-vgx.so'"
    assert said(lacking) == (
        "NoPermission: Permission denied: the user lacks the privilege VirtualMachine.Interact.PowerOn"
    )
    assert said(state) == "InvalidPowerState: it is poweredOff"
    assert said(vim.fault.Timedout()) == "Timedout"


def test_a_machine_without_vgpu_where_all_is_well_can_everything_but_be_recut() -> None:
    said_of = decide(FACTS)
    assert (said_of.suspend, said_of.resume, said_of.power_off, said_of.power_on) == (True, True, True, True)
    assert (said_of.snapshot, said_of.live_migrate, list(said_of.why_not)) == (True, True, ["recuts_in_place"])


@pytest.mark.parametrize(
    ("changed", "capability", "reason"),
    [
        ({"lacking": frozenset({SNAPSHOT})}, "snapshot", f"the user lacks the privilege {SNAPSHOT} on it"),
        ({"snapshots": False}, "snapshot", "the machine says that it takes no snapshots"),
        ({"vgpus": ("x",)}, "suspend", "host esx-1 says nothing of vGPU type x"),
        ({"vgpus": ("x",), "types": {"x": UNABLE}}, "resume", "host esx-1 says that vGPU type x cannot be resumed"),
        (
            {"vgpus": ("x",), "types": {"x": UNABLE}},
            "snapshot",
            "host esx-1 says that vGPU type x cannot be kept in a snapshot",
        ),
        (
            {"vgpus": ("y", "x"), "types": {"x": UNABLE, "y": ABLE}},
            "live_migrate",
            "host esx-1 says that vGPU type x cannot move while it runs",
        ),
        (
            {"vgpus": ("y",), "types": {"y": ABLE}, "hot_migration": False},
            "live_migrate",
            "vCenter's option vgpu.hotmigrate.enabled is false",
        ),
        ({"vmotion": False}, "live_migrate", "host esx-1 has no vMotion"),
        ({"is_vcenter": False}, "live_migrate", "the server is a single host, not a vCenter"),
    ],
)
def test_what_is_missing_is_told(changed: dict[str, Any], capability: str, reason: str) -> None:
    assert decide(replace(FACTS, **changed)).why_not[capability] == reason


def test_the_disks_of_a_machine_that_is_off_can_always_be_kept() -> None:
    off = replace(FACTS, state=MachineState.OFF, vgpus=("x",), types={"x": UNABLE})
    assert decide(off).snapshot
    assert not with_memory(off)


vgpu_types = st.builds(
    VgpuType, suspend=st.booleans(), migrate=st.booleans(), memory_snapshot=st.booleans(), disk_snapshot=st.booleans()
)
facts = st.builds(
    Facts,
    host=st.just("esx-1"),
    state=st.sampled_from(MachineState),
    snapshots=st.booleans(),
    memory_snapshots=st.booleans(),
    vmotion=st.booleans(),
    is_vcenter=st.booleans(),
    hot_migration=st.booleans(),
    vgpus=st.lists(st.sampled_from("xyz"), max_size=2).map(tuple),
    types=st.dictionaries(st.sampled_from("xy"), vgpu_types),
    lacking=st.frozensets(st.sampled_from(PRIVILEGES)),
)


@given(facts=facts)
def test_each_capability_is_there_or_explained_and_a_snapshot_with_memory_is_one(facts: Facts) -> None:
    found = decide(facts)
    names = [name for name in Capabilities.__slots__ if name != "why_not"]
    assert {name for name in names if not getattr(found, name)} == set(found.why_not)
    assert not with_memory(facts) or facts.lacking or not facts.snapshots or found.snapshot


@pytest.mark.parametrize(
    ("vgpu_type", "shown"),
    [
        ("grid_v100-4q", "v100-4q-4GB"),
        ("nvidia_a40-8q", "a40-8q-8GB"),
        ("grid_a100-1-5cme", "a100-1-5cme-5GB"),
        ("vendor_special", "vendor_special"),
    ],
)
def test_a_vgpu_type_is_read_as_a_label(vgpu_type: str, shown: str) -> None:
    assert label(vgpu_type) == shown


def test_a_profile_goes_by_the_name_that_the_host_has_for_it() -> None:
    types = ["grid_v100-4q", "nvidia_v100-8q", "strange"]
    assert named(parse_profile("v100-8q-8GB"), types, "esx-1") == "nvidia_v100-8q"
    with pytest.raises(ProviderError, match="host esx-1 has the vGPU types grid_v100-4q, nvidia_v100-8q, strange"):
        named(parse_profile("v100-2q-2GB"), types, "esx-1")


def devices(*names: str) -> list[object]:
    passed = vim.vm.device.VirtualPCIPassthrough
    vgpus = [passed(key=1, backing=passed.VmiopBackingInfo(vgpu=name)) for name in names]
    return [vim.vm.device.VirtualDisk(key=2), passed(key=3, backing=passed.DynamicBackingInfo()), *vgpus]


@pytest.mark.parametrize(
    ("power", "connection", "busy", "vgpus", "seen"),
    [
        ("poweredOn", "connected", False, (), MachineSeen(state=MachineState.RUNNING)),
        (
            "poweredOff",
            "connected",
            False,
            ("grid_v100-4q",) * 2,
            MachineSeen(state=MachineState.OFF, profile="v100-4q-4GB"),
        ),
        (
            "suspended",
            "connected",
            True,
            ("grid_v100-4q", "grid_v100-8q"),
            MachineSeen(state=MachineState.CHANGING, profile="v100-4q-4GB+v100-8q-8GB"),
        ),
        (
            "poweredOn",
            "disconnected",
            True,
            (),
            MachineSeen(
                state=MachineState.UNKNOWN, fault="vCenter says that the machine is disconnected, its power poweredOn"
            ),
        ),
    ],
)
def test_a_machine_is_seen_as(
    power: str, connection: str, busy: bool, vgpus: tuple[str, ...], seen: MachineSeen
) -> None:
    properties = {
        "runtime.powerState": power,
        "runtime.connectionState": connection,
        "config.hardware.device": devices(*vgpus),
    }
    assert seen_of(properties, busy=busy) == seen


def test_a_machine_without_vgpu_has_none_unless_it_was_given_a_whole_device() -> None:
    properties = {"runtime.powerState": "poweredOff", "runtime.connectionState": "connected"}
    disk, whole = devices()
    assert [
        seen_of({**properties, "config.hardware.device": found}, busy=False).profile
        for found in ([disk], [disk, whole])
    ] == ["none", ""]
    assert seen_of(properties, busy=False).profile == ""


def test_a_machine_of_which_nothing_may_be_read_is_unknown() -> None:
    assert seen_of({}, busy=False).state is MachineState.UNKNOWN


@pytest.mark.parametrize(
    ("served", "spoken"),
    [
        ("6.7.3", "vim.version.version15"),
        ("8.0.2.9", "vim.version.v8_0_2_0"),
        ("8.0.3.0", "vim.version.v8_0_3_0"),
        ("99.0", "vim.version.v9_1_1_0"),
    ],
)
def test_the_newest_version_of_the_api_that_both_know_is_spoken(served: str, spoken: str) -> None:
    assert newest_version(served) == spoken


@pytest.mark.parametrize("served", ["", "1.0", "eight"])
def test_a_version_that_nobody_knows_is_told(served: str) -> None:
    with pytest.raises(NotSoap, match=f"API '{served}'"):
        newest_version(served)
