"""The switcher's file as JSON Schema, made from the classes that read it: the value `switcher.config`.

Beyond a schema's reach is what compares two places of the file (a layout's framebuffers against its card, a name that
is not there, two entries at one time); the switcher refuses that, at its start or when the file changes.
"""

import inspect
from typing import Any

from helm.generate.classes import closed, of_class
from helm.generate.slot_types import any_case
from vgpu.core.profile import BOARD_GB
from vgpu.core.share import SchedulerPolicy
from vgpu.core.switching.actions import DEFAULT_TIMEOUTS_S
from vgpu.switcher.sections import (
    PATTERN,
    PROVIDERS,
    File,
    GpuSection,
    GuestSection,
    OnDemandSection,
    PolicySection,
    ScheduleSection,
)

Json = dict[str, Any]
CREDENTIALS = ("password", "token", "user", "username")
"""What people write where a file's path belongs. The schema lets it pass, for the chart refuses it with the remedy."""
_NAMES: Json = {"propertyNames": {"pattern": PATTERN}}
_SLOT_TYPE: Json = {"$ref": "#/definitions/slotType"}


def config() -> Json:
    """Schema of the whole file. Without required keys: where nothing is switched it is empty."""
    makers: dict[str, Json] = {
        "time_zone": {"description": "IANA name of the zone that the schedule's times are of."},
        "gpus": _by_name(_gpu()),
        "layouts": _by_name({"type": "object", "additionalProperties": {"type": "array", "items": _guest()}}),
        "schedule": {"type": "array", "items": _entry()},
        "on_demand": of_class(OnDemandSection),
        "policy": _policy(),
        "providers": {"type": "object", "additionalProperties": _provider()},
    }
    whole = of_class(File)["properties"]
    unknown = whole.keys() ^ makers.keys()
    if unknown:
        raise NotImplementedError(
            f"the switcher's file: {', '.join(sorted(unknown))} differ; say in config() what it is"
        )
    return closed({name: _without_loose(whole[name]) | made for name, made in makers.items()}, [])


def _without_loose(entry: Json) -> Json:
    """What the class of the whole file says of a section that is checked on its own: that it may be anything."""
    return {key: value for key, value in entry.items() if key not in ("additionalProperties", "items")}


def _by_name(inner: Json) -> Json:
    return {"type": "object", **_NAMES, "additionalProperties": inner}


def _gpu() -> Json:
    made = of_class(GpuSection)
    boards = "|".join(sorted(map(str.lower, BOARD_GB)))
    made["properties"]["board"] |= {"pattern": any_case(f"^(?:{boards})$")}
    made["properties"]["policy"] |= {"enum": [str(policy) for policy in SchedulerPolicy]}
    made["properties"]["allowed"] |= {"items": _SLOT_TYPE}
    return made


def _guest() -> Json:
    made = of_class(GuestSection)
    made["properties"]["profile"] = {"allOf": [_SLOT_TYPE], **_described(made["properties"]["profile"])}
    return made


def _entry() -> Json:
    made = of_class(ScheduleSection)
    made["properties"]["at"] |= {"type": "string", "pattern": "^(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9])?$"}
    made["properties"]["dates"]["items"] = {"type": "string", "pattern": "^[0-9]{4}-(?:0[1-9]|1[0-2])-[0-3][0-9]$"}
    return {**made, "not": {"required": ["days", "dates"]}}


def _policy() -> Json:
    made = of_class(PolicySection)
    steps = {
        str(step): {
            "type": "number",
            "exclusiveMinimum": 0,
            "default": seconds,
            "description": f"How long {step} may take.",
        }
        for step, seconds in DEFAULT_TIMEOUTS_S.items()
    }
    made["properties"]["timeouts_s"] = closed(steps, []) | _described(made["properties"]["timeouts_s"])
    return made


def provider_kinds() -> dict[str, Json]:
    """Schema of each kind of provider, described by its class."""
    return {kind: of_class(section) | {"description": inspect.getdoc(section)} for kind, section in PROVIDERS.items()}


def _provider() -> Json:
    """One of several by its kind."""
    chosen = [
        {"if": {"properties": {"kind": {"const": kind}}}, "then": _with_credentials(section)}
        for kind, section in provider_kinds().items()
    ]
    kinds = {"type": "string", "enum": [*PROVIDERS]}
    return {"type": "object", "required": ["kind"], "properties": {"kind": kinds}, "allOf": chosen}


def _with_credentials(made: Json) -> Json:
    own = made["properties"].keys()
    further = {word: {"description": f"Refused; write {word}_file"} for word in CREDENTIALS if f"{word}_file" in own}
    return {**made, "properties": {**made["properties"], **further}}


def _described(entry: Json) -> Json:
    return {"description": entry["description"]} if "description" in entry else {}
