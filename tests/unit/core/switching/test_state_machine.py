"""How a switch goes through its steps: time, retries, turning round, and what it keeps in mind."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.fakes.switch_worlds import QUARTER, own_machines, recut_machines, runner
from tests.fakes.switcher import Runner
from tests.fakes.switching import RUNNING, SUSPENDED, RefusedError, Trouble, World
from vgpu.core.layout import Layout
from vgpu.core.switching.actions import (
    Action,
    CordonNode,
    EvictPod,
    MarkAsleep,
    Settings,
    StartMachine,
    StopMachine,
    UncordonNode,
    Way,
)
from vgpu.core.switching.record import Asked, Cause, Result, Spent, Step, Switch
from vgpu.core.switching.seen import Fault, MachineSeen, MachineState, Missing, PodSeen, Seen
from vgpu.core.switching.state_machine import advance, begin
from vgpu.core.switching.text import parse, render

ASKED = Asked(id="20261123-1", layout="night", cause=Cause.DEMAND, at_s=990.0)


def kinds(one: Runner) -> list[type[Action]]:
    return list(dict.fromkeys(type(action) for _, action in one.asked))


def test_a_request_begins_with_its_check() -> None:
    assert begin(ASKED, "gpu-a", "day", "night", 1000.0) == Switch(
        id="20261123-1",
        gpu="gpu-a",
        origin="day",
        target="night",
        goal="night",
        cause=Cause.DEMAND,
        began_at_s=1000.0,
        step=Step.CHECK,
        seen_at_s=1000.0,
    )


def test_a_switch_to_the_night_and_back() -> None:
    world = own_machines()
    there = runner(world)
    switch = there.run()
    assert (switch.result, world.layout_now(), switch.exchanges, switch.why) == (Result.DONE, "night", 0, "")
    assert kinds(there) == [CordonNode, EvictPod, StopMachine, StartMachine, UncordonNode, MarkAsleep]
    assert [line.step for line in switch.spent] == list(Step)
    back = runner(world, origin="night", target="day")
    assert (back.run().result, world.layout_now()) == (Result.DONE, "day")


def test_where_nothing_changes_it_is_done_at_once() -> None:
    world = own_machines()
    one = runner(replace(world, night=replace(world.day, name="night")))
    assert (one.run(limit_s=1.0).result, one.asked) == (Result.DONE, [])


def test_what_has_ended_is_left_alone() -> None:
    one = runner(own_machines())
    ended = one.run()
    assert one.decide(ended, one.world.look()) == (ended, ())


def test_a_refusal_touches_nothing() -> None:
    world = own_machines()
    world.room = {"chat": 1}
    one = runner(world)
    switch = one.run()
    assert (switch.result, switch.ended_at_s, one.asked) == (Result.REFUSED, 1000.0, [])
    assert switch.why == (
        "replicas would find no slot while the GPU is switched: 1 (chat 1); lower what these models need, add slots "
        "that they may take, or set without_room: evict"
    )


def test_a_check_without_an_answer_is_refused_in_the_end() -> None:
    world = own_machines()
    world.room = Missing(why="connection refused")
    one = runner(world, Settings(timeouts_s={Step.CHECK: 10.0}))
    one.once()
    said = "nobody could say whether the remaining capacity suffices: connection refused"
    assert (one.switch.result, one.switch.waits_for) == (None, said)
    world.wait(2.0)
    switch = one.run()
    assert (switch.result, switch.why, switch.ended_at_s) == (Result.REFUSED, said, 1010.0)


@pytest.mark.parametrize("part", ["nodes", "pods", "machines"])
@pytest.mark.parametrize("step", [step for step in Step if step is not Step.CHECK])
def test_what_cannot_be_read_holds_every_step(step: Step, part: str) -> None:
    one = runner(own_machines()).run_to(step)
    before, now_s = one.switch, one.world.now_s
    look, away = one.world.look(), Missing(why="timed out")
    seen = {
        "nodes": replace(look, nodes=away),
        "pods": replace(look, pods=away),
        "machines": replace(look, machines=away),
    }[part]
    after, actions = one.decide(before, seen)
    assert (after, actions) == (replace(before, seen_at_s=now_s, waits_for=f"{part} cannot be read: timed out"), ())


def test_time_that_nobody_saw_is_no_waiting() -> None:
    one = runner(own_machines()).run_to(Step.MAKE_ROOM)
    one.world.trouble = Trouble(autoscaler_away=True)
    waited_s = one.switch.waited_s
    one.world.wait(10_000.0)
    one.once()
    assert (one.switch.step, one.switch.waited_s) == (Step.MAKE_ROOM, waited_s + 6.0)


def test_a_clock_set_back_takes_no_waiting_away() -> None:
    one = runner(own_machines()).run_to(Step.MAKE_ROOM)
    one.world.trouble = Trouble(autoscaler_away=True)
    before = one.switch
    one.world.now_s -= 500.0
    one.once()
    assert (one.switch.waited_s, one.switch.seen_at_s) == (before.waited_s, one.world.now_s)


def test_the_post_condition_is_looked_at_before_the_timeout() -> None:
    one = runner(own_machines()).run_to(Step.STOP)
    for name in ("vm-1", "vm-2", "vm-3", "vm-4"):
        one.world.machines[name].state = SUSPENDED
    late, _ = one.decide(replace(one.switch, waited_s=1e6), one.world.look())
    assert (late.step, late.exchanges) == (Step.START, 0)


def test_a_step_that_ceases_to_be_true_is_taken_up_again_with_the_time_it_had() -> None:
    one = runner(own_machines()).run_to(Step.STOP)
    before = one.switch
    assert before.spent[-1] == Spent(step=Step.DRAIN, goal="night", seconds=4.0)
    look = one.world.look()
    late = PodSeen(key="jobs/late", uid="u", node="node-2", is_worker=False)
    again, actions = one.decide(before, replace(look, pods=(late,)))
    assert (again.step, again.waited_s, actions) == (Step.DRAIN, 4.0, (EvictPod(pod=late),))
    assert [line.step for line in again.spent] == [Step.CHECK, Step.CORDON, Step.MAKE_ROOM, Step.STOP]
    assert again.spent[-1] == Spent(step=Step.STOP, goal="night", seconds=before.waited_s + 2.0)


def refuse(kind: type[Action], *, permanent: bool = False) -> Trouble:
    return Trouble(refuse=lambda action: RefusedError("503", permanent=permanent) if type(action) is kind else None)


def test_what_fails_is_tried_again_after_longer_and_longer() -> None:
    one = runner(own_machines(), Settings(interval_s=1.0, retry_s=5.0, retry_most_s=30.0))
    one.world.trouble = refuse(StopMachine)
    one.run_to(Step.STOP)
    first_s = one.asked[-1][0]
    for _ in range(100):
        one.once()
        one.world.wait(1.0)
    asked_s = sorted({at_s - first_s for at_s, action in one.asked if isinstance(action, StopMachine)})
    assert asked_s == [0.0, 5.0, 15.0, 35.0, 65.0, 95.0]
    assert one.switch.fault.startswith("StopMachine vm-1: 503; StopMachine vm-2: 503")


def test_while_a_budget_lets_one_go_after_the_other_nobody_backs_off() -> None:
    world = own_machines()
    world.jobs, world.workers_needed = {}, 0
    for name in ("node-1", "node-2", "node-3"):
        world.pods[f"serving/chat-{name[-1]}"] = replace(world.pods["jobs/train-0"], node=name)
    del world.pods["serving/chat-0"]

    def budget(_action: Action) -> RefusedError | None:
        ending = any(pod.ends_s is not None for pod in world.pods.values())
        return RefusedError("429") if ending and isinstance(_action, EvictPod) else None

    world.trouble = Trouble(refuse=budget)
    one = runner(world, Settings(interval_s=1.0)).run_to(Step.STOP)
    assert one.switch.spent[-1].step is Step.DRAIN
    assert one.switch.spent[-1].seconds < 25.0


def test_a_permanent_fault_turns_it_round_at_once() -> None:
    one = runner(own_machines())
    one.world.trouble = refuse(StartMachine, permanent=True)
    one.run_to(Step.START)
    one.once()
    switch = one.switch
    assert (switch.goal, switch.step, switch.exchanges, switch.waited_s) == ("day", Step.CORDON, 1, 0.0)
    assert switch.why == "start towards night: StartMachine vm-5: 503"
    assert switch.spent[-1] == Spent(step=Step.START, goal="night", seconds=2.0, why="StartMachine vm-5: 503")
    one.world.trouble = Trouble()
    assert (one.run().result, one.world.layout_now()) == (Result.ROLLED_BACK, "day")
    assert one.switch.why == "start towards night: StartMachine vm-5: 503"


def test_a_permanent_fault_of_a_step_that_is_past_means_nothing() -> None:
    one = runner(own_machines()).run_to(Step.START)
    fault = Fault(step=Step.STOP, what="vm-1", why="gone", permanent=True)
    after, _ = one.decide(one.switch, replace(one.world.look(), faults=(fault,)))
    assert (after.goal, after.step) == ("night", Step.START)


def test_a_timeout_says_what_was_lacking_and_the_last_error() -> None:
    one = runner(own_machines(), Settings(timeouts_s={Step.STOP: 20.0}))
    one.world.trouble = Trouble(
        refuse=lambda action: RefusedError("busy") if action == StopMachine(machine="vm-3", way=Way.SUSPEND) else None
    )
    assert one.run().result is Result.ROLLED_BACK
    assert one.switch.why == (
        "stop towards night: not so after 20 s: machine vm-3 is running (last error: StopMachine vm-3: busy)"
    )


def test_the_last_step_never_turns_round() -> None:
    one = runner(own_machines()).run_to(Step.UNCORDON)
    one.world.trouble = refuse(UncordonNode, permanent=True)
    for _ in range(500):
        one.once()
        one.world.wait(2.0)
    assert (one.switch.step, one.switch.exchanges, one.switch.goal) == (Step.UNCORDON, 0, "night")
    one.world.trouble = Trouble()
    assert one.run().result is Result.DONE


def test_a_machine_that_is_up_already_is_stopped_again_before_the_others_start() -> None:
    one = runner(own_machines())
    one.world.trouble = Trouble(
        refuse=lambda action: (
            RefusedError("gone", permanent=True)
            if isinstance(action, StartMachine) and action.machine == "vm-6"
            else None
        )
    )
    assert (one.run().result, one.world.layout_now()) == (Result.ROLLED_BACK, "day")
    asked = [action for _, action in one.asked if isinstance(action, StopMachine | StartMachine)]
    stopped = asked.index(StopMachine(machine="vm-5", way=Way.SUSPEND))
    starts = [asked.index(StartMachine(machine=f"vm-{number}", profile=QUARTER)) for number in range(1, 5)]
    assert stopped < min(starts)


def test_a_node_that_was_broken_before_does_not_bar_the_way_back() -> None:
    world = own_machines()
    world.trouble = Trouble(dead_nodes=frozenset({"node-4"}), autoscaler_away=True)
    world.wait(60.0)
    assert not world.nodes["node-4"].ready
    switch = runner(world).run()
    assert (switch.result, switch.exchanges) == (Result.ROLLED_BACK, 1)
    assert all(world.nodes[f"node-{number}"].schedulable for number in range(1, 5))


def test_pods_that_came_to_a_half_opened_layout_are_drained_before_it_is_left() -> None:
    one = runner(own_machines())
    one.world.trouble = Trouble(
        refuse=lambda action: RefusedError("503") if action == UncordonNode(node="node-6") else None
    )
    one.run_to(Step.UNCORDON)
    one.world.wait(10.0)
    assert [pod.node for key, pod in one.world.pods.items() if pod.node == "node-5"] == ["node-5"]
    one.world.trouble = Trouble(wrong_profiles={"node-6": "v100-2q-2GB"})
    assert (one.run().result, one.world.layout_now()) == (Result.ROLLED_BACK, "day")
    back = [action for _, action in one.asked][-20:]
    assert CordonNode(node="node-5", text="day") in back
    assert any(isinstance(action, EvictPod) and action.pod.node == "node-5" for action in back)


def test_a_ready_from_before_the_suspend_is_not_believed() -> None:
    one = runner(own_machines()).run_to(Step.START)
    world = one.world
    back, _ = one.decide(replace(one.switch, goal="day", step=Step.CORDON), world.look())
    assert all(world.nodes[f"node-{number}"].ready for number in range(1, 5)), "their kubelets were heard a moment ago"
    for number in range(1, 5):
        world.machines[f"vm-{number}"].state = RUNNING
    for name in ("vm-5", "vm-6"):
        world.machines[name].state = SUSPENDED
    assert set(back.beats) == {f"node-{number}" for number in range(1, 7)}
    ahead, actions = one.decide(back, world.look())
    assert (ahead.step, ahead.waits_for.split(";")[0], actions) == (
        Step.READY,
        "node node-1 has shown no life since its machine was asked to change",
        (),
    )


def test_once_both_directions_have_failed_it_rests_longer_and_longer() -> None:
    one = runner(own_machines(), Settings(timeouts_s={Step.READY: 50.0}))
    dead = frozenset({"node-1", "node-5"})
    one.world.trouble = Trouble(dead_nodes=dead, autoscaler_away=False)
    one.world.pods, one.world.workers_needed, one.world.jobs = {}, 0, {}
    turned: list[tuple[float, str, bool]] = []

    def note(switch: Switch) -> str:
        if len(turned) < switch.exchanges:
            rest_s = (switch.next_try_at_s or one.world.now_s) - one.world.now_s
            turned.append((rest_s, switch.goal, switch.stuck))
        return ""

    one.meddle = note
    one.run(limit_s=1500.0)
    assert turned[:6] == [
        (0.0, "day", False),
        (5.0, "night", True),
        (10.0, "day", True),
        (20.0, "night", True),
        (40.0, "day", True),
        (60.0, "night", True),
    ]
    one.world.trouble = Trouble()
    assert one.run().result in (Result.DONE, Result.ROLLED_BACK)
    assert one.world.layout_now() == one.switch.goal
    assert not one.switch.stuck


def test_its_history_does_not_grow_without_end() -> None:
    lines = tuple(Spent(step=Step.STOP, goal="night", seconds=1.0, why="no") for _ in range(1000))
    one = runner(own_machines()).run_to(Step.STOP)
    grown = replace(one.switch, spent=lines)
    seen = replace(one.world.look(), faults=(Fault(step=Step.STOP, what="vm-1", why="no", permanent=True),))
    after, _ = one.decide(grown, seen)
    assert len(after.spent) == 65


def test_a_switch_from_a_layout_with_nothing_only_starts() -> None:
    world = own_machines()
    one = runner(world)
    one.run()
    world.wait(30.0)
    one = runner(replace(world, day=Layout(name="day")))
    assert (one.run().result, one.asked) == (Result.DONE, [])


@pytest.mark.parametrize("state", [MachineState.UNKNOWN, MachineState.CHANGING])
@pytest.mark.parametrize("make", [own_machines, recut_machines])
def test_nothing_is_asked_of_a_machine_nobody_can_tell_the_state_of(
    make: Callable[[], World], state: MachineState
) -> None:
    one = runner(make(), Settings(timeouts_s={Step.STOP: 20.0})).run_to(Step.STOP)
    look = one.world.look()
    assert not isinstance(look.machines, Missing)
    seen: Seen = replace(look, machines={**look.machines, "vm-1": MachineSeen(state=state)})
    switch = replace(one.switch, next_try_at_s=None)
    after, actions = one.decide(switch, seen)
    assert not any(isinstance(action, StopMachine) and action.machine == "vm-1" for action in actions)
    assert after.step is Step.STOP
    late, _ = one.decide(replace(after, waited_s=20.0), seen)
    assert (late.goal, late.exchanges) == ("day", 1), "one machine's silence is not the provider's: time counts"


def test_the_record_alone_carries_it_on() -> None:
    """Every pass reads the record from its text, so a new process at any pass goes on where the last one was."""
    one = runner(own_machines())
    while one.switch.result is None:
        assert parse(render(one.switch)) == one.switch
        one.faults, one.done = (), ()
        one.once()
        one.world.wait(2.0)
    assert one.world.layout_now() == "night"


def test_advance_takes_cuts_and_not_layouts() -> None:
    world = own_machines()
    switch, actions = advance(
        begin(ASKED, "gpu-a", "day", "night", 1000.0),
        world.gpu,
        list(world.day.of("gpu-a")),
        list(world.night.of("gpu-a")),
        world.look(),
        Settings(),
        1000.0,
    )
    assert (switch.step, actions) == (
        Step.CORDON,
        tuple(CordonNode(node=f"node-{number}", text="night") for number in range(1, 5)),
    )
