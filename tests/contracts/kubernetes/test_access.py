"""Service accounts, their tokens, and what roles let them do: the same answers from both servers."""

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from kubernetes.client.api_client import ApiClient

from tests.contracts.kubernetes import build
from tests.contracts.kubernetes.wire import MERGE, call, ok, refusal

RBAC = "/apis/rbac.authorization.k8s.io/v1"


@pytest.fixture
def account(api: ApiClient, namespace: str) -> Iterator[ApiClient]:
    """A client with the token of a service account `anna` of the namespace."""
    accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    ok(call(api, "POST", accounts, {"metadata": {"name": "anna"}}))
    request = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": {}}
    issued = ok(call(api, "POST", f"{accounts}/anna/token", request))
    settings = copy.copy(api.configuration)
    settings.api_key = {"authorization": f"Bearer {issued['status']['token']}"}
    settings.api_key_prefix = {}
    with ExitStack() as opened:
        yield opened.enter_context(ApiClient(settings))


Allow = Callable[..., None]


@pytest.fixture
def allow(api: ApiClient, namespace: str) -> Allow:
    """Give anna a rule in her namespace."""

    def give(group: str, resources: list[str], verbs: list[str], **names: list[str]) -> None:
        rule = {"apiGroups": [group], "resources": resources, "verbs": verbs, **names}
        made = ok(call(api, "POST", _in(namespace, "roles"), {"metadata": {"generateName": "r-"}, "rules": [rule]}))
        name = made["metadata"]["name"]
        subject = {"kind": "ServiceAccount", "name": "anna", "namespace": namespace}
        bound = {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}}
        ok(
            call(
                api,
                "POST",
                _in(namespace, "rolebindings"),
                {"metadata": {"name": name}, **bound, "subjects": [subject]},
            )
        )

    return give


def _in(namespace: str, plural: str, prefix: str = RBAC) -> str:
    return f"{prefix}/namespaces/{namespace}/{plural}"


def _deployments(namespace: str) -> str:
    return _in(namespace, "deployments", "/apis/apps/v1")


def _message(answer: tuple[int, Any]) -> str:
    assert refusal(answer) == (403, "Forbidden")
    return str(answer[1]["message"])


def test_an_account_may_look_around_and_nothing_else(account: ApiClient, namespace: str) -> None:
    user = f"system:serviceaccount:{namespace}:anna"
    assert ok(call(account, "GET", "/apis/apps/v1"))["groupVersion"] == "apps/v1"
    assert ok(call(account, "GET", "/version"))["major"] == "1"
    assert _message(call(account, "GET", _deployments(namespace))) == (
        f'deployments.apps is forbidden: User "{user}" cannot list resource "deployments" in API group "apps" '
        f'in the namespace "{namespace}"'
    )
    scale = f"{_deployments(namespace)}/x/scale"
    assert _message(call(account, "PATCH", scale, {"spec": {"replicas": 1}}, content_type=MERGE)) == (
        f'deployments.apps "x" is forbidden: User "{user}" cannot patch resource "deployments/scale" '
        f'in API group "apps" in the namespace "{namespace}"'
    )
    assert _message(call(account, "GET", "/api/v1/nodes/n")) == (
        f'nodes "n" is forbidden: User "{user}" cannot get resource "nodes" in API group "" at the cluster scope'
    )
    assert _message(call(account, "GET", "/metrics")) == f'forbidden: User "{user}" cannot get path "/metrics"'


def test_who_may_not_ask_is_not_told_what_there_is(account: ApiClient, namespace: str) -> None:
    assert _message(call(account, "GET", "/apis/no.such/v1/things")).startswith("things.no.such is forbidden: ")
    assert "gizmos" in _message(call(account, "GET", f"/api/v1/namespaces/{namespace}/gizmos"))


def test_a_token_that_nobody_issued_is_no_one(api: ApiClient) -> None:
    settings = copy.copy(api.configuration)
    settings.api_key, settings.api_key_prefix = {"authorization": "Bearer made-up"}, {}
    with ApiClient(settings) as stranger:
        assert refusal(call(stranger, "GET", "/api/v1/nodes")) == (401, "Unauthorized")


def test_a_rule_allows_its_verbs_on_its_names(api: ApiClient, account: ApiClient, allow: Allow, namespace: str) -> None:
    for name in ("mine", "other"):
        ok(call(api, "POST", _deployments(namespace), build.deployment(name)))
    allow("apps", ["deployments", "deployments/scale"], ["get", "patch"], resourceNames=["mine"])
    ok(call(account, "GET", f"{_deployments(namespace)}/mine"))
    ok(call(account, "GET", f"{_deployments(namespace)}/mine/scale"))
    patch = {"spec": {"replicas": 3}}
    assert (
        ok(call(account, "PATCH", f"{_deployments(namespace)}/mine/scale", patch, content_type=MERGE))["spec"]
        == patch["spec"]
    )
    _message(call(account, "GET", f"{_deployments(namespace)}/other"))
    _message(call(account, "DELETE", f"{_deployments(namespace)}/mine"))
    _message(call(account, "GET", f"{_deployments(namespace)}/mine/status"))
    _message(call(account, "GET", _deployments(namespace)))


def test_a_name_is_allowed_in_a_list_of_that_name(account: ApiClient, allow: Allow, namespace: str) -> None:
    allow("", ["configmaps"], ["list", "watch"], resourceNames=["mine"])
    path = _in(namespace, "configmaps", "/api/v1")
    assert ok(call(account, "GET", path, fieldSelector="metadata.name=mine"))["items"] == []
    _message(call(account, "GET", path, fieldSelector="metadata.name=other"))
    _message(call(account, "GET", path))


def test_a_rule_about_an_object_is_not_one_about_what_is_beside_it(
    account: ApiClient, allow: Allow, namespace: str
) -> None:
    allow("apps", ["deployments"], ["*"])
    _message(call(account, "GET", f"{_deployments(namespace)}/d/scale"))
    allow("apps", ["*/scale"], ["get"])
    assert refusal(call(account, "GET", f"{_deployments(namespace)}/d/scale")) == (404, "NotFound")


def test_creating_deleting_and_watching_are_verbs_of_their_own(
    account: ApiClient, allow: Allow, namespace: str
) -> None:
    path = _in(namespace, "configmaps", "/api/v1")
    allow("", ["configmaps"], ["create", "delete"])
    ok(call(account, "POST", path, build.config_map("c")))
    _message(call(account, "PUT", f"{path}/c", build.config_map("c")))
    _message(call(account, "GET", path, watch="true"))
    _message(call(account, "DELETE", path))
    ok(call(account, "DELETE", f"{path}/c"))


def test_a_rule_ends_at_its_namespace(account: ApiClient, allow: Allow, namespace: str) -> None:
    allow("*", ["*"], ["*"])
    ok(call(account, "GET", _deployments(namespace)))
    _message(call(account, "GET", _deployments("default")))
    _message(call(account, "GET", "/apis/apps/v1/deployments"))
    _message(call(account, "GET", "/api/v1/nodes"))


def test_what_is_taken_away_is_taken_away_at_once(
    api: ApiClient, account: ApiClient, allow: Allow, namespace: str
) -> None:
    allow("", ["pods"], ["list"])
    ok(call(account, "GET", _in(namespace, "pods", "/api/v1")))
    ok(call(api, "DELETE", _in(namespace, "rolebindings")))
    _message(call(account, "GET", _in(namespace, "pods", "/api/v1")))


def test_nobody_hands_out_more_than_he_has(account: ApiClient, allow: Allow, namespace: str) -> None:
    allow("rbac.authorization.k8s.io", ["roles", "rolebindings"], ["create"])
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
    body = {"metadata": {"name": "new"}, "rules": rules}
    assert "is attempting to grant RBAC permissions not currently held" in _message(
        call(account, "POST", _in(namespace, "roles"), body)
    )
    allow("", ["pods"], ["get"])
    ok(call(account, "POST", _in(namespace, "roles"), body))
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    subjects = [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "eve"}]
    _message(
        call(
            account,
            "POST",
            _in(namespace, "rolebindings"),
            {"metadata": {"name": "b"}, "roleRef": role, "subjects": subjects},
        )
    )


def test_an_account_can_ask_what_it_may(account: ApiClient, allow: Allow, namespace: str) -> None:
    allow("apps", ["deployments/scale"], ["patch"], resourceNames=["w"])
    reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"

    def may(**asked: str) -> bool:
        about = {"group": "apps", "resource": "deployments", "namespace": namespace, **asked}
        return bool(ok(call(account, "POST", reviews, {"spec": {"resourceAttributes": about}}))["status"]["allowed"])

    assert may(verb="patch", subresource="scale", name="w")
    assert not may(verb="patch", subresource="scale", name="v")
    assert not may(verb="patch", name="w")
    path = {"spec": {"nonResourceAttributes": {"verb": "get", "path": "/version"}}}
    assert ok(call(account, "POST", reviews, path))["status"]["allowed"]
    assert refusal(call(account, "POST", reviews, {"spec": {}})) == (422, "Invalid")
    rules = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
    told = ok(call(account, "POST", rules, {"spec": {"namespace": namespace}}))["status"]["resourceRules"]
    assert {
        "verbs": ["patch"],
        "apiGroups": ["apps"],
        "resources": ["deployments/scale"],
        "resourceNames": ["w"],
    } in told
    whoami = ok(call(account, "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {}))["status"]["userInfo"]
    assert whoami["username"] == f"system:serviceaccount:{namespace}:anna"
    assert set(whoami["groups"]) == {
        "system:serviceaccounts",
        f"system:serviceaccounts:{namespace}",
        "system:authenticated",
    }


def test_a_token_is_for_ten_minutes_or_more_and_for_an_account_that_is_there(api: ApiClient, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    ok(call(api, "POST", path, {"metadata": {"name": "bert"}}))
    assert refusal(call(api, "POST", f"{path}/bert/token", {"spec": {"expirationSeconds": 599}})) == (422, "Invalid")
    assert refusal(call(api, "POST", f"{path}/none/token", {"spec": {}})) == (404, "NotFound")
    issued = ok(call(api, "POST", f"{path}/bert/token", {"spec": {"expirationSeconds": 600}}))
    assert issued["spec"]["expirationSeconds"] == 600
    assert issued["status"]["expirationTimestamp"].endswith("Z")


def test_who_may_impersonate_acts_as_another(api: ApiClient, account: ApiClient, namespace: str) -> None:
    user = f"system:serviceaccount:{namespace}:anna"
    api.set_default_header("Impersonate-User", user)
    try:
        assert f'User "{user}" cannot list' in _message(call(api, "GET", "/api/v1/nodes"))
    finally:
        del api.default_headers["Impersonate-User"]
    account.set_default_header("Impersonate-User", "jane")
    assert 'cannot impersonate resource "users"' in _message(call(account, "GET", "/api/v1/nodes"))
