"""The three kinds of patch, and the versions they may insist on."""

from typing import Any

import pytest
from kubernetes.client.api_client import ApiClient

from tests.contracts.kubernetes import build, wire
from tests.contracts.kubernetes.wire import JSON_PATCH, MERGE, STRATEGIC, call, ok, refusal


@pytest.fixture
def deployment(api: ApiClient, namespace: str) -> str:
    """The path of a Deployment with two containers and an annotation."""
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    body = build.deployment("d")
    body["metadata"]["annotations"] = {"kept": "1", "dropped": "1"}
    ok(call(api, "POST", path, body))
    return f"{path}/d"


def _patched(api: ApiClient, path: str, patch: Any, content_type: str) -> Any:
    return ok(call(api, "PATCH", path, patch, content_type=content_type))


def _containers(deployment: Any) -> list[tuple[str, str]]:
    return [(known["name"], known["image"]) for known in deployment["spec"]["template"]["spec"]["containers"]]


def test_a_merge_patch_sets_and_removes(api: ApiClient, deployment: str) -> None:
    patched = _patched(api, deployment, {"metadata": {"annotations": {"dropped": None, "new": "1"}}}, MERGE)
    assert patched["metadata"]["annotations"] == {"kept": "1", "new": "1"}


def test_a_merge_patch_replaces_lists(api: ApiClient, deployment: str) -> None:
    only = {"name": "only", "image": "example.com/only:1"}
    patch = {"spec": {"template": {"spec": {"containers": [only]}}}}
    assert _containers(_patched(api, deployment, patch, MERGE)) == [("only", "example.com/only:1")]


def test_a_strategic_patch_finds_containers_by_name(api: ApiClient, deployment: str) -> None:
    main = {"name": "main", "image": "example.com/main:2", "env": [{"name": "B", "value": "2"}]}
    patch = {"spec": {"template": {"spec": {"containers": [main]}}}}
    patched = _patched(api, deployment, patch, STRATEGIC)
    assert sorted(_containers(patched)) == [("main", "example.com/main:2"), ("side", "example.com/side:1")]
    containers = patched["spec"]["template"]["spec"]["containers"]
    variables = next(known["env"] for known in containers if known["name"] == "main")
    assert {known["name"]: known["value"] for known in variables} == {"A": "1", "B": "2"}


def test_a_strategic_patch_can_delete_a_container(api: ApiClient, deployment: str) -> None:
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "side", "$patch": "delete"}]}}}}
    assert _containers(_patched(api, deployment, patch, STRATEGIC)) == [("main", "example.com/main:1")]


def test_a_strategic_patch_merges_taints_by_key_and_conditions_by_type(api: ApiClient, node: str) -> None:
    path = f"/api/v1/nodes/{node}"
    for key, effect in (("a", "NoSchedule"), ("b", "NoSchedule"), ("a", "NoExecute")):
        patched = _patched(api, path, {"spec": {"taints": [{"key": key, "effect": effect}]}}, STRATEGIC)
    ours = [(taint["key"], taint["effect"]) for taint in patched["spec"]["taints"] if taint["key"] in "ab"]
    assert sorted(ours) == [("a", "NoExecute"), ("b", "NoSchedule")]
    for kind in ("Ready", "SlotsKnown"):
        patch = {"status": {"conditions": [build.ready(kind)]}}
        patched = _patched(api, f"{path}/status", patch, STRATEGIC)
    assert sorted(known["type"] for known in patched["status"]["conditions"]) == ["Ready", "SlotsKnown"]


def test_a_json_patch_applies_its_operations_in_order(api: ApiClient, deployment: str) -> None:
    operations = [
        {"op": "test", "path": "/spec/replicas", "value": 1},
        {"op": "replace", "path": "/spec/replicas", "value": 4},
        {"op": "add", "path": "/metadata/annotations/example.com~1new", "value": "1"},
        {"op": "remove", "path": "/metadata/annotations/dropped"},
    ]
    patched = _patched(api, deployment, operations, JSON_PATCH)
    assert patched["spec"]["replicas"] == 4
    assert patched["metadata"]["annotations"] == {"kept": "1", "example.com/new": "1"}


def test_a_json_patch_whose_test_fails_changes_nothing(api: ApiClient, deployment: str) -> None:
    operations = [
        {"op": "replace", "path": "/spec/replicas", "value": 4},
        {"op": "test", "path": "/metadata/name", "value": "other"},
    ]
    assert refusal(call(api, "PATCH", deployment, operations, content_type=JSON_PATCH)) == (422, "Invalid")
    assert ok(call(api, "GET", deployment))["spec"]["replicas"] == 1


def test_a_patch_may_insist_on_a_version(api: ApiClient, deployment: str) -> None:
    version = ok(call(api, "GET", deployment))["metadata"]["resourceVersion"]
    patch = {"metadata": {"resourceVersion": version, "annotations": {"a": "1"}}}
    ok(call(api, "PATCH", deployment, patch, content_type=MERGE))
    patch["metadata"]["annotations"] = {"a": "2"}
    assert refusal(call(api, "PATCH", deployment, patch, content_type=MERGE)) == (409, "Conflict")


@pytest.mark.parametrize("content_type", ["application/json", "text/plain"])
def test_a_patch_of_an_unknown_kind_is_refused(api: ApiClient, deployment: str, content_type: str) -> None:
    code, body = call(api, "PATCH", deployment, "{}", content_type=content_type)
    assert (code, body["reason"]) == (415, "UnsupportedMediaType")


def test_a_patch_of_what_is_not_there_is_not_found(api: ApiClient, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/pods/none"
    assert refusal(call(api, "PATCH", path, {"metadata": {}}, content_type=MERGE)) == (404, "NotFound")


def test_a_patch_that_breaks_a_rule_is_refused(api: ApiClient, deployment: str) -> None:
    broken = {"spec": {"replicas": -1}}
    assert refusal(call(api, "PATCH", deployment, broken, content_type=wire.MERGE)) == (422, "Invalid")
