"""Kinds that a chart brings and no program here acts on: stored, defaulted, versioned and guarded alike everywhere."""

from typing import Any

import pytest
from kubernetes.client.api_client import ApiClient

from tests.contracts.kubernetes import build, wire
from tests.contracts.kubernetes.wire import MERGE, STRATEGIC, call, ok, refusal

_LABELS = {"app": "x"}
_TEMPLATE = {"metadata": {"labels": _LABELS}, "spec": build.pod("x")["spec"]}
_SUBJECT = {"kind": "ServiceAccount", "name": "x", "namespace": "default"}
_WEBHOOK = {
    "name": "x.example.com",
    "clientConfig": {"url": "https://127.0.0.1:1/x"},
    "rules": [{"operations": ["CREATE"], "apiGroups": ["no.such"], "apiVersions": ["v1"], "resources": ["things"]}],
    "sideEffects": "None",
    "admissionReviewVersions": ["v1"],
}
_PATHS = [{"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "x", "port": {"number": 80}}}}]
RBAC = "/apis/rbac.authorization.k8s.io/v1"
# Where a kind is served, and a body for it without its metadata; a namespace is put in front of the plural.
NAMESPACED: dict[str, tuple[str, Any]] = {
    "serviceaccounts": ("/api/v1", {"automountServiceAccountToken": False}),
    "secrets": ("/api/v1", {"stringData": {"a": "b"}}),
    "services": ("/api/v1", {"spec": {"selector": _LABELS, "ports": [{"name": "http", "port": 80}]}}),
    "resourcequotas": ("/api/v1", {"spec": {"hard": {"pods": "5"}}}),
    "daemonsets": ("/apis/apps/v1", {"spec": {"selector": {"matchLabels": _LABELS}, "template": _TEMPLATE}}),
    "jobs": (
        "/apis/batch/v1",
        {"spec": {"template": _TEMPLATE | {"spec": _TEMPLATE["spec"] | {"restartPolicy": "Never"}}}},
    ),
    "networkpolicies": ("/apis/networking.k8s.io/v1", {"spec": {"podSelector": {}, "egress": [{}]}}),
    "ingresses": ("/apis/networking.k8s.io/v1", {"spec": {"rules": [{"http": {"paths": _PATHS}}]}}),
    "roles": (RBAC, {"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}),
    "rolebindings": (RBAC, {"roleRef": {"kind": "Role", "name": "x"}, "subjects": [_SUBJECT]}),
}
CLUSTER_WIDE: dict[str, tuple[str, Any]] = {
    "priorityclasses": ("/apis/scheduling.k8s.io/v1", {"value": 5}),
    "mutatingwebhookconfigurations": ("/apis/admissionregistration.k8s.io/v1", {"webhooks": [_WEBHOOK]}),
    "clusterroles": (RBAC, {"rules": [{"nonResourceURLs": ["/x"], "verbs": ["get"]}]}),
    "clusterrolebindings": (RBAC, {"roleRef": {"kind": "ClusterRole", "name": "x"}, "subjects": [_SUBJECT]}),
}
WITH_GENERATION = (
    "daemonsets",
    "jobs",
    "networkpolicies",
    "ingresses",
    "priorityclasses",
    "mutatingwebhookconfigurations",
)


def _path(namespace: str, plural: str) -> tuple[str, Any]:
    if plural in CLUSTER_WIDE:
        prefix, body = CLUSTER_WIDE[plural]
        return f"{prefix}/{plural}", body
    prefix, body = NAMESPACED[plural]
    return f"{prefix}/namespaces/{namespace}/{plural}", body


@pytest.mark.parametrize("plural", [*NAMESPACED, *CLUSTER_WIDE])
def test_every_kind_is_made_read_listed_patched_and_deleted(api: ApiClient, namespace: str, plural: str) -> None:
    path, body = _path(namespace, plural)
    name = f"x-{namespace}"
    made = ok(call(api, "POST", path, {"metadata": {"name": name, "labels": {"t": namespace}}, **body}))
    assert made["metadata"].get("generation", 0) == (1 if plural in WITH_GENERATION else 0)
    assert ok(call(api, "GET", f"{path}/{name}")) == made
    listed = ok(call(api, "GET", path, labelSelector=f"t={namespace}"))["items"]
    assert [item["metadata"]["name"] for item in listed] == [name]
    patch = {"metadata": {"annotations": {"a": "b"}}}
    for content_type in (MERGE, STRATEGIC):
        patched = ok(call(api, "PATCH", f"{path}/{name}", patch, content_type=content_type))
        assert patched["metadata"]["annotations"] == {"a": "b"}
        assert patched["metadata"].get("generation") == made["metadata"].get("generation")
    assert refusal(call(api, "POST", path, {"metadata": {"name": name}, **body})) == (409, "AlreadyExists")
    ok(call(api, "DELETE", f"{path}/{name}", propagationPolicy="Background"))
    assert refusal(call(api, "GET", f"{path}/{name}")) == (404, "NotFound")


def test_a_service_is_given_an_address_and_keeps_it(api: ApiClient, namespace: str) -> None:
    path, body = _path(namespace, "services")
    made = ok(call(api, "POST", path, {"metadata": {"name": "s"}, **body}))
    assert made["spec"]["type"] == "ClusterIP"
    assert made["spec"]["ports"] == [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 80}]
    replaced = ok(call(api, "PUT", f"{path}/s", {"metadata": {"name": "s"}, **body}))
    assert replaced["spec"]["clusterIP"] == made["spec"]["clusterIP"] != ""
    other = {"spec": {"clusterIP": "10.0.0.77" if made["spec"]["clusterIP"] != "10.0.0.77" else "10.0.0.78"}}
    assert refusal(call(api, "PATCH", f"{path}/s", other, content_type=MERGE)) == (422, "Invalid")


def test_a_services_ports_merge_by_their_number(api: ApiClient, namespace: str) -> None:
    path, body = _path(namespace, "services")
    ok(call(api, "POST", path, {"metadata": {"name": "s"}, **body}))
    patch = {"spec": {"ports": [{"port": 81, "name": "more"}]}}
    patched = ok(call(api, "PATCH", f"{path}/s", patch, content_type=STRATEGIC))
    assert sorted(port["port"] for port in patched["spec"]["ports"]) == [80, 81]


def test_a_secret_is_read_encoded_and_its_type_stays(api: ApiClient, namespace: str) -> None:
    path, body = _path(namespace, "secrets")
    made = ok(call(api, "POST", path, {"metadata": {"name": "s"}, **body}))
    assert (made["type"], made["data"], "stringData" in made) == ("Opaque", {"a": "Yg=="}, False)
    assert refusal(call(api, "PATCH", f"{path}/s", {"type": "example.com/x"}, content_type=MERGE)) == (422, "Invalid")


def test_what_is_immutable_stays_as_it_is(api: ApiClient, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    ok(call(api, "POST", path, build.config_map("c") | {"immutable": True}))
    for change in ({"data": {"k": "w"}}, {"immutable": False}):
        assert refusal(call(api, "PATCH", f"{path}/c", change, content_type=MERGE)) == (422, "Invalid")


def test_a_binding_keeps_its_role(api: ApiClient, namespace: str) -> None:
    path, body = _path(namespace, "rolebindings")
    made = ok(call(api, "POST", path, {"metadata": {"name": "b"}, **body}))
    assert made["roleRef"]["apiGroup"] == "rbac.authorization.k8s.io"
    change = {"roleRef": {"name": "other"}}
    assert refusal(call(api, "PATCH", f"{path}/b", change, content_type=MERGE)) == (422, "Invalid")


def test_a_budgets_selector_is_replaced_whole(api: ApiClient, namespace: str) -> None:
    path = f"/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets"
    ok(call(api, "POST", path, build.budget("b", {"a": "b"})))
    patch = {"spec": {"selector": {"matchLabels": {"c": "d"}}}}
    patched = ok(call(api, "PATCH", f"{path}/b", patch, content_type=STRATEGIC))
    assert patched["spec"]["selector"] == {"matchLabels": {"c": "d"}}


@pytest.mark.parametrize(
    ("plural", "broken"),
    [
        pytest.param("roles", {"rules": [{"verbs": ["get"]}]}, id="a rule about nothing"),
        pytest.param(
            "rolebindings", {"subjects": [{"kind": "ServiceAccount", "name": "x"}]}, id="an account of nowhere"
        ),
        pytest.param("services", {"spec": {"ports": [{"name": "http"}]}}, id="a port without a number"),
        pytest.param("jobs", {"spec": {"template": _TEMPLATE}}, id="a job that is always restarted"),
        pytest.param("ingresses", {"spec": {"rules": [{"http": {"paths": [{"path": "/"}]}}]}}, id="a path to nowhere"),
        pytest.param("daemonsets", {"spec": {"selector": {}, "template": _TEMPLATE}}, id="a selector of nothing"),
        pytest.param(
            "mutatingwebhookconfigurations",
            {"webhooks": [{key: value for key, value in _WEBHOOK.items() if key != "sideEffects"}]},
            id="a webhook that hides its effects",
        ),
    ],
)
def test_what_breaks_a_rule_is_refused(api: ApiClient, namespace: str, plural: str, broken: Any) -> None:
    path, body = _path(namespace, plural)
    sent = {"metadata": {"name": f"y-{namespace}"}, **body, **broken}
    assert refusal(call(api, "POST", path, sent)) == (422, "Invalid")


@pytest.fixture
def ray_clusters(api: ApiClient, namespace: str) -> str:
    """Where RayClusters are served, on a real server once their definition is there."""
    if call(api, "GET", "/apis/ray.io/v1")[0] == 404:
        ok(call(api, "POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", _definition()))
        wire.eventually(lambda: call(api, "GET", f"/apis/ray.io/v1/namespaces/{namespace}/rayclusters")[0] == 200)
    return f"/apis/ray.io/v1/namespaces/{namespace}/rayclusters"


def _definition() -> Any:
    """KubeRay's definition as far as this suite looks at it."""
    count = {"type": "integer", "format": "int32"}
    group = {
        "type": "object",
        "required": ["groupName", "template"],
        "x-kubernetes-preserve-unknown-fields": True,
        "properties": {
            "groupName": {"type": "string"},
            "template": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            "replicas": count | {"default": 0},
            "minReplicas": count | {"default": 0},
            "maxReplicas": count | {"default": 2147483647},
            "numOfHosts": count | {"default": 1},
        },
    }
    spec = {
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": True,
        "properties": {"workerGroupSpecs": {"type": "array", "items": group}},
    }
    schema = {
        "type": "object",
        "properties": {"spec": spec, "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
    }
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "rayclusters.ray.io"},
        "spec": {
            "group": "ray.io",
            "scope": "Namespaced",
            "names": {"plural": "rayclusters", "kind": "RayCluster"},
            "versions": [version | {"subresources": {"status": {}}}],
        },
    }


def _ray_cluster(**spec: Any) -> Any:
    groups = [{"groupName": "w", "template": {"spec": build.pod("x")["spec"]}}]
    head = {"template": {"spec": build.pod("x")["spec"]}}
    spec = {"headGroupSpec": head, "workerGroupSpecs": groups, **spec}
    return {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": {"name": "r"}, "spec": spec}


def test_a_custom_object_gets_its_definitions_defaults_and_no_status(api: ApiClient, ray_clusters: str) -> None:
    made = ok(call(api, "POST", ray_clusters, _ray_cluster() | {"status": {"state": "ready"}}))
    (group,) = made["spec"]["workerGroupSpecs"]
    assert [group[name] for name in ("replicas", "minReplicas", "maxReplicas", "numOfHosts")] == [0, 0, 2147483647, 1]
    assert ("status" in made, made["metadata"]["generation"]) == (False, 1)


def test_a_custom_objects_spec_and_status_are_written_apart(api: ApiClient, ray_clusters: str) -> None:
    ok(call(api, "POST", ray_clusters, _ray_cluster()))
    patch = {"status": {"state": "ready"}, "spec": {"suspend": True}, "metadata": {"labels": {"a": "b"}}}
    by_status = ok(call(api, "PATCH", f"{ray_clusters}/r/status", patch, content_type=MERGE))
    assert (by_status["status"], by_status["spec"].get("suspend"), by_status["metadata"]["generation"]) == (
        {"state": "ready"},
        None,
        1,
    )
    assert "labels" not in by_status["metadata"]
    by_spec = ok(call(api, "PATCH", f"{ray_clusters}/r", patch | {"status": {}}, content_type=MERGE))
    assert (by_spec["status"], by_spec["spec"]["suspend"], by_spec["metadata"]["generation"]) == (
        {"state": "ready"},
        True,
        2,
    )


def test_a_custom_object_takes_merge_and_json_patches_only(api: ApiClient, ray_clusters: str) -> None:
    ok(call(api, "POST", ray_clusters, _ray_cluster()))
    code, body = call(api, "PATCH", f"{ray_clusters}/r", {"spec": {}}, content_type=STRATEGIC)
    assert (code, body["reason"]) == (415, "UnsupportedMediaType")
    operations = [
        {"op": "test", "path": "/spec/workerGroupSpecs/0/groupName", "value": "w"},
        {"op": "replace", "path": "/spec/workerGroupSpecs/0/replicas", "value": 3},
        {"op": "add", "path": "/spec/workerGroupSpecs/0/scaleStrategy", "value": {"workersToDelete": ["p"]}},
    ]
    patched = ok(call(api, "PATCH", f"{ray_clusters}/r", operations, content_type=wire.JSON_PATCH))
    (group,) = patched["spec"]["workerGroupSpecs"]
    assert (group["replicas"], group["scaleStrategy"]) == (3, {"workersToDelete": ["p"]})
    replaced = ok(call(api, "PATCH", f"{ray_clusters}/r", {"spec": {"workerGroupSpecs": []}}, content_type=MERGE))
    assert replaced["spec"]["workerGroupSpecs"] == []


def test_a_custom_object_is_replaced_by_its_version_only(api: ApiClient, ray_clusters: str) -> None:
    made = ok(call(api, "POST", ray_clusters, _ray_cluster()))
    assert refusal(call(api, "PUT", f"{ray_clusters}/r", _ray_cluster())) == (422, "Invalid")
    ok(call(api, "PUT", f"{ray_clusters}/r", made | {"spec": made["spec"] | {"suspend": True}}))
    assert refusal(call(api, "PUT", f"{ray_clusters}/r", made)) == (409, "Conflict")


def test_a_custom_object_that_lacks_what_its_definition_requires_is_refused(api: ApiClient, ray_clusters: str) -> None:
    broken = _ray_cluster(workerGroupSpecs=[{"template": {}}])
    assert refusal(call(api, "POST", ray_clusters, broken)) == (422, "Invalid")
    nameless = {key: value for key, value in _ray_cluster().items() if key != "kind"}
    assert call(api, "POST", ray_clusters, nameless)[0] == 400
