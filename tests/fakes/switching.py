"""A cluster on one physical GPU in virtual time: machines, kubelets, pods, an autoscaler.

The world does what the real ones do: a stopped machine's node stays Ready for a while (its heartbeat stands still), a
pod that is deleted ends only while its kubelet lives, the autoscaler starts a successor before it removes a worker. It
checks at every moment what must never be, and can be told to refuse, to ignore, or to be away.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from vgpu.core.layout import Guest, Layout, PhysicalGpu, difference
from vgpu.core.switching.actions import (
    Action,
    CordonNode,
    EvictPod,
    MarkAsleep,
    Snapshot,
    StartMachine,
    StopMachine,
    UncordonNode,
    Way,
)
from vgpu.core.switching.seen import Capabilities, MachineSeen, MachineState, Missing, NodeSeen, PodSeen, Seen

RUNNING, SUSPENDED, OFF = MachineState.RUNNING, MachineState.SUSPENDED, MachineState.OFF
CHANGING, UNKNOWN = MachineState.CHANGING, MachineState.UNKNOWN
SILENCE_S, HEARTBEAT_S, ENDING_S, STARTING_S = 40.0, 5.0, 3.0, 4.0
BOOT_S = 3.0
CHANGE_S = {SUSPENDED: 3.0, OFF: 2.0, RUNNING: 5.0}
ABLE = Capabilities(suspend=True, resume=True, power_off=True, power_on=True, snapshot=True)
IN_PLACE = Capabilities(recuts_in_place=True)


class RefusedError(Exception):
    """An action that the world refuses."""

    def __init__(self, why: str, *, permanent: bool = False) -> None:
        super().__init__(why)
        self.why, self.permanent = why, permanent


@dataclass
class Machine:
    """A machine and where it is going to; in place, the configuration that is asked and the one that is applied."""

    state: MachineState
    profile: str = ""
    heading: MachineState | None = None
    until_s: float = 0.0
    config: str = ""
    fault: str = ""
    snapshots: tuple[str, ...] = ()


@dataclass
class Node:
    """A node object, and when its kubelet was last heard of."""

    machine: str
    slots: int
    ready: bool
    schedulable: bool
    leaving: str = ""
    asleep: str = ""
    profile: str = ""
    heard_s: float = 0.0


@dataclass
class Pod:
    """A pod: of a model's workers, or of a batch job, each of which wants one slot of a profile."""

    wants: str
    is_worker: bool
    node: str = ""
    runs_from_s: float = 0.0
    ends_s: float | None = None
    successor_of: str = ""


@dataclass
class Trouble:
    """What goes wrong at present; everything off is a healthy world."""

    refuse: Callable[[Action], RefusedError | None] = lambda _action: None
    ignore: Callable[[Action], bool] = lambda _action: False
    api_away: bool = False
    provider_away: bool = False
    autoscaler_away: bool = False
    dead_nodes: frozenset[str] = frozenset()
    wrong_profiles: Mapping[str, str] = field(default_factory=dict)
    endless_pods: bool = False
    failing_configs: frozenset[str] = frozenset()
    stalled_configs: frozenset[str] = frozenset()


@dataclass
class World:
    """Everything that a switcher sees, at `now_s`."""

    gpu: PhysicalGpu
    day: Layout
    night: Layout
    machines: dict[str, Machine]
    nodes: dict[str, Node]
    pods: dict[str, Pod] = field(default_factory=dict)
    workers_needed: int = 0
    jobs: Mapping[str, int] = field(default_factory=dict)
    room: Mapping[str, int] | Missing = field(default_factory=dict)
    able: Capabilities = ABLE
    now_s: float = 1000.0
    trouble: Trouble = field(default_factory=Trouble)
    counted: int = 0
    forgotten: dict[str, Node] = field(default_factory=dict)

    # ---- what is seen

    def look(self) -> Seen:
        away = Missing(why="connection refused")
        api, provider = self.trouble.api_away, self.trouble.provider_away
        return Seen(
            nodes=away if api else {name: self._node_seen(name) for name in self.nodes},
            pods=away if api else tuple(self._pod_seen(key) for key, pod in self.pods.items() if pod.node),
            machines=away if provider else {name: self._machine_seen(name) for name in self.machines},
            capabilities=away if provider else dict.fromkeys(self.machines, self.able),
            room=self.room,
        )

    def _machine_seen(self, name: str) -> MachineSeen:
        machine = self.machines[name]
        profile = "" if self.gpu.recuts_in_place else machine.profile
        return MachineSeen(state=machine.state, profile=profile, config=machine.config, fault=machine.fault)

    def _node_seen(self, name: str) -> NodeSeen:
        node = self.nodes[name]
        return NodeSeen(
            name=name,
            ready=node.ready,
            schedulable=node.schedulable,
            leaving=bool(node.leaving),
            asleep=bool(node.asleep),
            profile=self.trouble.wrong_profiles.get(name, node.profile),
            gpus=node.slots,
            heartbeat=f"{node.heard_s:.0f}",
        )

    def _pod_seen(self, key: str) -> PodSeen:
        pod = self.pods[key]
        return PodSeen(key=key, uid=key, node=pod.node, is_worker=pod.is_worker, deleting=pod.ends_s is not None)

    # ---- what is done to it

    def perform(self, action: Action) -> None:
        """Carry one action out; raises RefusedError."""
        is_for_provider = isinstance(action, Snapshot | StopMachine | StartMachine)
        if (self.trouble.provider_away and is_for_provider) or (self.trouble.api_away and not is_for_provider):
            raise RefusedError("connection refused")
        if refusal := self.trouble.refuse(action):
            raise refusal
        if self.trouble.ignore(action):
            return
        match action:
            case CordonNode(node=name, text=text):
                self._mark(name, schedulable=False, leaving=text, asleep=self.nodes[name].asleep)
            case UncordonNode(node=name, stays_cordoned=stays):
                self._mark(name, schedulable=not stays)
            case MarkAsleep(node=name, text=text):
                self._mark(name, schedulable=False, asleep=text)
            case EvictPod(pod=pod):
                self._end(pod.key)
            case Snapshot(machine=name, name=text):
                taken = self.machines[name].snapshots
                self.machines[name].snapshots = taken if text in taken else (*taken, text)
            case StopMachine(machine=name, way=way):
                self._stop(name, SUSPENDED if way is Way.SUSPEND else OFF)
            case StartMachine():
                self._start(action)

    def _mark(self, name: str, *, schedulable: bool, leaving: str = "", asleep: str = "") -> None:
        if name not in self.nodes:
            raise RefusedError("404 not found")
        node = self.nodes[name]
        node.schedulable, node.leaving, node.asleep = schedulable, leaving, asleep

    def _end(self, key: str) -> None:
        pod = self.pods.get(key)
        if pod and pod.ends_s is None:
            pod.ends_s = self.now_s + ENDING_S

    def _stop(self, name: str, state: MachineState) -> None:
        machine = self.machines[name]
        if machine.state in (CHANGING, state) or (machine.state is OFF and state is SUSPENDED):
            return
        on_it = [key for key, pod in self.pods.items() if pod.node and self.nodes[pod.node].machine == name]
        assert not (machine.state is RUNNING and on_it), f"machine {name} is stopped while {on_it} run on it"
        self._head(machine, state)

    def _start(self, action: StartMachine) -> None:
        machine = self.machines[action.machine]
        if self.gpu.recuts_in_place:
            if machine.config != action.config or machine.fault:
                on_it = [key for key, pod in self.pods.items() if pod.node == action.machine]
                assert not on_it, f"node {action.machine} is cut again while {on_it} run on it"
                machine.config, machine.fault, machine.profile = action.config, "", action.profile.label
                self._head(machine, RUNNING)
            return
        if machine.state is OFF:
            machine.profile = action.profile.label
        if machine.state in (OFF, SUSPENDED):
            assert machine.profile == action.profile.label
            self._head(machine, RUNNING)

    def _head(self, machine: Machine, state: MachineState) -> None:
        machine.state, machine.heading, machine.until_s = CHANGING, state, self.now_s + CHANGE_S[state]

    # ---- how time passes

    def wait(self, seconds: float) -> None:
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self.now_s = min(self.now_s + 1.0, end_s)
            self._move_machines()
            self._hear_kubelets()
            self._move_workers()
            self._end_pods()
            self._run_jobs()
            self.check()

    def _move_machines(self) -> None:
        for machine in self.machines.values():
            if machine.state is not CHANGING or self.now_s < machine.until_s:
                continue
            if machine.config in self.trouble.stalled_configs:
                continue
            assert machine.heading is not None
            machine.state, machine.heading = machine.heading, None
            if machine.config in self.trouble.failing_configs:
                machine.fault = "failed"

    def _is_alive(self, name: str) -> bool:
        machine = self.machines[self.nodes[name].machine]
        has_booted = machine.state is RUNNING and self.now_s >= machine.until_s + BOOT_S
        return has_booted and name not in self.trouble.dead_nodes

    def forget(self, name: str) -> None:
        """Somebody deletes the object of a node that sleeps; its kubelet writes a new one when it wakes."""
        if name in self.nodes and not self._is_alive(name) and not any(pod.node == name for pod in self.pods.values()):
            self.forgotten[name] = self.nodes.pop(name)

    def _hear_kubelets(self) -> None:
        for name, node in tuple(self.forgotten.items()):
            if self.machines[node.machine].state is RUNNING and name not in self.trouble.dead_nodes:
                del self.forgotten[name]
                self.nodes[name] = replace(node, schedulable=True, leaving="", asleep="")
        for name, node in self.nodes.items():
            if self._is_alive(name) and self.now_s - node.heard_s >= HEARTBEAT_S:
                node.heard_s, node.ready = self.now_s, True
                node.profile = self.machines[node.machine].profile
                node.slots = self._slots(name)
            elif self.now_s - node.heard_s > SILENCE_S:
                node.ready = False

    def _slots(self, name: str) -> int:
        guests = (*self.day.of(self.gpu.name), *self.night.of(self.gpu.name))
        node = self.nodes[name]
        cuts = (guest.slots for guest in guests if (guest.node, guest.profile.label) == (name, node.profile))
        return next(cuts, node.slots)

    def _free_nodes(self, wants: str) -> list[str]:
        found = []
        for name, node in self.nodes.items():
            taken = sum(pod.node == name for pod in self.pods.values())
            if node.ready and node.schedulable and not node.leaving and node.profile == wants:
                found += [name] * (node.slots - taken)
        return found

    def _move_workers(self) -> None:
        """The autoscaler: a successor first, and the worker only once that one runs."""
        if self.trouble.autoscaler_away or self.trouble.api_away:
            return
        succeeded = {pod.successor_of: pod for pod in self.pods.values() if pod.successor_of}
        workers = {key: pod for key, pod in self.pods.items() if pod.is_worker and pod.ends_s is None}
        for key, pod in workers.items():
            if not self.nodes[pod.node].leaving:
                continue
            if key in succeeded and succeeded[key].runs_from_s <= self.now_s:
                self._end(key)
            elif key not in succeeded and (free := self._free_nodes(pod.wants)):
                self._new_worker(pod.wants, free[0], key)
        for _ in range(self.workers_needed - len(workers)):
            wants = next(iter(self.pods.values())).wants if self.pods else ""
            if free := self._free_nodes(wants):
                self._new_worker(wants, free[0], "")

    def _new_worker(self, wants: str, node: str, successor_of: str) -> None:
        self.counted += 1
        self.pods[f"serving/chat-{self.counted}"] = Pod(
            wants, True, node, self.now_s + STARTING_S, successor_of=successor_of
        )

    def _end_pods(self) -> None:
        for key, pod in tuple(self.pods.items()):
            ended = pod.ends_s is not None and self.now_s >= pod.ends_s and not self.trouble.endless_pods
            if ended and (not pod.node or self._is_alive(pod.node)):
                del self.pods[key]

    def _run_jobs(self) -> None:
        """Controllers that keep so many pods of each profile, and the scheduler that binds them."""
        if self.trouble.api_away:
            return
        for wants, count in self.jobs.items():
            there = [pod for pod in self.pods.values() if not pod.is_worker and pod.wants == wants and not pod.ends_s]
            for _ in range(count - len(there)):
                self.counted += 1
                self.pods[f"jobs/train-{self.counted}"] = Pod(wants, False)
        for pod in self.pods.values():
            if not pod.node and not pod.ends_s and (free := self._free_nodes(pod.wants)):
                pod.node, pod.runs_from_s = free[0], self.now_s + STARTING_S

    # ---- what must never be

    def __post_init__(self) -> None:
        by_day, by_night = ({guest.vm for guest in layout.of(self.gpu.name)} for layout in (self.day, self.night))
        self._of_day, self._of_night = by_day - by_night, by_night - by_day

    def _holding(self, machines: set[str]) -> set[str]:
        """Those that hold the GPU, or are about to take it or give it up."""
        return {name for name in machines if self.machines[name].state in (RUNNING, CHANGING)}

    def check(self) -> None:
        by_day, by_night = self._holding(self._of_day), self._holding(self._of_night)
        assert not (by_day and by_night), f"{by_day} and {by_night} hold the GPU at once at {self.now_s}"
        running = [pod for pod in self.pods.values() if pod.is_worker and pod.runs_from_s <= self.now_s]
        alive = [pod for pod in running if self.machines[self.nodes[pod.node].machine].state is RUNNING]
        serving = [pod for pod in alive if pod.ends_s is None]
        assert len(serving) >= self.workers_needed, f"{len(serving)} of {self.workers_needed} workers at {self.now_s}"

    def layout_now(self) -> str:
        """The layout that the GPU is in entirely: machines, nodes, labels and cordons; empty where it is in none."""
        for layout, other in ((self.day, self.night), (self.night, self.day)):
            change = difference(other.of(self.gpu.name), layout.of(self.gpu.name))
            if all(self._is_awake(guest) for guest in layout.of(self.gpu.name)) and all(
                self._is_asleep(guest) for guest in change.leaving if guest.vm not in {g.vm for g in change.coming}
            ):
                return layout.name
        return ""

    def _is_awake(self, guest: Guest) -> bool:
        node, machine = self.nodes.get(guest.node), self.machines[guest.vm]
        if node is None:
            return False
        is_cut = machine.profile == guest.profile.label == node.profile and machine.config == guest.config
        return machine.state is RUNNING and is_cut and node.ready and node.schedulable and not _marks(node)

    def _is_asleep(self, guest: Guest) -> bool:
        node, state = self.nodes.get(guest.node), self.machines[guest.vm].state
        is_down = state in (SUSPENDED, OFF) or (self.gpu.recuts_in_place and state is RUNNING)
        return is_down and (node is None or (not node.schedulable and bool(node.asleep) and not node.leaving))


def _marks(node: Node) -> str:
    return node.leaving + node.asleep
