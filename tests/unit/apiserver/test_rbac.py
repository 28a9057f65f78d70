"""What roles allow: against an oracle that spells every rule out, and how bindings choose roles."""

from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.embedded.apiserver import rbac
from autoscaler.embedded.apiserver.attributes import Attributes
from autoscaler.embedded.apiserver.identity import User, service_account
from autoscaler.embedded.apiserver.rbac import Rule

_VERBS, _GROUPS, _NAMES = ("get", "patch"), ("", "apps"), ("x", "y")
_RESOURCES = (("pods", ""), ("pods", "status"), ("deployments", ""), ("deployments", "status"))
_PATHS = ("/version", "/apis", "/apis/apps", "/api")


def _some(*words: str) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(words), min_size=1, max_size=2, unique=True).map(tuple)


_ON_OBJECTS = st.builds(
    Rule,
    verbs=_some(*_VERBS, "*"),
    groups=_some(*_GROUPS, "*"),
    resources=_some("pods", "pods/status", "deployments", "deployments/status", "*/status", "*"),
    names=st.just(()) | _some(*_NAMES),
)
_ON_PATHS = st.builds(Rule, verbs=_some(*_VERBS, "*"), urls=_some("/version", "/apis", "/apis/*", "/api*", "*"))
_RULES = st.lists(_ON_OBJECTS | _ON_PATHS, max_size=3)


def _every_request() -> list[Attributes]:
    """All requests there are in this small world; those of a list or a creation have no name."""
    on_objects = [
        Attributes(verb=verb, group=group, resource=resource, subresource=subresource, name=name)
        for verb, group, (resource, subresource), name in product(_VERBS, _GROUPS, _RESOURCES, (*_NAMES, ""))
    ]
    return on_objects + [Attributes(verb=verb, path=path) for verb, path in product(_VERBS, _PATHS)]


def _spelt_out(rule: Rule) -> set[Attributes]:
    """The oracle: a rule with every wildcard replaced by all it stands for."""
    verbs = [word for known in rule.verbs for word in (_VERBS if known == "*" else (known,))]
    groups = [word for known in rule.groups for word in (_GROUPS if known == "*" else (known,))]
    meant = {
        "*": _RESOURCES,
        "*/status": [pair for pair in _RESOURCES if pair[1] == "status"],
        **{"/".join(filter(None, pair)): [pair] for pair in _RESOURCES},
    }
    pairs = [pair for word in rule.resources for pair in meant[word]]
    names = rule.names or (*_NAMES, "")
    starts = {"/apis/*": "/apis/", "/api*": "/api", "*": ""}
    paths = [path for word in rule.urls for path in _PATHS if path == word or path.startswith(starts.get(word, "-"))]
    found = {
        Attributes(verb=verb, group=group, resource=resource, subresource=subresource, name=name)
        for verb, group, (resource, subresource), name in product(verbs, groups, pairs, names)
    }
    return found | {Attributes(verb=verb, path=path) for verb, path in product(verbs, paths)}


@given(_ON_OBJECTS | _ON_PATHS)
def test_a_rule_allows_exactly_what_it_spells_out(rule: Rule) -> None:
    assert {asked for asked in _every_request() if rule.allows(asked)} == _spelt_out(rule)


@given(_RULES, _RULES)
def test_what_is_covered_allows_nothing_more(owned: list[Rule], wanted: list[Rule]) -> None:
    missing = rbac.uncovered(owned, wanted)
    allowed: set[Attributes] = set().union(*map(_spelt_out, owned))
    asked: set[Attributes] = set().union(*map(_spelt_out, wanted))
    beyond: set[Attributes] = set().union(*map(_spelt_out, missing))
    assert asked - beyond <= allowed
    assert rbac.uncovered([*owned, *missing], wanted) == []


@given(_RULES)
def test_everybody_covers_himself_and_nobody_a_wildcard_he_lacks(owned: list[Rule]) -> None:
    assert rbac.uncovered(owned, owned) == []
    everything = Rule(verbs=("*",), groups=("*",), resources=("*",))
    assert (rbac.uncovered(owned, [everything]) == []) == any(
        "*" in rule.verbs and "*" in rule.groups and "*" in rule.resources and not rule.names for rule in owned
    )


def _role(*verbs: str) -> Any:
    return {"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": list(verbs)}]}


_ROLES = {
    ("Role", "here", "reader"): _role("get"),
    ("Role", "there", "reader"): _role("list"),
    ("ClusterRole", "", "reader"): _role("watch"),
}


def _find(kind: str, namespace: str, name: str) -> Any:
    role = _ROLES.get((kind, namespace, name))
    return None if role is None else rbac.parse_rules(role)


def _binding(kind: str, role: str, *subjects: Any) -> Any:
    return {"metadata": {"name": "b"}, "roleRef": {"kind": kind, "name": role}, "subjects": list(subjects)}


_ANNA = service_account("here", "anna")
_TO_ANNA = {"kind": "ServiceAccount", "name": "anna", "namespace": "here"}


def _verbs(user: User, namespace: str, *, cluster: tuple[Any, ...] = (), local: tuple[Any, ...] = ()) -> list[str]:
    found = rbac.grants(user, namespace, cluster_bindings=cluster, bindings=local, find_role=_find)
    return [verb for grant in found if grant.rule for verb in grant.rule.verbs]


def test_a_binding_takes_its_role_from_its_own_namespace() -> None:
    assert _verbs(_ANNA, "here", local=(_binding("Role", "reader", _TO_ANNA),)) == ["get"]
    assert _verbs(_ANNA, "there", local=(_binding("Role", "reader", _TO_ANNA),)) == ["list"]


def test_a_cluster_role_holds_where_its_binding_is() -> None:
    bound = _binding("ClusterRole", "reader", _TO_ANNA)
    assert _verbs(_ANNA, "here", local=(bound,)) == ["watch"]
    assert _verbs(_ANNA, "", local=(bound,)) == []
    assert _verbs(_ANNA, "", cluster=(bound,)) == _verbs(_ANNA, "there", cluster=(bound,)) == ["watch"]


@pytest.mark.parametrize(
    ("subject", "is_meant"),
    [
        (_TO_ANNA, True),
        ({"kind": "ServiceAccount", "name": "anna"}, True),  # of the binding's own namespace
        ({"kind": "ServiceAccount", "name": "anna", "namespace": "there"}, False),
        ({"kind": "ServiceAccount", "name": "bert", "namespace": "here"}, False),
        ({"kind": "User", "name": "system:serviceaccount:here:anna"}, True),
        ({"kind": "User", "name": "anna"}, False),
        ({"kind": "Group", "name": "system:serviceaccounts:here"}, True),
        ({"kind": "Group", "name": "system:serviceaccounts"}, True),
        ({"kind": "Group", "name": "system:serviceaccounts:there"}, False),
        ({"kind": "Robot", "name": "anna"}, False),
    ],
)
def test_a_binding_means_its_subjects_alone(subject: Any, is_meant: bool) -> None:
    assert _verbs(_ANNA, "here", local=(_binding("Role", "reader", subject),)) == (["get"] if is_meant else [])


def test_a_binding_to_a_missing_role_grants_nothing_and_is_named() -> None:
    bound = _binding("Role", "gone", _TO_ANNA)
    found = list(rbac.grants(_ANNA, "here", cluster_bindings=(), bindings=(bound,), find_role=_find))
    assert [(grant.rule, grant.missing) for grant in found] == [
        (None, 'role.rbac.authorization.k8s.io "gone" not found')
    ]


def test_a_grant_says_by_which_binding() -> None:
    bound = _binding("ClusterRole", "reader", _TO_ANNA)
    (grant,) = rbac.grants(_ANNA, "here", cluster_bindings=(), bindings=(bound,), find_role=_find)
    assert grant.why == ('RBAC: allowed by RoleBinding "b/here" of ClusterRole "reader" to ServiceAccount "anna/here"')
