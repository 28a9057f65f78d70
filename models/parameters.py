"""A model's parameters are JSON: what the file says, what is checked and what a replica is handed are then the same."""

import math
from typing import Any

DEEPEST = 20


def not_json(given: Any, where: str = "", depth: int = 0) -> str:  # noqa: ANN401  # whatever YAML makes
    """What of it is no JSON, and what to write instead; empty where all is."""
    if depth > DEEPEST:
        return f"more than {DEEPEST} levels, or something that holds itself; make it flatter"
    match given:
        case None | bool() | int() | str():
            return ""
        case float():
            return "" if math.isfinite(given) else f"{where} is {given}; write a finite number"
        case list():
            inner = [(f"{where}[{place}]", each) for place, each in enumerate(given)]
        case dict():
            if odd := [key for key in given if not isinstance(key, str)]:
                return f"{f'{where}: ' if where else ''}the key {odd[0]!r} is no text; put it in quotes"
            inner = [(f"{where}.{key}".removeprefix("."), each) for key, each in given.items()]
        case _:
            return f"{where} is a {type(given).__name__}, which JSON does not have; put it in quotes"
    return next((said for place, each in inner if (said := not_json(each, place, depth + 1))), "")
