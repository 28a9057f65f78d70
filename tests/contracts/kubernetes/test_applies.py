"""Server-side apply as clients see it: fields with owners, and conflicts between them."""

import json
from typing import Any

import pytest
from kubernetes.client.api_client import ApiClient

from tests.contracts.kubernetes import build
from tests.contracts.kubernetes.wire import MERGE, call, ok, refusal

_APPLY = "application/apply-patch+yaml"


@pytest.fixture
def maps(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps"


def _apply(api: ApiClient, path: str, body: Any, manager: str, **query: str) -> tuple[int, Any]:
    return call(api, "PATCH", path, body, content_type=_APPLY, fieldManager=manager, **query)


def _map(**data: str) -> Any:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data}


def _managers(item: Any) -> list[tuple[str, str]]:
    return [(entry["manager"], entry["operation"]) for entry in item["metadata"]["managedFields"]]


def test_an_apply_makes_what_is_not_there_and_then_changes_it(api: ApiClient, maps: str) -> None:
    code, made = _apply(api, f"{maps}/c", _map(a="1", b="1"), "one")
    assert (code, made["data"], _managers(made)) == (201, {"a": "1", "b": "1"}, [("one", "Apply")])
    code, again = _apply(api, f"{maps}/c", _map(a="1", b="1"), "one")
    assert (code, again["metadata"]["resourceVersion"]) == (200, made["metadata"]["resourceVersion"])
    assert ok(_apply(api, f"{maps}/c", _map(a="2"), "one"))["data"] == {"a": "2"}


def test_two_share_an_object_and_fight_over_a_field(api: ApiClient, maps: str) -> None:
    ok(_apply(api, f"{maps}/c", _map(a="1"), "one"))
    assert ok(_apply(api, f"{maps}/c", _map(b="1"), "two"))["data"] == {"a": "1", "b": "1"}
    code, body = _apply(api, f"{maps}/c", _map(a="2", b="1"), "two")
    assert (code, body["reason"]) == (409, "Conflict")
    assert body["message"] == 'Apply failed with 1 conflict: conflict with "one" using v1: .data.a'
    assert [(cause["reason"], cause["field"]) for cause in body["details"]["causes"]] == [
        ("FieldManagerConflict", ".data.a")
    ]
    assert ok(_apply(api, f"{maps}/c", _map(a="2", b="1"), "two", force="true"))["data"] == {"a": "2", "b": "1"}
    assert ok(_apply(api, f"{maps}/c", _map(b="1"), "one"))["data"] == {"a": "2", "b": "1"}


def test_a_plain_write_takes_a_field_over(api: ApiClient, maps: str) -> None:
    ok(_apply(api, f"{maps}/c", _map(a="1", b="1"), "one"))
    ok(call(api, "PATCH", f"{maps}/c", {"data": {"a": "2"}}, content_type=MERGE, fieldManager="editor"))
    code, body = _apply(api, f"{maps}/c", _map(a="1", b="1"), "one")
    assert code == 409
    assert 'conflict with "editor" using v1' in body["message"]
    assert ok(_apply(api, f"{maps}/c", _map(b="1"), "one"))["data"] == {"a": "2", "b": "1"}


def test_the_count_of_a_deployment_is_left_to_who_scales_it(api: ApiClient, namespace: str) -> None:
    """What a chart without `replicas` rests on."""
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/d"
    body = build.deployment("d")
    del body["spec"]["replicas"]
    assert ok(_apply(api, path, body, "helm"))["spec"]["replicas"] == 1
    ok(call(api, "PATCH", f"{path}/scale", {"spec": {"replicas": 4}}, content_type=MERGE))
    body["spec"]["template"]["spec"]["containers"][0]["image"] = "example.com/main:2"
    applied = ok(_apply(api, path, body, "helm"))
    assert (applied["spec"]["replicas"], applied["metadata"]["generation"]) == (4, 3)
    containers = applied["spec"]["template"]["spec"]["containers"]
    assert [known["image"] for known in containers] == ["example.com/main:2", "example.com/side:1"]


def test_items_with_a_key_have_owners_of_their_own(api: ApiClient, namespace: str) -> None:
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/d"
    ok(_apply(api, path, build.deployment("d"), "helm"))
    extra = {"name": "main", "env": [{"name": "EXTRA", "value": "1"}]}
    part = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}}
    part |= {"spec": {"template": {"spec": {"containers": [extra]}}}}
    applied = ok(_apply(api, path, part, "other"))
    (main,) = (known for known in applied["spec"]["template"]["spec"]["containers"] if known["name"] == "main")
    assert {variable["name"] for variable in main["env"]} == {"A", "EXTRA"}
    again = ok(_apply(api, path, build.deployment("d"), "helm"))
    (main,) = (known for known in again["spec"]["template"]["spec"]["containers"] if known["name"] == "main")
    assert {variable["name"] for variable in main["env"]} == {"A", "EXTRA"}


def test_yaml_is_applied_as_well_as_json(api: ApiClient, maps: str) -> None:
    text = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c}}\ndata: {json.dumps({'a': '2027-01-15'})}\n"
    code, made = _apply(api, f"{maps}/c", text, "one")
    assert (code, made["data"]) == (201, {"a": "2027-01-15"})


@pytest.mark.parametrize(
    ("body", "query"),
    [
        pytest.param(_map(), {}, id="nobody applies it"),
        pytest.param({"metadata": {"name": "c"}}, {"fieldManager": "one"}, id="it has no kind"),
        pytest.param(
            _map() | {"metadata": {"name": "c", "managedFields": [{"manager": "x"}]}},
            {"fieldManager": "one"},
            id="it says who owns it",
        ),
    ],
)
def test_what_cannot_be_applied_is_refused(api: ApiClient, maps: str, body: Any, query: dict[str, str]) -> None:
    code, _ = call(api, "PATCH", f"{maps}/c", body, content_type=_APPLY, **query)
    assert code in (400, 422)


def test_a_dry_run_of_an_apply_changes_nothing(api: ApiClient, maps: str) -> None:
    ok(_apply(api, f"{maps}/c", _map(a="1"), "one", dryRun="All"))
    assert refusal(call(api, "GET", f"{maps}/c")) == (404, "NotFound")
