"""What `vgpu.core.slot_type` reads, as JSON Schema: a profile by label or by NVIDIA's name, or a fraction.

Patterns keep to what the regular expressions of Go, Python and JavaScript have in common, so no flag for case. One
pattern says how a slot type is written, further ones what each size of card has room for: a refusal then shows the
short pattern of what is wrong, and not one of four thousand characters.
"""

import re
from itertools import groupby
from typing import Any

from vgpu.core.profile import BOARD_GB, MIB_PER_GB, Profile, ProfileError
from vgpu.core.share import UNITS_PER_GPU

Json = dict[str, Any]
# What a MIG profile takes of the card beside its slices.
_TAKES = "(?:nome|meall|me|gfx)?"
_VENDOR = r"(?:(?:grid|nvidia)[ _-])?"
# 1 to 1000 in at most six digits.
_UNITS = "0{0,5}[1-9]|0{0,4}[1-9][0-9]|0{0,3}[1-9][0-9]{2}|0{0,2}1000"
assert UNITS_PER_GPU == 1000, "the pattern above says otherwise"
_GRAMMAR = (
    f"^ *{_VENDOR}(?:{'|'.join(sorted(map(str.lower, BOARD_GB)))})"
    f"(?:-[1-9])?-(?:0|[1-9][0-9]*)[abcq]{_TAKES}(?:-[0-9]+(?:gb|mb))? *$"
)


def slot() -> Json:
    """A model's `slot`: one slot type, or a list of several."""
    return {
        "description": "Slot type in which replicas live, such as v100-8q-8GB or fraction:500; or a list of several.",
        "if": {"type": "array"},
        "then": {"type": "array", "items": {"$ref": "#/definitions/slotType"}, "minItems": 1, "uniqueItems": True},
        "else": {"$ref": "#/definitions/slotType"},
    }


def slot_type() -> Json:
    """One slot type."""
    return {
        "type": "string",
        "if": {"pattern": any_case("^ *fraction")},
        "then": {"pattern": any_case(f"^ *fraction[:-](?:{_UNITS}) *$")},
        "else": {"allOf": [{"pattern": any_case(_GRAMMAR)}, *_rooms(), *_slices()]},
    }


def _rooms() -> list[Json]:
    """A size says the same as the profile; and for each capacity of card, no more than it has."""
    rules = [_agreement(range(first, first + 10)) for first in range(0, max(BOARD_GB.values()) + 1, 10)]
    boards = sorted(BOARD_GB, key=lambda board: (BOARD_GB[board], board))
    for gigabytes, group in groupby(boards, key=BOARD_GB.__getitem__):
        rules.append(_rule([*group], f"(?:-[1-9])?-(?:{'|'.join(map(str, range(gigabytes + 1)))})[abcq].*"))
    return rules


def _agreement(sizes: range) -> Json:
    """In tens, so that a refusal shows one line and not fifteen."""
    tens = str(sizes[0] // 10) if sizes[0] else ""
    agreeing = "|".join(f"{size}[abcq]{_TAKES}-0*(?:{_written(size)})" for size in sizes)
    return {
        "if": {"pattern": any_case(f"-{tens}[0-9][abcq]{_TAKES}-[0-9]+(?:gb|mb) *$")},
        "then": {"pattern": any_case(f"-(?:{agreeing}) *$")},
    }


def _written(gigabytes: int) -> str:
    return f"{gigabytes}gb|{gigabytes * MIB_PER_GB}mb" if gigabytes else f"{MIB_PER_GB // 2}mb"


def _slices() -> list[Json]:
    """Which MIG slices go with which memory; boards without MIG have neither slices nor attributes."""
    by_body: dict[str, list[str]] = {}
    for board in sorted(BOARD_GB):
        by_body.setdefault(_mig_body(board), []).append(board)
    return [_rule(boards, body) for body, boards in by_body.items()]


def _mig_body(board: str) -> str:
    body = "-[0-9]+[abcq](?:-[0-9]+(?:gb|mb))?"
    slices = [slices for slices in range(1, 10) if _can_be(board, slices, BOARD_GB[board])]
    if slices:
        sizes = "|".join(str(size) for size in range(BOARD_GB[board] + 1) if _can_be(board, 1, size))
        body += f"|-[1-{slices[-1]}]-(?:{sizes})[abcq]{_TAKES}(?:-[0-9]+(?:gb|mb))?"
    return body


def _can_be(board: str, slices: int, gigabytes: int) -> bool:
    try:
        Profile(board=board.lower(), gigabytes=gigabytes, series="c", mig_slices=slices)
    except ProfileError:
        return False
    return True


def _rule(boards: list[str], body: str) -> Json:
    names = "|".join(sorted(map(str.lower, boards)))
    start = f"^ *{_VENDOR}(?:{names})"
    return {"if": {"pattern": any_case(f"{start}-[0-9]")}, "then": {"pattern": any_case(f"{start}(?:{body}) *$")}}


def any_case(pattern: str) -> str:
    """The pattern with each of its letters in both cases; classes such as [abcq] stay classes."""
    out = []
    for part in re.split(r"(\[[^\]]*\]|\\.)", pattern):
        if part.startswith("["):
            out.append("[" + "".join(c + c.upper() if c.isalpha() else c for c in part[1:-1]) + "]")
        elif part.startswith("\\"):
            out.append(part)
        else:
            out.append("".join(f"[{c}{c.upper()}]" if c.isalpha() else c for c in part))
    return "".join(out)
