"""values.yaml and what its comments say of each value.

Above or below a value stands `## @param PATH [MODIFIERS] DESCRIPTION`, where the modifiers in brackets may be left out:
a type (string, integer, number, boolean, array, object) where the default does not show it, `nullable`, and
`enum: a|b`. `## @section TITLE` opens a group of values. A value documented as an object is documented with all that
is in it; every other value needs a line of its own.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Value = Any
VALUES = Path(__file__).parent.parent / "values.yaml"
TYPES = ("string", "integer", "number", "boolean", "array", "object")
_PARAMETER = re.compile(r"^\s*## @param (?P<path>\S+)(?: \[(?P<modifiers>[^\]]*)\])? +(?P<description>\S.*)$")
_SECTION = re.compile(r"^\s*## @section (?P<title>\S.*)$")


class ValuesError(ValueError):
    """values.yaml and its comments disagree; one line for each place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One documented value."""

    path: str
    """Its keys from the top, joined by dots."""
    section: str
    description: str
    default: Value
    """What values.yaml says; None as well where the value is shown only in a comment."""
    type: str | None
    """Where its line names one."""
    nullable: bool
    choices: tuple[str, ...]


def parameters(text: str) -> tuple[Parameter, ...]:
    """Every documented value in the order of the comments. Raises `ValuesError`."""
    values = yaml.safe_load(text) or {}
    problems: list[str] = []
    found: dict[str, Parameter] = {}
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        if match := _SECTION.match(line):
            section = match["title"].strip()
        elif match := _PARAMETER.match(line):
            parameter = _parameter(match, section, values, problems)
            if parameter.path in found:
                problems.append(f"line {number}: {parameter.path} is documented twice")
            found[parameter.path] = parameter
        elif line.lstrip().startswith("## @"):
            problems.append(
                f"line {number}: {line.strip()!r}; write ## @param PATH [MODIFIERS] DESCRIPTION or ## @section"
            )
    problems += [
        f"{path}: not documented; write ## @param {path} and what it does" for path in _bare(values, "", found)
    ]
    if problems:
        raise ValuesError("values.yaml:\n" + "\n".join(problems))
    return tuple(found.values())


def _parameter(match: re.Match[str], section: str, values: Value, problems: list[str]) -> Parameter:
    path = match["path"]
    words = [word.strip() for word in (match["modifiers"] or "").split(",") if word.strip()]
    choices: tuple[str, ...] = ()
    named = None
    for word in words:
        if word.startswith("enum:"):
            choices = tuple(choice.strip() for choice in word.removeprefix("enum:").split("|"))
        elif word in TYPES:
            named = word
        elif word != "nullable":
            problems.append(f"{path}: {word!r} is no modifier; one of {', '.join(TYPES)}, nullable, enum: a|b")
    try:
        default = _at(values, path)
    except KeyError:
        problems.append(f"{path}: documented and not there; write the value, or remove the line")
        default = None
    return Parameter(
        path=path,
        section=section,
        description=match["description"].strip(),
        default=default,
        type=named,
        nullable="nullable" in words,
        choices=choices,
    )


def _at(values: Value, path: str) -> Value:
    for key in path.split("."):
        if not isinstance(values, dict) or key not in values:
            raise KeyError(path)
        values = values[key]
    return values


def _bare(values: Value, path: str, documented: dict[str, Parameter]) -> list[str]:
    """Leaves that neither a line of their own nor one of a whole object documents."""
    given = documented.get(path)
    if given is not None and (given.type == "object" or not isinstance(values, dict) or not values):
        return []
    if not isinstance(values, dict) or (not values and path):
        return [path]
    return [
        bare
        for key, value in values.items()
        for bare in _bare(value, f"{path}.{key}" if path else str(key), documented)
    ]
