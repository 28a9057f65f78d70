"""The models file as JSON Schema, made from the classes that read it.

A document must please both readers, `serving.config` and `autoscaler.config`; so must what this schema accepts. Types,
defaults and bounds come from the classes, descriptions from the docstrings below their fields. Beyond a schema's reach
is what compares two places of the document; `python -m serving.check` and `vgpu-serve check` refuse that, in the
chart's check before anything changes. See BEYOND in tests/chart/models_documents.py for the whole list.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from autoscaler.config import ANY_CARD, AutoscalingSection, File, ModelSection, TenantSection
from autoscaler.core.spec import GuardrailSettings, ModelSpec, PolicySettings
from helm.generate.bounds import number_bounds
from helm.generate.classes import closed, of_class
from helm.generate.docstrings import field_docstrings
from helm.generate.slot_types import slot
from serving.config import GATEWAY, NAME_PATTERN, ModelConfig, ServingConfig
from vgpu.core.profile import BOARD_GB

Json = dict[str, Any]
# A model that is accepted: the bounds of one number are tried with these for the others.
SAMPLE: Mapping[str, Any] = {"name": "m", "pool": "p", "objective_p95_ms": 200, "max_replicas": 4}


def sections() -> dict[str, Json]:
    """Schema of each top-level key that both readers know."""
    makers: dict[str, Callable[[], Json]] = {
        "models": _models,
        "tenants": lambda: {"type": "object", "additionalProperties": of_class(TenantSection)},
        "policy": lambda: _record(PolicySettings),
        "guardrails": lambda: _record(GuardrailSettings),
        "card_costs": _card_costs,
    }
    keys = [key for key in File.model_fields if key in ServingConfig.model_fields]
    unknown = [key for key in keys if key not in makers]
    if unknown:
        raise NotImplementedError(
            f"the models file has new keys, {', '.join(unknown)}; say in sections() what they are"
        )
    return {key: makers[key]() for key in keys}


def _models() -> Json:
    return {
        "type": "object",
        "minProperties": 1,
        "propertyNames": {"pattern": f"^{NAME_PATTERN.pattern}$", "not": {"const": GATEWAY}},
        "additionalProperties": _model(),
    }


def _model() -> Json:
    served, scaled = of_class(ModelConfig), of_class(ModelSection)
    keys = [key for key in served["properties"] if key in scaled["properties"]]
    properties = {key: both(served["properties"][key], scaled["properties"][key]) for key in keys}
    properties["slot"] = slot()
    # The old name may stand in the new one's place, and not beside it.
    properties["source"] = _source(properties["source"])
    properties["kind"] = {**properties["source"], "description": "The old name of `source`; one of the two."}
    properties["autoscaling"] = of_class(AutoscalingSection)
    for holder in (properties, properties["autoscaling"]["properties"]):
        for name in holder.keys() & {field.name for field in fields(ModelSpec)}:
            holder[name] = both(holder[name], number_bounds(ModelSpec, name, SAMPLE))
    described = field_docstrings(ModelSpec)
    defaults = {field.name: field.default for field in fields(ModelSpec) if isinstance(field.default, int | float)}
    for name, schema in properties["autoscaling"]["properties"].items():
        schema["description"] = described[name]
        if name in defaults:
            schema.setdefault("default", defaults[name])
    required = [key for key in keys if key in {*served["required"], *scaled["required"]} - {"source"}]
    return {**closed(properties, required), "oneOf": [{"required": ["source"]}, {"required": ["kind"]}]}


def _source(read: Json) -> Json:
    """As `models.source` reads it; what `urllib` makes of a URL beyond its shape is the check's."""
    name, host = "[A-Za-z_][A-Za-z0-9_]*", r"(?:[^/?#@:\[\]\\ ]+|\[[0-9a-fA-F:.]+\])"
    rest, user = r"(?::[0-9]{0,5})?(?:[/?#].*)?$", "(?:[^/?#]*@)?"
    loopback = r"(?:[lL][oO][cC][aA][lL][hH][oO][sS][tT]|127\.0\.0\.1|\[::1\])"
    patterns = (
        "^[a-z][a-z0-9_]*$",
        f"^python:{name}(?:\\.{name})*:{name}$",
        "^onnx:/",
        f"^onnx:[hH][tT][tT][pP][sS]://{user}{host}{rest}",
        f"^onnx:[hH][tT][tT][pP]://{user}{loopback}{rest}",
    )
    return {**read, "pattern": "|".join(patterns)}


def _card_costs() -> Json:
    boards = sorted(map(str.lower, BOARD_GB))
    cost = "What a whole card of this board costs, in any unit that is the same for all; of `fraction`, any card."
    return {
        "type": "object",
        "propertyNames": {"enum": [*boards, ANY_CARD]},
        "additionalProperties": {"type": "number", "exclusiveMinimum": 0, "default": 1, "description": cost},
    }


def _record(record: type) -> Json:
    """A dataclass of numbers that all have defaults."""
    described = field_docstrings(record)
    properties = {}
    for field in fields(record):
        name = str(getattr(field.type, "__name__", field.type))
        properties[field.name] = {
            "type": {"int": "integer", "float": "number"}[name],
            "default": field.default,
            **number_bounds(record, field.name, {}),
            "description": described[field.name],
        }
    return closed(properties, [])


def both(one: Json, other: Json) -> Json:
    """What two schemas of one scalar both accept; where they describe or default it, the first one's words."""
    made = {**other, **one}
    if "type" in one and "type" in other:
        made["type"] = _shared_type(_types(one), _types(other))
    for keyword, choose in (("minimum", max), ("exclusiveMinimum", max), ("maximum", min), ("exclusiveMaximum", min)):
        given = [schema[keyword] for schema in (one, other) if keyword in schema]
        if given:
            made[keyword] = choose(given)
    return _without_slack(made)


def _types(schema: Json) -> list[str]:
    return schema["type"] if isinstance(schema["type"], list) else [schema["type"]]


def _shared_type(one: list[str], other: list[str]) -> str | list[str]:
    narrowed = ["integer" if "integer" in (*one, *other) and kind == "number" else kind for kind in one]
    taken = [kind for kind in narrowed if kind in other or (kind == "integer" and "number" in other)]
    return taken[0] if len(taken) == 1 else taken


def _without_slack(schema: Json) -> Json:
    """Without a bound that the other bound of that end makes superfluous: at least 1 is above 0."""
    made = dict(schema)
    if "minimum" in made and "exclusiveMinimum" in made:
        del made["exclusiveMinimum" if made["minimum"] > made["exclusiveMinimum"] else "minimum"]
    if "maximum" in made and "exclusiveMaximum" in made:
        del made["exclusiveMaximum" if made["maximum"] < made["exclusiveMaximum"] else "maximum"]
    return made
