"""Which objects a label or field selector means; one that cannot be read is a bad request, never an empty list."""

import re
from collections.abc import Callable, Iterable

from autoscaler.embedded.apiserver import errors
from autoscaler.embedded.apiserver.resources import Json, Resource, Value

Matches = Callable[[Json], bool]

_KEY = r"[A-Za-z0-9](?:[A-Za-z0-9._/-]*[A-Za-z0-9])?"
_VALUE = r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)?"
_EQUALITY = re.compile(rf"({_KEY})\s*(==|=|!=)\s*({_VALUE})")
_SET = re.compile(rf"({_KEY})\s+(in|notin)\s*\(([^()]*)\)")
_PRESENCE = re.compile(rf"(!?)\s*({_KEY})")
_OUTSIDE_BRACKETS = re.compile(r",(?![^(]*\))")


def _labels(item: Json) -> dict[str, str]:
    return item.get("metadata", {}).get("labels") or {}


def _one_of(key: str, values: frozenset[str], wanted: bool) -> Matches:
    """Match by membership; as in Kubernetes, `!=` and `notin` also match objects without the label."""
    return lambda item: (_labels(item).get(key) in values) is wanted


def _requirement(text: str) -> Matches:
    if found := _EQUALITY.fullmatch(text):
        return _one_of(found[1], frozenset({found[3]}), found[2] != "!=")
    if found := _SET.fullmatch(text):
        return _one_of(found[1], frozenset(value.strip() for value in found[3].split(",")), found[2] == "in")
    if found := _PRESENCE.fullmatch(text):
        key, wanted = found[2], found[1] != "!"
        return lambda item: (key in _labels(item)) is wanted
    raise errors.bad_request(f'unable to parse requirement: "{text}" is not a label selector')


def _all(requirements: list[Matches]) -> Matches:
    return lambda item: all(matches(item) for matches in requirements)


def parse_labels(text: str) -> Matches:
    """Read a selector as a query carries it: `a=b,c!=d,e in (f,g),h,!i`."""
    return _all([_requirement(part.strip()) for part in _OUTSIDE_BRACKETS.split(text)] if text.strip() else [])


def parse_label_selector(selector: Json | None) -> Matches:
    """Read a selector as an object carries it: matchLabels and matchExpressions; None matches nothing."""
    if selector is None:
        return lambda item: False
    requirements = [
        _one_of(key, frozenset({value}), True) for key, value in (selector.get("matchLabels") or {}).items()
    ]
    for expression in selector.get("matchExpressions") or []:
        key, values = expression.get("key", ""), frozenset(expression.get("values") or ())
        match expression.get("operator"):
            case "In" | "NotIn" as operator:
                requirements.append(_one_of(key, values, operator == "In"))
            case "Exists":
                requirements.append(_requirement(key))
            case "DoesNotExist":
                requirements.append(_requirement(f"!{key}"))
            case operator:
                raise errors.bad_request(f'"{operator}" is not a valid label selector operator')
    return _all(requirements)


def render_label_selector(selector: Json) -> str:
    """Write a selector object in the form of a query, as a Scale's status carries it."""
    parts = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for expression in selector.get("matchExpressions") or []:
        key, values = expression["key"], ",".join(sorted(expression.get("values") or ()))
        forms = {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "Exists": key}
        parts.append(forms.get(expression["operator"], f"!{key}"))
    return ",".join(parts)


def at(item: Value, path: str) -> Value:
    """Read a dotted path; a missing step reads as None."""
    value: Value = item
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return value


def _as_text(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def _field_value(item: Json, path: str) -> str:
    # An event's `source` is selected by its component.
    return _as_text(at(item, "source.component" if path == "source" else path))


def _field_is(path: str, value: str, wanted: bool) -> Matches:
    return lambda item: (_field_value(item, path) == value) is wanted


def parse_fields(resource: Resource, text: str) -> Matches:
    """Read a field selector: `spec.nodeName=n1,status.phase!=Failed`; a missing field counts as empty."""
    requirements: list[Matches] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        found = re.fullmatch(r"([^=!]+)(==|=|!=)(.*)", part)
        if not found:
            raise errors.bad_request(f'invalid selector: "{part}"; can\'t understand "{part}"')
        path, wanted, value = found[1], found[2] != "!=", found[3]
        known = ("metadata.name", "metadata.namespace", *resource.selectable)
        if path not in known:
            raise errors.bad_request(f"field label not supported: {path}")
        requirements.append(_field_is(path, value, wanted))
    return _all(requirements)


def select(items: Iterable[Json], matches: Matches) -> list[Json]:
    """Keep what matches, in order."""
    return [item for item in items if matches(item)]
