"""What is asked of a GPU at rest, by people, calendar or demand, and which request is taken up next. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256

from vgpu.core.layout import difference
from vgpu.core.switching.record import Asked, Cause, Result
from vgpu.core.switching.state_machine import begin
from vgpu.switcher.config import Config
from vgpu.switcher.records import Record, ended

_AHEAD_S = 86400.0  # a clock may be set back; a day is more than any that was right before


@dataclass(frozen=True, slots=True, kw_only=True)
class Coming:
    """A layout that the autoscaler should know of already, and the nodes that it takes away."""

    layout: str
    nodes: frozenset[str]


def due(config: Config, record: Record, now_s: float) -> Record | None:
    """The record of a GPU at rest once a change of the calendar has come; None where there is nothing to note.

    Each change is acted on once: what somebody asks for after it stays. One that came more than `late_s` ago is let
    pass.
    """
    change = config.calendar.in_force(moment(now_s))
    if change is None or config.guests(change.layout, record.gpu) is None:
        return None
    at_s = change.at.timestamp()
    is_known = at_s <= record.scheduled_s <= now_s + _AHEAD_S  # noted by a clock that was wrong, it says nothing
    if is_known or now_s - at_s > config.late_s:
        return None
    if record.request is not None and record.request.at_s > at_s:
        return replace(record, scheduled_s=at_s)
    if record.layout == change.layout:
        return replace(record, scheduled_s=at_s, request=None)
    asked = Asked(id=f"schedule-{change.layout}-{int(at_s)}", layout=change.layout, cause=Cause.SCHEDULE, at_s=at_s)
    return replace(record, scheduled_s=at_s, request=asked)


def next_up(records: Iterable[Record]) -> list[Record]:
    """GPUs at rest that are asked for something, those who asked first in front."""
    waiting = [(record.request.at_s, record.gpu, record) for record in records if record.request is not None]
    return [record for _, _, record in sorted(waiting, key=lambda each: each[:2]) if record.under_way is None]


def take_up(config: Config, record: Record, now_s: float) -> Record:
    """Begin what is asked; a request that needs no switch, or cannot be one, ends at once."""
    asked = record.request
    assert asked is not None
    record = replace(record, request=None)
    if asked.id in {switch.id for switch in record.history}:
        return record
    origin = record.layout or asked.layout
    switch = begin(asked, record.gpu, origin, asked.layout, now_s)
    if why := why_not(config, record, asked.layout):
        return ended(record, replace(switch, result=Result.REFUSED, ended_at_s=now_s, why=why))
    before, after = config.guests(origin, record.gpu), config.guests(asked.layout, record.gpu)
    change = difference(before or (), after or ())
    if not change.leaving and not change.coming:
        return ended(record, replace(switch, result=Result.DONE, ended_at_s=now_s))
    return replace(record, switch=replace(switch, about=about(config, record.gpu, origin, asked.layout)))


def why_not(config: Config, record: Record, layout: str) -> str:
    """Why a GPU cannot be asked for a layout at all; empty where it can."""
    known = ", ".join(config.layouts_of(record.gpu))
    if config.guests(layout, record.gpu) is None:
        return f"the file has no layout {layout!r} for GPU {record.gpu}; it has {known}"
    if not record.layout:
        return (
            f"nobody can tell which layout GPU {record.gpu} is in; say it with `vgpu-serve switch {layout} "
            f"--gpu {record.gpu} --from LAYOUT` (of {known})"
        )
    if config.guests(record.layout, record.gpu) is None:
        return f"GPU {record.gpu} is in layout {record.layout!r}, which the file does not have for it; put it back"
    return ""


def coming(config: Config, record: Record, now_s: float) -> Coming | None:
    """What may be announced for a GPU at rest: what the calendar brings within `announce_s`, or has brought and waits
    for other GPUs. What is asked for now comes too soon to be told beforehand."""
    if not record.layout or record.under_way is not None:
        return None
    asked, following = record.request, config.calendar.following(moment(now_s))
    layout = asked.layout if asked is not None and asked.cause is Cause.SCHEDULE else ""
    if not layout and following is not None and following.at.timestamp() - now_s <= config.announce_s:
        layout = following.layout
    before, after = config.guests(record.layout, record.gpu), config.guests(layout, record.gpu)
    if before is None or after is None or layout == record.layout:
        return None
    leaving = difference(before, after).leaving
    return Coming(layout=layout, nodes=frozenset(guest.node for guest in leaving)) if leaving else None


def announced(config: Config, records: Iterable[Record], now_s: float) -> dict[str, Coming]:
    """What is announced, by GPU: as many as can be under way at once, those in front that are next.

    The others keep their slots until it is their turn: those are the seats of whoever has to move.
    """
    known = tuple(records)
    free = config.parallel - sum(record.under_way is not None for record in known)
    waiting = sorted(
        (float("inf") if record.request is None else record.request.at_s, record.gpu)
        for record in known
        if coming(config, record, now_s) is not None
    )
    by_gpu = {record.gpu: record for record in known}
    found = {gpu: coming(config, by_gpu[gpu], now_s) for _, gpu in waiting[: max(free, 0)]}
    return {gpu: each for gpu, each in found.items() if each is not None}


def about(config: Config, gpu: str, origin: str, target: str) -> str:
    """A digest of what the file says of two layouts of a GPU and of who runs its machines."""
    said = [config.provider_of.get(gpu, "")]
    for name in (origin, target):
        guests = config.guests(name, gpu) or ()
        said += sorted(f"{each.node} {each.vm} {each.profile.label} {each.slots} {each.config}" for each in guests)
        said.append(name)
    return sha256("\n".join(said).encode()).hexdigest()[:16]


def moment(now_s: float) -> datetime:
    """Unix time as a moment of the calendar."""
    return datetime.fromtimestamp(now_s, UTC)
