"""The JSON of a switch's record and of a request: what a ConfigMap holds of them. Reading refuses what it cannot mean.

Documents carry `version` 1. Keys that are not known are left out of account, so that an older switcher can read what a
newer one wrote; a missing or wrong one is refused by its name.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from enum import StrEnum
from typing import Any, TypeVar

from vgpu.core.switching.record import Asked, Cause, Result, Spent, Step, Switch, SwitchError

_VERSION = 1
_MOST = 1e12  # seconds: beyond any time that is meant, and within what a float and a date can hold
_Value = TypeVar("_Value")
_Word = TypeVar("_Word", bound=StrEnum)
_Read = Callable[[object], Any]


def render(switch: Switch) -> str:
    """Write a record as JSON of one line."""
    document = {field.name: getattr(switch, field.name) for field in fields(Switch)}
    document["spent"] = [{field.name: getattr(line, field.name) for field in fields(Spent)} for line in switch.spent]
    document["beats"] = dict(switch.beats)
    document["snapshots"], document["held"] = list(switch.snapshots), list(switch.held)
    return _written(document)


def render_asked(asked: Asked) -> str:
    """Write a request as JSON of one line."""
    return _written({field.name: getattr(asked, field.name) for field in fields(Asked)})


def parse(text: str) -> Switch:
    """Read a record; raise `SwitchError` naming what cannot be read."""
    found = _read("record", _document("record", text), _SWITCH)
    try:
        return Switch(**found)
    except SwitchError as error:
        raise SwitchError(f"record: {error}") from None


def parse_asked(text: str) -> Asked:
    """Read a request; raise `SwitchError` naming what cannot be read."""
    found = _read("request", _document("request", text), _ASKED)
    try:
        return Asked(**found)
    except SwitchError as error:
        raise SwitchError(f"request: {error}") from None


def _written(document: Mapping[str, object]) -> str:
    return json.dumps({"version": _VERSION, **document}, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _document(what: str, text: str) -> Mapping[str, object]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SwitchError(f"{what}: no JSON: {error}") from None
    if not isinstance(document, dict):
        raise SwitchError(f"{what}: {_kind(document)}; it is a JSON object")
    if document.get("version") != _VERSION:
        raise SwitchError(f"{what}: version is {document.get('version')!r}; this switcher reads {_VERSION}")
    return document


def _read(what: str, document: Mapping[str, object], schema: Mapping[str, tuple[_Read, bool]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, (read, is_needed) in schema.items():
        if name not in document:
            if is_needed:
                raise SwitchError(f"{what}: {name} is missing")
            continue
        try:
            found[name] = read(document[name])
        except SwitchError as error:
            raise SwitchError(f"{what}: {name}: {error}") from None
    return found


def _kind(value: object) -> str:
    return {list: "a list", str: "a text", bool: "true or false", type(None): "null"}.get(type(value), repr(value))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise SwitchError(f"is {_kind(value)}; it is a text")
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not -_MOST <= value <= _MOST:
        raise SwitchError(f"is {_kind(value)}; it is a number of seconds")
    return float(value)


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise SwitchError(f"is {_kind(value)}; it is a count from 0")
    return value


def _word(kind: type[_Word]) -> Callable[[object], _Word]:
    def read(value: object) -> _Word:
        text = _text(value)
        try:
            return kind(text)
        except ValueError:
            raise SwitchError(f"is {value!r}; one of {', '.join(kind)}") from None

    return read


def _or_none(read: Callable[[object], _Value]) -> Callable[[object], _Value | None]:
    return lambda value: None if value is None else read(value)


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise SwitchError(f"is {_kind(value)}; it is a list")
    return tuple(_text(entry) for entry in value)


def _text_by_text(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise SwitchError(f"is {_kind(value)}; it is an object")
    return {key: _text(entry) for key, entry in value.items()}


def _lines(value: object) -> tuple[Spent, ...]:
    if not isinstance(value, list):
        raise SwitchError(f"is {_kind(value)}; it is a list")
    found = []
    for index, entry in enumerate(value):
        if not isinstance(entry, dict):
            raise SwitchError(f"entry {index} is {_kind(entry)}; it is an object")
        found.append(Spent(**_read(f"entry {index}", entry, _SPENT)))
    return tuple(found)


_SPENT: Mapping[str, tuple[_Read, bool]] = {
    "step": (_word(Step), True),
    "goal": (_text, True),
    "seconds": (_number, True),
    "why": (_text, False),
}
_ASKED: Mapping[str, tuple[_Read, bool]] = {
    "id": (_text, True),
    "layout": (_text, True),
    "cause": (_word(Cause), True),
    "at_s": (_number, True),
    "by": (_text, False),
}
_SWITCH: Mapping[str, tuple[_Read, bool]] = {
    "id": (_text, True),
    "gpu": (_text, True),
    "origin": (_text, True),
    "target": (_text, True),
    "goal": (_text, True),
    "cause": (_word(Cause), True),
    "began_at_s": (_number, True),
    "step": (_word(Step), True),
    "seen_at_s": (_number, True),
    "waited_s": (_number, False),
    "spent": (_lines, False),
    "exchanges": (_count, False),
    "why": (_text, False),
    "waits_for": (_text, False),
    "fault": (_text, False),
    "beats": (_text_by_text, False),
    "snapshots": (_texts, False),
    "held": (_texts, False),
    "about": (_text, False),
    "attempts": (_count, False),
    "next_try_at_s": (_or_none(_number), False),
    "result": (_or_none(_word(Result)), False),
    "ended_at_s": (_or_none(_number), False),
}
