"""Parsed JSON or YAML -> records, by the types their fields declare; the way back of `plain.as_json_value`.

One decoder for every frozen record: a dataclass is a mapping of its fields, and what its fields say decides the rest. A
key that no field has is refused, for a misspelt or renamed one must not be mistaken for a default.
"""

import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from autoscaler.core.spec import SpecError

Record = TypeVar("Record")


class Undecodable(ValueError):
    """The value does not fit the record; `where` is the key that says so, from the outside in."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"{where or 'the record'}: {why}")
        self.where = where
        self.why = why


def decode(kind: type[Record], value: object, where: str = "") -> Record:
    """Read a value as `kind`: a dataclass, an enum, a number, a text, or tuples, mappings and unions of them.

    `where` names the value in messages. Raises `Undecodable`; a record that refuses itself is one, too.
    """
    decoded: Record = _any(kind, value, where)
    return decoded


def _any(kind: Any, value: Any, where: str) -> Any:  # noqa: ANN401  # any declared type, any JSON value
    origin = get_origin(kind)
    if origin is Union or origin is types.UnionType:
        return _union(get_args(kind), value, where)
    if origin is tuple:
        return _tuple(get_args(kind), value, where)
    if origin is not None and issubclass(origin, Mapping):
        key_kind, item_kind = get_args(kind)
        pairs = _mapping(value, where).items()
        return {_any(key_kind, key, where): _any(item_kind, item, f"{where}.{key}") for key, item in pairs}
    if is_dataclass(kind) and isinstance(kind, type):
        return _dataclass(kind, value, where)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _member(kind, value, where)
    return _plain(kind, value, where)


def _dataclass(kind: type, value: Any, where: str) -> Any:  # noqa: ANN401  # any record
    given = _mapping(value, where)
    hints, parts = _hints(kind), [part for part in fields(kind) if part.init]
    if unknown := sorted(set(given) - {part.name for part in parts}):
        raise Undecodable(_below(where, unknown[0]), f"unknown key; {kind.__name__} has {', '.join(hints)}")
    decoded = {}
    for part in parts:
        if part.name in given:
            decoded[part.name] = _any(hints[part.name], given[part.name], _below(where, part.name))
        elif part.default is MISSING and part.default_factory is MISSING:
            raise Undecodable(_below(where, part.name), "missing; it has no default")
    try:
        return kind(**decoded)
    except (ValueError, TypeError) as error:
        raise Undecodable(where, "; ".join(error.problems) if isinstance(error, SpecError) else str(error)) from error


def _union(kinds: tuple[Any, ...], value: Any, where: str) -> Any:  # noqa: ANN401  # any of its types
    """The first type that takes the value; of several records, the one whose fields are those given."""
    if value is None and type(None) in kinds:
        return None
    kinds = tuple(kind for kind in kinds if kind is not type(None))
    if isinstance(value, Mapping):
        exact = [kind for kind in kinds if is_dataclass(kind) and {part.name for part in fields(kind)} == set(value)]
        kinds = tuple(exact) or kinds
    faults = []
    for kind in kinds:
        try:
            return _any(kind, value, where)
        except Undecodable as fault:
            faults.append(fault)
    raise faults[0]


def _tuple(kinds: tuple[Any, ...], value: object, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise Undecodable(where, f"expected a list, got {_shown(value)}")
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return tuple(_any(kinds[0], item, f"{where}[{index}]") for index, item in enumerate(value))
    if len(value) != len(kinds):
        raise Undecodable(where, f"expected {len(kinds)} entries, got {len(value)}")
    return tuple(
        _any(kind, item, f"{where}[{index}]") for index, (kind, item) in enumerate(zip(kinds, value, strict=True))
    )


def _member(kind: type[Enum], value: object, where: str) -> Enum:
    try:
        return kind(value)
    except ValueError as error:
        known = ", ".join(str(member.value) for member in kind)
        raise Undecodable(where, f"{_shown(value)} is none of {known}") from error


def _plain(kind: Any, value: Any, where: str) -> Any:  # noqa: ANN401  # a number, a text or a truth value
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        if math.isnan(value):
            raise Undecodable(where, "not a number")
        return float(value)
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if kind is int and isinstance(value, bool):
        raise Undecodable(where, f"expected a whole number, got {_shown(value)}")
    if kind in _PLAIN and isinstance(value, kind):
        return value
    raise Undecodable(where, f"expected {_PLAIN.get(kind, kind)}, got {_shown(value)}")


def _mapping(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise Undecodable(where, f"expected a mapping, got {_shown(value)}")
    return value


def _below(where: str, name: object) -> str:
    return f"{where}.{name}" if where else str(name)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


@cache
def _hints(kind: type) -> dict[str, Any]:
    """Field types, forward references resolved; for every record of a journal this would be most of the time."""
    return {name: hint for name, hint in get_type_hints(kind).items() if name in {part.name for part in fields(kind)}}


_PLAIN = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
