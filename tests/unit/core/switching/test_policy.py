"""The policy of a switch: snapshots, workers without room, jobs, machines that cannot sleep, nodes cut in place."""

from dataclasses import replace

from tests.fakes.switch_worlds import node_in_place, own_machines, runner
from tests.fakes.switching import OFF, RefusedError, Trouble, World
from vgpu.core.switching.actions import (
    Action,
    Batch,
    EvictPod,
    Settings,
    Snapshot,
    StartMachine,
    StopMachine,
    Way,
    WithoutRoom,
)
from vgpu.core.switching.record import Result, Spent, Step, Switch


def test_a_snapshot_is_taken_once_and_before_the_stop() -> None:
    one = runner(own_machines(), Settings(snapshot=True))
    fails = 2

    def refuse_twice(action: Action) -> RefusedError | None:
        nonlocal fails
        if isinstance(action, Snapshot) and action.machine == "vm-2" and fails:
            fails -= 1
            return RefusedError("quiesce failed")
        return None

    one.world.trouble = Trouble(refuse=refuse_twice)
    assert one.run().result is Result.DONE
    asked = [action for _, action in one.asked if isinstance(action, Snapshot | StopMachine)]
    for number in range(1, 5):
        mine = [type(action) for action in asked if action.machine == f"vm-{number}"]
        assert mine == [Snapshot] * (3 if number == 2 else 1) + [StopMachine]
    assert one.world.machines["vm-2"].snapshots == ("vgpu-switch-20261123-1",)
    assert sorted(one.switch.snapshots) == ["vm-1", "vm-2", "vm-3", "vm-4"]


def test_no_snapshot_is_taken_of_what_is_rolled_back() -> None:
    one = runner(own_machines(), Settings(snapshot=True, timeouts_s={Step.READY: 20.0}))
    one.world.trouble = Trouble(dead_nodes=frozenset({"node-6"}))
    one.run_to(Step.READY)
    assert one.run().result is Result.ROLLED_BACK
    assert {action.machine for _, action in one.asked if isinstance(action, Snapshot)} == {
        f"vm-{number}" for number in range(1, 5)
    }


def test_a_snapshot_that_nobody_confirmed_is_asked_for_again() -> None:
    one = runner(own_machines(), Settings(snapshot=True))
    killed: list[str] = []

    def kill(switch: Switch) -> str:
        if switch.step is Step.STOP and not killed:
            killed.append("after")
            return "after"
        return ""

    one.meddle = kill
    assert one.run().result is Result.DONE
    assert all(one.world.machines[f"vm-{number}"].snapshots == ("vgpu-switch-20261123-1",) for number in range(1, 5))


def test_without_room_workers_are_evicted_once_they_have_had_their_time() -> None:
    world = own_machines()
    world.workers_needed = 0
    one = runner(world, Settings(without_room=WithoutRoom.EVICT, timeouts_s={Step.MAKE_ROOM: 30.0}))
    world.trouble = Trouble(autoscaler_away=True)
    assert (one.run().result, world.layout_now(), one.switch.exchanges) == (Result.DONE, "night", 0)
    assert Spent(step=Step.MAKE_ROOM, goal="night", seconds=30.0) in one.switch.spent
    evicted = {action.pod.key for _, action in one.asked if isinstance(action, EvictPod)}
    assert {"serving/chat-0", "serving/chat-1", "serving/chat-2"} <= evicted


def test_with_room_refused_the_same_turns_it_round() -> None:
    world = own_machines()
    one = runner(world, Settings(timeouts_s={Step.MAKE_ROOM: 30.0}))
    world.trouble = Trouble(autoscaler_away=True)
    assert (one.run().result, world.layout_now()) == (Result.ROLLED_BACK, "day")
    assert not any(isinstance(action, EvictPod) for _, action in one.asked)


def test_jobs_are_waited_for_where_they_may_not_be_evicted() -> None:
    world = own_machines()
    world.jobs = {}
    one = runner(world, Settings(batch=Batch.WAIT))
    one.run_to(Step.DRAIN)
    for _ in range(50):
        one.once()
        world.wait(2.0)
    assert (one.switch.step, one.switch.waits_for) == (
        Step.DRAIN,
        "pod jobs/train-0 on node-4 has not finished (batch: wait)",
    )
    del world.pods["jobs/train-0"]
    assert one.run().result is Result.DONE
    assert not any(isinstance(action, EvictPod) for _, action in one.asked)


def test_machines_that_cannot_sleep_are_powered_off() -> None:
    world = own_machines()
    world.able = replace(world.able, suspend=False)
    one = runner(world)
    assert (one.run().result, {world.machines[f"vm-{number}"].state for number in range(1, 5)}) == (Result.DONE, {OFF})


def test_a_machine_that_sleeps_with_another_profile_is_powered_off_first() -> None:
    world = own_machines()
    world.machines["vm-5"].profile = "v100-16q-16GB"
    one = runner(world)
    assert (one.run().result, world.layout_now()) == (Result.DONE, "night")
    asked = [action for _, action in one.asked if getattr(action, "machine", "") == "vm-5"]
    assert asked == [
        StopMachine(machine="vm-5", way=Way.POWER_OFF),
        StartMachine(machine="vm-5", profile=world.night.of("gpu-a")[0].profile),
    ]


def test_a_configuration_that_fails_is_asked_for_twice_and_then_undone() -> None:
    one = runner(node_in_place())
    one.meddle = lambda switch: _fail_at_night(one.world, switch)
    assert (one.run().result, one.world.layout_now()) == (Result.ROLLED_BACK, "day")
    assert one.switch.why == "start towards night: configuration all-3g.40gb of node-1: failed"
    asked = [action.config for _, action in one.asked if isinstance(action, StartMachine)]
    assert asked == ["all-3g.40gb", "all-3g.40gb", "all-1g.10gb"]


def _fail_at_night(world: World, switch: Switch) -> str:
    failing = frozenset({"all-3g.40gb"}) if switch.goal == "night" else frozenset[str]()
    world.trouble = Trouble(failing_configs=failing)
    return ""
