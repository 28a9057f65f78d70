"""Strategic merge: objects merge, and lists whose items have a name of their own merge item by item.

Which lists those are, and by which key, is part of each kind's definition upstream (its patchMergeKey); the tables
below repeat them for the kinds served here. Value other list is replaced whole.
"""

from collections.abc import Iterable, Mapping
from copy import deepcopy

from autoscaler.embedded.apiserver import errors
from autoscaler.embedded.apiserver.resources import Json, Value

KEY_OF_LIST = {
    "addresses": "type",
    "conditions": "type",
    "containers": "name",
    "env": "name",
    "ephemeralContainers": "name",
    "hostAliases": "ip",
    "imagePullSecrets": "name",
    "initContainers": "name",
    "ownerReferences": "uid",
    "podIPs": "ip",
    "ports": "containerPort",
    "resourceClaims": "name",
    "taints": "key",
    "topologySpreadConstraints": "topologyKey",
    "volumeDevices": "devicePath",
    "volumeMounts": "mountPath",
    "volumes": "name",
    "webhooks": "name",
}
_WHOLE = ""  # in place of a key: the field is replaced, even where it is an object
_KEY_IN_KIND = {
    "Service": {"ports": "port"},
    "ServiceAccount": {"secrets": "name"},
    "PodDisruptionBudget": {"selector": _WHOLE},
}
_SETS = ("finalizers",)  # lists of words that merge as sets
_ORDER = "$setElementOrder/"
_DROP = "$deleteFromPrimitiveList/"


def merge_object(target: Json, patch: Json) -> Json:
    """Lay a strategic patch over a whole object; a few fields merge otherwise in its kind than elsewhere."""
    return merge(target, patch, KEY_OF_LIST | _KEY_IN_KIND.get(str(target.get("kind")), {}))


def merge(target: Value, patch: Json, keys: Mapping[str, str] = KEY_OF_LIST) -> Json:
    """Lay a strategic patch over an object, whose lists merge by these keys."""
    directive = patch.get("$patch")
    fields = {key: value for key, value in patch.items() if not key.startswith("$")}
    if directive == "replace":
        return deepcopy(fields)
    if directive not in (None, "merge"):
        raise errors.bad_request(f"error decoding patch: unknown directive $patch: {directive}")
    merged: Json = dict(target) if isinstance(target, dict) else {}
    for key, value in fields.items():
        if value is None or (isinstance(value, dict) and value.get("$patch") == "delete"):
            merged.pop(key, None)
        else:
            merged[key] = _merge_value(key, merged.get(key), value, keys)
    return _with_directives(merged, patch, keys)


def _merge_value(key: str, old: Value, new: Value, keys: Mapping[str, str]) -> Value:
    if isinstance(new, dict):
        return merge({} if keys.get(key) == _WHOLE else old, new, keys)
    if isinstance(new, list) and keys.get(key, _WHOLE) != _WHOLE:
        return _merge_items(keys[key], old or [], new, keys)
    if isinstance(new, list) and key in _SETS:
        return [*(old or []), *(word for word in new if word not in (old or []))]
    return deepcopy(new)


def _merge_items(name: str, old: list[Value], new: list[Value], keys: Mapping[str, str]) -> list[Value]:
    if any(not isinstance(item, dict) for item in new):
        raise errors.bad_request(f"error decoding patch: items merged by {name} must be objects")
    if any(item.get("$patch") == "replace" for item in new):
        return [deepcopy(item) for item in new if "$patch" not in item]
    kept = {item[name]: item for item in old if name in item}
    for item in new:
        if name not in item:
            raise errors.bad_request(f"error decoding patch: map does not contain declared merge key: {name}")
        if item.get("$patch") == "delete":
            kept.pop(item[name], None)
        else:
            kept[item[name]] = merge(kept.get(item[name], {}), item, keys)
    return list(kept.values())


def _with_directives(merged: Json, patch: Json, keys: Mapping[str, str]) -> Json:
    """Apply what `kubectl apply` adds beside the fields: keys to retain, words to drop, the order of lists."""
    retained = patch.get("$retainKeys")
    if retained is not None:
        merged = {key: value for key, value in merged.items() if key in retained}
    for key, value in patch.items():
        field = key.partition("/")[2]
        if key.startswith(_DROP) and field in merged:
            merged[field] = [word for word in merged[field] if word not in value]
        elif key.startswith(_ORDER) and field in merged:
            merged[field] = _ordered(keys.get(field), merged[field], value)
    return merged


def _ordered(name: str | None, items: list[Value], order: Iterable[Value]) -> list[Value]:
    """Put named items in the order given; items the order does not name follow, as they were."""
    rank = {(item[name] if name else item): place for place, item in enumerate(order)}
    return sorted(items, key=lambda item: rank.get(item[name] if name else item, len(rank)))
