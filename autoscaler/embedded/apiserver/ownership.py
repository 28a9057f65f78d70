"""Which client owns which fields of an object: what server-side apply merges by. Pure functions.

A path is a tuple of steps as FieldsV1 of the API writes them: `f:spec`, `k:{"name":"c"}` for an item of a list that has
a key, `v:"x"` for a word of a set. Ownership is kept from an object's first apply on: until then nobody asks, and what
was there before counts as `before-first-apply`'s, as upstream does with objects older than the feature.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from autoscaler.embedded.apiserver import strategic
from autoscaler.embedded.apiserver.resources import Json, Resource, Value

Path = tuple[str, ...]
Keys = Mapping[str, tuple[str, ...]]
BEFORE = "before-first-apply"
_SYSTEM = (
    *("name", "generateName", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp"),
    *("deletionTimestamp", "deletionGracePeriodSeconds", "managedFields", "selfLink"),
)
# Lists and objects that belong to one owner as a whole, by the name of their field.
_SELECTORS = ("selector", "nodeSelector", "podSelector", "namespaceSelector", "objectSelector", "labelSelector")
_REFERENCES = ("roleRef", "fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef")
_WHOLE = frozenset((*_SELECTORS, *_REFERENCES, "taints"))
_SETS = frozenset(("finalizers",))
_PAIRS = {"ports": ("containerPort", "protocol"), "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable")}
_PAIRS_IN_KIND: dict[str, Keys] = {"Service": {"ports": ("port", "protocol")}}
_FILLED_IN = {"protocol": "TCP"}  # of a key's parts, what the server fills in


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """One client's share: by applying, or by writing (Update), to the object or beside it, and since when."""

    manager: str
    operation: Literal["Apply", "Update"]
    api_version: str
    time: str
    paths: frozenset[Path]
    subresource: str = ""

    @property
    def identity(self) -> tuple[str, str, str]:
        """By what a client is known again."""
        return self.manager, self.operation, self.subresource


def keys_of(resource: Resource) -> Keys:
    """Name the lists of a kind whose items are told apart, and by which fields; a custom kind's are all whole."""
    if resource.is_custom:
        return {"ownerReferences": ("uid",)}
    single = {name: (key,) for name, key in strategic.KEY_OF_LIST.items() if name not in _WHOLE}
    return {**single, **_PAIRS, **_PAIRS_IN_KIND.get(resource.kind, {})}


def is_whole(name: str) -> bool:
    """Tell whether a field has one owner, whatever is in it."""
    return name in _WHOLE


def is_set(name: str) -> bool:
    """Tell whether a list is a set of words."""
    return name in _SETS


def item_step(item: Value, keys: tuple[str, ...]) -> str | None:
    """Name an item of a list by its key; None where it has none."""
    if not isinstance(item, dict):
        return None
    key = {name: item.get(name, _FILLED_IN.get(name)) for name in keys}
    return None if None in key.values() else f"k:{json.dumps(key, separators=(',', ':'), sort_keys=True)}"


def leaves(item: Json, keys: Keys) -> dict[Path, Value]:
    """List the fields of an object that can be owned, with their values; items of keyed lists are fields too."""
    about = {key: value for key, value in item.get("metadata", {}).items() if key not in _SYSTEM}
    rest = {key: value for key, value in item.items() if key not in ("apiVersion", "kind", "metadata")}
    return dict(_walk(({"metadata": about} if about else {}) | rest, (), "", keys))


def _walk(value: Value, path: Path, name: str, keys: Keys) -> Iterator[tuple[Path, Value]]:
    if isinstance(value, dict) and value and not is_whole(name):
        for key, inner in value.items():
            yield from _walk(inner, (*path, f"f:{key}"), key, keys)
    elif isinstance(value, list) and is_set(name):
        yield from (((*path, f"v:{json.dumps(word)}"), word) for word in value)
    elif isinstance(value, list) and name in keys and all(item_step(item, keys[name]) for item in value) and value:
        for item in value:
            place = (*path, str(item_step(item, keys[name])))
            yield place, None
            yield from _walk(item, place, "", keys)
    elif path:
        yield path, value


def read(item: Json) -> tuple[Owner, ...]:
    """Read an object's owners."""
    return tuple(
        Owner(
            manager=entry["manager"],
            operation=entry["operation"],
            api_version=entry["apiVersion"],
            time=entry["time"],
            paths=frozenset(_paths(entry["fieldsV1"], ())),
            subresource=entry.get("subresource", ""),
        )
        for entry in item["metadata"].get("managedFields") or ()
    )


def render(owners: Iterable[Owner]) -> list[Json]:
    """Write owners as an object carries them; who owns nothing is left out."""
    return [
        {"manager": owner.manager, "operation": owner.operation, "apiVersion": owner.api_version, "time": owner.time}
        | {"fieldsType": "FieldsV1", "fieldsV1": _fields(owner.paths)}
        | ({"subresource": owner.subresource} if owner.subresource else {})
        for owner in owners
        if owner.paths
    ]


def _fields(paths: Iterable[Path]) -> Json:
    root: Json = {}
    ordered = sorted(paths)
    inner = {path[:length] for path in ordered for length in range(1, len(path))}
    for path in ordered:
        node = root
        for step in path:
            node = node.setdefault(step, {})
        if path in inner:
            node["."] = {}
    return root


def _paths(fields: Json, path: Path) -> Iterator[Path]:
    for step, inner in fields.items():
        if step == ".":
            yield path
        elif inner:
            yield from _paths(inner, (*path, step))
        else:
            yield (*path, step)


def written(old: Json, new: Json, keys: Keys, writer: Owner) -> list[Json]:
    """Say who owns what after a plain write: its writer all that it changed, nobody what is gone."""
    before, after = leaves(old, keys), leaves(new, keys)
    changed = frozenset(path for path, value in after.items() if path not in before or before[path] != value)
    gone = before.keys() - after.keys()
    owners, mine = [], replace(writer, paths=changed)
    for owner in read(old):
        if owner.identity == writer.identity:
            mine = replace(mine, paths=(owner.paths - gone) | changed, time=mine.time if changed else owner.time)
        else:
            owners.append(replace(owner, paths=owner.paths - gone - changed))
    return render([*owners, mine])
