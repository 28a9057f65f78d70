"""What a deletion does at once, and what it only announces."""

from typing import Any

import pytest

from autoscaler.embedded.apiserver import deletion, subresources
from autoscaler.embedded.apiserver.deletion import DeleteOptions
from autoscaler.embedded.apiserver.errors import ApiError
from autoscaler.embedded.apiserver.resources import CONFIG_MAPS, DEPLOYMENTS, NAMESPACES, PODS
from autoscaler.embedded.apiserver.store import Store
from tests.unit.apiserver import build


def _store(**about: Any) -> Store:
    """A store with one bound pod."""
    store = build.store()
    body = build.pod()
    body["metadata"] |= about
    store.create(PODS, "default", body)
    subresources.bind(store, "default", "p", {"target": {"name": "n1"}})
    return store


def _delete(store: Store, **options: Any) -> tuple[Any, bool]:
    return deletion.delete(store, PODS, "default", "p", DeleteOptions(**options))


def _deletion_of(item: Any) -> tuple[str | None, int | None]:
    return item["metadata"].get("deletionTimestamp"), item["metadata"].get("deletionGracePeriodSeconds")


def test_a_pod_no_kubelet_has_seen_goes_at_once() -> None:
    store = build.store()
    store.create(PODS, "default", build.pod())
    assert _delete(store)[1]
    assert store.list(PODS) == []


def test_a_bound_pod_is_marked_and_stays_until_the_kubelet_removes_it() -> None:
    store = _store()
    marked, is_gone = _delete(store)
    assert (is_gone, _deletion_of(marked)) == (False, ("2027-01-15T08:00:30Z", 30))
    assert _delete(store, grace_s=0)[1]
    assert store.list(PODS) == []


def test_a_grace_period_may_be_cut_short_but_not_extended() -> None:
    store = _store()
    _delete(store, grace_s=10)
    assert _deletion_of(_delete(store, grace_s=60)[0]) == ("2027-01-15T08:00:10Z", 10)
    assert _deletion_of(_delete(store, grace_s=5)[0]) == ("2027-01-15T08:00:05Z", 5)


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_pod_that_has_ended_goes_at_once(phase: str) -> None:
    store = _store()
    store.update(PODS, "default", "p", lambda old: old | {"status": {"phase": phase}}, part="status")
    assert _delete(store)[1]


def test_an_object_with_a_finalizer_waits_for_it_to_be_lifted() -> None:
    store = build.store()
    store.create(CONFIG_MAPS, "default", {"metadata": {"name": "c", "finalizers": ["example.com/hold"]}})
    marked, is_gone = deletion.delete(store, CONFIG_MAPS, "default", "c", DeleteOptions())
    assert (is_gone, _deletion_of(marked)) == (False, ("2027-01-15T08:00:00Z", 0))

    def with_finalizers(*words: str) -> Any:
        return lambda old: old | {"metadata": old["metadata"] | {"finalizers": list(words)}}

    with pytest.raises(ApiError) as refusal:
        store.update(CONFIG_MAPS, "default", "c", with_finalizers("example.com/hold", "example.com/more"))
    assert refusal.value.code == 422
    store.update(CONFIG_MAPS, "default", "c", with_finalizers())
    assert store.list(CONFIG_MAPS) == []


def test_lifting_a_pods_finalizer_does_not_cut_its_grace_period_short() -> None:
    store = _store(finalizers=["example.com/hold"])
    _delete(store)
    store.update(PODS, "default", "p", lambda old: old | {"metadata": old["metadata"] | {"finalizers": []}})
    assert [_deletion_of(pod)[1] for pod in store.list(PODS)] == [30]


@pytest.mark.parametrize("options", [{"uid": "another"}, {"version": "1"}])
def test_a_deletion_meant_for_another_state_is_refused(options: Any) -> None:
    store = _store()
    with pytest.raises(ApiError) as refusal:
        _delete(store, **options)
    assert (refusal.value.code, refusal.value.reason) == (409, "Conflict")
    assert len(store.list(PODS)) == 1


def test_deletion_counts_as_a_new_generation() -> None:
    store = build.store()
    body = build.deployment()
    body["metadata"]["finalizers"] = ["example.com/hold"]
    store.create(DEPLOYMENTS, "default", body)
    marked, _ = deletion.delete(store, DEPLOYMENTS, "default", "d", DeleteOptions())
    assert marked["metadata"]["generation"] == 2


def test_orphaned_dependants_forget_their_owner() -> None:
    store = build.store()
    owner = store.create(DEPLOYMENTS, "default", build.deployment())
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d", "uid": owner["metadata"]["uid"]}
    body = build.pod()
    body["metadata"]["ownerReferences"] = [reference]
    store.create(PODS, "default", body)
    deletion.delete(store, DEPLOYMENTS, "default", "d", DeleteOptions(propagation="Orphan"))
    assert [pod["metadata"]["ownerReferences"] for pod in store.list(PODS)] == [[]]


def test_a_namespace_is_only_marked() -> None:
    store = build.store()
    marked, is_gone = deletion.delete(store, NAMESPACES, "", "default", DeleteOptions())
    assert (is_gone, marked["status"]["phase"]) == (False, "Terminating")


@pytest.mark.parametrize(
    ("query", "body", "expected"),
    [
        ({}, None, DeleteOptions()),
        ({"gracePeriodSeconds": "5"}, None, DeleteOptions(grace_s=5)),
        ({"gracePeriodSeconds": "5"}, {"gracePeriodSeconds": 0}, DeleteOptions(grace_s=0)),
        ({"propagationPolicy": "Foreground"}, None, DeleteOptions(propagation="Foreground")),
        ({}, {"orphanDependents": True}, DeleteOptions(propagation="Orphan")),
        ({}, {"preconditions": {"uid": "u", "resourceVersion": "7"}}, DeleteOptions(uid="u", version="7")),
    ],
)
def test_options_come_from_query_and_body(query: Any, body: Any, expected: DeleteOptions) -> None:
    assert deletion.parse_options(query, body) == expected


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ({"gracePeriodSeconds": "soon"}, None),
        ({}, {"gracePeriodSeconds": -1}),
        ({}, {"gracePeriodSeconds": [1]}),
        ({}, {"propagationPolicy": "Never"}),
        ({}, {"preconditions": "x"}),
        ({}, []),
    ],
)
def test_options_that_make_no_sense_are_refused(query: Any, body: Any) -> None:
    with pytest.raises(ApiError) as refusal:
        deletion.parse_options(query, body)
    assert refusal.value.code == 400
