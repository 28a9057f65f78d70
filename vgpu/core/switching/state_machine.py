"""The state machine of a switch: level-triggered, so that restart, retry and rollback are one mechanism.

A switch works towards a goal, at first its target. Its present step is the first whose post-condition does not hold in
what is seen (`sequence`), so steps already true are passed at once and one that ceases to be true is taken up again. A
step fails by its timeout or by a fault that trying again cannot mend: then goal and other layout change places and the
same sequence leads back. The record is persisted before its actions are carried out.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from vgpu.core.layout import Difference, Guest, PhysicalGpu, difference
from vgpu.core.switching.actions import (
    Action,
    Settings,
    Snapshot,
    StartMachine,
    StopMachine,
    WithoutRoom,
)
from vgpu.core.switching.record import Asked, Result, Spent, Step, Switch
from vgpu.core.switching.refusal import doubts
from vgpu.core.switching.seen import Missing, Seen
from vgpu.core.switching.sequence import Gap, Ground, first_lacking

_MOST_LINES = 64
_MOST_TEXTS = 4
_MOST_LETTERS = 500  # of one reason: a record and ten old ones have to fit into a ConfigMap, 1 MiB


def begin(asked: Asked, gpu: str, origin: str, target: str, now_s: float) -> Switch:
    """The record of a switch that has just been taken up: nothing is touched before its check has passed."""
    return Switch(
        id=asked.id,
        gpu=gpu,
        origin=origin,
        target=target,
        goal=target,
        cause=asked.cause,
        began_at_s=now_s,
        step=Step.CHECK,
        seen_at_s=now_s,
    )


def advance(  # noqa: PLR0913 - the whole state of a switch: its record, both cuts, what is seen, the policy, the time
    switch: Switch,
    gpu: PhysicalGpu,
    origin: Sequence[Guest],
    target: Sequence[Guest],
    seen: Seen,
    settings: Settings,
    now_s: float,
) -> tuple[Switch, tuple[Action, ...]]:
    """Look at what is seen and return the record to persist, and then the actions to carry out.

    The present step is the first whose post-condition does not hold. Where something cannot be read, nothing is asked
    for, no step is passed and no time counts (but the check's, which then refuses). A switch that has ended is returned
    as it is.
    """
    if switch.result is not None:
        return switch, ()
    switch = _within_reach(switch, settings, now_s)
    if switch.step is Step.CHECK:
        switch = _counted(switch, settings, now_s)
        found = doubts(gpu, origin, target, seen, settings)
        if found.reasons or (found.unclear and _is_late(switch, settings)):
            return _ended(switch, Result.REFUSED, "; ".join(map(_cut, (*found.reasons, *found.unclear))), now_s), ()
        if found.unclear:
            return replace(switch, waits_for="; ".join(found.unclear)), ()
        switch = replace(switch, held=_held(difference(origin, target).leaving, seen))
    if away := _unreadable(seen):
        return replace(switch, seen_at_s=now_s, waits_for=away), ()
    if switch.attempts == 0 and switch.next_try_at_s is not None and now_s < switch.next_try_at_s:
        return replace(switch, seen_at_s=now_s, waits_for="rests before it tries again"), ()
    switch = _remembered(_counted(switch, settings, now_s), seen)
    ground = _ground(switch, gpu, difference(origin, target), seen, settings)
    step, gaps = first_lacking(ground)
    if step is None:
        result = Result.DONE if switch.goal == switch.target else Result.ROLLED_BACK
        return _ended(switch, result, switch.why, now_s), ()
    switch = replace(_entered(switch, step), waits_for=_listed(gap.what for gap in gaps))
    if why := _failure(switch, gaps, seen, settings, now_s):
        return _exchanged(switch, why, settings, now_s), ()
    return _asked(switch, ground, gaps, seen, now_s)


def _unreadable(seen: Seen) -> str:
    parts = (("nodes", seen.nodes), ("pods", seen.pods), ("machines", seen.machines))
    return "; ".join(f"{what} cannot be read: {part.why}" for what, part in parts if isinstance(part, Missing))


def _counted(switch: Switch, settings: Settings, now_s: float) -> Switch:
    """Count the time since the last pass, at most three intervals: what nobody was there to see is no waiting."""
    passed_s = min(max(now_s - switch.seen_at_s, 0.0), 3 * settings.interval_s)
    return replace(switch, waited_s=switch.waited_s + passed_s, seen_at_s=now_s)


def _within_reach(switch: Switch, settings: Settings, now_s: float) -> Switch:
    """No pause is longer than the longest: where clocks went back, what was put off would be put off by as much."""
    if switch.next_try_at_s is None or switch.next_try_at_s <= now_s + settings.retry_most_s:
        return switch
    return replace(switch, next_try_at_s=now_s + settings.retry_most_s)


def _held(leaving: Iterable[Guest], seen: Seen) -> tuple[str, ...]:
    """Nodes that somebody cordoned who is not us: they bear none of our marks."""
    if isinstance(seen.nodes, Missing):
        return ()
    found = (seen.nodes[guest.node] for guest in leaving if guest.node in seen.nodes)
    return tuple(sorted(node.name for node in found if not (node.schedulable or node.leaving or node.asleep)))


def _is_late(switch: Switch, settings: Settings) -> bool:
    timeout_s = settings.timeout_s(switch.step)
    return timeout_s is not None and switch.waited_s >= timeout_s


def _remembered(switch: Switch, seen: Seen) -> Switch:
    """Take note of what became of the actions of the pass before."""
    taken = [action.machine for action in seen.done if isinstance(action, Snapshot)]
    faults = [f"{fault.what}: {fault.why}" for fault in seen.faults]
    return replace(
        switch,
        snapshots=tuple(dict.fromkeys((*switch.snapshots, *taken))),
        fault=_listed(faults) if faults else switch.fault,
    )


def _ground(switch: Switch, gpu: PhysicalGpu, change: Difference, seen: Seen, settings: Settings) -> Ground:
    assert not isinstance(seen.nodes, Missing)
    assert not isinstance(seen.pods, Missing)
    assert not isinstance(seen.machines, Missing)
    is_forward = switch.goal == switch.target
    waited_s = switch.waited_s if switch.step is Step.MAKE_ROOM else switch.earlier_s(Step.MAKE_ROOM)
    patience_s = settings.timeout_s(Step.MAKE_ROOM)
    return Ground(
        goal=switch.goal,
        leaving=change.leaving if is_forward else change.coming,
        coming=change.coming if is_forward else change.leaving,
        nodes=seen.nodes,
        pods=seen.pods,
        machines=seen.machines,
        capabilities=seen.capabilities,
        settings=settings,
        recuts_in_place=gpu.recuts_in_place,
        beats=switch.beats,
        snapshot_name=f"vgpu-switch-{switch.id}",
        snapshots=switch.snapshots if settings.snapshot and is_forward else None,
        without_room=settings.without_room is WithoutRoom.EVICT and patience_s is not None and waited_s >= patience_s,
        is_way_back=not is_forward,
        held=switch.held,
    )


def _entered(switch: Switch, step: Step) -> Switch:
    """Go to a step, forward or back; what earlier visits of this direction took counts towards its timeout."""
    if step is switch.step:
        return switch
    line = Spent(step=switch.step, goal=switch.goal, seconds=switch.waited_s)
    lines = tuple(other for other in switch.present if other.step not in (step, switch.step))
    return replace(
        switch,
        step=step,
        waited_s=switch.earlier_s(step),
        spent=(*_before(switch), *lines, line),
        fault="",
        attempts=0,
        next_try_at_s=None,
    )


def _before(switch: Switch) -> tuple[Spent, ...]:
    """The lines of earlier directions; a switch that turns round for days keeps the last ones."""
    return switch.spent[: len(switch.spent) - len(switch.present)][-_MOST_LINES:]


def _failure(switch: Switch, gaps: Sequence[Gap], seen: Seen, settings: Settings, now_s: float) -> str:
    """Why the present step has failed, empty while it has not. The last step never fails: both layouts need it."""
    if switch.step is Step.UNCORDON:
        return ""
    for fault in seen.faults:
        if fault.permanent and fault.step is switch.step:
            return f"{fault.what}: {fault.why}"
    is_due = switch.next_try_at_s is not None and now_s >= switch.next_try_at_s
    if switch.attempts > 1 and is_due and (broken := [gap.what for gap in gaps if gap.broken]):
        return _listed(broken)
    if _is_late(switch, settings):
        last = f" (last error: {switch.fault})" if switch.fault else ""
        return f"not so after {settings.timeout_s(switch.step):g} s: {switch.waits_for}{last}"
    return ""


def _exchanged(switch: Switch, why: str, settings: Settings, now_s: float) -> Switch:
    """Turn round. Once both directions have failed, each further try rests first, longer every time."""
    line = Spent(step=switch.step, goal=switch.goal, seconds=switch.waited_s, why=_cut(why))
    lines = tuple(other for other in switch.present if other.step is not switch.step)
    exchanges = switch.exchanges + 1
    return replace(
        switch,
        goal=switch.other,
        step=Step.CORDON,
        waited_s=0.0,
        spent=(*_before(switch), *lines, line),
        exchanges=exchanges,
        why=f"{line.step} towards {line.goal}: {line.why}",
        waits_for="",
        fault="",
        attempts=0,
        next_try_at_s=None if exchanges < 2 else now_s + settings.pause_s(exchanges - 2),
    )


def _ended(switch: Switch, result: Result, why: str, now_s: float) -> Switch:
    line = Spent(step=switch.step, goal=switch.goal, seconds=switch.waited_s)
    lines = tuple(other for other in switch.present if other.step is not switch.step)
    return replace(
        switch,
        seen_at_s=now_s,
        spent=(*_before(switch), *lines, line),
        result=result,
        ended_at_s=now_s,
        why=why,
        waits_for="",
        fault="",
        next_try_at_s=None,
    )


def _asked(
    switch: Switch, ground: Ground, gaps: Sequence[Gap], seen: Seen, now_s: float
) -> tuple[Switch, tuple[Action, ...]]:
    """Ask for what is lacking, unless it was asked for a short while ago.

    Where the last pass got something done, the rest is asked for at once: a disruption budget lets one pod go after the
    other, and that is no failure to back off from.
    """
    wanted = tuple(dict.fromkeys(gap.action for gap in gaps if gap.action is not None))
    attempts, is_due = switch.attempts, switch.next_try_at_s is None or now_s >= switch.next_try_at_s
    if fresh := seen.done and tuple(action for action in wanted if action not in seen.done):
        wanted, attempts, is_due = fresh, 0, True
    if not wanted or not is_due:
        return switch, ()
    nodes = {guest.vm: guest.node for guest in (*ground.leaving, *ground.coming)}
    touched = [nodes[action.machine] for action in wanted if isinstance(action, StopMachine | StartMachine)]
    beats = {name: ground.nodes[name].heartbeat if name in ground.nodes else "" for name in touched}
    asked = replace(
        switch,
        beats={**switch.beats, **beats},
        attempts=attempts + 1,
        next_try_at_s=now_s + ground.settings.pause_s(attempts),
    )
    return asked, wanted


def _listed(texts: Iterable[str]) -> str:
    found = list(texts)
    rest = f"; and {len(found) - _MOST_TEXTS} more" if len(found) > _MOST_TEXTS else ""
    return "; ".join(map(_cut, found[:_MOST_TEXTS])) + rest


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS]} ..."
