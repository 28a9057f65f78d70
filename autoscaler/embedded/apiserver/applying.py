"""Server-side apply: what an object becomes when a client applies its part of it, and who then owns what. Pure.

As structured-merge-diff in kubernetes-sigs: fields applied are set, fields this client applied before and no longer
does are removed unless someone else owns them, and a field someone else owns with another value is a conflict.
"""

import json
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace

import yaml

from autoscaler.embedded.apiserver import errors, ownership
from autoscaler.embedded.apiserver.ownership import BEFORE, Keys, Owner, Path
from autoscaler.embedded.apiserver.resources import Json, Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """The object after an apply, and its owners as it carries them."""

    item: Json
    owners: list[Json]


def apply(live: Json, sent: Json, applier: Owner, keys: Keys, *, force: bool) -> Applied:
    """Apply a client's part to the live object; raise Conflict where others own what it would change."""
    had, wanted = ownership.leaves(live, keys), ownership.leaves(sent, keys)
    owners = ownership.read(live)
    if not owners:
        owners = (replace(applier, manager=BEFORE, operation="Update", paths=frozenset(had)),)
    last = next((owner.paths for owner in owners if owner.identity == applier.identity), frozenset[Path]())
    others = [owner for owner in owners if owner.identity != applier.identity]
    clashes = {path for path, value in wanted.items() if path not in had or had[path] != value}
    conflicts = [(owner, path) for owner in others for path in sorted(owner.paths & clashes)]
    if conflicts and not force:
        raise _conflict(conflicts)
    others = [replace(owner, paths=owner.paths - clashes) for owner in others]
    kept = frozenset(path for owner in others for path in owner.paths)
    item = dict(live)
    for path in sorted(last - wanted.keys(), key=len):  # an item of a list before what is in it, its key among that
        if not any(other[: len(path)] == path for other in (*kept, *wanted)):
            _remove(item, path, keys)
    item = _merged(item, sent, "", keys)
    is_same = last == frozenset(wanted)
    time = next((owner.time for owner in owners if owner.identity == applier.identity), "") if is_same else ""
    mine = replace(applier, paths=frozenset(wanted), time=time or applier.time)
    return Applied(item=item, owners=ownership.render([*others, mine]))


def first(sent: Json, applier: Owner, keys: Keys) -> list[Json]:
    """Say who owns a new object: whoever applies it."""
    return ownership.render([replace(applier, paths=frozenset(ownership.leaves(sent, keys)))])


def _merged(old: Value, new: Value, name: str, keys: Keys) -> Value:
    if isinstance(old, dict) and isinstance(new, dict) and not ownership.is_whole(name):
        merged = dict(old)
        for key, value in new.items():
            merged[key] = _merged(old.get(key), value, key, keys)
        return merged
    if isinstance(old, list) and isinstance(new, list) and ownership.is_set(name):
        return [*old, *(word for word in new if word not in old)]
    if isinstance(old, list) and isinstance(new, list) and name in keys:
        return _merged_items(old, new, keys[name], keys)
    return deepcopy(new)


def _merged_items(old: list[Value], new: list[Value], key: tuple[str, ...], keys: Keys) -> list[Value]:
    by_step: dict[str | None, Value] = {ownership.item_step(item, key): item for item in old}
    if None in by_step:
        return deepcopy(new)
    for item in new:
        step = ownership.item_step(item, key)
        if step is None:
            raise errors.bad_request(f"an item of a list lacks {' or '.join(key)}, by which its items are told apart")
        by_step[step] = _merged(by_step.get(step), item, "", keys)
    return list(by_step.values())


def _remove(item: Json, path: Path, keys: Keys) -> None:
    """Take a field out, in copies of what holds it, and with it the objects it leaves empty."""
    step, rest = path[0], path[1:]
    name = step.removeprefix("f:")
    if name not in item:
        return
    if not rest:
        del item[name]
        return
    inner = deepcopy(item[name])
    if isinstance(inner, list):
        inner = _without_item(inner, name, rest, keys)
    elif isinstance(inner, dict):
        _remove(inner, rest, keys)
    item[name] = inner
    if not inner:
        del item[name]


def _without_item(items: list[Value], name: str, path: Path, keys: Keys) -> list[Value]:
    step, rest = path[0], path[1:]
    left = []
    for item in items:
        if step == (_word_step(item) if ownership.is_set(name) else ownership.item_step(item, keys.get(name, ()))):
            if not rest:
                continue
            _remove(item, rest, keys)
        left.append(item)
    return left


def _word_step(word: Value) -> str:
    return f"v:{json.dumps(word)}"


def _conflict(conflicts: list[tuple[Owner, Path]]) -> errors.ApiError:
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {_named(owner)}", "field": _dotted(path)}
        for owner, path in conflicts
    ]
    if len(conflicts) == 1:
        ((owner, path),) = conflicts
        told = f"Apply failed with 1 conflict: conflict with {_named(owner)}: {_dotted(path)}"
    else:
        told = f"Apply failed with {len(conflicts)} conflicts: {_listed(conflicts)}"
    return errors.ApiError(409, "Conflict", told, details={"causes": causes})


def _listed(conflicts: Iterable[tuple[Owner, Path]]) -> str:
    by_owner: dict[str, list[str]] = {}
    for owner, path in conflicts:
        by_owner.setdefault(_named(owner), []).append(f"- {_dotted(path)}")
    return "\n".join(line for name, lines in by_owner.items() for line in (f"conflicts with {name}:", *lines))


def _named(owner: Owner) -> str:
    beside = f' with subresource "{owner.subresource}"' if owner.subresource else ""
    at = f" at {owner.time}" if owner.operation == "Update" else ""
    return f'"{owner.manager}"{beside} using {owner.api_version}{at}'


def _dotted(path: Path) -> str:
    """Write a path as kubectl shows it: `.spec.containers[name="c"].image`."""
    told = ""
    for step in path:
        kind, _, rest = step.partition(":")
        if kind == "k":
            told += "[" + ",".join(f"{name}={json.dumps(value)}" for name, value in json.loads(rest).items()) + "]"
        else:
            told += f".{rest}" if kind == "f" else f"[={rest}]"
    return told


class _Loader(yaml.CSafeLoader):
    """YAML as Kubernetes reads it: what looks like a time stays text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, known) for tag, known in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def load(raw: bytes) -> Value:
    """Read what is applied, YAML or JSON; raise BadRequest."""
    try:
        read = yaml.load(raw, Loader=_Loader)
        json.dumps(read, allow_nan=False)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as fault:
        raise errors.bad_request(f"error decoding YAML: {fault}") from fault
    return read


def check(sent: Value, name: str, query: Mapping[str, str]) -> tuple[str, bool]:
    """Read who applies and whether by force; raise BadRequest for what cannot be applied."""
    manager = query.get("fieldManager", "")
    if not manager:
        raise errors.bad_request("fieldManager: Required value: is required for apply patch")
    if not isinstance(sent, dict) or not isinstance(sent.get("metadata"), dict):
        raise errors.bad_request("error decoding patch: an object with its metadata is applied")
    if not sent.get("apiVersion") or not sent.get("kind"):
        raise errors.bad_request("error decoding patch: Object 'Kind' is missing")
    if sent["metadata"].get("managedFields"):
        raise errors.bad_request("metadata.managedFields must be nil")
    sent["metadata"].setdefault("name", name)
    return manager, query.get("force", "").lower() in ("true", "1")
