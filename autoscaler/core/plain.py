"""Any record of the core as what JSON can hold, for the journal, the state API and files."""

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache

JsonValue = None | bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"]


def as_json_value(value: object) -> JsonValue:
    """Turn any of these records into what JSON can hold; field names become keys."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): as_json_value(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [as_json_value(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        names, sparse = _parts(type(value))
        return {
            name: as_json_value(getattr(value, name))
            for name in names
            if name not in sparse or getattr(value, name) != sparse[name]
        }
    raise TypeError(f"{type(value).__name__} has no JSON form")


@cache
def _parts(kind: type) -> tuple[tuple[str, ...], dict[str, object]]:
    """A record's fields, and the defaults of those that are left out while they have them; what follows from others
    is left out."""
    parts = [part for part in fields(kind) if part.init]
    sparse = {part.name: part.default for part in parts if "sparse" in part.metadata and part.default is not MISSING}
    return tuple(part.name for part in parts), sparse
