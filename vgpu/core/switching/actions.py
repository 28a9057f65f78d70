"""What a switch asks for, and the policy by which it does: output and settings of `vgpu.core.switching.advance`.

Every action is idempotent: carried out twice, it changes nothing the second time.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from vgpu.core.slot_type import SlotType
from vgpu.core.switching.record import Step
from vgpu.core.switching.seen import PodSeen


class Way(StrEnum):
    """How a machine gives up its GPU: suspended where the provider can do it, or powered off."""

    SUSPEND = "suspend"
    POWER_OFF = "power_off"


class Batch(StrEnum):
    """What becomes of pods that are no workers of ours: evicted, waited for, or a reason to refuse the switch."""

    EVICT = "evict"
    WAIT = "wait"
    REFUSE = "refuse"


class WithoutRoom(StrEnum):
    """What happens where the remaining slots do not suffice: no switch, or workers are evicted without successors."""

    REFUSE = "refuse"
    EVICT = "evict"


@dataclass(frozen=True, slots=True, kw_only=True)
class CordonNode:
    """Make the node unschedulable and write `text`, the layout that comes, into its annotation `leaving`."""

    node: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UncordonNode:
    """Make the node schedulable, unless it `stays_cordoned`, and remove its annotations `leaving` and `asleep`."""

    node: str
    stays_cordoned: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkAsleep:
    """Keep the node unschedulable, write `text`, the layout that came, into `asleep` and remove `leaving`."""

    node: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EvictPod:
    """Ask the Eviction API, with the pod's uid as a precondition, so that a disruption budget is respected."""

    pod: PodSeen


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Take a snapshot of that name, unless the machine has one of that name."""

    machine: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StopMachine:
    """Suspend the machine, or power it off; a suspended one is powered off where that is the way."""

    machine: str
    way: Way


@dataclass(frozen=True, slots=True, kw_only=True)
class StartMachine:
    """Resume a suspended machine; give one that is off the profile and power it on; write a node's configuration."""

    machine: str
    profile: SlotType
    config: str = ""


Action = CordonNode | UncordonNode | MarkAsleep | EvictPod | Snapshot | StopMachine | StartMachine

DEFAULT_TIMEOUTS_S: Mapping[Step, float] = {
    Step.CHECK: 60.0,
    Step.CORDON: 60.0,
    Step.MAKE_ROOM: 600.0,
    Step.DRAIN: 600.0,
    Step.STOP: 300.0,
    Step.START: 300.0,
    Step.READY: 600.0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The policy of a switch. A step that `timeouts_s` does not name has its default; `uncordon` has no timeout.

    What is asked again waits `retry_s`, twice as long each time, at most `retry_most_s`. A pass comes every
    `interval_s`.
    """

    way: Way = Way.SUSPEND
    batch: Batch = Batch.EVICT
    without_room: WithoutRoom = WithoutRoom.REFUSE
    snapshot: bool = False
    timeouts_s: Mapping[Step, float] = field(default_factory=dict)
    retry_s: float = 5.0
    retry_most_s: float = 60.0
    interval_s: float = 2.0

    def __post_init__(self) -> None:
        if Step.UNCORDON in self.timeouts_s:
            raise ValueError("timeouts_s has uncordon; that step is only tried again, remove the entry")
        times = {f"timeouts_s of {step}": value for step, value in self.timeouts_s.items()}
        times |= {"retry_s": self.retry_s, "retry_most_s": self.retry_most_s, "interval_s": self.interval_s}
        for name, value in times.items():
            if not 0 < value < float("inf"):
                raise ValueError(f"{name} is {value}; write a number of seconds above 0")

    def timeout_s(self, step: Step) -> float | None:
        """How many observed seconds the step may take; None where it has no end."""
        return self.timeouts_s.get(step, DEFAULT_TIMEOUTS_S.get(step))

    def pause_s(self, attempts: int) -> float:
        """How long to wait after so many tries before the next."""
        return min(self.retry_s * 2.0 ** min(attempts, 30), self.retry_most_s)
