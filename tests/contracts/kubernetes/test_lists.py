"""Selectors and pages."""

import pytest
from kubernetes.client.api_client import ApiClient

from tests.contracts.kubernetes import build
from tests.contracts.kubernetes.wire import call, ok, refusal


@pytest.fixture
def pods(api: ApiClient, namespace: str, node: str) -> str:
    """The path of five pods: a to e, three of them gold, one bound."""
    path = f"/api/v1/namespaces/{namespace}/pods"
    for name, tier in zip("abcde", ("gold", "gold", "gold", "tin", ""), strict=True):
        ok(call(api, "POST", path, build.pod(name, labels={"tier": tier} if tier else {})))
    target = {"apiVersion": "v1", "kind": "Node", "name": node}
    ok(call(api, "POST", f"{path}/a/binding", {"metadata": {"name": "a"}, "target": target}))
    return path


def _names(api: ApiClient, path: str, **query: str) -> str:
    return "".join(item["metadata"]["name"] for item in ok(call(api, "GET", path, **query))["items"])


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("tier=gold", "abc"),
        ("tier!=gold", "de"),
        ("tier in (gold,tin)", "abcd"),
        ("tier notin (gold)", "de"),
        ("tier", "abcd"),
        ("!tier", "e"),
        ("tier,tier!=tin", "abc"),
    ],
)
def test_labels_select(api: ApiClient, pods: str, selector: str, expected: str) -> None:
    assert _names(api, pods, labelSelector=selector) == expected


def test_fields_select(api: ApiClient, pods: str, namespace: str, node: str) -> None:
    assert _names(api, pods, fieldSelector="metadata.name=c") == "c"
    assert _names(api, pods, fieldSelector="spec.nodeName=") == "bcde"
    assert _names(api, pods, fieldSelector="status.phase!=Pending") == ""
    everywhere = f"metadata.namespace={namespace},spec.nodeName={node}"
    assert _names(api, "/api/v1/pods", fieldSelector=everywhere) == "a"
    assert _names(api, pods, fieldSelector="spec.nodeName=", labelSelector="tier=gold") == "bc"


@pytest.mark.parametrize("query", [{"labelSelector": "a in b"}, {"fieldSelector": "spec.hostname=x"}])
def test_a_selector_that_cannot_be_read_is_refused(api: ApiClient, pods: str, query: dict[str, str]) -> None:
    assert refusal(call(api, "GET", pods, **query)) == (400, "BadRequest")


def test_pages_are_parts_of_one_version(api: ApiClient, pods: str) -> None:
    first = ok(call(api, "GET", pods, limit=2))
    assert [item["metadata"]["name"] for item in first["items"]] == ["a", "b"]
    assert first["metadata"]["remainingItemCount"] == 3
    ok(call(api, "POST", pods, build.pod("bb")))
    ok(call(api, "DELETE", f"{pods}/d"))
    rest = ok(call(api, "GET", pods, limit=5, **{"continue": first["metadata"]["continue"]}))
    assert [item["metadata"]["name"] for item in rest["items"]] == ["c", "d", "e"]
    assert "continue" not in rest["metadata"]
    assert rest["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


def test_a_broken_token_is_refused(api: ApiClient, pods: str) -> None:
    assert refusal(call(api, "GET", pods, limit=1, **{"continue": "nonsense"}))[0] == 400


def test_the_items_of_a_list_do_not_repeat_their_kind(api: ApiClient, pods: str) -> None:
    listed = ok(call(api, "GET", pods))
    assert (listed["kind"], listed["apiVersion"]) == ("PodList", "v1")
    assert all("kind" not in item and "apiVersion" not in item for item in listed["items"])
