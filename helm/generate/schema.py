"""values.schema.json: what the chart accepts, in draft-07, the last draft that Helm 3 knows.

The keys of the models file come from the classes that read it, the rest from values.yaml: its types, what its comments
say of them, and the shapes that charts have in common. Unknown keys are refused everywhere, so that a misspelt value is
an error and not a default.
"""

import json
from typing import Any

from helm.generate.models_file import sections
from helm.generate.particulars import PARTICULARS
from helm.generate.shapes import DEFINITIONS, shape_of
from helm.generate.slot_types import slot_type
from helm.generate.switcher_file import config
from helm.generate.values import VALUES, Parameter, ValuesError, parameters

Json = dict[str, Any]


def files() -> dict[str, str]:
    """The schema's file, made from the values.yaml on disk."""
    return {"values.schema.json": json.dumps(schema(VALUES.read_text(encoding="utf-8")), indent=1) + "\n"}


def schema(values_text: str) -> Json:
    """The schema of a values.yaml. Raises `ValuesError` where a value shows no type."""
    root = _closed()
    found = parameters(values_text)
    for parameter in found:
        _place(root, parameter, any(other.path.startswith(f"{parameter.path}.") for other in found))
    _add_overrides(root)
    described = {name: entry.get("description") for name, entry in root["properties"].items()}
    for name, section in sections().items():
        if name not in root["properties"]:
            raise ValuesError(f"values.yaml: {name} of the models file is missing")
        root["properties"][name] = {"description": described[name], **section}
    switcher = root["properties"]["switcher"]["properties"]
    switcher["config"] = {"description": switcher["config"]["description"], **config()}
    # What a chart above this one sets for all of its parts.
    root["properties"]["global"] = {"type": "object"}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of vgpu-serve",
        **root,
        "definitions": {"slotType": slot_type(), **DEFINITIONS},
    }


def _place(root: Json, parameter: Parameter, has_parts: bool) -> None:
    *holders, name = parameter.path.split(".")
    at = root
    for holder in holders:
        at = at["properties"].setdefault(holder, _closed())
    if has_parts:
        at["properties"].setdefault(name, _closed())["description"] = parameter.description
    else:
        at["properties"][name] = {"description": parameter.description, **_value(parameter)}


def _add_overrides(root: Json) -> None:
    """A slot type's entry in workers.slots takes what the section itself takes for all pools."""
    workers = root["properties"]["workers"]["properties"]
    own = {name: entry for name, entry in workers.items() if name not in ("backend", "slots")}
    workers["slots"]["additionalProperties"] = {"type": "object", "properties": own, "additionalProperties": False}


def _value(parameter: Parameter) -> Json:
    if parameter.path in PARTICULARS:
        return PARTICULARS[parameter.path]
    if parameter.choices:
        return {"enum": [*parameter.choices, *([None] if parameter.nullable else [])]}
    known = shape_of(parameter.path)
    if known and parameter.type in (None, "object", "array"):
        # Beside a reference draft-07 ignores every other word, and the description is for people's editors.
        return {"anyOf": [known, {"type": "null"}]} if parameter.nullable else {"allOf": [known]}
    kind = parameter.type or _type_of(parameter)
    return {"type": [kind, "null"] if parameter.nullable else kind}


def _type_of(parameter: Parameter) -> str:
    match parameter.default:
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case dict():
            return "object"
    raise ValuesError(
        f"values.yaml: {parameter.path} shows no type; write ## @param {parameter.path} [string, nullable] …"
    )


def _closed() -> Json:
    return {"type": "object", "properties": {}, "additionalProperties": False}
