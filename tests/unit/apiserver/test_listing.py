"""Pages are views of one version; watches tell of what enters, changes in, and leaves the selection."""

from typing import Any

import pytest

from autoscaler.embedded.apiserver import deletion, listing, subresources
from autoscaler.embedded.apiserver.deletion import DeleteOptions
from autoscaler.embedded.apiserver.errors import ApiError
from autoscaler.embedded.apiserver.paths import Target
from autoscaler.embedded.apiserver.resources import CONFIG_MAPS, PODS
from autoscaler.embedded.apiserver.store import Store
from tests.unit.apiserver import build


def _selection(resource: Any = PODS, namespace: str = "", **query: str) -> listing.Selection:
    return listing.parse_selection(Target(verb="list", resource=resource, namespace=namespace), query)


def _maps(store: Store, *names: str, namespace: str = "default") -> None:
    for name in names:
        store.create(CONFIG_MAPS, namespace, {"metadata": {"name": name}})


def _page(store: Store, **query: str) -> tuple[list[str], Any]:
    items, about = listing.page(store, _selection(CONFIG_MAPS), query)
    return [item["metadata"]["name"] for item in items], about


def test_pages_show_one_version_whatever_is_written_between_them() -> None:
    store = build.store()
    _maps(store, "a", "b", "d")
    _maps(store, "a", namespace="kube-system")
    first, about = _page(store, limit="2")
    assert (first, about["remainingItemCount"]) == (["a", "b"], 2)
    _maps(store, "c", "e")
    deletion.delete(store, CONFIG_MAPS, "default", "d", DeleteOptions())
    second, rest = _page(store, **{"limit": "2", "continue": about["continue"]})
    assert second == ["d", "a"]
    assert rest == {"resourceVersion": about["resourceVersion"]}


def test_a_page_whose_version_is_gone_is_expired() -> None:
    store = build.store(history_limit=3)
    _maps(store, "a", "b")
    _, about = _page(store, limit="1")
    _maps(store, *(f"c{turn}" for turn in range(8)))
    with pytest.raises(ApiError) as refusal:
        _page(store, **{"continue": about["continue"]})
    assert (refusal.value.code, refusal.value.reason) == (410, "Expired")


def test_an_exact_version_is_listed_as_it_was_and_any_other_as_it_is() -> None:
    store = build.store()
    _maps(store, "a", "b")
    then = str(store.version - 1)
    assert _page(store, resourceVersion=then, resourceVersionMatch="Exact")[0] == ["a"]
    assert _page(store, resourceVersion=then)[0] == ["a", "b"]
    assert _page(store, resourceVersion="0")[0] == ["a", "b"]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"resourceVersion": "abc"}, 400),
        ({"resourceVersion": "-1"}, 400),
        ({"limit": "many"}, 400),
        ({"continue": "!!!"}, 400),
        ({"continue": "e30"}, 400),
        ({"resourceVersion": "99999"}, 504),
    ],
)
def test_a_list_that_cannot_be_answered_is_refused(query: dict[str, str], code: int) -> None:
    with pytest.raises(ApiError) as refusal:
        _page(build.store(), **query)
    assert refusal.value.code == code


def _told(store: Store, since: int, selection: listing.Selection) -> list[tuple[str, str]]:
    events = listing.watch_events(selection, store.history.after(since))
    return [(kind, item["metadata"]["name"]) for kind, item in events]


def test_a_watch_tells_of_objects_that_enter_and_leave_its_selection() -> None:
    store = build.store()
    since = store.version
    store.create(PODS, "default", build.pod("a", labels={"tier": "gold"}))
    store.create(PODS, "kube-system", build.pod("elsewhere", labels={"tier": "gold"}))

    def relabelled(tier: str) -> Any:
        return lambda old: old | {"metadata": old["metadata"] | {"labels": {"tier": tier}}}

    store.update(PODS, "default", "a", relabelled("tin"))
    store.update(PODS, "default", "a", relabelled("gold"))
    deletion.delete(store, PODS, "default", "a", DeleteOptions())
    gold = _selection(namespace="default", labelSelector="tier=gold")
    assert _told(store, since, gold) == [("ADDED", "a"), ("DELETED", "a"), ("ADDED", "a"), ("DELETED", "a")]
    tin = _selection(namespace="default", labelSelector="tier=tin")
    assert _told(store, since, tin) == [("ADDED", "a"), ("DELETED", "a")]


def test_a_pod_leaves_the_unbound_ones_when_it_is_bound() -> None:
    store = build.store()
    since = store.version
    store.create(PODS, "default", build.pod())
    subresources.bind(store, "default", "p", {"target": {"name": "n1"}})
    assert _told(store, since, _selection(fieldSelector="spec.nodeName=")) == [("ADDED", "p"), ("DELETED", "p")]
    assert _told(store, since, _selection(fieldSelector="spec.nodeName=n1")) == [("ADDED", "p")]
    assert _told(store, since, _selection()) == [("ADDED", "p"), ("MODIFIED", "p")]


def test_a_removed_object_is_shown_in_its_last_state_at_the_version_of_its_removal() -> None:
    store = build.store()
    pod = store.create(PODS, "default", build.pod())
    since = store.version
    deletion.delete(store, PODS, "default", "p", DeleteOptions())
    ((kind, item),) = listing.watch_events(_selection(), store.history.after(since))
    assert kind == "DELETED"
    assert item == pod | {"metadata": pod["metadata"] | {"resourceVersion": str(since + 1)}}


@pytest.mark.parametrize(
    ("query", "shown", "marks_end"),
    [
        ({}, ["p"], False),
        ({"resourceVersion": "0"}, ["p"], False),
        ({"resourceVersion": "5"}, [], False),
        ({"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}, ["p"], True),
        ({"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "resourceVersion": "5"}, ["p"], True),
        ({"sendInitialEvents": "false", "resourceVersionMatch": "NotOlderThan"}, [], False),
    ],
)
def test_a_watch_starts_with_what_it_was_asked_to_show(
    query: dict[str, str], shown: list[str], marks_end: bool
) -> None:
    store = build.store()
    store.create(PODS, "default", build.pod())
    opening = listing.open_watch(store, _selection(), query)
    assert [item["metadata"]["name"] for item in opening.shown] == shown
    assert (opening.version, opening.marks_end) == (5, marks_end)


def test_initial_events_must_be_asked_for_in_full() -> None:
    with pytest.raises(ApiError) as refusal:
        listing.open_watch(build.store(), _selection(), {"sendInitialEvents": "true"})
    assert refusal.value.code == 400


def test_a_bookmark_is_only_a_version() -> None:
    assert listing.bookmark(PODS, 7, ends_initial=True) == {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {
            "resourceVersion": "7",
            "creationTimestamp": None,
            "annotations": {"k8s.io/initial-events-end": "true"},
        },
    }
