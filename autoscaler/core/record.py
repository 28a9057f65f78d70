"""Records with a few fields changed, in less than half the time that `dataclasses.replace` takes.

Values are taken over slot by slot and not handed through a constructor, so this is for records with slots that check
nothing when they are made.
"""

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from dataclasses import replace  # so that each change is checked against its field
else:
    from collections.abc import Callable
    from dataclasses import fields, make_dataclass
    from functools import cache
    from operator import attrgetter

    _Record = TypeVar("_Record")

    def replace(record: _Record, /, **changes: object) -> _Record:
        """A copy of the record with these fields changed. TypeError where it has no such field, or checks itself."""
        kind = type(record)
        read, twin, setters = _parts(kind)
        made = twin(*read(record))
        made.__class__ = kind
        for name, value in changes.items():
            if name not in setters:
                raise TypeError(f"{kind.__name__} has no field {name!r}")
            setters[name](made, value)
        return made

    @cache
    def _parts(kind: type) -> tuple[Any, Callable[..., Any], dict[str, Callable[[Any, object], None]]]:
        """What reads all fields of a kind of record, what makes one not frozen yet, and what sets each field."""
        names = vars(kind).get("__slots__", ())
        # One that extends another has slots for its own fields alone.
        whole = tuple(names) == tuple(part.name for part in fields(kind))
        if len(names) < 2 or not whole or hasattr(kind, "__post_init__"):
            raise TypeError(f"{kind.__name__} checks itself or has no slots of its own; use dataclasses.replace")
        # A record with the same slots and nothing that guards them is filled in a third of the time, and then given its
        # kind; Python refuses that where the slots are not the same.
        twin = make_dataclass(kind.__name__, names, bases=kind.__bases__, slots=True)
        return attrgetter(*names), twin, {name: getattr(kind, name).__set__ for name in names}


__all__ = ["replace"]
