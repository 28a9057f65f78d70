"""One turn of one GPU: look, decide, remember, and only then act.

A turn that could not remember does nothing: either somebody else has written, or nobody knows what was written, and
the next turn reads it. Every action can be repeated, so a turn that was cut short is simply taken again.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from vgpu.adapters.kube_errors import Conflict, Unavailable
from vgpu.adapters.kube_verbs import Event
from vgpu.core.layout import Difference, SwitchPlan
from vgpu.core.profile import Profile
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
from vgpu.core.switching.record import Result, Step, Switch
from vgpu.core.switching.seen import Fault, MachineState, Missing
from vgpu.core.switching.state_machine import advance
from vgpu.switcher.asking import about
from vgpu.switcher.cluster import Cluster, node_event
from vgpu.switcher.config import Config
from vgpu.switcher.connections import Connections
from vgpu.switcher.observing import Aftermath, Observer, change_between
from vgpu.switcher.providers.port import Provider, ProviderError
from vgpu.switcher.records import Record, Records, ended

log = logging.getLogger(__name__)

Moved = Callable[[Switch | None, Switch], None]
"""Told of a switch before (None: it has just begun) and after what was remembered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hands:
    """Everything that a turn reads and changes. `may_act` is asked before anything is written or done."""

    records: Records
    cluster: Cluster
    observer: Observer
    connections: Connections
    now_s: Callable[[], float]
    may_act: Callable[[], bool]
    moved: Moved = lambda before, after: None


@dataclass(slots=True)
class Turns:
    """Takes the turns of one GPU, one after the other."""

    hands: Hands
    plan: SwitchPlan | Missing | None = None
    """The plan of the switch under way."""
    _before: Aftermath = field(default_factory=Aftermath)
    _id: str = ""

    def take(self, config: Config, record: Record, besides: frozenset[str] = frozenset()) -> str:
        """Take one turn for the switch under way; return what keeps it from being taken, empty where nothing does.

        `besides` are nodes of other GPUs that are no room, for their own switch takes them.
        """
        switch = record.under_way
        assert switch is not None
        gpu = config.gpus[switch.gpu]
        change = change_between(config, switch.gpu, switch.origin, switch.target)
        if change is None or not is_about(config, switch):
            return (
                f"GPU {switch.gpu} is between {switch.origin} and {switch.target}, and the file no longer says what "
                f"these are, as it did when the switch began; put both layouts back"
            )
        if switch.id != self._id:  # another switch: what became of the last one's actions is over
            self._before, self._id = Aftermath(), switch.id
            self.plan = self.hands.observer.plan(config, switch.gpu, switch.origin, switch.target)
        seen = self.hands.observer.look(config, switch, change, self._before, besides)
        origin, target = (config.layouts[name].of(gpu.name) for name in (switch.origin, switch.target))
        after, actions = advance(switch, gpu, origin, target, seen, config.settings, self.hands.now_s())
        if not self.hands.may_act():
            return "another process leads"
        try:
            self.hands.records.write(ended(record, after) if after.result else replace(record, switch=after))
        except (Unavailable, Conflict) as fault:
            return str(fault)
        self.hands.moved(switch, after)
        self._before = self._act(config, after, actions)
        self.hands.cluster.tell(told(switch, after, change))
        return ""

    def _act(self, config: Config, switch: Switch, actions: Sequence[Action]) -> Aftermath:
        done, faults = list[Action](), list[Fault]()
        for action in actions:
            try:
                self._do(config, switch.gpu, action)
                done.append(action)
            except ProviderError as fault:
                faults.append(Fault(step=switch.step, what=fault.what, why=fault.why, permanent=fault.permanent))
            except Unavailable as fault:
                faults.append(Fault(step=switch.step, what=fault.what, why=fault.why, permanent=False))
        for each in faults:
            log.warning("GPU %s, %s: %s: %s", switch.gpu, each.step, each.what, each.why)
        return Aftermath(faults=tuple(faults), done=tuple(done))

    def _do(self, config: Config, gpu: str, action: Action) -> None:
        cluster = self.hands.cluster
        self._check_lease()
        match action:
            case CordonNode():
                cluster.give_up(action.node, action.text)
            case UncordonNode():
                cluster.take_back(action.node, stays_cordoned=action.stays_cordoned)
            case MarkAsleep():
                cluster.put_to_sleep(action.node, action.text)
            case EvictPod():
                cluster.evict(action.pod)
            case Snapshot() | StopMachine() | StartMachine():
                name = config.provider_of[gpu]
                operation = {Snapshot: "snapshot", StopMachine: "stop", StartMachine: "start"}[type(action)]
                with self.hands.connections.using(name, config.providers[name], operation) as provider:
                    self._check_lease()  # others may have kept the provider for long
                    operate(provider, action)

    def _check_lease(self) -> None:
        """Before each action: those before it may have taken longer than the lease lasts, and another leads by now."""
        if not self.hands.may_act():
            raise Unavailable("go on", "another process leads")


def is_about(config: Config, switch: Switch) -> bool:
    """Whether the file says of both layouts what it said when the switch began."""
    return switch.about in ("", about(config, switch.gpu, switch.origin, switch.target))


def operate(provider: Provider, action: Snapshot | StopMachine | StartMachine) -> None:
    """Ask a provider for what an action says, as the machine is now. Raises `ProviderError`."""
    match action:
        case Snapshot():
            provider.snapshot(action.machine, action.name)
        case StopMachine(way=Way.SUSPEND):
            provider.suspend(action.machine)
        case StopMachine():
            provider.power_off(action.machine)
        case StartMachine(config=config) if config:
            provider.set_config(action.machine, config)
        case StartMachine():
            seen = provider.look([action.machine]).get(action.machine)
            if seen is None:
                raise ProviderError(f"start {action.machine}", "there is no machine of that name", permanent=True)
            # One that runs with a fault stands still, as a paused domain does: what wakes it is resuming it.
            if seen.state is MachineState.SUSPENDED or (seen.state is MachineState.RUNNING and seen.fault):
                provider.resume(action.machine)
            elif seen.state is MachineState.OFF:
                # A provider that cannot tell the profile cannot set it either.
                if seen.profile not in ("", action.profile.label) and isinstance(action.profile, Profile):
                    provider.set_profile(action.machine, action.profile)
                provider.power_on(action.machine)


def told(before: Switch, after: Switch, change: Difference) -> list[Event]:
    """The Events of one turn, about every node that leaves or comes."""
    nodes = sorted({guest.node for guest in (*change.leaving, *change.coming)})
    what = f"{after.origin} to {after.target} on GPU {after.gpu} ({after.cause}, {after.id})"
    match after.result:
        case Result.DONE:
            said, is_warning = ("SwitchDone", f"switched {what}"), False
        case Result.REFUSED:
            said, is_warning = ("SwitchRefused", f"not switched {what}: {after.why}"), True
        case Result.ROLLED_BACK:
            said, is_warning = ("SwitchRolledBack", f"back in {after.goal} instead of {what}: {after.why}"), True
        case _ if after.exchanges > before.exchanges:
            reason = "SwitchStuck" if after.stuck else "SwitchTurnedRound"
            said, is_warning = (reason, f"now to {after.goal}, {what}: {after.why}"), True
        case _ if before.step is Step.CHECK and after.step is not Step.CHECK:
            said, is_warning = ("SwitchStarted", f"switching {what}"), False
        case _:
            return []
    reason, message = said
    return [node_event(node, reason, message, is_warning=is_warning) for node in nodes]
