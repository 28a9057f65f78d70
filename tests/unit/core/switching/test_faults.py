"""Every step times every fault: the GPU ends in one of its two layouts, and no worker is missed on the way.

tests/goldens/switching/faults*.txt are the tables, printed with `pytest -rP`. A fault that hits one machine, node or
pod leaves the others to be done with, so that a step is half taken when it fails. It begins when its step is taken up
and lasts, where it lasts for good, as long as the switch works towards the night. The world itself checks at every
second that both layouts' machines never hold the GPU at once, that no machine stops under a pod, and that as many
workers serve as are needed.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fakes.switch_worlds import node_in_place, own_machines, recut_machines, runner
from tests.fakes.switcher import DOWN_S, Runner
from tests.fakes.switching import RefusedError, Trouble, World
from vgpu.core.switching.actions import (
    Action,
    CordonNode,
    EvictPod,
    Snapshot,
    StartMachine,
    StopMachine,
    UncordonNode,
)
from vgpu.core.switching.record import Result, Step, Switch
from vgpu.core.switching.seen import Missing

GOLDENS = Path(__file__).parents[3] / "goldens" / "switching"
MENDED_S = 300.0  # the last step has no timeout: what would last for good is mended after this

Make = Callable[[float, bool], Trouble]
"""What is wrong so many seconds after the fault began, while the switch still works towards the night or does not."""


def _is_for_provider(action: Action) -> bool:
    return isinstance(action, Snapshot | StopMachine | StartMachine)


def _refusal(which: Callable[[Action], bool], why: str, *, permanent: bool) -> Trouble:
    return Trouble(refuse=lambda action: RefusedError(why, permanent=permanent) if which(action) else None)


def provider_errs(since_s: float, _forward: bool) -> Trouble:
    return _refusal(_is_for_provider, "503", permanent=False) if since_s < 30 else Trouble()


def provider_away(since_s: float, _forward: bool) -> Trouble:
    return Trouble(provider_away=since_s < 120)


def api_away(since_s: float, _forward: bool) -> Trouble:
    return Trouble(api_away=since_s < 120)


def nothing_moves(_since_s: float, forward: bool) -> Trouble:
    dead = frozenset({"node-1", "node-5", "node-6"})
    trouble = Trouble(ignore=lambda _action: True, autoscaler_away=True, endless_pods=True, dead_nodes=dead)
    return trouble if forward else Trouble()


def budget_forbids(_since_s: float, forward: bool) -> Trouble:
    if not forward:
        return Trouble()
    return _refusal(lambda action: isinstance(action, EvictPod), "429 disruption budget", permanent=False)


def configuration_fails(_since_s: float, forward: bool) -> Trouble:
    return Trouble(failing_configs=frozenset({"all-3g.40gb"})) if forward else Trouble()


def configuration_stalls(_since_s: float, forward: bool) -> Trouble:
    return Trouble(stalled_configs=frozenset({"all-3g.40gb"})) if forward else Trouble()


def faults(machines: tuple[str, ...], cordoned: str, woken: str) -> dict[str, Make | str]:
    """The faults of a world: which machines are refused, which node is not cordoned, and which is not woken."""

    def provider_refuses(_since_s: float, forward: bool) -> Trouble:
        def hits(action: Action) -> bool:
            return _is_for_provider(action) and getattr(action, "machine", "") in machines

        return _refusal(hits, "no permission", permanent=True) if forward else Trouble()

    def api_refuses(_since_s: float, forward: bool) -> Trouble:
        nodes = (CordonNode(node=cordoned, text="night"), UncordonNode(node=woken))

        def hits(action: Action) -> bool:
            return action in nodes or isinstance(action, EvictPod)

        return _refusal(hits, "403 Forbidden", permanent=True) if forward else Trouble()

    def never_ready(_since_s: float, forward: bool) -> Trouble:
        return Trouble(dead_nodes=frozenset({woken})) if forward else Trouble()

    def wrong_profile(_since_s: float, forward: bool) -> Trouble:
        return Trouble(wrong_profiles={woken: "v100-2q-2GB"}) if forward else Trouble()

    return {
        "provider errs for 30 s": provider_errs,
        "provider refuses one for good": provider_refuses,
        "provider away for 120 s": provider_away,
        "API server away for 120 s": api_away,
        "API server refuses one for good": api_refuses,
        "nothing moves any more": nothing_moves,
        "switcher killed before it acts": "before",
        "switcher killed after it acted": "after",
        "a node is never Ready": never_ready,
        "a node shows the wrong profile": wrong_profile,
        "evictions forbidden for good": budget_forbids,
    }


OWN = faults(("vm-3", "vm-6"), cordoned="node-3", woken="node-6")
RECUT = faults(("vm-1",), cordoned="node-1", woken="node-1")
IN_PLACE = faults(("node-1",), cordoned="node-1", woken="node-1") | {
    "the configuration fails": configuration_fails,
    "the configuration is never done": configuration_stalls,
}


class Trial:
    """One switch to the night with one fault from the moment its step is taken up."""

    def __init__(self, world: World, step: Step, fault: Make | str) -> None:
        self.world, self.step, self.fault = world, step, fault
        self.begun_s: float | None = None
        self.last_step_s: float | None = None
        self.runner: Runner = runner(world)
        self.runner.meddle = self.meddle

    def meddle(self, switch: Switch) -> str:
        forward, now_s = switch.goal == "night", self.world.now_s
        begins = self.begun_s is None and forward and switch.step is self.step
        if begins:
            self.begun_s = now_s
        if self.begun_s is None:
            return ""
        if isinstance(self.fault, str):
            return self.fault if begins else ""
        self.last_step_s = (self.last_step_s or now_s) if switch.step is Step.UNCORDON else None
        is_mended = self.last_step_s is not None and now_s - self.last_step_s >= MENDED_S
        self.world.trouble = self.fault(now_s - self.begun_s, forward and not is_mended)
        return ""

    def run(self) -> Switch:
        if self.step is Step.CHECK and self.fault is nothing_moves:
            # The check asks for nothing: what it waits for is an answer about the capacity.
            self.world.room, self.fault = Missing(why="timed out"), "alive"
        if self.step is Step.CHECK and self.meddle(self.runner.switch) in ("before", "after"):
            self.world.wait(DOWN_S)
        return self.runner.run()


def row(step: Step, name: str, world: World, switch: Switch) -> str:
    ours = {guest.node for layout in (world.day, world.night) for guest in layout.of("gpu-a")}
    awake = ",".join(sorted(node for node in ours if world.nodes[node].schedulable))
    seconds = (switch.ended_at_s or world.now_s) - switch.began_at_s
    layout = world.layout_now() or "HALF-WAY"
    return f"{step:<10} {name:<32} {switch.result or 'open':<12} {layout:<7} {seconds:>5.0f} s  {awake}".rstrip()


@pytest.mark.parametrize(
    ("file", "make", "worlds_faults"),
    [
        ("faults.txt", own_machines, OWN),
        ("faults_recut.txt", recut_machines, RECUT),
        ("faults_in_place.txt", node_in_place, IN_PLACE),
    ],
)
def test_every_step_times_every_fault_ends_in_one_of_two_layouts(
    file: str, make: Callable[[], World], worlds_faults: dict[str, Make | str]
) -> None:
    rows = [f"{'step':<10} {'fault':<32} {'result':<12} {'layout':<7} {'time':>7}  awake"]
    rows.append("-" * len(rows[0]))
    for step in _taken(make()):
        for name, fault in worlds_faults.items():
            world = make()
            trial = Trial(world, step, fault)
            switch = trial.run()
            rows.append(row(step, name, world, switch))
            assert trial.begun_s is not None, rows[-1]
            assert world.layout_now() == ("night" if switch.result is Result.DONE else "day"), (rows[-1], switch)
            assert switch.exchanges == (1 if switch.result is Result.ROLLED_BACK else 0), (rows[-1], switch)
            assert bool(switch.why) == (switch.result is not Result.DONE), (rows[-1], switch)
    found = "\n".join(rows) + "\n"
    sys.stdout.write(found)
    assert found == (GOLDENS / file).read_text()


def _taken(world: World) -> list[Step]:
    """The steps at which a switch without faults is seen to be: a node cut in place is never stopped."""
    taken = {Step.CHECK}
    one = runner(world)

    def note(switch: Switch) -> str:
        taken.add(switch.step)
        return ""

    one.meddle = note
    one.run()
    return [step for step in Step if step in taken]
