"""A settings class as JSON Schema: what pydantic says of it, described by the docstrings below its fields."""

from typing import Any

from pydantic import BaseModel

from helm.generate.docstrings import field_docstrings

Json = dict[str, Any]


def of_class(section: type[BaseModel]) -> Json:
    """A pydantic model by its own JSON Schema, with sections written in place and without titles."""
    schema = section.model_json_schema()
    described = field_docstrings(section)
    properties = {}
    for name, field in section.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            made = of_class(inner)
        else:
            made = _plain(schema["properties"][name])
        properties[name] = made | ({"description": described[name]} if name in described else {})
    return closed(properties, schema.get("required", []))


def _plain(entry: Json) -> Json:
    made = {key: value for key, value in entry.items() if key not in ("title", "anyOf")}
    for choice in entry.get("anyOf", ()):  # a number, or null for the default
        made |= choice
    if "anyOf" in entry:
        made["type"] = [choice["type"] for choice in entry["anyOf"]]
    if made.get("default", 0) is None:
        del made["default"]  # left out is what it means
    if made.get("additionalProperties") is True:
        del made["additionalProperties"]
    return made


def closed(properties: Json, required: list[str]) -> Json:
    """An object that has these keys and no others."""
    made: Json = {"type": "object", "properties": properties, "additionalProperties": False}
    return made | ({"required": required} if required else {})
