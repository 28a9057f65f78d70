"""What is seen of the machines, nodes and pods of a switch: the input of `vgpu.core.switching.advance`.

What could not be read is `Missing`, with the reason; it is never an empty list. Whoever fills this in reads the
machines first and the nodes and pods after them: then the heartbeat of a node whose machine is seen stopped is its
last one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from vgpu.core.switching.record import Step

if TYPE_CHECKING:
    from vgpu.core.switching.actions import Action


class MachineState(StrEnum):
    """What a provider says of a machine. `CHANGING`: asked for and not there yet; `UNKNOWN`: it cannot tell."""

    RUNNING = "running"
    SUSPENDED = "suspended"
    OFF = "off"
    CHANGING = "changing"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """Something that could not be read, and why."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineSeen:
    """One machine, or one node that is cut again in place.

    `profile` is a label such as v100-16q-16GB, empty where the provider cannot tell; `config` the name of the
    configuration that is asked of a node. `fault` is what the provider itself reports as failed, such as a
    configuration that its node agent could not apply.
    """

    state: MachineState
    profile: str = ""
    config: str = ""
    fault: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSeen:
    """One node. `leaving` and `asleep`: it carries that annotation; `conflict`: the text of its label conflict.

    `gpus` is its allocatable nvidia.com/gpu. `heartbeat` is any text that changes with each sign of life of the
    kubelet, such as its lease's renewTime; it is compared for equality only.
    """

    name: str
    ready: bool
    schedulable: bool
    leaving: bool = False
    asleep: bool = False
    profile: str = ""
    conflict: str = ""
    gpus: int = 0
    heartbeat: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSeen:
    """A pod that must be gone before its machine stops: no DaemonSet's, no mirror pod, none that has finished.

    `key` is namespace/name. What is no worker of ours is batch.
    """

    key: str
    uid: str
    node: str
    is_worker: bool
    deleting: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """An action of the pass before that failed: at which step, what was tried, why it failed.

    `permanent`: trying it again cannot help (the machine does not exist, the provider lacks the right).
    """

    step: Step
    what: str
    why: str
    permanent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a provider can do with one machine; `why_not` gives the reason by capability, where it is known."""

    suspend: bool = False
    resume: bool = False
    power_off: bool = False
    power_on: bool = False
    snapshot: bool = False
    live_migrate: bool = False
    recuts_in_place: bool = False
    why_not: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Everything at one moment. A node or machine that is not in its mapping does not exist, or is unknown.

    `capabilities` and `room` are looked at by the check alone; `room` gives, by model, the replicas that find no seat
    at the lowest point of the plan. `faults` and `done` are what became of the actions of the pass before; both are
    empty after a restart.
    """

    nodes: Mapping[str, NodeSeen] | Missing
    pods: tuple[PodSeen, ...] | Missing
    machines: Mapping[str, MachineSeen] | Missing
    capabilities: Mapping[str, Capabilities] | Missing
    room: Mapping[str, int] | Missing
    faults: tuple[Fault, ...] = ()
    done: tuple["Action", ...] = ()
