"""The roles a cluster has from the start, as far as they matter here, and whom they are bound to.

Those of a scheduler hold what upstream's hold of the kinds served here.
"""

from autoscaler.embedded.apiserver import resources
from autoscaler.embedded.apiserver.identity import AUTHENTICATED, MASTERS
from autoscaler.embedded.apiserver.resources import Json
from autoscaler.embedded.apiserver.store import Store

_ABOUT = {"labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}}
_READ = ["get", "list", "watch"]
_DOCUMENTS = ["/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*", "/version", "/version/"]
_HEALTH = ["/healthz", "/livez", "/readyz"]


def _rule(group: str, plurals: list[str], verbs: list[str], **names: list[str]) -> Json:
    return {"apiGroups": [group], "resources": plurals, "verbs": verbs, **names}


_RULES: dict[str, list[Json]] = {
    "cluster-admin": [_rule("*", ["*"], ["*"]), {"nonResourceURLs": ["*"], "verbs": ["*"]}],
    "system:discovery": [{"nonResourceURLs": [*_DOCUMENTS, *_HEALTH], "verbs": ["get"]}],
    "system:basic-user": [
        _rule("authorization.k8s.io", ["selfsubjectaccessreviews", "selfsubjectrulesreviews"], ["create"]),
        _rule("authentication.k8s.io", ["selfsubjectreviews"], ["create"]),
    ],
    "system:kube-scheduler": [
        _rule("", ["events"], ["create", "patch", "update"]),
        _rule("coordination.k8s.io", ["leases"], ["create"]),
        _rule("coordination.k8s.io", ["leases"], ["get", "update"], resourceNames=["kube-scheduler"]),
        _rule("", ["nodes", "services", "namespaces"], _READ),
        _rule("", ["pods"], ["delete", *_READ]),
        _rule("", ["bindings", "pods/binding"], ["create"]),
        _rule("", ["pods/status"], ["patch", "update"]),
        _rule("policy", ["poddisruptionbudgets"], _READ),
        _rule("", ["persistentvolumeclaims", "persistentvolumes"], _READ),
    ],
    "system:volume-scheduler": [
        _rule("", ["persistentvolumeclaims", "persistentvolumes"], [*_READ, "patch", "update"]),
        _rule("storage.k8s.io", ["storageclasses"], _READ),
    ],
}
_GROUPS = {"cluster-admin": MASTERS, "system:discovery": AUTHENTICATED, "system:basic-user": AUTHENTICATED}
_AUTHENTICATION_READER = "extension-apiserver-authentication-reader"


def add(store: Store) -> None:
    """Create the roles and bindings a cluster starts with."""
    for name, rules in _RULES.items():
        store.create(resources.CLUSTER_ROLES, "", {"metadata": {"name": name, **_ABOUT}, "rules": rules})
    for name, group in _GROUPS.items():
        bound = {"roleRef": {"kind": "ClusterRole", "name": name}, "subjects": [{"kind": "Group", "name": group}]}
        store.create(resources.CLUSTER_ROLE_BINDINGS, "", {"metadata": {"name": name, **_ABOUT}, **bound})
    reads = [_rule("", ["configmaps"], _READ, resourceNames=["extension-apiserver-authentication"])]
    reader = {"metadata": {"name": _AUTHENTICATION_READER, **_ABOUT}, "rules": reads}
    store.create(resources.ROLES, "kube-system", reader)
