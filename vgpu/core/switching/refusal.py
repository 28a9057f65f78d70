"""Why a switch is refused before it touches anything: everything at once, each with its numbers and the remedy."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from vgpu.core.layout import Guest, PhysicalGpu, difference, problems
from vgpu.core.switching.actions import Batch, Settings, WithoutRoom
from vgpu.core.switching.seen import Capabilities, MachineSeen, MachineState, Missing, PodSeen, Seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubts:
    """`reasons` forbid the switch. `unclear` is what could not be read or is about to change: worth waiting for."""

    reasons: tuple[str, ...] = ()
    unclear: tuple[str, ...] = ()


def doubts(
    gpu: PhysicalGpu, origin: Sequence[Guest], target: Sequence[Guest], seen: Seen, settings: Settings
) -> Doubts:
    """Say what speaks against going from one cut of a GPU to another; nothing where there is nothing to do."""
    change = difference(origin, target)
    if not change.leaving and not change.coming:
        return Doubts()
    reasons = [*problems(gpu, target), *(f"the way back: {text}" for text in problems(gpu, origin))]
    reasons += _between(gpu, change.leaving, change.coming)
    unclear: list[str] = []
    for found in (
        _of_machines(gpu, change.leaving, change.coming, seen, settings),
        _of_batch(change.leaving, seen, settings),
        _of_room(seen.room, settings),
    ):
        reasons += found.reasons
        unclear += found.unclear
    if isinstance(seen.nodes, Missing):
        unclear.append(f"nodes cannot be read: {seen.nodes.why}")
    return Doubts(reasons=tuple(dict.fromkeys(reasons)), unclear=tuple(dict.fromkeys(unclear)))


def _between(gpu: PhysicalGpu, leaving: Sequence[Guest], coming: Sequence[Guest]) -> list[str]:
    """A machine or node in both layouts must show by something that can be seen which of the two cuts it has."""
    found = []
    for old in leaving:
        for new in coming:
            if old.node == new.node and old.vm != new.vm:
                found.append(f"node {old.node} is machine {old.vm} in one layout and {new.vm} in the other; name one")
            elif old.vm == new.vm and old.node != new.node:
                found.append(f"machine {old.vm} is node {old.node} in one layout and {new.node} in the other; name one")
            elif old.vm == new.vm and gpu.recuts_in_place and old.config == new.config:
                found.append(f"node {old.node} has config {old.config!r} in both layouts; name two configurations")
            elif old.vm == new.vm and not gpu.recuts_in_place and old.profile == new.profile:
                found.append(
                    f"machine {old.vm} has {old.profile.label} in both layouts, with {old.slots} and {new.slots} "
                    f"slots; only its profile can be changed: use another machine"
                )
    return found


def _of_machines(
    gpu: PhysicalGpu, leaving: Sequence[Guest], coming: Sequence[Guest], seen: Seen, settings: Settings
) -> Doubts:
    unclear: list[str] = []
    reasons: list[str] = []
    for what, part in (("machines", seen.machines), ("what the machines' provider can do", seen.capabilities)):
        if isinstance(part, Missing):
            unclear.append(f"{what} cannot be read: {part.why}")
    both = {guest.vm for guest in leaving} & {guest.vm for guest in coming}
    for guest in {guest.vm: guest for guest in (*leaving, *coming)}.values():
        if isinstance(seen.machines, Mapping):
            found = _of_state(guest, guest.vm in both and not gpu.recuts_in_place, seen.machines)
            reasons += found.reasons
            unclear += found.unclear
        if isinstance(seen.capabilities, Mapping):
            able = seen.capabilities.get(guest.vm)
            if able is None:
                unclear.append(f"machine {guest.vm}: its provider does not say what it can do with it")
            else:
                reasons += _of_capabilities(gpu, guest.vm, able, guest.vm in both, settings)
                reasons += _of_waking(guest, able, seen.machines) if guest in coming and guest.vm not in both else []
    if isinstance(seen.machines, Mapping) and not gpu.recuts_in_place:
        reasons += _of_running(coming, both, seen.machines)
    return Doubts(reasons=tuple(reasons), unclear=tuple(unclear))


def _of_state(guest: Guest, is_recut: bool, machines: Mapping[str, MachineSeen]) -> Doubts:
    machine = machines.get(guest.vm)
    if machine is None or machine.state is MachineState.UNKNOWN:
        return Doubts(
            unclear=(f"machine {guest.vm}: its provider cannot say what state it is in, or has none so named",)
        )
    if machine.state is MachineState.CHANGING and not machine.fault:
        return Doubts(unclear=(f"machine {guest.vm} is changing at this moment",))
    if is_recut and not machine.profile:
        remedy = "use a machine of its own in each layout"
        return Doubts(
            reasons=(f"machine {guest.vm} is in both layouts and its provider cannot tell its profile; {remedy}",)
        )
    return Doubts()


def _of_running(coming: Sequence[Guest], both: Iterable[str], machines: Mapping[str, MachineSeen]) -> list[str]:
    found = []
    for guest in coming:
        machine = machines.get(guest.vm)
        if machine is None or guest.vm in both or machine.state is not MachineState.RUNNING:
            continue
        if machine.profile not in ("", guest.profile.label):
            found.append(
                f"machine {guest.vm} runs with {machine.profile} and should come with {guest.profile.label}; "
                f"power it off, or correct the layout"
            )
    return found


def _of_capabilities(gpu: PhysicalGpu, vm: str, able: Capabilities, is_in_both: bool, settings: Settings) -> list[str]:
    if gpu.recuts_in_place:
        if able.recuts_in_place:
            return []
        return [f"node {vm} cannot be cut again in place{_why(able, 'recuts_in_place')}; name its provider's kind"]
    found = []
    lacks_power = [name for name in ("power_off", "power_on") if not getattr(able, name)]
    lacks_sleep = [name for name in ("suspend", "resume") if not getattr(able, name)]
    if is_in_both and lacks_power:
        found.append(
            f"machine {vm} must be off to change its profile and its provider cannot {_list(able, lacks_power)}"
        )
    elif lacks_power and (lacks_sleep or settings.way != "suspend"):
        lacking = lacks_power if settings.way != "suspend" else [*lacks_sleep, *lacks_power]
        found.append(
            f"machine {vm} could not be stopped and started again: its provider cannot {_list(able, lacking)}; "
            f"grant its account that right, or choose another way"
        )
    if settings.snapshot and not able.snapshot:
        found.append(f"machine {vm} cannot have a snapshot{_why(able, 'snapshot')}; set snapshot: false")
    return found


def _of_waking(guest: Guest, able: Capabilities, machines: Mapping[str, MachineSeen] | Missing) -> list[str]:
    """Why a machine that comes could not be started from the state it is in."""
    machine = None if isinstance(machines, Missing) else machines.get(guest.vm)
    if machine and machine.state is MachineState.OFF and not able.power_on:
        return [f"machine {guest.vm} is off and its provider cannot {_list(able, ['power_on'])}; power it on by hand"]
    if machine and machine.state is MachineState.SUSPENDED and not able.resume:
        return [f"machine {guest.vm} is suspended and its provider cannot {_list(able, ['resume'])}; power it off"]
    return []


def _list(able: Capabilities, lacking: Sequence[str]) -> str:
    return ", ".join(f"{name}{_why(able, name)}" for name in lacking)


def _why(able: Capabilities, name: str) -> str:
    return f" ({able.why_not[name]})" if able.why_not.get(name) else ""


def _of_batch(leaving: Sequence[Guest], seen: Seen, settings: Settings) -> Doubts:
    if isinstance(seen.pods, Missing):
        return Doubts(unclear=(f"pods cannot be read: {seen.pods.why}",))
    if settings.batch is not Batch.REFUSE:
        return Doubts()
    nodes = {guest.node for guest in leaving}
    there = [pod for pod in seen.pods if pod.node in nodes and not pod.is_worker]
    if not there:
        return Doubts()
    return Doubts(
        reasons=(
            f"other pods run on nodes that leave: {len(there)} ({_first(there)}); wait until they have finished, or "
            f"set batch: wait or evict",
        )
    )


def _first(pods: Sequence[PodSeen]) -> str:
    keys = sorted(pod.key for pod in pods)
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")


def _of_room(room: Mapping[str, int] | Missing, settings: Settings) -> Doubts:
    if settings.without_room is WithoutRoom.EVICT:
        return Doubts()
    if isinstance(room, Missing):
        return Doubts(unclear=(f"nobody could say whether the remaining capacity suffices: {room.why}",))
    lacking = {name: count for name, count in sorted(room.items()) if count > 0}
    if not lacking:
        return Doubts()
    return Doubts(
        reasons=(
            f"replicas would find no slot while the GPU is switched: {sum(lacking.values())} "
            f"({', '.join(f'{name} {count}' for name, count in lacking.items())}); lower what these models need, "
            f"add slots that they may take, or set without_room: evict",
        )
    )
