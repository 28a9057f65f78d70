"""The switcher's file -> GPUs, layouts, calendar and policy as the core knows them. All problems are listed at once."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, time
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from vgpu import yaml_document
from vgpu.core import layout as layouts
from vgpu.core.layout import Guest, Layout, PhysicalGpu
from vgpu.core.profile import BOARD_GB, ProfileError
from vgpu.core.share import SchedulerPolicy
from vgpu.core.slot_type import SlotType, parse_slot_type
from vgpu.core.switching.actions import DEFAULT_TIMEOUTS_S, Batch, Settings, Way, WithoutRoom
from vgpu.core.switching.record import Step
from vgpu.switcher import sections
from vgpu.switcher.calendar import EVERY_DAY, Calendar, Entry
from vgpu.switcher.providers.settings import KINDS, RECUT_IN_PLACE, ProviderSettings
from vgpu.switcher.sections import WEEKDAYS, section
from vgpu.yaml_document import NotYaml

Json = Any

_BOARDS = sorted(board.lower() for board in BOARD_GB)
_TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?")
_FILES = ("user_file", "password_file", "ca_file", "token_file")


class ConfigError(ValueError):
    """The file cannot be used; the message has one line for each problem."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnDemand:
    """Layouts are asked for when what waits, for `after_s`, fits only there; at most every `rest_s` by GPU."""

    enabled: bool = False
    after_s: float = 120.0
    rest_s: float = 1800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A checked file. `gpus`, `layouts` and `providers` are by name, `provider_of` by GPU."""

    gpus: Mapping[str, PhysicalGpu]
    provider_of: Mapping[str, str]
    layouts: Mapping[str, Layout]
    calendar: Calendar
    on_demand: OnDemand
    settings: Settings
    announce_s: float
    late_s: float
    parallel: int
    providers: Mapping[str, ProviderSettings] = field(repr=False)

    def guests(self, layout: str, gpu: str) -> tuple[Guest, ...] | None:
        """Whom a layout cuts from a GPU; None where it does not speak of that GPU, or is not there."""
        there = self.layouts.get(layout)
        return None if there is None else there.guests.get(gpu)

    def layouts_of(self, gpu: str) -> tuple[str, ...]:
        """Names of the layouts that speak of a GPU."""
        return tuple(name for name, each in self.layouts.items() if gpu in each.guests)


def load(path: Path, *, interval_s: float) -> Config:
    """Read a file. Raises `ConfigError`, each problem with the file's name."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; give a readable file") from error
    return read(path, content, interval_s=interval_s)


def read(path: Path, content: bytes, *, interval_s: float) -> Config:
    """Check what was read from a file. Raises `ConfigError`, each problem with the file's name."""
    try:
        document = yaml_document.load(content)
    except NotYaml as error:
        raise ConfigError(f"{path}: {error}") from error
    try:
        return parse(document, interval_s=interval_s)
    except ConfigError as error:
        raise ConfigError("\n".join(f"{path}: {line}" for line in str(error).splitlines())) from error


def parse(document: Json, *, interval_s: float) -> Config:
    """Check a parsed file. Raises `ConfigError` listing every problem."""
    problems: list[str] = []
    file = section(sections.File, document, "", problems)
    if file is None:
        raise ConfigError("\n".join(problems))
    providers = _providers(file.providers, problems)
    gpus, provider_of = _gpus(file, providers, problems)
    found = _layouts(file, gpus, problems)
    _check_across(found, gpus, provider_of, problems)
    calendar = Calendar(zone=_zone(file.time_zone, problems), entries=_entries(file, problems))
    on_demand = section(sections.OnDemandSection, file.on_demand, "on_demand", problems)
    policy = section(sections.PolicySection, file.policy, "policy", problems)
    timeouts_s = _timeouts(policy, problems)
    if on_demand is None or policy is None or problems:
        raise ConfigError("\n".join(problems))
    return Config(
        gpus=gpus,
        provider_of=provider_of,
        layouts=found,
        calendar=calendar,
        on_demand=OnDemand(**on_demand.model_dump()),
        settings=Settings(
            way=Way(policy.way),
            batch=Batch(policy.batch),
            without_room=WithoutRoom(policy.without_room),
            snapshot=policy.snapshot,
            timeouts_s=timeouts_s,
            interval_s=interval_s,
        ),
        announce_s=policy.announce_s,
        late_s=policy.late_s,
        parallel=policy.parallel,
        providers=providers,
    )


def _providers(given: Mapping[str, Json], problems: list[str]) -> dict[str, ProviderSettings]:
    found: dict[str, ProviderSettings] = {}
    for name, entry in given.items():
        where = f"providers.{name}"
        kind = entry.get("kind") if isinstance(entry, dict) else None
        if not isinstance(kind, str) or kind not in KINDS:
            problems.append(f"{where}.kind: {kind!r} is no kind of provider; one of {', '.join(KINDS)}")
            continue
        checked = section(sections.PROVIDERS[kind], entry, where, problems)
        if checked is not None:
            said = checked.model_dump(exclude={"kind"})
            paths = {key: Path(said[key]) for key in _FILES if said.get(key) is not None}
            found[name] = KINDS[kind](**(said | paths))
    return found


def _gpus(
    file: sections.File, providers: Mapping[str, ProviderSettings], problems: list[str]
) -> tuple[dict[str, PhysicalGpu], dict[str, str]]:
    found, provider_of = dict[str, PhysicalGpu](), dict[str, str]()
    if not file.gpus:
        problems.append("gpus: empty; name at least one physical GPU")
    for name, given in file.gpus.items():
        where = f"gpus.{name}"
        _check_name(where, name, problems)
        checked = section(sections.GpuSection, given, where, problems)
        if checked is None:
            continue
        if checked.board.lower() not in _BOARDS:
            problems.append(f"{where}.board: {checked.board!r} is not known; known boards: {', '.join(_BOARDS)}")
        if checked.policy not in list(SchedulerPolicy):
            problems.append(f"{where}.policy: {checked.policy!r} is none; one of {', '.join(SchedulerPolicy)}")
            continue
        if checked.provider not in file.providers:
            problems.append(_unknown(f"{where}.provider", checked.provider, "providers", file.providers))
        allowed = (_slot_type(f"{where}.allowed.{at}", text, problems) for at, text in enumerate(checked.allowed))
        provider_of[name] = checked.provider
        found[name] = PhysicalGpu(
            name=name,
            board=checked.board.lower(),
            policy=SchedulerPolicy(checked.policy),
            mixed_size=checked.mixed_size,
            allowed=tuple(each for each in allowed if each is not None),
            cards=checked.cards,
            recuts_in_place=isinstance(providers.get(checked.provider), RECUT_IN_PLACE),
        )
    return found, provider_of


def _layouts(file: sections.File, gpus: Mapping[str, PhysicalGpu], problems: list[str]) -> dict[str, Layout]:
    found: dict[str, Layout] = {}
    if not file.layouts:
        problems.append("layouts: empty; name at least one layout")
    for name, by_gpu in file.layouts.items():
        _check_name(f"layouts.{name}", name, problems)
        guests: dict[str, tuple[Guest, ...]] = {}
        for gpu, given in by_gpu.items():
            where = f"layouts.{name}.{gpu}"
            if gpu not in file.gpus:
                problems.append(_unknown(where, gpu, "gpus", file.gpus))
                continue
            read = [_guest(f"{where}.{at}", entry, problems) for at, entry in enumerate(given)]
            known = tuple(guest for guest in read if guest is not None)
            if gpu in gpus and len(known) == len(given):
                guests[gpu] = known
                problems += [f"{where}: {said}" for said in layouts.problems(gpus[gpu], known)]
        found[name] = Layout(name=name, guests=guests)
    return found


def _guest(where: str, given: Json, problems: list[str]) -> Guest | None:
    checked = section(sections.GuestSection, given, where, problems)
    if checked is None:
        return None
    profile = _slot_type(f"{where}.profile", checked.profile, problems)
    if profile is None:
        return None
    said = checked.model_dump(exclude={"profile"})
    return Guest(profile=profile, **said)


def _slot_type(where: str, text: str, problems: list[str]) -> SlotType | None:
    try:
        return parse_slot_type(text)
    except ProfileError as error:
        problems.append(f"{where}: {error}")
        return None


def _check_across(
    found: Mapping[str, Layout], gpus: Mapping[str, PhysicalGpu], provider_of: Mapping[str, str], problems: list[str]
) -> None:
    """What no layout shows by itself: a node of two GPUs, and a node and a machine that are not one."""
    gpu_of, machine_of, node_of = dict[str, str](), dict[str, str](), dict[tuple[str, str], str]()
    spoken = [(name, gpu, guest) for name, each in found.items() for gpu in each.guests for guest in each.guests[gpu]]
    for name, gpu, guest in spoken:
        where = f"layouts.{name}.{gpu}: node {guest.node}"
        if (other := gpu_of.setdefault(guest.node, gpu)) != gpu:
            problems.append(f"{where} is on {other} too; a node lies on one GPU, name another")
        if (other := machine_of.setdefault(guest.node, guest.vm)) != guest.vm:
            problems.append(f"{where} is machine {guest.vm} here and {other} elsewhere; write one of them everywhere")
        if (other := node_of.setdefault((provider_of[gpu], guest.vm), guest.node)) != guest.node:
            problems.append(f"{where} has machine {guest.vm}, which is node {other} elsewhere; name its own")


def _entries(file: sections.File, problems: list[str]) -> tuple[Entry, ...]:
    found: list[Entry] = []
    taken: dict[tuple[time, str], str] = {}
    for at, given in enumerate(file.schedule):
        where = f"schedule.{at}"
        checked = section(sections.ScheduleSection, given, where, problems)
        if checked is None:
            continue
        if checked.layout not in file.layouts:
            problems.append(_unknown(f"{where}.layout", checked.layout, "layouts", file.layouts))
        entry = _entry(where, checked, problems)
        if entry is None:
            continue
        for day in sorted(map(str, entry.dates)) or (WEEKDAYS[day] for day in sorted(entry.days)):
            if (other := taken.setdefault((entry.at, day), where)) != where:
                problems.append(f"{where}: {other} comes at {entry.at} on {day} too; keep one of them")
                break
        found.append(entry)
    return tuple(found)


def _entry(where: str, checked: sections.ScheduleSection, problems: list[str]) -> Entry | None:
    """One entry; None, and the problem listed, where nobody could say when it comes."""
    known = len(problems)
    if checked.days is not None and checked.dates is not None:
        problems.append(f"{where}: days and dates exclude each other; write two entries")
    at = checked.at
    if not isinstance(at, str) or not _TIME.fullmatch(at):
        hint = ' (YAML reads 22:00 without quotes as a number: write "22:00")' if isinstance(at, int) else ""
        problems.append(f'{where}.at: {at!r} is no time of day; write "HH:MM" or "HH:MM:SS"{hint}')
    dates = _dates(f"{where}.dates", checked.dates or (), problems)
    if len(problems) > known:
        return None
    days = EVERY_DAY if checked.days is None else frozenset(WEEKDAYS.index(day) for day in checked.days)
    return Entry(layout=checked.layout, at=time.fromisoformat(at), days=days, dates=frozenset(dates))


def _dates(where: str, given: Iterable[Json], problems: list[str]) -> list[date]:
    """YAML reads a date as one, and JSON, as which a chart passes it on, as a text."""
    found: list[date] = []
    for each in given:
        try:
            found.append(date.fromisoformat(str(each)))
        except ValueError:
            problems.append(f"{where}: {each!r} is no date; write 2026-12-24")
    return found


def _zone(name: str, problems: list[str]) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        problems.append(f"time_zone: {name!r} is no time zone; write one as in the IANA data base, Europe/Berlin")
        return ZoneInfo("UTC")


def _timeouts(policy: sections.PolicySection | None, problems: list[str]) -> dict[Step, float]:
    """The timeouts that the file names; the core has those of all others."""
    found: dict[Step, float] = {}
    for name, timeout_s in ({} if policy is None else policy.timeouts_s).items():
        where = f"policy.timeouts_s.{name}"
        if name not in list(DEFAULT_TIMEOUTS_S):
            problems.append(f"{where}: no step with a timeout; those are {', '.join(DEFAULT_TIMEOUTS_S)}")
        elif not 0 < timeout_s < float("inf"):
            problems.append(f"{where}: {timeout_s} is no time to wait; above 0 seconds, and finite")
        else:
            found[Step(name)] = timeout_s
    return found


def _check_name(where: str, name: str, problems: list[str]) -> None:
    if not re.fullmatch(sections.PATTERN, name):
        problems.append(f"{where}: a name is of a-z, 0-9 and - and has at most 50 characters; write it so")


def _unknown(where: str, name: str, part: str, there: Iterable[str]) -> str:
    names = ", ".join(there) or "none"
    return f"{where}: {name!r} is none of {part}; add it there or correct the name (there: {names})"
