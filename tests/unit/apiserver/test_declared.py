"""Defaults and rules of the kinds nothing acts on, and what sets custom kinds apart."""

from typing import Any

import pytest

from autoscaler.embedded.apiserver import patches, resources
from autoscaler.embedded.apiserver.errors import ApiError
from autoscaler.embedded.apiserver.resources import Resource
from autoscaler.embedded.apiserver.store import Store
from tests.unit.apiserver import build
from tests.unit.apiserver.bodies import BODIES


def _made(store: Store, resource: Resource, **body: Any) -> Any:
    whole = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": "x"}, **body}
    return store.create(resource, "default" if resource.namespaced else "", whole)


def _faults(resource: Resource, **body: Any) -> list[tuple[str, str]]:
    with pytest.raises(ApiError) as refusal:
        _made(build.store(), resource, **body)
    assert refusal.value.code == 422
    return [(cause["field"], cause["reason"]) for cause in (refusal.value.details or {})["causes"]]


def test_a_service_gets_an_address_that_stays() -> None:
    store = build.store()
    made = _made(store, resources.SERVICES, spec={"ports": [{"port": 80}]})
    address = made["spec"]["clusterIP"]
    assert address.startswith("10.96.")
    assert made["spec"]["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 80}]
    changed = store.update(resources.SERVICES, "default", "x", lambda old: old | {"spec": {"ports": [{"port": 81}]}})
    assert (changed["spec"]["clusterIP"], changed["spec"]["ports"][0]["port"]) == (address, 81)
    with pytest.raises(ApiError, match="field is immutable"):
        store.update(
            resources.SERVICES, "default", "x", lambda old: old | {"spec": old["spec"] | {"clusterIP": "10.96.0.1"}}
        )


def test_a_headless_service_keeps_its_none() -> None:
    made = _made(build.store(), resources.SERVICES, spec={"clusterIP": "None", "ports": [{"port": 80}]})
    assert (made["spec"]["clusterIP"], made["spec"]["clusterIPs"]) == ("None", ["None"])


def test_a_secret_shows_its_data_encoded_only() -> None:
    made = _made(build.store(), resources.SECRETS, data={"a": "QQ==", "b": "Qg=="}, stringData={"b": "new"})
    assert (made["type"], made["data"], "stringData" in made) == ("Opaque", {"a": "QQ==", "b": "bmV3"}, False)


@pytest.mark.parametrize("resource", [resources.SECRETS, resources.CONFIG_MAPS])
def test_what_is_immutable_keeps_its_data(resource: Resource) -> None:
    store = build.store()
    _made(store, resource, data={"a": "QQ=="}, immutable=True)
    for change in ({"data": {"a": "Qg=="}}, {"immutable": False}):
        with pytest.raises(ApiError, match="field is immutable"):
            store.update(resource, "default", "x", lambda old, change=change: old | change)
    labelled = store.update(
        resource, "default", "x", lambda old: old | {"metadata": old["metadata"] | {"labels": {"a": "b"}}}
    )
    assert labelled["metadata"]["labels"] == {"a": "b"}


def test_a_binding_keeps_its_role_and_names_its_subjects_whole() -> None:
    store, anna = build.store(), {"kind": "ServiceAccount", "name": "anna", "namespace": "default"}
    made = _made(store, resources.ROLE_BINDINGS, roleRef={"kind": "Role", "name": "r"}, subjects=[anna])
    assert made["roleRef"] == {"kind": "Role", "name": "r", "apiGroup": "rbac.authorization.k8s.io"}
    assert made["subjects"] == [anna]
    with pytest.raises(ApiError, match="field is immutable"):
        store.update(
            resources.ROLE_BINDINGS, "default", "x", lambda old: old | {"roleRef": {"kind": "Role", "name": "other"}}
        )


@pytest.mark.parametrize(
    ("resource", "body", "fault"),
    [
        (resources.ROLES, {"rules": [{"verbs": ["get"]}]}, ("rules[0].apiGroups", "FieldValueRequired")),
        (resources.CLUSTER_ROLES, {"rules": [{"apiGroups": [""]}]}, ("rules[0].verbs", "FieldValueRequired")),
        (
            resources.ROLE_BINDINGS,
            {"roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "ServiceAccount", "name": "a"}]},
            ("subjects[0].namespace", "FieldValueRequired"),
        ),
        (
            resources.ROLE_BINDINGS,
            {"roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "Robot", "name": "a"}]},
            ("subjects[0].kind", "FieldValueNotSupported"),
        ),
        (resources.SERVICES, {"spec": {"ports": [{"name": "http"}]}}, ("spec.ports[0].port", "FieldValueRequired")),
        (
            resources.INGRESSES,
            {"spec": {"rules": [{"http": {"paths": [{"backend": {"service": {}}}]}}]}},
            ("spec.rules[0].http.paths[0].pathType", "FieldValueRequired"),
        ),
        (
            resources.MUTATING_WEBHOOKS,
            {"webhooks": [{"name": "w", "clientConfig": {}, "admissionReviewVersions": ["v1"]}]},
            ("webhooks[0].sideEffects", "FieldValueRequired"),
        ),
        (
            resources.JOBS,
            {"spec": {"template": {"spec": build.pod()["spec"]}}},
            ("spec.template.spec.restartPolicy", "FieldValueNotSupported"),
        ),
        (
            resources.RAY_CLUSTERS,
            {"spec": {"headGroupSpec": {"template": {}}, "workerGroupSpecs": [{"template": {}}]}},
            ("spec.workerGroupSpecs[0].groupName", "FieldValueRequired"),
        ),
        (
            resources.PROMETHEUS_RULES,
            {"spec": {"groups": [{"name": "g", "rules": [{"alert": "A"}]}]}},
            ("spec.groups[0].rules[0].expr", "FieldValueRequired"),
        ),
    ],
)
def test_what_a_kind_requires_is_named_by_its_place(resource: Resource, body: Any, fault: tuple[str, str]) -> None:
    assert fault in _faults(resource, **body)


def test_a_network_policy_is_about_what_it_says_something_of() -> None:
    made = _made(build.store(), resources.NETWORK_POLICIES, spec={"podSelector": {}, "egress": [{}]})
    assert made["spec"]["policyTypes"] == ["Ingress", "Egress"]


def test_a_daemon_set_starts_with_counts_and_a_generation() -> None:
    body = BODIES[resources.DAEMON_SETS]
    made = _made(build.store(), resources.DAEMON_SETS, spec=body["spec"])
    assert made["metadata"]["generation"] == 1
    assert made["status"]["desiredNumberScheduled"] == 0
    assert made["spec"]["updateStrategy"]["rollingUpdate"] == {"maxUnavailable": 1, "maxSurge": 0}


def test_a_custom_objects_status_is_written_alone() -> None:
    store, body = build.store(), BODIES[resources.RAY_CLUSTERS]
    made = _made(store, resources.RAY_CLUSTERS, spec=body["spec"], status={"state": "ready"})
    assert "status" not in made
    group = made["spec"]["workerGroupSpecs"][0]
    assert [group[name] for name in ("minReplicas", "maxReplicas", "numOfHosts")] == [0, 2147483647, 1]
    by_status = store.update(
        resources.RAY_CLUSTERS,
        "default",
        "x",
        lambda old: (
            old | {"status": {"state": "ready"}, "spec": {}, "metadata": old["metadata"] | {"labels": {"a": "b"}}}
        ),
        part="status",
    )
    assert (by_status["spec"], by_status["status"], by_status["metadata"]["generation"]) == (
        made["spec"],
        {"state": "ready"},
        1,
    )
    assert "labels" not in by_status["metadata"]
    by_spec = store.update(
        resources.RAY_CLUSTERS,
        "default",
        "x",
        lambda old: old | {"spec": old["spec"] | {"suspend": True}, "status": {}},
    )
    assert (by_spec["status"], by_spec["metadata"]["generation"]) == ({"state": "ready"}, 2)


def test_a_custom_object_says_what_it_is() -> None:
    with pytest.raises(ApiError, match="Object 'Kind' is missing"):
        build.store().create(resources.RAY_CLUSTERS, "default", {"metadata": {"name": "x"}})


def test_a_services_ports_merge_by_their_number() -> None:
    ports = [{"port": 80, "name": "http"}, {"port": 81, "name": "other"}]
    service = {"kind": "Service", "spec": {"ports": ports}}
    patch = {"spec": {"ports": [{"port": 80, "targetPort": 8000}]}}
    merged = patches.apply(patches.STRATEGIC, service, patch)
    assert merged["spec"]["ports"] == [{"port": 80, "name": "http", "targetPort": 8000}, ports[1]]


def test_a_role_may_have_any_name_that_fits_into_a_path() -> None:
    store = build.store()
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
    store.create(resources.CLUSTER_ROLES, "", {"metadata": {"name": "system:reader"}, "rules": rules})
    for name in ("a/b", "..", "50%"):
        with pytest.raises(ApiError, match="may not be"):
            store.create(resources.CLUSTER_ROLES, "", {"metadata": {"name": name}, "rules": rules})


def test_a_budgets_selector_is_replaced_whole() -> None:
    budget = {"kind": "PodDisruptionBudget", "spec": {"selector": {"matchLabels": {"a": "b"}}, "minAvailable": 1}}
    merged = patches.apply(patches.STRATEGIC, budget, {"spec": {"selector": {"matchLabels": {"c": "d"}}}})
    assert merged["spec"] == {"selector": {"matchLabels": {"c": "d"}}, "minAvailable": 1}


@pytest.mark.parametrize("resource", [resources.ROLE_BINDINGS, resources.CLUSTER_ROLE_BINDINGS])
def test_a_binding_says_which_role_it_is_of(resource: Resource) -> None:
    anna = {"subjects": [{"kind": "ServiceAccount", "name": "anna", "namespace": "default"}]}
    without = [("roleRef.kind", "FieldValueRequired"), ("roleRef.name", "FieldValueRequired")]
    assert _faults(resource, **anna) == _faults(resource, roleRef=None, **anna) == without
    other = [("roleRef.kind", "FieldValueNotSupported")]
    assert _faults(resource, roleRef={"kind": "Group", "name": "x"}, **anna) == other


def test_what_holds_everywhere_is_no_role_of_one_namespace() -> None:
    role = {"roleRef": {"kind": "Role", "name": "x"}}
    assert _faults(resources.CLUSTER_ROLE_BINDINGS, **role) == [("roleRef.kind", "FieldValueNotSupported")]
    assert _made(build.store(), resources.ROLE_BINDINGS, **role)["roleRef"]["kind"] == "Role"
