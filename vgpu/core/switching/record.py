"""The record of one switch: what was asked, how far it is, and what has happened. Its JSON is `switch_text`.

A switch takes one physical GPU from the guests of one layout to those of another. `goal` is the layout it works
towards at present: `target` at first, `origin` after a failure, and so on in turn (see `vgpu.core.switching`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Step(StrEnum):
    """The steps towards a layout, in their order."""

    CHECK = "check"
    CORDON = "cordon"
    MAKE_ROOM = "make_room"
    DRAIN = "drain"
    STOP = "stop"
    START = "start"
    READY = "ready"
    UNCORDON = "uncordon"


class Result(StrEnum):
    """How a switch ended: in its target, untouched, or back where it came from."""

    DONE = "done"
    REFUSED = "refused"
    ROLLED_BACK = "rolled_back"


class Cause(StrEnum):
    """Who wanted it."""

    HAND = "hand"
    SCHEDULE = "schedule"
    DEMAND = "demand"


class SwitchError(ValueError):
    """A record or request that cannot be read; the message names the field and what is wrong with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request for a layout on one GPU. `at_s` in seconds since the epoch; `by` says who, where that is known."""

    id: str
    layout: str
    cause: Cause
    at_s: float
    by: str = ""

    def __post_init__(self) -> None:
        for name in ("id", "layout"):
            if not getattr(self, name):
                raise SwitchError(f"{name} is empty; a request has an id of its own and names a layout")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """One line of the history: the observed seconds that a step took on the way to `goal`.

    `why` is empty for a step that was passed; otherwise it says why the switch turned round there.
    """

    step: Step
    goal: str
    seconds: float
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """One switch of one GPU. Times are seconds since the epoch; `waited_s` counts observed seconds of the present step.

    `spent` has one line a step and direction. `beats` gives, by node, the heartbeat seen when a stop or a start of its
    machine was last asked for: only a newer one shows that the node is alive after it. `snapshots` names the machines
    whose snapshot is there. `attempts` and `next_try_at_s` space what is asked again. `waits_for` is what the present
    step still lacks and `fault` the last error met in it, in words; `why` is the last failure or refusal. `held` names
    the nodes that somebody else had cordoned before: on the way back they stay so. `about` is a digest of what the file
    said of the two layouts when it began.
    """

    id: str
    gpu: str
    origin: str
    target: str
    goal: str
    cause: Cause
    began_at_s: float
    step: Step
    seen_at_s: float
    waited_s: float = 0.0
    spent: tuple[Spent, ...] = ()
    exchanges: int = 0
    why: str = ""
    waits_for: str = ""
    fault: str = ""
    beats: Mapping[str, str] = field(default_factory=dict)
    snapshots: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    about: str = ""
    attempts: int = 0
    next_try_at_s: float | None = None
    result: Result | None = None
    ended_at_s: float | None = None

    def __post_init__(self) -> None:
        if self.goal not in (self.origin, self.target):
            raise SwitchError(f"goal is {self.goal!r}; it is the origin {self.origin!r} or the target {self.target!r}")
        if (self.result is None) != (self.ended_at_s is None):
            raise SwitchError(f"result is {self.result} and ended_at_s {self.ended_at_s}; they come together")

    @property
    def other(self) -> str:
        """The layout that it works away from."""
        return self.origin if self.goal == self.target else self.target

    @property
    def stuck(self) -> bool:
        """Tell whether both directions have failed: it goes on trying, and somebody should look."""
        return self.exchanges >= 2 and self.result is None

    def earlier_s(self, step: Step) -> float:
        """Observed seconds that earlier visits to the step took in the present direction."""
        return sum(line.seconds for line in self.present if line.step is step)

    @property
    def present(self) -> tuple[Spent, ...]:
        """The lines of the present direction: those since the switch last turned round."""
        found: list[Spent] = []
        for line in reversed(self.spent):
            if line.goal != self.goal or line.why:
                break
            found.append(line)
        return tuple(reversed(found))
