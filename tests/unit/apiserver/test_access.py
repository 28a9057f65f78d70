"""Who a token stands for, what a user may, what he may hand out, and what he is told about it."""

import random
from typing import Any

import pytest
from starlette.datastructures import Headers

from autoscaler.embedded.apiserver import escalation, first_roles, resources
from autoscaler.embedded.apiserver.application import Access, access
from autoscaler.embedded.apiserver.attributes import Attributes
from autoscaler.embedded.apiserver.errors import ApiError
from autoscaler.embedded.apiserver.identity import ADMIN, User, service_account
from autoscaler.embedded.apiserver.store import Store
from tests.unit.apiserver import build

_ANNA = service_account("default", "anna")
_RBAC = "rbac.authorization.k8s.io"


@pytest.fixture
def clock() -> build.Clock:
    return build.Clock()


@pytest.fixture
def store(clock: build.Clock) -> Store:
    """A store with a service account that may read pods and write roles in its namespace."""
    made = build.store(clock)
    made.create(resources.SERVICE_ACCOUNTS, "default", {"metadata": {"name": "anna"}})
    return made


@pytest.fixture
def made(store: Store) -> Access:
    found = access(store, random.Random(1), "installation")
    _allow(store, {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]})
    _allow(store, {"apiGroups": [_RBAC], "resources": ["roles", "rolebindings"], "verbs": ["create"]})
    return found


def _allow(store: Store, *rules: Any) -> str:
    name = f"r{store.version}"
    store.create(resources.ROLES, "default", {"metadata": {"name": name}, "rules": list(rules)})
    subject = {"kind": "ServiceAccount", "name": "anna", "namespace": "default"}
    bound = {"roleRef": {"kind": "Role", "name": name}, "subjects": [subject]}
    store.create(resources.ROLE_BINDINGS, "default", {"metadata": {"name": name}, **bound})
    return name


def _refused(made: Access, headers: dict[str, str]) -> int:
    with pytest.raises(ApiError) as refusal:
        made.authenticator.user(Headers(headers))
    return refusal.value.code


def _bearer(token: str, **rest: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}", **rest}


def _token(made: Access, spec: Any = None) -> Any:
    body = {"kind": "TokenRequest", "spec": spec or {}}
    return made.reviews.issue("default", "anna", body, build.START_S)


def test_the_installations_token_stands_for_the_administrator(made: Access) -> None:
    assert made.authenticator.user(Headers(_bearer("installation"))) == ADMIN
    assert [_refused(made, headers) for headers in ({}, _bearer("other"), {"authorization": "Basic eDp5"})] == [401] * 3


def test_a_server_that_asks_for_no_token_still_tells_those_it_is_given(store: Store) -> None:
    made = access(store, random.Random(1), "")
    assert made.authenticator.user(Headers({})) == ADMIN
    assert made.authenticator.user(Headers(_bearer(_token(made)["status"]["token"]))).name == _ANNA.name
    assert _refused(made, _bearer("other")) == 401


def test_a_service_accounts_token_ends_with_its_time(made: Access, store: Store, clock: build.Clock) -> None:
    issued = _token(made, {"expirationSeconds": 600})
    assert issued["status"]["expirationTimestamp"] == "2027-01-15T08:10:00Z"
    headers = Headers(_bearer(issued["status"]["token"]))
    account = store.get(resources.SERVICE_ACCOUNTS, "default", "anna")
    assert made.authenticator.user(headers) == service_account("default", "anna", account["metadata"]["uid"])
    clock.now_s += 599
    assert made.authenticator.user(headers).name == _ANNA.name
    clock.now_s += 1
    assert _refused(made, dict(headers)) == 401


def test_a_token_ends_with_its_account_and_not_with_the_name(made: Access, store: Store) -> None:
    headers = _bearer(_token(made)["status"]["token"])
    store.discard(resources.SERVICE_ACCOUNTS, store.get(resources.SERVICE_ACCOUNTS, "default", "anna"))
    assert _refused(made, headers) == 401
    store.create(resources.SERVICE_ACCOUNTS, "default", {"metadata": {"name": "anna"}})
    assert _refused(made, headers) == 401


@pytest.mark.parametrize(
    "spec",
    [
        {"expirationSeconds": 599},
        {"expirationSeconds": 2**33},
        {"expirationSeconds": "1h"},
        {"boundObjectRef": {"kind": "Pod"}},
    ],
)
def test_a_token_is_issued_for_a_sensible_time_and_an_account_alone(made: Access, spec: Any) -> None:
    with pytest.raises(ApiError) as refusal:
        _token(made, spec)
    assert refusal.value.code == 422


@pytest.mark.parametrize(
    ("user", "asked", "message"),
    [
        (_ANNA, Attributes(verb="get", resource="pods", namespace="default", name="p"), ""),
        (
            _ANNA,
            Attributes(
                verb="patch", group="apps", resource="deployments", subresource="scale", namespace="default", name="x"
            ),
            'deployments.apps "x" is forbidden: User "system:serviceaccount:default:anna" cannot patch resource '
            '"deployments/scale" in API group "apps" in the namespace "default"',
        ),
        (
            _ANNA,
            Attributes(verb="list", resource="pods"),
            'pods is forbidden: User "system:serviceaccount:default:anna" cannot list resource "pods" in API group "" '
            "at the cluster scope",
        ),
        (
            _ANNA,
            Attributes(verb="get", path="/audit"),
            'forbidden: User "system:serviceaccount:default:anna" cannot get path "/audit"',
        ),
        (_ANNA, Attributes(verb="get", path="/apis/apps"), ""),
        (
            User(name="nobody"),
            Attributes(verb="get", path="/version"),
            'forbidden: User "nobody" cannot get path "/version"',
        ),
        (ADMIN, Attributes(verb="delete", resource="nodes"), ""),
    ],
)
def test_who_may_not_is_told_what_and_where(made: Access, user: User, asked: Attributes, message: str) -> None:
    assert _told(made, user, asked) == message


def _told(made: Access, user: User, asked: Attributes) -> str:
    try:
        made.authorizer.check(user, asked)
    except ApiError as refusal:
        return refusal.message if refusal.code == 403 else f"code {refusal.code}"
    return ""


def test_a_refusal_names_the_role_that_a_binding_lacks(made: Access, store: Store) -> None:
    name = _allow(store)
    store.discard(resources.ROLES, store.get(resources.ROLES, "default", name))
    allowed, why = made.authorizer.decide(_ANNA, Attributes(verb="list", resource="pods", namespace="default"))
    assert (allowed, why) == (False, f'RBAC: role.rbac.authorization.k8s.io "{name}" not found')


def _hand_out(made: Access, resource: resources.Resource, body: Any, user: User = _ANNA) -> None:
    escalation.check(made.authorizer, user, resource, "default", {"metadata": {"name": "new"}, **body})


_PODS_GET = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
_PODS_ALL = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "delete"]}


def test_nobody_hands_out_more_than_he_has(made: Access, store: Store) -> None:
    _hand_out(made, resources.ROLES, {"rules": [_PODS_GET]})
    with pytest.raises(ApiError) as refusal:
        _hand_out(made, resources.ROLES, {"rules": [_PODS_ALL]})
    assert refusal.value.message.splitlines() == [
        'roles.rbac.authorization.k8s.io "new" is forbidden: user "system:serviceaccount:default:anna" '
        '(groups=["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"]) '
        "is attempting to grant RBAC permissions not currently held:",
        "{'verbs': ['delete'], 'apiGroups': [''], 'resources': ['pods']}",
    ]
    with pytest.raises(ApiError, match="not currently held"):
        _hand_out(made, resources.ROLE_BINDINGS, {"roleRef": {"kind": "ClusterRole", "name": "cluster-admin"}})
    _hand_out(made, resources.ROLES, {"rules": [_PODS_ALL]}, ADMIN)


def test_who_may_escalate_or_bind_hands_out_what_he_lacks(made: Access, store: Store) -> None:
    lifts = {"apiGroups": [_RBAC], "resources": ["roles", "clusterroles"], "verbs": ["escalate", "bind"]}
    _allow(store, lifts)
    _hand_out(made, resources.ROLES, {"rules": [_PODS_ALL]})
    _hand_out(made, resources.ROLE_BINDINGS, {"roleRef": {"kind": "ClusterRole", "name": "cluster-admin"}})


def _review(made: Access, resource: resources.Resource, spec: Any, user: User = _ANNA) -> Any:
    return made.reviews.answer(resource, user, {"kind": resource.kind, "spec": spec})["status"]


def test_a_user_can_ask_what_he_may(made: Access) -> None:
    on_pods = {"verb": "get", "resource": "pods", "namespace": "default"}
    reviewed = _review(made, resources.SELF_ACCESS_REVIEWS, {"resourceAttributes": on_pods})
    assert (reviewed["allowed"], reviewed["reason"].split(" of ")[0][:24]) == (True, "RBAC: allowed by RoleBin")
    elsewhere = {"resourceAttributes": on_pods | {"namespace": "kube-system"}}
    assert _review(made, resources.SELF_ACCESS_REVIEWS, elsewhere) == {"allowed": False}
    path = {"nonResourceAttributes": {"verb": "get", "path": "/audit"}}
    assert _review(made, resources.SELF_ACCESS_REVIEWS, path) == {"allowed": False}
    assert _review(made, resources.SELF_ACCESS_REVIEWS, path, ADMIN) == {"allowed": True}
    rules = _review(made, resources.SELF_RULES_REVIEWS, {"namespace": "default"})
    assert _PODS_GET in rules["resourceRules"]
    assert made.reviews.answer(resources.SELF_REVIEWS, _ANNA, {})["status"] == {"userInfo": _ANNA.as_json()}


@pytest.mark.parametrize(
    ("resource", "body", "code"),
    [
        (resources.SELF_ACCESS_REVIEWS, {"spec": {}}, 422),
        (resources.SELF_ACCESS_REVIEWS, {"spec": {"resourceAttributes": {}, "nonResourceAttributes": {}}}, 422),
        (resources.SELF_ACCESS_REVIEWS, {"spec": {"resourceAttributes": []}}, 400),
        (resources.SELF_ACCESS_REVIEWS, {"spec": 1}, 400),
        (resources.SELF_ACCESS_REVIEWS, None, 400),
        (resources.SELF_RULES_REVIEWS, {"spec": {}}, 400),
        (resources.SELF_REVIEWS, {"kind": "Pod"}, 400),
    ],
)
def test_a_question_that_is_none_is_refused(made: Access, resource: resources.Resource, body: Any, code: int) -> None:
    with pytest.raises(ApiError) as refusal:
        made.reviews.answer(resource, _ANNA, body)
    assert refusal.value.code == code


def test_who_may_impersonate_acts_as_another(made: Access, store: Store) -> None:
    as_anna = {"impersonate-user": _ANNA.name}
    assert made.authenticator.user(Headers(_bearer("installation", **as_anna))) == _ANNA
    as_jane = Headers(_bearer("installation", **{"impersonate-user": "jane", "impersonate-group": "ops"}))
    assert made.authenticator.user(as_jane) == User(name="jane", groups=("ops", "system:authenticated"))
    token = _token(made)["status"]["token"]
    assert _refused(made, _bearer(token, **{"impersonate-user": "jane"})) == 403
    assert _refused(made, _bearer("installation", **{"impersonate-group": "ops"})) == 400
    assert _refused(made, _bearer("installation", **as_anna, **{"impersonate-extra-x": "y"})) == 400


def test_a_cluster_starts_with_its_first_roles() -> None:
    store = build.store()
    first_roles.add(store)
    names = {item["metadata"]["name"] for item in store.list(resources.CLUSTER_ROLES)}
    assert {"cluster-admin", "system:discovery", "system:basic-user", "system:kube-scheduler"} <= names
