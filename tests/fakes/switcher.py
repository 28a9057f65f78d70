"""The switcher's loop over a world in virtual time: look, decide, persist, act; and it can be killed in between."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from tests.fakes.switching import RefusedError, World
from vgpu.core.switching.actions import Action, EvictPod, Settings, Snapshot, StartMachine, StopMachine
from vgpu.core.switching.record import Step, Switch
from vgpu.core.switching.seen import Fault, Seen
from vgpu.core.switching.state_machine import advance
from vgpu.core.switching.text import parse, render

DOWN_S = 60.0


def _said(action: Action) -> str:
    match action:
        case EvictPod(pod=pod):
            return f"EvictPod {pod.key}"
        case Snapshot() | StopMachine() | StartMachine():
            return f"{type(action).__name__} {action.machine}"
        case _:
            return f"{type(action).__name__} {action.node}"


Hook = Callable[[Switch], str]


@dataclass
class Runner:
    """The switcher's loop: look, decide, persist, act.

    `meddle` is called between persisting and acting. It may set the world's trouble, and returns "before" or "after"
    to kill the process before or after it acts; it is then away for `DOWN_S`.
    """

    world: World
    settings: Settings
    record: str
    faults: tuple[Fault, ...] = ()
    done: tuple[Action, ...] = ()
    asked: list[tuple[float, Action]] = field(default_factory=list)
    meddle: Hook = lambda _switch: ""

    @property
    def switch(self) -> Switch:
        return parse(self.record)

    def decide(self, switch: Switch, look: Seen) -> tuple[Switch, tuple[Action, ...]]:
        """What the core says to a look at the world."""
        world = self.world
        days, nights = (layout.of(world.gpu.name) for layout in (world.day, world.night))
        origin, target = (days, nights) if switch.origin == world.day.name else (nights, days)
        return advance(switch, world.gpu, origin, target, look, self.settings, world.now_s)

    def once(self) -> None:
        """One pass."""
        world, before = self.world, self.switch
        switch, actions = self.decide(before, replace(world.look(), faults=self.faults, done=self.done))
        self.faults, self.done = (), ()
        if world.trouble.api_away:
            self.meddle(before)
            return  # the record cannot be written, so nothing is done
        self.record = render(switch)
        kill = self.meddle(switch)
        for action in actions if kill != "before" else ():
            self._act(switch, action)
        if kill:
            self.faults, self.done = (), ()
            world.wait(DOWN_S)

    def _act(self, switch: Switch, action: Action) -> None:
        self.asked.append((self.world.now_s, action))
        try:
            self.world.perform(action)
        except RefusedError as refusal:
            fault = Fault(step=switch.step, what=_said(action), why=refusal.why, permanent=refusal.permanent)
            self.faults = (*self.faults, fault)
        else:
            self.done = (*self.done, action)

    def run(self, limit_s: float = 20_000.0) -> Switch:
        """Pass after pass until the switch has ended."""
        end_s = self.world.now_s + limit_s
        while (switch := self.switch).result is None and self.world.now_s < end_s:
            self.once()
            self.world.wait(self.settings.interval_s)
        return switch

    def run_to(self, step: Step) -> "Runner":
        """Pass after pass until the record is at that step, or the switch has ended."""
        while self.switch.step is not step and self.switch.result is None:
            self.once()
            self.world.wait(self.settings.interval_s)
        return self
