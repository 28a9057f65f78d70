"""How the three kinds of patch change an object; each takes a document and returns a new one, never touching the old.

Merge patch is RFC 7386 and JSON patch RFC 6902. Server-side apply is `applying.py`'s: it asks who owns what.
"""

from copy import deepcopy

from autoscaler.embedded.apiserver import errors, strategic
from autoscaler.embedded.apiserver.resources import Json, Value

MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
PLAIN = (JSON_PATCH, MERGE, STRATEGIC)
ACCEPTED = (*PLAIN, APPLY)
ACCEPTED_BY_CUSTOM = (JSON_PATCH, MERGE, APPLY)


def apply(content_type: str, document: Json, patch: Value) -> Json:
    """Apply a patch by its content type."""
    if content_type not in PLAIN:
        raise errors.unsupported_media_type(content_type, PLAIN)
    if content_type == JSON_PATCH and isinstance(patch, list):
        return json_patch(document, patch)
    if content_type == JSON_PATCH or not isinstance(patch, dict):
        expected = "an array of operations" if content_type == JSON_PATCH else "an object"
        raise errors.bad_request(f"error decoding patch: {content_type} takes {expected}")
    merged: Json = merge_patch(document, patch) if content_type == MERGE else strategic.merge_object(document, patch)
    return merged


def merge_patch(target: Value, patch: Value) -> Value:
    """Lay a merge patch over a value: null removes, objects merge, all else replaces."""
    if not isinstance(patch, dict):
        return deepcopy(patch)
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def json_patch(document: Json, operations: list[Value]) -> Json:
    """Apply operations in order, all or none."""
    holder: Json = {"root": deepcopy(document)}
    for operation in operations:
        _apply_operation(holder, operation)
    root = holder.get("root")
    if not isinstance(root, dict):
        raise errors.unprocessable_patch("the patch does not leave an object")
    return root


def _apply_operation(holder: Json, operation: Value) -> None:
    try:
        kind, path = operation["op"], operation["path"]
        match kind:
            case "add" | "replace":
                _put(holder, path, deepcopy(operation["value"]), replace=kind == "replace")
            case "remove":
                _take(holder, path)
            case "move":
                _put(holder, path, _take(holder, operation["from"]), replace=False)
            case "copy":
                _put(holder, path, deepcopy(_read(holder, operation["from"])), replace=False)
            case "test":
                if _read(holder, path) != operation["value"]:
                    raise errors.unprocessable_patch(f"testing value {path} failed")
            case _:
                raise errors.bad_request(f"error decoding patch: unexpected kind: {kind}")
    except (TypeError, KeyError, AttributeError) as fault:
        raise errors.bad_request(f"error decoding patch: {operation}: {fault}") from fault


def _steps(pointer: str) -> list[str]:
    if pointer and not pointer.startswith("/"):
        raise errors.bad_request(f"error decoding patch: {pointer} is not a JSON pointer")
    return ["root", *(step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:])]


def _absent(pointer: str) -> errors.ApiError:
    return errors.unprocessable_patch(f"the path {pointer} does not exist in the object")


def _place(holder: Json, pointer: str) -> tuple[Value, str]:
    """Find the container of what a pointer names, and its last step."""
    *way, last = _steps(pointer)
    container: Value = holder
    for step in way:
        container = _child(container, step, pointer)
    return container, last


def _child(container: Value, step: str, pointer: str) -> Value:
    if isinstance(container, dict) and step in container:
        return container[step]
    if isinstance(container, list):
        return container[_position(container, step, pointer)]
    raise _absent(pointer)


def _position(items: list[Value], step: str, pointer: str, *, past_end: bool = False) -> int:
    if past_end and step == "-":
        return len(items)
    if not step.isdecimal() or int(step) >= len(items) + past_end:
        raise _absent(pointer)
    return int(step)


def _read(holder: Json, pointer: str) -> Value:
    container, last = _place(holder, pointer)
    return _child(container, last, pointer)


def _put(holder: Json, pointer: str, value: Value, *, replace: bool) -> None:
    container, last = _place(holder, pointer)
    if isinstance(container, list):
        position = _position(container, last, pointer, past_end=not replace)
        container[position : position + replace] = [value]
    elif isinstance(container, dict) and (not replace or last in container):
        container[last] = value
    else:
        raise _absent(pointer)


def _take(holder: Json, pointer: str) -> Value:
    container, last = _place(holder, pointer)
    value = _child(container, last, pointer)
    del container[_position(container, last, pointer) if isinstance(container, list) else last]
    return value
