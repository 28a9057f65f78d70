"""Who may do what: the roles and bindings in the store, asked about one request."""

from collections.abc import Sequence

from autoscaler.embedded.apiserver import errors, rbac, resources
from autoscaler.embedded.apiserver.attributes import Attributes
from autoscaler.embedded.apiserver.errors import ApiError
from autoscaler.embedded.apiserver.identity import MASTERS, User
from autoscaler.embedded.apiserver.rbac import Grant, Rule
from autoscaler.embedded.apiserver.store import Store

_KINDS = {"Role": resources.ROLES, "ClusterRole": resources.CLUSTER_ROLES}


class Authorizer:
    """Answers from the store as it is now."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def grants(self, user: User, namespace: str) -> list[Grant]:
        """List what a user may do in a namespace, or cluster-wide where none is named."""
        return list(
            rbac.grants(
                user,
                namespace,
                cluster_bindings=self._store.list(resources.CLUSTER_ROLE_BINDINGS),
                bindings=self._store.list(resources.ROLE_BINDINGS, namespace) if namespace else (),
                find_role=self.rules_of_role,
            )
        )

    def rules_of_role(self, kind: str, namespace: str, name: str) -> Sequence[Rule] | None:
        """Read the rules of a role; None where there is no such role."""
        try:
            return rbac.parse_rules(self._store.get(_KINDS[kind], namespace, name))
        except (KeyError, ApiError):
            return None

    def decide(self, user: User, asked: Attributes) -> tuple[bool, str]:
        """Tell whether a user may, and why, or what is missing among the roles."""
        if MASTERS in user.groups:
            return True, ""
        found = self.grants(user, asked.namespace)
        for grant in found:
            if grant.rule is not None and grant.rule.allows(asked):
                return True, grant.why
        missing = list(dict.fromkeys(grant.missing for grant in found if grant.missing))
        listed = missing[0] if len(missing) == 1 else f"[{', '.join(missing)}]"
        return False, f"RBAC: {listed}" if missing else ""

    def check(self, user: User, asked: Attributes) -> None:
        """Raise Forbidden where a user may not."""
        is_allowed, why = self.decide(user, asked)
        if not is_allowed:
            raise errors.not_permitted(user.name, asked, why)
