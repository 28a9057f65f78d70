"""The emulated host's machines: one for each guest node, on, suspended or off, as far as their cards have room. Pure.

It refuses what a host refuses: a guest whose framebuffer the card has not left, or one of another size than those that
run (NVIDIA vGPU user guide, "Time-sliced vGPUs on a GPU must be of the same size" unless it is set up for mixed sizes).
Beyond that it lets the guests of one cut of a card run at a time, for each cut is played by an emulator of its own.
A suspended guest holds none of the card: its framebuffer is saved with its memory.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from autoscaler.embedded.fleet import Fleet


class State(StrEnum):
    """What a machine does, as the host says it."""

    RUNNING = "running"
    SUSPENDED = "suspended"
    OFF = "off"
    CHANGING = "changing"


class Action(StrEnum):
    """What can be asked of a machine."""

    SUSPEND = "suspend"
    RESUME = "resume"
    POWER_OFF = "power-off"
    POWER_ON = "power-on"


class FaultKind(StrEnum):
    """What goes wrong where a test asks for it. The last two befall a machine that comes up."""

    FAILS = "fails"
    """The action is answered with an error."""
    HANGS = "hangs"
    """The action is accepted and never ends."""
    LIES = "lies"
    """The action is accepted, and nothing comes of it."""
    NEVER_READY = "never_ready"
    """The machine runs, and its kubelet is silent."""
    WRONG_PROFILE = "wrong_profile"
    """The node comes up with another profile in its label."""


# From which state an action leads to which; from its goal it does nothing.
_LEADS: Mapping[Action, tuple[tuple[State, ...], State]] = {
    Action.SUSPEND: ((State.RUNNING,), State.SUSPENDED),
    Action.RESUME: ((State.SUSPENDED,), State.RUNNING),
    Action.POWER_OFF: ((State.RUNNING, State.SUSPENDED), State.OFF),
    Action.POWER_ON: ((State.OFF,), State.RUNNING),
}
_REMEDY: Mapping[tuple[Action, State], str] = {
    (Action.SUSPEND, State.OFF): "there is no memory to keep",
    (Action.RESUME, State.OFF): "power it on",
    (Action.POWER_ON, State.SUSPENDED): "resume it, or power it off first",
}
PACE_S: Mapping[Action, float] = {
    Action.SUSPEND: 2.0,
    Action.RESUME: 2.0,
    Action.POWER_OFF: 1.0,
    Action.POWER_ON: 3.0,
}


class Unknown(LookupError):
    """No machine has this name."""


class Declined(Exception):  # says what happened, as the domain's words do
    """The host does not do it; `permanent` where asking again cannot help."""

    def __init__(self, why: str, *, permanent: bool) -> None:
        super().__init__(why)
        self.permanent = permanent


@dataclass(slots=True, kw_only=True)
class Fault:
    """Something to go wrong so many times: with one machine or with any, in one action or in each."""

    kind: FaultKind
    machine: str = ""
    action: Action | None = None
    times: int = 1
    profile: str = ""


@dataclass(slots=True, kw_only=True)
class _Machine:
    """`state` is RUNNING, SUSPENDED or OFF; while `goal` is set, the way there ends at `done_at_s`."""

    gpu: str
    cut: int
    profile: str
    framebuffer_mib: int
    state: State
    goal: State | None = None
    done_at_s: float = 0.0
    boots: int = 0
    is_silent: bool = False
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineView:
    """What the host tells of a machine."""

    state: State
    gpu: str
    profile: str
    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """What a guest feels: until a change is over it is what it was. `boots` counts how often it was powered on."""

    state: State
    boots: int = 0
    is_silent: bool = False
    label: str = ""
    """The profile that its node's label says."""

    @property
    def is_up(self) -> bool:
        """Whether its kubelet is at work."""
        return self.state is State.RUNNING and not self.is_silent


@dataclass(slots=True)
class Host:
    """Every machine of a fleet. Time is an argument, in seconds of any clock that does not go back."""

    fleet: Fleet
    pace_s: dict[Action, float] = field(default_factory=lambda: dict(PACE_S))
    faults: list[Fault] = field(default_factory=list)
    _machines: dict[str, _Machine] = field(init=False)

    def __post_init__(self) -> None:
        self._machines = {
            node: _Machine(
                gpu=card.gpu or f"card {index}",  # with a blank: nobody can call a card so
                cut=index,
                profile=card.profile,
                framebuffer_mib=card.slot_framebuffer_mib,
                state=State.RUNNING if card.powered else State.OFF,
                boots=int(card.powered),
                label=card.profile,
            )
            for index, card in enumerate(self.fleet.cards)
            for node in card.nodes
        }

    def look(self, now_s: float) -> dict[str, MachineView]:
        """Every machine, by its name; that is its node's."""
        self._settle(now_s)
        return {
            name: MachineView(
                state=machine.state if machine.goal is None else State.CHANGING,
                gpu=machine.gpu,
                profile=machine.profile,
                node=name,
            )
            for name, machine in self._machines.items()
        }

    def power(self, now_s: float) -> dict[str, Power]:
        """What each guest feels, by node."""
        self._settle(now_s)
        return {
            name: Power(state=machine.state, boots=machine.boots, is_silent=machine.is_silent, label=machine.label)
            for name, machine in self._machines.items()
        }

    def ask(self, name: str, action: Action, now_s: float) -> None:
        """Begin an action; what is so, or is on its way, is left alone. Raises `Unknown` or `Declined`."""
        self._settle(now_s)
        if name not in self._machines:
            raise Unknown(f"there is no machine {name!r}; there are {', '.join(self._machines)}")
        machine = self._machines[name]
        before, goal = _LEADS[action]
        if goal in (machine.goal, machine.state if machine.goal is None else None):
            return
        if machine.goal is not None:
            raise Declined(f"{name} is on its way to {machine.goal}; ask again when it is there", permanent=False)
        if machine.state not in before:
            raise Declined(f"{name} is {machine.state}; {_REMEDY[action, machine.state]}", permanent=True)
        fault = self._take((FaultKind.FAILS, FaultKind.HANGS, FaultKind.LIES), name, action)
        if fault is not None and fault.kind is FaultKind.FAILS:
            raise Declined(f"{action} of {name} failed, as a test asked for", permanent=False)
        if goal is State.RUNNING and (why := self._why_no_room(name, machine)):
            raise Declined(why, permanent=not self._is_one_leaving(machine.gpu))
        if fault is None or fault.kind is FaultKind.HANGS:
            machine.goal = goal
            machine.done_at_s = float("inf") if fault is not None else now_s + self.pace_s[action]

    def clear_faults(self, now_s: float) -> None:
        """Nothing goes wrong from now on, and what hangs goes on."""
        self.faults.clear()
        for machine in self._machines.values():
            if machine.goal is not None and machine.done_at_s == float("inf"):
                machine.done_at_s = now_s
            machine.is_silent = False

    def _settle(self, now_s: float) -> None:
        for name, machine in self._machines.items():
            if machine.goal is None or machine.done_at_s > now_s:
                continue
            machine.boots += (machine.state, machine.goal) == (State.OFF, State.RUNNING)
            machine.state, machine.goal = machine.goal, None
            if machine.state is State.RUNNING:
                machine.is_silent = self._take((FaultKind.NEVER_READY,), name, None) is not None
                wrong = self._take((FaultKind.WRONG_PROFILE,), name, None)
                machine.label = machine.profile if wrong is None else wrong.profile

    def _take(self, kinds: tuple[FaultKind, ...], name: str, action: Action | None) -> Fault | None:
        """The next fault of these kinds that is meant for this; one time of it is used up."""
        for fault in self.faults:
            is_meant = fault.kind in kinds and fault.machine in ("", name) and fault.action in (None, action)
            if is_meant and fault.times > 0:
                fault.times -= 1
                return fault
        return None

    def _is_one_leaving(self, gpu: str) -> bool:
        """Whether some machine is about to give its part of the card back."""
        return any(held.gpu == gpu and held.goal in (State.SUSPENDED, State.OFF) for held in self._machines.values())

    def _why_no_room(self, name: str, machine: _Machine) -> str:
        """Why the card takes no such guest now; empty where it does."""
        # One that is leaving holds its part until it has left, and one that comes holds it already.
        there = {
            other: held
            for other, held in self._machines.items()
            if other != name and held.gpu == machine.gpu and State.RUNNING in (held.state, held.goal)
        }
        if not there:
            return ""
        size_mib = self.fleet.cards[machine.cut].framebuffer_mib
        held_mib = sum(held.framebuffer_mib for held in there.values())
        running = f"{', '.join(there)} run on {machine.gpu}"
        if held_mib + machine.framebuffer_mib > size_mib:
            left_mib = size_mib - held_mib
            return f"{name} needs {machine.framebuffer_mib} MiB; {running} and leave {left_mib} of {size_mib} MiB"
        if {held.profile for held in there.values()} != {machine.profile}:
            return f"{name} is {machine.profile}; {running}, of another size, and the card takes one size at a time"
        if {held.cut for held in there.values()} != {machine.cut}:
            return f"{name} is of another cut than {running}; the emulated card plays one cut at a time"
        return ""
