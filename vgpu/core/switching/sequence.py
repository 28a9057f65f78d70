"""The post-condition of each step of a switch, in what is seen: what it still lacks, and what would mend that.

Nothing here remembers which steps were taken. A guest that leaves is done with once its machine gives up the GPU, or,
for a machine that comes again with another cut, once it is seen to have that one. So the same conditions carry a switch
forward, back, and on after a restart.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vgpu.core.layout import Guest
from vgpu.core.switching.actions import (
    Action,
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
from vgpu.core.switching.seen import Capabilities, MachineSeen, MachineState, Missing, NodeSeen, PodSeen

_UNKNOWN = MachineSeen(state=MachineState.UNKNOWN)
_DOWN = (MachineState.SUSPENDED, MachineState.OFF)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """One thing that a step lacks. `action` is None where there is only waiting; `broken`: the provider gave it up."""

    what: str
    action: Action | None = None
    broken: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What the post-conditions are judged by: the guests that leave and come towards `goal`, and what is seen.

    `snapshots` is None where none are to be taken, else the machines that have theirs, under `snapshot_name`.
    `without_room`: workers that nobody could move are evicted now. `is_way_back`: `goal` is where the switch came from.
    `held` names nodes that were cordoned before the switch by somebody else.
    """

    goal: str
    leaving: tuple[Guest, ...]
    coming: tuple[Guest, ...]
    nodes: Mapping[str, NodeSeen]
    pods: tuple[PodSeen, ...]
    machines: Mapping[str, MachineSeen]
    capabilities: Mapping[str, Capabilities] | Missing
    settings: Settings
    recuts_in_place: bool
    beats: Mapping[str, str]
    snapshot_name: str
    snapshots: tuple[str, ...] | None
    without_room: bool
    is_way_back: bool
    held: tuple[str, ...] = ()

    def machine(self, guest: Guest) -> MachineSeen:
        return self.machines.get(guest.vm, _UNKNOWN)

    def successor(self, guest: Guest) -> Guest | None:
        """The guest that the machine of a leaving one is to become."""
        return next((other for other in self.coming if other.vm == guest.vm), None)

    def has_turned(self, guest: Guest) -> bool:
        """Tell whether the machine of a leaving guest is seen as the coming guest already."""
        successor, machine = self.successor(guest), self.machine(guest)
        if successor is None:
            return False
        if self.recuts_in_place:
            running = machine.state is MachineState.RUNNING and not machine.fault
            return running and machine.config == successor.config
        return machine.profile == successor.profile.label  # can be given only while it is off

    @property
    def remaining(self) -> tuple[Guest, ...]:
        """Leaving guests that have not become a coming one."""
        return tuple(guest for guest in self.leaving if not self.has_turned(guest))

    @property
    def waking(self) -> frozenset[str]:
        """Nodes of remaining guests whose machine is not known to be stopped: what is bound there may run."""
        return frozenset(guest.node for guest in self.remaining if self.machine(guest).state not in _DOWN)

    @property
    def to_go(self) -> tuple[PodSeen, ...]:
        """Pods that hold up the stop of their machine; Kubernetes removes those of a node that does not exist."""
        return tuple(pod for pod in self.pods if pod.node in self.waking and pod.node in self.nodes)


def missing_from(step: Step, ground: Ground) -> tuple[Gap, ...]:
    """What keeps the step from being passed; nothing where its post-condition holds."""
    return tuple(_GAPS[step](ground))


def first_lacking(ground: Ground) -> tuple[Step | None, tuple[Gap, ...]]:
    """The first step whose post-condition does not hold, with what it lacks; None where all hold."""
    for step in _GAPS:
        if gaps := missing_from(step, ground):
            return step, gaps
    return None, ()


def _cordon(ground: Ground) -> list[Gap]:
    found = []
    # Only `leaving` makes the autoscaler move workers; a node asleep without any needs no second word.
    busy = {pod.node for pod in ground.to_go if pod.is_worker}
    for guest in ground.remaining:
        node = ground.nodes.get(guest.node)
        if node and (node.schedulable or not (node.leaving or (node.asleep and node.name not in busy))):
            action = CordonNode(node=node.name, text=ground.goal)
            found.append(Gap(what=f"node {node.name} is not cordoned as leaving", action=action))
    return found


def _make_room(ground: Ground) -> list[Gap]:
    if ground.without_room:
        return []
    return [Gap(what=f"worker {pod.key} is still on {pod.node}") for pod in ground.to_go if pod.is_worker]


def _drain(ground: Ground) -> list[Gap]:
    found = []
    for pod in ground.to_go:
        if pod.deleting:
            found.append(Gap(what=f"pod {pod.key} on {pod.node} is being deleted"))
        elif pod.is_worker or ground.settings.batch is Batch.EVICT:
            found.append(Gap(what=f"pod {pod.key} is still on {pod.node}", action=EvictPod(pod=pod)))
        else:
            found.append(Gap(what=f"pod {pod.key} on {pod.node} has not finished (batch: {ground.settings.batch})"))
    return found


def _stop(ground: Ground) -> list[Gap]:
    if ground.recuts_in_place:
        return []
    return [gap for guest in ground.remaining if (gap := _running(ground, guest))]


def _running(ground: Ground, guest: Guest) -> Gap | None:
    machine, is_recut = ground.machine(guest), ground.successor(guest) is not None
    what = f"machine {guest.vm} is {machine.state}"
    if machine.state is MachineState.OFF or (machine.state is MachineState.SUSPENDED and not is_recut):
        return None
    if machine.state in (MachineState.CHANGING, MachineState.UNKNOWN):
        return Gap(what=what)
    if is_recut and not machine.profile:
        return Gap(what=f"{what}, and its provider does not say with which profile")
    if is_recut:
        way: Way | None = Way.POWER_OFF
    else:
        way = way_out(ground.settings, ground.capabilities, guest)
    if way is None:
        return Gap(what=f"{what}, and nobody can say how it may be stopped")
    if ground.snapshots is not None and machine.state is MachineState.RUNNING and guest.vm not in ground.snapshots:
        return Gap(
            what=f"machine {guest.vm} has no snapshot", action=Snapshot(machine=guest.vm, name=ground.snapshot_name)
        )
    return Gap(what=what, action=StopMachine(machine=guest.vm, way=way))


def way_out(settings: Settings, capabilities: Mapping[str, Capabilities] | Missing, guest: Guest) -> Way | None:
    """How a machine that keeps its cut gives up its GPU: as the policy says where it can be undone, None if unknown."""
    if settings.way is Way.POWER_OFF:
        return Way.POWER_OFF
    if isinstance(capabilities, Missing) or guest.vm not in capabilities:
        return None
    able = capabilities[guest.vm]
    return Way.SUSPEND if able.suspend and able.resume else Way.POWER_OFF


def _start(ground: Ground) -> list[Gap]:
    judge = _not_recut if ground.recuts_in_place else _not_running
    return [gap for guest in ground.coming if (gap := judge(guest, ground.machine(guest)))]


def _not_running(guest: Guest, machine: MachineSeen) -> Gap | None:
    fits = machine.profile in ("", guest.profile.label)
    what = f"machine {guest.vm} is {machine.state}"
    start = StartMachine(machine=guest.vm, profile=guest.profile, config=guest.config)
    if machine.fault:
        return Gap(what=f"{what}: {machine.fault}", action=start, broken=True)
    if machine.state is MachineState.RUNNING:
        return None if fits else Gap(what=f"{what} with {machine.profile} instead of {guest.profile.label}")
    if machine.state is MachineState.OFF or (machine.state is MachineState.SUSPENDED and fits):
        return Gap(what=what, action=start)
    if machine.state is MachineState.SUSPENDED:
        # A suspended guest keeps the profile it has: it must be off to be given another.
        return Gap(what=f"{what} with {machine.profile}", action=StopMachine(machine=guest.vm, way=Way.POWER_OFF))
    return Gap(what=what)


def _not_recut(guest: Guest, machine: MachineSeen) -> Gap | None:
    start = StartMachine(machine=guest.vm, profile=guest.profile, config=guest.config)
    if machine.state is MachineState.UNKNOWN:
        return Gap(what=f"nobody can say how {guest.vm} is configured")
    if machine.config != guest.config:
        return Gap(what=f"{guest.vm} is configured as {machine.config or 'nothing'}, not {guest.config}", action=start)
    if machine.fault:
        return Gap(what=f"configuration {guest.config} of {guest.vm}: {machine.fault}", action=start, broken=True)
    if machine.state is not MachineState.RUNNING:
        return Gap(what=f"configuration {guest.config} of {guest.vm} is {machine.state}")
    return None


def _ready(ground: Ground) -> list[Gap]:
    return [Gap(what=what) for guest in ground.coming if (what := _not_ready(ground, guest))]


def _not_ready(ground: Ground, guest: Guest) -> str:
    if ground.is_way_back and guest.node not in ground.beats:
        return ""  # nothing was asked of its machine: the node is given back as it was, Ready or not
    node = ground.nodes.get(guest.node)
    if node is None:
        return f"node {guest.node} does not exist"
    if not node.ready:
        return f"node {guest.node} is not Ready"
    if guest.node in ground.beats and node.heartbeat == ground.beats[guest.node]:
        return f"node {guest.node} has shown no life since its machine was asked to change"
    if node.profile != guest.profile.label:
        return f"node {guest.node} is labelled {node.profile or 'with no profile'}, expected {guest.profile.label}"
    if node.conflict:
        return f"node {guest.node} contradicts its label: {node.conflict}"
    if node.gpus < guest.slots:
        return f"node {guest.node} offers {node.gpus} of {guest.slots} slots"
    return ""


def _uncordon(ground: Ground) -> list[Gap]:
    found, awake = [], {guest.node for guest in ground.coming}
    for guest in ground.coming:
        node, is_held = ground.nodes.get(guest.node), ground.is_way_back and guest.node in ground.held
        if node and (node.leaving or node.asleep or not (node.schedulable or is_held)):
            action = UncordonNode(node=node.name, stays_cordoned=is_held)
            found.append(Gap(what=f"node {node.name} is still cordoned", action=action))
    for guest in ground.leaving:
        node = ground.nodes.get(guest.node)
        if node and node.name not in awake and (node.schedulable or node.leaving or not node.asleep):
            asleep = MarkAsleep(node=node.name, text=ground.goal)
            found.append(Gap(what=f"node {node.name} is not marked asleep", action=asleep))
    return found


_GAPS: Mapping[Step, Callable[[Ground], list[Gap]]] = {
    Step.CORDON: _cordon,
    Step.MAKE_ROOM: _make_room,
    Step.DRAIN: _drain,
    Step.STOP: _stop,
    Step.START: _start,
    Step.READY: _ready,
    Step.UNCORDON: _uncordon,
}
