"""Nobody hands out more than he has: whoever writes a role or a binding must hold all that it grants.

As upstream, the verb `escalate` on a role and `bind` on the role a binding names lift this.
"""

from collections.abc import Iterable, Sequence

from autoscaler.embedded.apiserver import errors, rbac, resources, selectors
from autoscaler.embedded.apiserver.attributes import Attributes
from autoscaler.embedded.apiserver.authorization import Authorizer
from autoscaler.embedded.apiserver.identity import MASTERS, User
from autoscaler.embedded.apiserver.rbac import RBAC_GROUP, Rule
from autoscaler.embedded.apiserver.resources import Json, Resource, Value

_ROLES = (resources.ROLES, resources.CLUSTER_ROLES)
_BINDINGS = (resources.ROLE_BINDINGS, resources.CLUSTER_ROLE_BINDINGS)


def check(authorizer: Authorizer, user: User, resource: Resource, namespace: str, written: Value) -> None:
    """Raise Forbidden where writing this object would hand out what its writer does not hold."""
    if resource not in (*_ROLES, *_BINDINGS) or MASTERS in user.groups or not isinstance(written, dict):
        return
    rules: Sequence[Rule]
    name = str(selectors.at(written, "metadata.name") or "")
    if resource in _ROLES:
        verb, plural, role, rules = "escalate", resource.plural, name, _rules(written)
    else:
        kind, role = selectors.at(written, "roleRef.kind"), str(selectors.at(written, "roleRef.name") or "")
        verb, plural = "bind", "roles" if kind == "Role" else "clusterroles"
        rules = authorizer.rules_of_role(str(kind), namespace if kind == "Role" else "", role) or ()
    lifts = Attributes(verb=verb, group=RBAC_GROUP, resource=plural, namespace=namespace, name=role)
    if authorizer.decide(user, lifts)[0]:
        return
    owned = [grant.rule for grant in authorizer.grants(user, namespace) if grant.rule is not None]
    if missing := rbac.uncovered(owned, rules):
        raise errors.forbidden(resource, name, _told(user, missing))


def _rules(role: Json) -> tuple[Rule, ...]:
    try:
        return rbac.parse_rules(role)
    except (AttributeError, TypeError):
        return ()  # not a role at all, which the store says better


def _told(user: User, missing: Iterable[Rule]) -> str:
    groups = ", ".join(f'"{group}"' for group in user.groups)
    listed = "\n".join(str(rule.as_json()) for rule in missing)
    told = f'user "{user.name}" (groups=[{groups}]) is attempting to grant RBAC permissions not currently held:'
    return f"{told}\n{listed}"
