"""The bounds that a record's own checks set on its numbers, found by asking the record.

`autoscaler.core.spec` writes its bounds as checks, which say more than a schema can (recent_s is at most window_s).
What one number alone may be follows from trying: the edge between a value that is refused and one that is taken is
narrowed down until the two are neighbours; the rounder of them is the bound.
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from autoscaler.core.spec import SpecError

Json = dict[str, Any]
# Beyond these nothing is asked: a bound out there is none.
_MOST_INTEGER, _MOST_NUMBER = 1 << 52, 1e300
_PROBES = (-1.0, 0.0, 0.5, 1.0, 2.0, 1000.0)


def number_bounds(record: type, field: str, sample: Mapping[str, Any]) -> Json:
    """`minimum` and so on of one number; `sample` makes a record that is accepted.

    A number that depends on others is tried with each of them equal to it as well, so that only its own bounds show.
    Raises ValueError where no value at all is accepted.
    """
    types = {entry.name: str(getattr(entry.type, "__name__", entry.type)) for entry in fields(record)}
    whole = types[field].startswith("int")
    companions = [name for name, kind in types.items() if kind.startswith(("int", "float")) and name != field]

    def accepts(value: float) -> bool:
        given = int(value) if whole else value
        return any(
            _accepted(record, {**sample, field: given} | ({other: given} if other else {}))
            for other in (None, *companions)
        )

    most = float(_MOST_INTEGER) if whole else _MOST_NUMBER
    probes = (-most, *_PROBES, most)
    accepted = [value for value in probes if (not whole or value == int(value)) and accepts(value)]
    if not accepted:
        raise ValueError(f"{record.__name__}.{field}: none of {probes} is accepted; give a sample that is")
    return _edge("minimum", accepted[0], -most, accepts, whole) | _edge("maximum", accepted[-1], most, accepts, whole)


def _accepted(record: type, given: Mapping[str, Any]) -> bool:
    try:
        record(**given)
    except SpecError:
        return False
    return True


def _edge(keyword: str, inside: float, outside: float, accepts: Callable[[float], bool], whole: bool) -> Json:
    if inside == outside:
        return {}
    while (middle := _middle(inside, outside, whole)) not in (inside, outside):
        if accepts(middle):
            inside = middle
        else:
            outside = middle
    if whole or len(repr(inside)) <= len(repr(outside)):
        return {keyword: _plain(inside)}
    return {f"exclusive{keyword.capitalize()}": _plain(outside)}


def _middle(one: float, other: float, whole: bool) -> float:
    """The value in the middle of all that can be written, so that 0 and 1 are 60 steps apart and not 1,000."""
    if whole:
        return float((int(one) + int(other)) // 2)
    return _at((_place(one) + _place(other)) // 2)


def _place(value: float) -> int:
    """Where a float stands among all floats, in their order."""
    [bits] = struct.unpack("<q", struct.pack("<d", abs(value)))
    return int(bits) if value >= 0 else -int(bits)


def _at(place: int) -> float:
    [value] = struct.unpack("<d", struct.pack("<q", abs(place)))
    return float(value) if place >= 0 else -float(value)


def _plain(value: float) -> float | int:
    return int(value) if value == int(value) else value
