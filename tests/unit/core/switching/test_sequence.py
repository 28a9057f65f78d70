"""The post-condition of each step, one gap at a time."""

from dataclasses import replace

import pytest

from tests.fakes.switch_worlds import guest, node_in_place, own_machines, recut_machines
from tests.fakes.switching import ABLE, CHANGING, OFF, RUNNING, SUSPENDED, UNKNOWN, Pod, World
from vgpu.core.layout import Guest, difference
from vgpu.core.switching.actions import (
    Batch,
    CordonNode,
    EvictPod,
    MarkAsleep,
    Settings,
    Snapshot,
    StartMachine,
    StopMachine,
    UncordonNode,
    Way,
)
from vgpu.core.switching.record import Step
from vgpu.core.switching.seen import MachineSeen, MachineState, Missing, NodeSeen, PodSeen
from vgpu.core.switching.sequence import Gap, Ground, first_lacking, missing_from

DAY, NIGHT = guest(1, "v100-4q-4GB"), guest(5, "v100-16q-16GB")
AWAKE = NodeSeen(name="node-1", ready=True, schedulable=True, profile="v100-4q-4GB", gpus=1, heartbeat="a")
LEAVING = replace(AWAKE, schedulable=False, leaving=True)
ASLEEP = replace(AWAKE, schedulable=False, asleep=True)
FRESH = NodeSeen(name="node-5", ready=True, schedulable=False, asleep=True, profile="v100-16q-16GB", gpus=1)
WORKER = PodSeen(key="serving/chat-0", uid="u0", node="node-1", is_worker=True)
JOB = PodSeen(key="jobs/train-0", uid="u1", node="node-1", is_worker=False)
STOPPED = {state: MachineSeen(state=state) for state in MachineState}
START = StartMachine(machine="vm-5", profile=NIGHT.profile)

GROUND = Ground(
    goal="night",
    leaving=(DAY,),
    coming=(NIGHT,),
    nodes={"node-1": LEAVING, "node-5": FRESH},
    pods=(),
    machines={"vm-1": STOPPED[RUNNING], "vm-5": STOPPED[SUSPENDED]},
    capabilities={"vm-1": ABLE, "vm-5": ABLE},
    settings=Settings(),
    recuts_in_place=False,
    beats={},
    snapshot_name="vgpu-switch-1",
    snapshots=None,
    without_room=False,
    is_way_back=False,
)


def with_nodes(*nodes: NodeSeen, ground: Ground = GROUND) -> Ground:
    return replace(ground, nodes={node.name: node for node in nodes})


def with_machine(name: str, machine: MachineSeen, ground: Ground = GROUND) -> Ground:
    return replace(ground, machines={**ground.machines, name: machine})


CORDON = Gap(what="node node-1 is not cordoned as leaving", action=CordonNode(node="node-1", text="night"))


@pytest.mark.parametrize(
    ("ground", "gaps"),
    [
        (with_nodes(AWAKE, FRESH), (CORDON,)),
        (with_nodes(replace(AWAKE, leaving=True), FRESH), (CORDON,)),
        (with_nodes(replace(AWAKE, schedulable=False), FRESH), (CORDON,)),
        (with_nodes(LEAVING, FRESH), ()),
        (with_nodes(ASLEEP, FRESH), ()),
        (replace(with_nodes(ASLEEP, FRESH), pods=(JOB,)), ()),
        (replace(with_nodes(ASLEEP, FRESH), pods=(WORKER,)), (CORDON,)),
        (with_nodes(FRESH), ()),
    ],
)
def test_nodes_that_leave_are_cordoned_with_the_word(ground: Ground, gaps: tuple[Gap, ...]) -> None:
    assert missing_from(Step.CORDON, ground) == gaps


STILL = Gap(what="worker serving/chat-0 is still on node-1")


@pytest.mark.parametrize(
    ("ground", "gaps"),
    [
        (replace(GROUND, pods=(WORKER, JOB)), (STILL,)),
        (replace(GROUND, pods=(replace(WORKER, deleting=True),)), (STILL,)),
        (replace(GROUND, pods=(replace(WORKER, node="node-5"),)), ()),
        (replace(GROUND, pods=(WORKER,), without_room=True), ()),
        (with_machine("vm-1", STOPPED[SUSPENDED], replace(GROUND, pods=(WORKER,))), ()),
        (with_machine("vm-1", STOPPED[OFF], replace(GROUND, pods=(WORKER,))), ()),
        (with_machine("vm-1", STOPPED[CHANGING], replace(GROUND, pods=(WORKER,))), (STILL,)),
        (with_machine("vm-1", STOPPED[UNKNOWN], replace(GROUND, pods=(WORKER,))), (STILL,)),
        (replace(GROUND, machines={}, pods=(WORKER,)), (STILL,)),
        (with_nodes(FRESH, ground=replace(GROUND, pods=(WORKER,))), ()),
    ],
)
def test_workers_are_waited_for_where_their_machine_may_run(ground: Ground, gaps: tuple[Gap, ...]) -> None:
    assert missing_from(Step.MAKE_ROOM, ground) == gaps


@pytest.mark.parametrize(
    ("batch", "pods", "gaps"),
    [
        (Batch.EVICT, (JOB,), (Gap(what="pod jobs/train-0 is still on node-1", action=EvictPod(pod=JOB)),)),
        (Batch.WAIT, (JOB,), (Gap(what="pod jobs/train-0 on node-1 has not finished (batch: wait)"),)),
        (Batch.REFUSE, (JOB,), (Gap(what="pod jobs/train-0 on node-1 has not finished (batch: refuse)"),)),
        (
            Batch.WAIT,
            (WORKER, replace(JOB, deleting=True)),
            (
                Gap(what="pod serving/chat-0 is still on node-1", action=EvictPod(pod=WORKER)),
                Gap(what="pod jobs/train-0 on node-1 is being deleted"),
            ),
        ),
        (Batch.EVICT, (replace(JOB, node="node-9"),), ()),
    ],
)
def test_what_is_left_is_evicted_or_waited_for(batch: Batch, pods: tuple[PodSeen, ...], gaps: tuple[Gap, ...]) -> None:
    ground = replace(GROUND, pods=pods, settings=Settings(batch=batch))
    assert missing_from(Step.DRAIN, ground) == gaps


def stop(way: Way) -> Gap:
    return Gap(what="machine vm-1 is running", action=StopMachine(machine="vm-1", way=way))


@pytest.mark.parametrize(
    ("ground", "gaps"),
    [
        (GROUND, (stop(Way.SUSPEND),)),
        (replace(GROUND, settings=Settings(way=Way.POWER_OFF)), (stop(Way.POWER_OFF),)),
        (replace(GROUND, capabilities={"vm-1": replace(ABLE, resume=False)}), (stop(Way.POWER_OFF),)),
        (
            replace(GROUND, capabilities=Missing(why="away")),
            (Gap(what="machine vm-1 is running, and nobody can say how it may be stopped"),),
        ),
        (
            replace(GROUND, capabilities=Missing(why="away"), settings=Settings(way=Way.POWER_OFF)),
            (stop(Way.POWER_OFF),),
        ),
        (with_machine("vm-1", STOPPED[SUSPENDED]), ()),
        (with_machine("vm-1", STOPPED[OFF]), ()),
        (with_machine("vm-1", STOPPED[CHANGING]), (Gap(what="machine vm-1 is changing"),)),
        (replace(GROUND, machines={}), (Gap(what="machine vm-1 is unknown"),)),
        (
            replace(GROUND, snapshots=()),
            (
                Gap(
                    what="machine vm-1 has no snapshot",
                    action=Snapshot(machine="vm-1", name="vgpu-switch-1"),
                ),
            ),
        ),
        (replace(GROUND, snapshots=("vm-1",)), (stop(Way.SUSPEND),)),
        (replace(GROUND, recuts_in_place=True), ()),
    ],
)
def test_machines_that_leave_give_up_the_gpu(ground: Ground, gaps: tuple[Gap, ...]) -> None:
    assert missing_from(Step.STOP, ground) == gaps


@pytest.mark.parametrize(
    ("machine", "gaps"),
    [
        (STOPPED[RUNNING], ()),
        (MachineSeen(state=RUNNING, profile="v100-16q-16GB"), ()),
        (
            MachineSeen(state=RUNNING, profile="v100-8q-8GB"),
            (Gap(what="machine vm-5 is running with v100-8q-8GB instead of v100-16q-16GB"),),
        ),
        (STOPPED[OFF], (Gap(what="machine vm-5 is off", action=START),)),
        (MachineSeen(state=OFF, profile="v100-8q-8GB"), (Gap(what="machine vm-5 is off", action=START),)),
        (STOPPED[SUSPENDED], (Gap(what="machine vm-5 is suspended", action=START),)),
        (
            MachineSeen(state=SUSPENDED, profile="v100-8q-8GB"),
            (
                Gap(
                    what="machine vm-5 is suspended with v100-8q-8GB",
                    action=StopMachine(machine="vm-5", way=Way.POWER_OFF),
                ),
            ),
        ),
        (STOPPED[CHANGING], (Gap(what="machine vm-5 is changing"),)),
        (STOPPED[UNKNOWN], (Gap(what="machine vm-5 is unknown"),)),
        (
            MachineSeen(state=OFF, fault="no host has room"),
            (Gap(what="machine vm-5 is off: no host has room", action=START, broken=True),),
        ),
    ],
)
def test_machines_that_come_run_with_their_profile(machine: MachineSeen, gaps: tuple[Gap, ...]) -> None:
    assert missing_from(Step.START, with_machine("vm-5", machine)) == gaps


@pytest.mark.parametrize(
    ("node", "what"),
    [
        (FRESH, ""),
        (replace(FRESH, schedulable=True), ""),
        (replace(FRESH, ready=False), "node node-5 is not Ready"),
        (replace(FRESH, heartbeat="old"), "node node-5 has shown no life since its machine was asked to change"),
        (
            replace(FRESH, profile="v100-4q-4GB"),
            "node node-5 is labelled v100-4q-4GB, expected v100-16q-16GB",
        ),
        (replace(FRESH, profile=""), "node node-5 is labelled with no profile, expected v100-16q-16GB"),
        (replace(FRESH, conflict="2 devices"), "node node-5 contradicts its label: 2 devices"),
        (replace(FRESH, gpus=0), "node node-5 offers 0 of 1 slots"),
        (replace(FRESH, name="node-9"), "node node-5 does not exist"),
    ],
)
def test_nodes_that_come_are_alive_with_what_they_should_offer(node: NodeSeen, what: str) -> None:
    ground = replace(with_nodes(LEAVING, node), beats={"node-5": "old"})
    assert missing_from(Step.READY, ground) == ((Gap(what=what),) if what else ())


def test_a_node_without_a_heartbeat_is_not_alive() -> None:
    ground = replace(with_nodes(LEAVING, FRESH), beats={"node-5": ""})
    assert missing_from(Step.READY, ground) == (
        Gap(what="node node-5 has shown no life since its machine was asked to change"),
    )


def test_a_node_of_which_nothing_was_asked_is_given_back_as_it_was() -> None:
    broken = replace(with_nodes(LEAVING, replace(FRESH, ready=False)), is_way_back=True)
    assert missing_from(Step.READY, broken) == ()
    assert missing_from(Step.READY, replace(broken, beats={"node-5": "old"})) == (Gap(what="node node-5 is not Ready"),)


UNCORDON = Gap(what="node node-5 is still cordoned", action=UncordonNode(node="node-5"))
MARK = Gap(what="node node-1 is not marked asleep", action=MarkAsleep(node="node-1", text="night"))
OPEN = replace(FRESH, schedulable=True, asleep=False)


@pytest.mark.parametrize(
    ("ground", "gaps"),
    [
        (with_nodes(LEAVING, FRESH), (UNCORDON, MARK)),
        (with_nodes(ASLEEP, OPEN), ()),
        (with_nodes(ASLEEP, replace(OPEN, leaving=True)), (UNCORDON,)),
        (with_nodes(replace(ASLEEP, schedulable=True), OPEN), (MARK,)),
        (with_nodes(replace(ASLEEP, leaving=True), OPEN), (MARK,)),
        (with_nodes(OPEN), ()),
    ],
)
def test_nodes_are_opened_and_those_that_left_marked_asleep(ground: Ground, gaps: tuple[Gap, ...]) -> None:
    assert missing_from(Step.UNCORDON, ground) == gaps


def ground_of(world: World, goal: str = "night") -> Ground:
    seen = world.look()
    change = difference(world.day.of("gpu-a"), world.night.of("gpu-a"))
    assert not isinstance(seen.nodes, Missing)
    assert not isinstance(seen.pods, Missing)
    assert not isinstance(seen.machines, Missing)
    return replace(
        GROUND,
        goal=goal,
        leaving=change.leaving if goal == "night" else change.coming,
        coming=change.coming if goal == "night" else change.leaving,
        nodes=seen.nodes,
        pods=seen.pods,
        machines=seen.machines,
        capabilities=seen.capabilities,
        recuts_in_place=world.gpu.recuts_in_place,
    )


def test_a_machine_cut_anew_must_be_off_and_is_done_with_once_it_has_its_new_profile() -> None:
    world = recut_machines()
    machine, world.pods = world.machines["vm-1"], {}
    expected = [
        (RUNNING, "v100-4q-4GB", StopMachine(machine="vm-1", way=Way.POWER_OFF)),
        (SUSPENDED, "v100-4q-4GB", StopMachine(machine="vm-1", way=Way.POWER_OFF)),
        (RUNNING, "", None),
        (CHANGING, "v100-4q-4GB", None),
    ]
    world.machines["vm-2"].state = SUSPENDED
    for machine.state, machine.profile, action in expected:
        assert [gap.action for gap in missing_from(Step.STOP, ground_of(world))] == [action]
    for machine.state, machine.profile in (
        (OFF, "v100-4q-4GB"),
        (OFF, "v100-16q-16GB"),
        (CHANGING, "v100-16q-16GB"),
        (RUNNING, "v100-16q-16GB"),
    ):
        assert missing_from(Step.STOP, ground_of(world)) == ()


def test_a_node_with_its_new_cut_is_not_cordoned_again_once_it_is_open() -> None:
    for world, name in ((recut_machines(), "vm-1"), (node_in_place(), "node-1")):
        night, machine, node = world.night.of("gpu-a")[0], world.machines[name], world.nodes["node-1"]
        machine.profile, machine.config = night.profile.label, night.config
        node.profile, node.slots = night.profile.label, night.slots
        world.machines.get("vm-2", machine).state = OFF if "vm-2" in world.machines else RUNNING
        world.pods = {"jobs/train-0": Pod(night.profile.label, False, "node-1")}
        if "node-2" in world.nodes:
            world.nodes["node-2"].schedulable, world.nodes["node-2"].asleep = False, "night"
        assert first_lacking(ground_of(world)) == (None, ())
        assert first_lacking(ground_of(world, "day"))[0] is Step.CORDON


def test_a_node_that_is_being_cut_stays_cordoned_though_its_new_configuration_is_asked_for() -> None:
    world = node_in_place()
    for state, step in ((CHANGING, Step.CORDON), (RUNNING, Step.READY)):
        ground = with_machine("node-1", configured("all-3g.40gb", state), replace(ground_of(world), pods=()))
        assert first_lacking(ground)[0] is step


def configured(config: str, state: MachineState = RUNNING, fault: str = "") -> MachineSeen:
    return MachineSeen(state=state, config=config, fault=fault)


@pytest.mark.parametrize(
    ("machine", "what", "is_asked", "broken"),
    [
        (configured("all-3g.40gb"), "", False, False),
        (configured("all-1g.10gb"), "node-1 is configured as all-1g.10gb, not all-3g.40gb", True, False),
        (configured("all-1g.10gb", CHANGING), "node-1 is configured as all-1g.10gb, not all-3g.40gb", True, False),
        (configured(""), "node-1 is configured as nothing, not all-3g.40gb", True, False),
        (configured("all-3g.40gb", CHANGING), "configuration all-3g.40gb of node-1 is changing", False, False),
        (configured("all-3g.40gb", UNKNOWN), "nobody can say how node-1 is configured", False, False),
        (configured("all-3g.40gb", fault="failed"), "configuration all-3g.40gb of node-1: failed", True, True),
        (
            configured("all-1g.10gb", fault="failed"),
            "node-1 is configured as all-1g.10gb, not all-3g.40gb",
            True,
            False,
        ),
    ],
)
def test_a_node_cut_in_place_has_its_configuration(
    machine: MachineSeen, what: str, is_asked: bool, broken: bool
) -> None:
    world = node_in_place()
    ground = with_machine("node-1", machine, ground_of(world))
    night = world.night.of("gpu-a")[0]
    action = StartMachine(machine="node-1", profile=night.profile, config=night.config) if is_asked else None
    assert missing_from(Step.START, ground) == ((Gap(what=what, action=action, broken=broken),) if what else ())


def test_a_guest_in_both_layouts_is_nobodys_business() -> None:
    world = own_machines()
    staying: Guest = guest(9, "v100-4q")
    world.nodes["node-9"], world.machines["vm-9"] = world.nodes["other-1"], world.machines["other-1"]
    change = difference((*world.day.of("gpu-a"), staying), (*world.night.of("gpu-a"), staying))
    assert change.staying == (staying,)
    assert staying not in (*change.leaving, *change.coming)
