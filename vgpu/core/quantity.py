"""Kubernetes quantities ("500m", "1.5", "2Gi", "1e3") as exact numbers.

Grammar: "Resource quantities" of the Kubernetes API conventions. Nothing here is rounded in a pod's favour: what a pod
asks for is rounded up, what a node has is rounded down.
"""

import re
from fractions import Fraction
from functools import lru_cache
from math import ceil

_SUFFIXES = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_PATTERN = re.compile(
    r"(?P<number>[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(?P<suffix>[KMGTPE]i|[numkMGTPE]?|[eE][+-]?[0-9]{1,3})"
)
_LONGEST = 64  # characters; the API server's own quantities never come near


def parse_quantity(text: object) -> Fraction:
    """Read a quantity exactly; raise ValueError."""
    match = _PATTERN.fullmatch(str(text)) if len(str(text)) <= _LONGEST else None
    if match is None:
        raise ValueError(f"{str(text)[:_LONGEST]!r} is no quantity; write a number such as 500, 500m or 2Gi")
    number, suffix = Fraction(match["number"]), match["suffix"]
    if suffix in _BINARY:
        return number * (1 << _BINARY[suffix])
    exponent = int(suffix[1:]) if suffix[:1] in ("e", "E") and len(suffix) > 1 else _SUFFIXES[suffix]
    scale: Fraction = Fraction(10) ** exponent
    return number * scale


def parse_whole(text: object) -> int:
    """Read a quantity that must be a whole number; raise ValueError."""
    amount = parse_quantity(text)
    if amount.denominator != 1:
        raise ValueError(f"{text!r} is not a whole number")
    return int(amount)


# A fleet's pods write the same few amounts thousands of times, and exact arithmetic takes 10 µs for each.
@lru_cache(maxsize=4096)
def parse_up(text: str) -> int:
    """Read a quantity, rounded up to a whole number, as the scheduler does; raise ValueError."""
    return ceil(parse_quantity(text))


@lru_cache(maxsize=4096)
def parse_milli_up(text: str) -> int:
    """Read a quantity in thousandths, rounded up, as the scheduler does; raise ValueError."""
    return ceil(1000 * parse_quantity(text))
