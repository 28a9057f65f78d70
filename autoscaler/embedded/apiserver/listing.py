"""Lists and watches as pure questions to the store: which objects, at which version, and how each event looks.

A watch tells a client only of objects it selects: one that starts to match is ADDED and one that stops is DELETED,
whatever really happened to it. A page is a view of one version, so objects created meanwhile never appear half-way.
"""

import base64
import binascii
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from autoscaler.embedded.apiserver import errors, selectors
from autoscaler.embedded.apiserver.history import Event
from autoscaler.embedded.apiserver.paths import Target
from autoscaler.embedded.apiserver.resources import Json, Resource
from autoscaler.embedded.apiserver.store import Store

_INITIAL_EVENTS_END = "k8s.io/initial-events-end"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The objects a list or watch is about."""

    resource: Resource
    namespace: str
    matches: Callable[[Json], bool]
    is_partial: bool

    def shows(self, item: Json | None) -> bool:
        """Tell whether an object, if there is one, belongs to the selection."""
        return item is not None and self.namespace in ("", item["metadata"].get("namespace")) and self.matches(item)


def parse_selection(target: Target, query: Mapping[str, str]) -> Selection:
    """Read the selectors of a request."""
    labels, fields = query.get("labelSelector", ""), query.get("fieldSelector", "")
    by_label, by_field = selectors.parse_labels(labels), selectors.parse_fields(target.resource, fields)
    return Selection(
        resource=target.resource,
        namespace=target.namespace,
        matches=lambda item: by_label(item) and by_field(item),
        is_partial=bool(labels or fields),
    )


def parse_version(text: str) -> int | None:
    """Read a resourceVersion; empty and 0 both mean no particular one."""
    if not text.isascii() or not (text == "" or text.isdecimal()):
        raise errors.bad_request(f'Invalid value: "{text}": resourceVersion must be a whole number')
    return int(text) if text.strip("0") else None


def parse_count(query: Mapping[str, str], name: str) -> int:
    """Read a count of the query; absent means 0."""
    text = query.get(name) or "0"
    if not text.isascii() or not text.isdecimal():
        raise errors.bad_request(f'Invalid value: "{text}": {name} must be a whole number of 0 or more')
    return int(text)


def page(store: Store, selection: Selection, query: Mapping[str, str]) -> tuple[list[Json], Json]:
    """List one page: the objects and the list's metadata."""
    limit, token = parse_count(query, "limit"), query.get("continue", "")
    version, start = _parse_token(token) if token else (_version_asked(store, query), None)
    try:
        items = store.list(selection.resource, selection.namespace, version=version)
    except errors.ApiError as gone:
        if token:
            raise errors.expired(f"The provided continue parameter is too old: {gone.message}") from gone
        raise
    found = [item for item in items if selection.shows(item) and (start is None or _place(item) > start)]
    about: Json = {"resourceVersion": str(version)}
    if limit and len(found) > limit:
        about["continue"] = _token(version, _place(found[limit - 1]))
        if not selection.is_partial:  # as upstream: with a selector the server does not know how many would match
            about["remainingItemCount"] = len(found) - limit
        found = found[:limit]
    return found, about


def _version_asked(store: Store, query: Mapping[str, str]) -> int:
    asked = parse_version(query.get("resourceVersion", ""))
    if asked is not None and asked > store.version:
        raise errors.version_too_large(asked, store.version)
    return asked if asked is not None and query.get("resourceVersionMatch") == "Exact" else store.version


def _place(item: Json) -> list[str]:
    return [item["metadata"].get("namespace", ""), item["metadata"]["name"]]


def _token(version: int, place: list[str]) -> str:
    return base64.urlsafe_b64encode(json.dumps([version, place]).encode()).decode().rstrip("=")


def _parse_token(token: str) -> tuple[int, list[str]]:
    try:
        version, place = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        return int(version), [str(word) for word in place]
    except (binascii.Error, ValueError, TypeError) as fault:
        raise errors.bad_request("continue key is not valid") from fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """Where a watch starts: what it shows first, the version it goes on from, and whether it marks the end of that."""

    shown: tuple[Json, ...]
    version: int
    marks_end: bool


def open_watch(store: Store, selection: Selection, query: Mapping[str, str]) -> Opening:
    """Decide how a watch starts. A version that has left the history is told in the stream, as upstream does."""
    asked = parse_version(query.get("resourceVersion", ""))
    wants_initial = query.get("sendInitialEvents", "").lower()
    if wants_initial and query.get("resourceVersionMatch") != "NotOlderThan":
        raise errors.bad_request("sendInitialEvents requires resourceVersionMatch=NotOlderThan")
    if asked is not None and wants_initial != "true":
        return Opening(shown=(), version=asked, marks_end=False)
    items = () if wants_initial == "false" else store.list(selection.resource, selection.namespace)
    shown = tuple(item for item in items if selection.shows(item))
    return Opening(shown=shown, version=store.version, marks_end=wants_initial == "true")


def watch_events(selection: Selection, events: Iterable[Event]) -> list[tuple[str, Json]]:
    """Translate writes into what a watch of this selection is told."""
    told: list[tuple[str, Json]] = []
    for event in events:
        if event.resource is not selection.resource:
            continue
        was, is_so = selection.shows(event.before), selection.shows(event.after)
        if is_so and event.after is not None:
            told.append(("MODIFIED" if was else "ADDED", event.after))
        elif was and event.farewell is not None:
            told.append(("DELETED", event.farewell))
    return told


def bookmark(resource: Resource, version: int, *, ends_initial: bool = False) -> Json:
    """Make the object of a bookmark: nothing but the version a client may resume from."""
    about: Json = {"resourceVersion": str(version), "creationTimestamp": None}
    if ends_initial:
        about["annotations"] = {_INITIAL_EVENTS_END: "true"}
    return {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": about}
