"""What a watch tells, in which order, and how it ends."""

import time
from typing import Any

import pytest
from kubernetes.client.api_client import ApiClient

from tests.contracts.kubernetes import build, wire
from tests.contracts.kubernetes.wire import call, ok, told, watch


@pytest.fixture
def maps(namespace: str) -> str:
    """The path of the test's config maps."""
    return f"/api/v1/namespaces/{namespace}/configmaps"


@pytest.fixture
def pods(namespace: str) -> str:
    """The path of the test's pods."""
    return f"/api/v1/namespaces/{namespace}/pods"


def _version(api: ApiClient, path: str) -> str:
    version: str = ok(call(api, "GET", path))["metadata"]["resourceVersion"]
    return version


def _mine(events: Any, *skipped: str) -> Any:
    """Leave out what a real server puts into every namespace by itself."""
    return (event for event in events if event["object"]["metadata"].get("name") not in (*skipped, "kube-root-ca.crt"))


def test_a_watch_from_a_version_tells_all_that_came_after_it(api: ApiClient, maps: str) -> None:
    ok(call(api, "POST", maps, build.config_map("before")))
    since = _version(api, maps)
    made = ok(call(api, "POST", maps, build.config_map("c")))
    changed = ok(call(api, "PUT", f"{maps}/c", made | {"data": {"k": "2"}}))
    ok(call(api, "DELETE", f"{maps}/c"))
    with watch(api, maps, resourceVersion=since) as events:
        added, modified, deleted = (next(events) for _ in range(3))
    assert added == {"type": "ADDED", "object": made}
    assert modified == {"type": "MODIFIED", "object": changed}
    assert told(deleted) == ("DELETED", "c")
    assert deleted["object"]["data"] == {"k": "2"}
    assert int(deleted["object"]["metadata"]["resourceVersion"]) > int(changed["metadata"]["resourceVersion"])


def test_a_watch_tells_what_happens_while_it_is_open(api: ApiClient, maps: str) -> None:
    with watch(api, maps, resourceVersion=_version(api, maps)) as events:
        ok(call(api, "POST", maps, build.config_map("first")))
        assert told(next(events)) == ("ADDED", "first")
        ok(call(api, "POST", maps, build.config_map("second")))
        assert told(next(events)) == ("ADDED", "second")


@pytest.mark.parametrize("query", [{}, {"resourceVersion": "0"}])
def test_a_watch_without_a_version_starts_with_what_is_there(api: ApiClient, maps: str, query: Any) -> None:
    for name in ("a", "b"):
        ok(call(api, "POST", maps, build.config_map(name, labels={"mine": "yes"})))
    with watch(api, maps, labelSelector="mine", **query) as events:
        assert sorted(told(next(events)) for _ in range(2)) == [("ADDED", "a"), ("ADDED", "b")]
        ok(call(api, "POST", maps, build.config_map("c", labels={"mine": "yes"})))
        assert told(next(events)) == ("ADDED", "c")


def test_a_watch_can_mark_the_end_of_what_was_there(api: ApiClient, maps: str) -> None:
    made = ok(call(api, "POST", maps, build.config_map("a", labels={"mine": "yes"})))
    asked = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
    with watch(api, maps, labelSelector="mine", **asked) as events:
        assert told(next(events)) == ("ADDED", "a")
        mark = next(events)
    about = mark["object"]["metadata"]
    assert (mark["type"], about["annotations"]) == ("BOOKMARK", {"k8s.io/initial-events-end": "true"})
    assert int(about["resourceVersion"]) >= int(made["metadata"]["resourceVersion"])


def test_a_watch_ends_when_its_time_is_up(api: ApiClient, maps: str) -> None:
    began_s = time.monotonic()
    with watch(api, maps, resourceVersion=_version(api, maps), timeoutSeconds=1) as events:
        assert list(_mine(events)) == []
    assert 0.9 <= time.monotonic() - began_s < 4


def test_bookmarks_come_before_the_end_to_those_who_ask(api: ApiClient, maps: str, pods: str) -> None:
    since = _version(api, maps)
    ok(call(api, "POST", pods, build.pod("p")))  # another kind: the watched one stays quiet
    with watch(api, maps, resourceVersion=since, timeoutSeconds=3, allowWatchBookmarks="true") as events:
        mark = next(_mine(events))
    assert (mark["type"], mark["object"]["kind"]) == ("BOOKMARK", "ConfigMap")
    assert int(mark["object"]["metadata"]["resourceVersion"]) >= int(since)


def test_what_stops_matching_is_deleted_and_what_starts_is_added(api: ApiClient, pods: str) -> None:
    since = _version(api, pods)
    ok(call(api, "POST", pods, build.pod("p", labels={"tier": "gold"})))
    for tier in ("tin", "gold"):
        ok(call(api, "PATCH", f"{pods}/p", {"metadata": {"labels": {"tier": tier}}}, content_type=wire.MERGE))
    with watch(api, pods, resourceVersion=since, labelSelector="tier=gold") as events:
        assert [told(next(events)) for _ in range(3)] == [("ADDED", "p"), ("DELETED", "p"), ("ADDED", "p")]


def test_a_bound_pod_leaves_the_schedulers_watch_and_enters_the_kubelets(api: ApiClient, pods: str, node: str) -> None:
    since = _version(api, pods)
    ok(call(api, "POST", pods, build.pod("p")))
    target = {"apiVersion": "v1", "kind": "Node", "name": node}
    ok(call(api, "POST", f"{pods}/p/binding", {"metadata": {"name": "p"}, "target": target}))
    with watch(api, pods, resourceVersion=since, fieldSelector="spec.nodeName=") as events:
        assert [told(next(events)) for _ in range(2)] == [("ADDED", "p"), ("DELETED", "p")]
    with watch(api, "/api/v1/pods", resourceVersion=since, fieldSelector=f"spec.nodeName={node}") as events:
        assert told(next(events)) == ("ADDED", "p")


def test_a_watch_of_one_namespace_hears_nothing_of_others(api: ApiClient, maps: str) -> None:
    since = _version(api, maps)
    elsewhere = ok(call(api, "POST", "/api/v1/namespaces/default/configmaps", {"metadata": {"generateName": "x-"}}))
    ok(call(api, "POST", maps, build.config_map("mine")))
    with watch(api, maps, resourceVersion=since) as events:
        assert told(next(_mine(events))) == ("ADDED", "mine")
    with watch(api, "/api/v1/configmaps", resourceVersion=since) as events:
        assert told(next(_mine(events))) == ("ADDED", elsewhere["metadata"]["name"])
    ok(call(api, "DELETE", f"/api/v1/namespaces/default/configmaps/{elsewhere['metadata']['name']}"))


def test_versions_in_a_watch_only_grow(api: ApiClient, pods: str, maps: str) -> None:
    since = _version(api, maps)
    for turn in range(10):
        ok(call(api, "POST", maps, build.config_map(f"c{turn}")))
        ok(call(api, "POST", pods, build.pod(f"p{turn}")))
    with watch(api, maps, resourceVersion=since) as events:
        mine = _mine(events)
        versions = [int(next(mine)["object"]["metadata"]["resourceVersion"]) for _ in range(10)]
    assert versions == sorted(set(versions))
