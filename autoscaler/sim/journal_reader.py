"""A journal's lines -> the records a decision was made from, and the decisions that were made."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoscaler.adapters.journal import FORMAT
from autoscaler.core.decision import Decision
from autoscaler.core.observation import Observation
from autoscaler.core.spec import FleetSpec
from autoscaler.refusal import Refused
from autoscaler.sim.records import Undecodable, decode
from vgpu.core.inventory import Inventory

# What a law writes beside these differs from version to version; these say what was decided and why.
_DECIDED = ("model", "current", "count", "steps")


class JournalError(Refused):
    """A journal that cannot be read; the message names the file, the line and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedDecision:
    """What one model was given at the time."""

    model: str
    current: int
    count: int
    reason: str
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedTick:
    """One tick as it was recorded."""

    number: int
    at_s: float
    """When it was decided, on the clock of the loop that wrote it."""
    wall: str
    """The same as ISO 8601 in UTC, about; when the line was written."""
    seen: Observation
    inventory: Inventory
    decisions: tuple[RecordedDecision, ...]
    posted: Mapping[str, int]
    """Replica targets that the plan gave to Ray Serve."""
    spec: FleetSpec | None
    """What it was decided by; None where the journal does not say."""
    reworked: frozenset[str] = frozenset()
    """Models that do other work under the same name since the tick before."""
    was_carried_out: bool = True
    """False where the autoscaler did not lead, or an action failed: the loop then forgets what it gave to Ray Serve."""


def read(path: Path) -> Iterator[RecordedTick]:
    """Ticks that came to a decision, oldest first.

    A last line that was cut off while it was written is left out. Raises `JournalError`.
    """
    spec: FleetSpec | None = None
    reworked: frozenset[str] = frozenset()
    for place, document in _lines(path):
        try:
            if "spec" in document:
                spec = decode(FleetSpec, document["spec"], "spec")
                reworked |= frozenset(decode(tuple[str, ...], document.get("reworked", []), "reworked"))
            elif (tick := _tick(document, spec, reworked)) is not None:
                reworked = frozenset()
                yield tick
        except Undecodable as fault:
            raise JournalError(f"{place}: {fault}; the line is damaged, or another version wrote it") from fault


def _lines(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each line's place (FILE:LINE) and content."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            for number, line in enumerate(file, start=1):
                document = _document(line, f"{path}:{number}")
                if document is not None:
                    yield f"{path}:{number}", document
    except OSError as error:
        raise JournalError(f"{path}: {error.strerror}; name a journal that `vgpu-serve run --journal` wrote") from error


def _document(line: str, place: str) -> Mapping[str, Any] | None:
    """A line's content; None for the last one where its end was not written yet."""
    try:
        document = json.loads(line)
    except (ValueError, RecursionError) as error:
        if not line.endswith("\n"):
            return None
        raise JournalError(f"{place}: not JSON: {error}; remove the line, or name a journal of ours") from error
    if not isinstance(document, Mapping) or not ("tick" in document or "spec" in document):
        raise JournalError(f"{place}: neither a tick nor a specification; name a journal of ours")
    if document.get("format") != FORMAT:
        raise JournalError(
            f"{place}: format is {document.get('format')!r}; this version reads {FORMAT}: use the one that wrote it"
        )
    return document


def _tick(document: Mapping[str, Any], spec: FleetSpec | None, reworked: frozenset[str]) -> RecordedTick | None:
    """One tick; None where a defect ended it before anything was decided."""
    tick = _mapping(document["tick"], "tick")
    if tick.get("plan") is None:
        return None
    plan = _mapping(tick["plan"], "tick.plan")
    actions = _list(plan.get("actions"), "tick.plan.actions")
    return RecordedTick(
        number=decode(int, tick.get("number"), "tick.number"),
        at_s=decode(float, plan.get("at_s"), "tick.plan.at_s"),
        wall=decode(str, document.get("wall"), "wall"),
        seen=decode(Observation, tick.get("seen"), "tick.seen"),
        inventory=decode(Inventory, tick.get("inventory"), "tick.inventory"),
        decisions=tuple(
            _decision(given, f"tick.plan.decisions[{index}]")
            for index, given in enumerate(_list(plan.get("decisions"), "tick.plan.decisions"))
        ),
        posted={
            decode(str, action["model"], "tick.plan.actions"): decode(int, action["count"], "tick.plan.actions")
            for action in actions
            if "model" in action and "count" in action
        },
        spec=spec,
        reworked=reworked,
        was_carried_out=not (tick.get("dry_run") or tick.get("failed_actions")),
    )


def _decision(given: Mapping[str, Any], where: str) -> RecordedDecision:
    decision = decode(Decision, {name: given[name] for name in _DECIDED if name in given}, where)
    if not decision.steps:
        raise Undecodable(f"{where}.steps", "empty; a decision has at least one")
    try:
        sentence = decision.sentence()
    except KeyError as missing:
        raise Undecodable(f"{where}.steps", f"no number {missing} behind a reason that needs it") from missing
    return RecordedDecision(
        model=decision.model,
        current=decision.current,
        count=decision.count,
        reason=str(decision.reason),
        sentence=sentence,
    )


def _mapping(value: Any, where: str) -> Mapping[str, Any]:  # noqa: ANN401  # any JSON value
    if not isinstance(value, Mapping):
        raise Undecodable(where, "expected a mapping")
    return value


def _list(value: Any, where: str) -> list[Mapping[str, Any]]:  # noqa: ANN401  # any JSON value
    if not isinstance(value, list):
        raise Undecodable(where, "expected a list")
    return [_mapping(item, where) for item in value]
