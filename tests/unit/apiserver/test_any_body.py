"""Whatever clients send: it is refused with a reason, or stored, and what is stored breaks nothing that reads it."""

from contextlib import suppress
from copy import deepcopy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.embedded.apiserver import (
    applying,
    controllers,
    deletion,
    listing,
    ownership,
    resources,
    subresources,
    tables,
)
from autoscaler.embedded.apiserver.deletion import DeleteOptions
from autoscaler.embedded.apiserver.errors import ApiError
from autoscaler.embedded.apiserver.paths import Target
from autoscaler.embedded.apiserver.resources import Resource
from autoscaler.embedded.apiserver.store import Store
from tests.unit.apiserver import build
from tests.unit.apiserver.bodies import ABOUT, BODIES

_ODD = st.sampled_from(
    [None, True, -1, 3, 1.5, "", "x", "9" * 30, "2027-13-01", "\ud800", [], [None], ["x"], {}, {"x": "x"}]
)


def _paths(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [way, *(path for key, below in inner for path in _paths(below, (*way, key)))]


@st.composite
def _bodies(draw: st.DrawFn) -> tuple[Resource, Any]:
    """A good body of some kind with up to three places spoilt."""
    resource = draw(st.sampled_from(resources.RESOURCES))
    root = {"body": deepcopy({"metadata": ABOUT, **BODIES[resource]})}
    for _ in range(draw(st.integers(0, 3))):
        *way, last = draw(st.sampled_from(_paths(root)[1:]))
        holder: Any = root
        for step in way:
            holder = holder[step]
        holder[last] = deepcopy(draw(_ODD))
    return resource, root["body"]


def _stored(store: Store, resource: Resource, body: Any) -> bool:
    namespace = "default" if resource.namespaced else ""
    try:
        store.create(resource, namespace, body)
        store.update(resource, namespace, "x", lambda _: body)
        if resource.has_status:
            store.update(resource, namespace, "x", lambda _: body, part="status")
        _apply(store, resource, namespace, body)
    except ApiError as refusal:
        return refusal.code not in (400, 422)
    return True


def _apply(store: Store, resource: Resource, namespace: str, body: Any) -> None:
    """As a client of server-side apply, by force."""
    body = {"apiVersion": resource.api_version, "kind": resource.kind, **body} if isinstance(body, dict) else body
    applying.check(body, "x", {"fieldManager": "m"})
    applier, keys = store.owner(resource, "m", "Apply"), ownership.keys_of(resource)
    live = store.get(resource, namespace, "x")
    applied = applying.apply(live, body, applier, keys, force=True)
    store.update(resource, namespace, "x", lambda _: applied.item, track=lambda *_: applied.owners)
    assert (
        applying.apply(store.get(resource, namespace, "x"), body, applier, keys, force=False).owners == applied.owners
    )


def _read_in_every_way(store: Store, resource: Resource) -> None:
    target = Target(verb="list", resource=resource)
    selection = listing.parse_selection(target, {"labelSelector": "x=y", "fieldSelector": "metadata.name!=z"})
    listing.page(store, selection, {"limit": "1"})
    listing.watch_events(selection, store.history.after(0))
    tables.render(resource, store.list(resource), {}, store.now_s())


@settings(max_examples=300)
@given(_bodies())
def test_any_body_is_refused_or_breaks_nothing(case: tuple[Resource, Any]) -> None:
    """Only an ApiError of 400 or 422 is a refusal; any other exception is this server's own fault and fails here."""
    resource, body = case
    store = build.store()
    if not _stored(store, resource, body):
        return
    for _ in range(3):
        controllers.reconcile(store)
    for known in resources.RESOURCES:
        _read_in_every_way(store, known)
    for pod in store.list(resources.PODS):
        with suppress(ApiError):
            subresources.bind(store, "default", pod["metadata"]["name"], {"target": {"name": "n"}})
        with suppress(ApiError):
            subresources.evict(store, "default", pod["metadata"]["name"], None)
    with suppress(ApiError):
        deletion.delete(store, resource, "default" if resource.namespaced else "", "x", DeleteOptions(grace_s=0))
    controllers.reconcile(store)


def test_the_bodies_tried_here_are_good_before_they_are_spoilt() -> None:
    for resource, body in BODIES.items():
        assert _stored(build.store(), resource, {"metadata": ABOUT, **body}), resource.plural
