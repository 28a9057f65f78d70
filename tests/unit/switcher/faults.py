"""What goes wrong in the fault table: a fault breaks something once a step is reached, and is mended after a while."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tests.unit.switcher.world import NAMESPACE, NIGHT, WORKERS, World
from vgpu.core.switching.record import Step
from vgpu.core.switching.seen import Missing
from vgpu.switcher.cluster import Cluster
from vgpu.switcher.providers.port import ProviderError
from vgpu.switcher.records import Record, Records
from vgpu.switcher.running import Switcher

FEW_PASSES = 3


class Killed(BaseException):
    """The switcher ends here and now: nothing that follows happens."""


class Fault(StrEnum):
    """The columns of the table."""

    NOTHING = "nothing"
    PROVIDER_AWAY = "provider away"
    PROVIDER_REFUSES = "provider refuses"
    TIMEOUT = "timeout"
    API_ANSWERS_503 = "API answers 503"
    API_GONE = "API gone"
    KILLED_BEFORE_RECORD = "killed before it is written"
    KILLED_BEFORE_ACTIONS = "killed before the actions"
    KILLED_AMID_ACTIONS = "killed amid the actions"
    KILLED_AFTER_ACTIONS = "killed after the actions"
    NEVER_READY = "node never Ready"
    WRONG_PROFILE = "wrong profile"
    LEASE_LOST = "lease lost"


@dataclass
class Trap:
    """Springs at one step, once: breaks something between its record and its actions, or kills the switcher."""

    step: Step
    place: str = ""
    spring: Callable[[], None] = lambda: None
    at: Step | None = None
    is_sprung: bool = False

    def come_to(self, record: Record) -> None:
        """Remember the step whose actions come now."""
        self.at = record.switch.step if record.switch is not None and record.switch.result is None else None

    def pass_through(self, place: str) -> None:
        """Spring where it was to."""
        if place == self.place and self.at is self.step and not self.is_sprung:
            self.is_sprung = True
            self.spring()


class TrappedRecords(Records):
    """The records of a switcher, with a trap before and after each write."""

    def __init__(self, *arguments: Any, trap: Trap) -> None:
        super().__init__(*arguments)
        self._trap = trap

    def write(self, record: Record) -> Record:
        self._trap.come_to(record)
        self._trap.pass_through("before record")
        written = super().write(record)
        self._trap.pass_through("before actions")
        return written


class TrappedCluster(Cluster):
    """The cluster of a switcher that may be killed after its first action and after its last."""

    def __init__(self, *arguments: Any, trap: Trap) -> None:
        super().__init__(*arguments)
        self._trap = trap

    def _set(self, *arguments: Any, **options: Any) -> None:
        super()._set(*arguments, **options)
        self._trap.pass_through("amid actions")

    def evict(self, *arguments: Any) -> None:
        super().evict(*arguments)
        self._trap.pass_through("amid actions")

    def tell(self, *arguments: Any) -> None:
        self._trap.pass_through("after actions")
        super().tell(*arguments)


PLACES = {
    Fault.KILLED_BEFORE_RECORD: "before record",
    Fault.KILLED_BEFORE_ACTIONS: "before actions",
    Fault.KILLED_AMID_ACTIONS: "amid actions",
    Fault.KILLED_AFTER_ACTIONS: "after actions",
}


def inject(fault: Fault, step: Step, here: World) -> Callable[[], None]:
    """Break something; return what mends it."""
    hypervisor, serving, faults = here.hypervisor, here.serving, here.server.faults
    match fault:
        case Fault.PROVIDER_AWAY:
            hypervisor.broken = lambda operation: ProviderError(operation, "connection refused", permanent=False)
        case Fault.PROVIDER_REFUSES:
            hypervisor.broken = _refusing
        case Fault.TIMEOUT:
            return _stall(step, here)
        case Fault.API_ANSWERS_503:
            faults.refuse(503, times=1_000_000)
            here.is_api_up = False
            return lambda: _api_back(here)
        case Fault.API_GONE:
            here.wire.is_cut = True
        case Fault.NEVER_READY:
            here.dead.update(NIGHT)
        case Fault.WRONG_PROFILE:
            here.labels[NIGHT[0]] = "v100-8q-8GB"
        case Fault.LEASE_LOST:
            here.leads = False
        case _:
            pass

    def mend() -> None:
        hypervisor.broken = lambda operation: None
        serving.moves = True
        here.wire.is_cut = False
        here.leads = True
        here.dead.clear()

    return mend


def _refusing(operation: str) -> ProviderError | None:
    if operation in ("look", "capabilities"):
        return None
    return ProviderError(operation, "permission denied", permanent=True)


def _api_back(here: World) -> None:
    here.server.faults.clear()
    here.is_api_up = True


def _stall(step: Step, here: World) -> Callable[[], None]:
    """Keep the post-condition of one step from ever coming true."""
    state = here.serving.state
    match step:
        case Step.CHECK:
            here.serving.state = Missing(why="connection refused")
        case Step.CORDON | Step.UNCORDON:
            here.server.faults.refuse(503, times=1_000_000, verb="patch", plural="nodes")
        case Step.MAKE_ROOM:
            here.bound |= dict.fromkeys((name for name, _ in WORKERS), 1_000)
        case Step.DRAIN:
            here.bound |= dict.fromkeys(("training",), 1_000)
        case Step.STOP | Step.START:
            here.hypervisor.stands_still = True
        case Step.READY:
            here.dead.update(NIGHT)

    def mend() -> None:
        here.serving.state, here.serving.moves = state, True
        here.server.faults.clear()
        here.hypervisor.stands_still = False
        here.bound.clear()
        here.dead.clear()

    return mend


NO_ACTIONS = {
    (Fault.KILLED_AFTER_ACTIONS, Step.CHECK),
    *((Fault.KILLED_AMID_ACTIONS, step) for step in (Step.CHECK, Step.MAKE_ROOM, Step.READY)),
}
"""Where there is nothing to be killed in: these steps ask for nothing."""
LASTING = frozenset({Fault.NEVER_READY, Fault.WRONG_PROFILE, Fault.PROVIDER_REFUSES, Fault.TIMEOUT})
"""Faults that stay until the switch has turned round; the others pass after a few passes."""


@dataclass(frozen=True)
class Outcome:
    """How a switch from day to night ended."""

    result: str
    layout: str
    exchanges: int
    switchers: int
    """How many it took."""


def suffer(fault: Fault, step: Step, here: World) -> Outcome:
    """Switch from day to night, with one thing going wrong at one step."""
    for name, node in WORKERS:
        here.add_worker(name, node)
    here.add_pod("training", "node-3")
    mends: list[Callable[[], None]] = []
    trap = Trap(step, PLACES.get(fault, "before actions"))

    def spring() -> None:
        if fault in PLACES:
            raise Killed(fault)
        mends.append(inject(fault, step, here))

    trap.spring = spring
    switcher, switchers, broken, resting = _trapped(here, trap), 1, 0, 0
    switcher.step()
    here.ask("night")
    for _ in range(150):
        try:
            switcher.step()
        except Killed:
            switcher, switchers = here.switcher(), switchers + 1
        here.pass_by()
        assert not here.overlap(), "guests of both layouts run on one GPU"
        broken += bool(mends)
        if mends and broken >= FEW_PASSES and (fault not in LASTING or _turned(here) or broken > 20):
            mends.pop()()
        resting += here.is_api_up and not mends and here.rests()
        if resting > 2:
            break
    record = here.record()
    assert trap.is_sprung or fault is Fault.NOTHING, "the step was never reached"
    assert record.switch is not None
    assert record.switch.result is not None, record.switch
    return Outcome(record.switch.result, record.layout, record.switch.exchanges, switchers)


def _turned(here: World) -> bool:
    switch = here.record().switch
    return switch is not None and (switch.exchanges > 0 or switch.result is not None)


def _trapped(here: World, trap: Trap) -> Switcher:
    here.hypervisor.heard = lambda: trap.pass_through("amid actions")
    cluster = TrappedCluster(here.wire, trap=trap)
    return here.switcher(cluster=cluster, records=TrappedRecords(here.wire, NAMESPACE, trap=trap))
