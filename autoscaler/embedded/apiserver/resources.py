"""The one table of kinds this server knows; routing, discovery, selectors, rules and printing all read it.

A kind that is not in the table does not exist here: its path answers 404, as on a server that never heard of it.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

Value = Any  # any JSON value; whoever reads one checks it
Json = dict[str, Value]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)  # each row is itself alone, and hashing one is cheap
class Resource:
    """One kind: where it is served and which of the API's general rules apply to it.

    A custom one is served as on a cluster whose administrator has installed its definition: its objects are stored as
    sent, a strategic merge does not exist for them, and a write to their status touches nothing else.
    """

    group: str
    kind: str
    plural: str
    namespaced: bool = True
    version: str = "v1"
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    has_status: bool = False
    has_scale: bool = False
    counts_generation: bool = False
    keeps_status_on_create: bool = False
    needs_version_on_replace: bool = False
    selectable: tuple[str, ...] = ()
    is_custom: bool = False
    has_free_names: bool = False  # any name that fits into a path, such as `system:discovery`
    is_stored: bool = True  # else it is only posted, and answered at once

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def prefix(self) -> str:
        return f"/apis/{self.api_version}" if self.group else f"/api/{self.version}"

    @property
    def qualified(self) -> str:
        """The plural as error messages write it: `deployments.apps`, but plain `pods`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def qualified_kind(self) -> str:
        return f"{self.kind}.{self.group}" if self.group else self.kind


NAMESPACES = Resource(
    group="",
    kind="Namespace",
    plural="namespaces",
    namespaced=False,
    short_names=("ns",),
    has_status=True,
    selectable=("status.phase",),
)
NODES = Resource(
    group="",
    kind="Node",
    plural="nodes",
    namespaced=False,
    short_names=("no",),
    has_status=True,
    keeps_status_on_create=True,
    selectable=("spec.unschedulable",),
)
PODS = Resource(
    group="",
    kind="Pod",
    plural="pods",
    short_names=("po",),
    categories=("all",),
    has_status=True,
    selectable=("spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "status.phase", "status.podIP"),
)
EVENTS = Resource(
    group="",
    kind="Event",
    plural="events",
    short_names=("ev",),
    selectable=(
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
)
CONFIG_MAPS = Resource(group="", kind="ConfigMap", plural="configmaps", short_names=("cm",))
DEPLOYMENTS = Resource(
    group="apps",
    kind="Deployment",
    plural="deployments",
    short_names=("deploy",),
    categories=("all",),
    has_status=True,
    has_scale=True,
    counts_generation=True,
)
LEASES = Resource(group="coordination.k8s.io", kind="Lease", plural="leases", needs_version_on_replace=True)
DISRUPTION_BUDGETS = Resource(
    group="policy",
    kind="PodDisruptionBudget",
    plural="poddisruptionbudgets",
    short_names=("pdb",),
    has_status=True,
    counts_generation=True,
    needs_version_on_replace=True,
)

SERVICE_ACCOUNTS = Resource(group="", kind="ServiceAccount", plural="serviceaccounts", short_names=("sa",))
SECRETS = Resource(group="", kind="Secret", plural="secrets", selectable=("type",))
SERVICES = Resource(
    group="",
    kind="Service",
    plural="services",
    short_names=("svc",),
    categories=("all",),
    has_status=True,
    selectable=("spec.clusterIP", "spec.type"),
)
QUOTAS = Resource(group="", kind="ResourceQuota", plural="resourcequotas", short_names=("quota",), has_status=True)
DAEMON_SETS = Resource(
    group="apps",
    kind="DaemonSet",
    plural="daemonsets",
    short_names=("ds",),
    categories=("all",),
    has_status=True,
    counts_generation=True,
)
JOBS = Resource(
    group="batch",
    kind="Job",
    plural="jobs",
    categories=("all",),
    has_status=True,
    counts_generation=True,
    selectable=("status.successful",),
)
NETWORK_POLICIES = Resource(
    group="networking.k8s.io",
    kind="NetworkPolicy",
    plural="networkpolicies",
    short_names=("netpol",),
    counts_generation=True,
)
INGRESSES = Resource(
    group="networking.k8s.io",
    kind="Ingress",
    plural="ingresses",
    short_names=("ing",),
    has_status=True,
    counts_generation=True,
)
PRIORITY_CLASSES = Resource(
    group="scheduling.k8s.io",
    kind="PriorityClass",
    plural="priorityclasses",
    namespaced=False,
    short_names=("pc",),
    counts_generation=True,
)
MUTATING_WEBHOOKS = Resource(
    group="admissionregistration.k8s.io",
    kind="MutatingWebhookConfiguration",
    plural="mutatingwebhookconfigurations",
    namespaced=False,
    counts_generation=True,
    needs_version_on_replace=True,
)

_RBAC = "rbac.authorization.k8s.io"
ROLES = Resource(group=_RBAC, kind="Role", plural="roles", has_free_names=True)
ROLE_BINDINGS = Resource(group=_RBAC, kind="RoleBinding", plural="rolebindings", has_free_names=True)
CLUSTER_ROLES = Resource(group=_RBAC, kind="ClusterRole", plural="clusterroles", namespaced=False, has_free_names=True)
CLUSTER_ROLE_BINDINGS = Resource(
    group=_RBAC, kind="ClusterRoleBinding", plural="clusterrolebindings", namespaced=False, has_free_names=True
)


_custom = partial(Resource, is_custom=True, counts_generation=True, needs_version_on_replace=True)
RAY_CLUSTERS = _custom(group="ray.io", kind="RayCluster", plural="rayclusters", has_status=True, categories=("all",))
HTTP_ROUTES = _custom(
    group="gateway.networking.k8s.io",
    kind="HTTPRoute",
    plural="httproutes",
    has_status=True,
    categories=("gateway-api",),
)
_MONITORING = "monitoring.coreos.com"
SERVICE_MONITORS = _custom(group=_MONITORING, kind="ServiceMonitor", plural="servicemonitors", short_names=("smon",))
POD_MONITORS = _custom(group=_MONITORING, kind="PodMonitor", plural="podmonitors", short_names=("pmon",))
PROMETHEUS_RULES = _custom(
    group=_MONITORING, kind="PrometheusRule", plural="prometheusrules", short_names=("promrule",)
)

RESOURCES = (
    *(NAMESPACES, NODES, PODS, EVENTS, CONFIG_MAPS, SECRETS, SERVICES, SERVICE_ACCOUNTS, QUOTAS),
    *(DEPLOYMENTS, DAEMON_SETS, JOBS, LEASES, DISRUPTION_BUDGETS, PRIORITY_CLASSES),
    *(NETWORK_POLICIES, INGRESSES, MUTATING_WEBHOOKS),
    *(ROLES, ROLE_BINDINGS, CLUSTER_ROLES, CLUSTER_ROLE_BINDINGS),
    *(RAY_CLUSTERS, HTTP_ROUTES, SERVICE_MONITORS, POD_MONITORS, PROMETHEUS_RULES),
)

# Kinds that are only posted: a question, answered at once.
_AUTHORIZATION, _AUTHENTICATION = "authorization.k8s.io", "authentication.k8s.io"
_question = partial(Resource, namespaced=False, is_stored=False)
SELF_ACCESS_REVIEWS = _question(group=_AUTHORIZATION, kind="SelfSubjectAccessReview", plural="selfsubjectaccessreviews")
SELF_RULES_REVIEWS = _question(group=_AUTHORIZATION, kind="SelfSubjectRulesReview", plural="selfsubjectrulesreviews")
SELF_REVIEWS = _question(group=_AUTHENTICATION, kind="SelfSubjectReview", plural="selfsubjectreviews")
TOKEN_REQUESTS = _question(group=_AUTHENTICATION, kind="TokenRequest", plural="tokenrequests")  # posted to an account
QUESTIONS = (SELF_ACCESS_REVIEWS, SELF_RULES_REVIEWS, SELF_REVIEWS)

SERVED = (*RESOURCES, *QUESTIONS)
_BY_PATH = {(resource.group, resource.version, resource.plural): resource for resource in SERVED}

# Subresources that are actions on an object: what a client posts to them.
_ACTIONS = {
    PODS: {"binding": ("", "v1", "Binding"), "eviction": ("policy", "v1", "Eviction")},
    SERVICE_ACCOUNTS: {"token": ("authentication.k8s.io", "v1", "TokenRequest")},
}


def find(group: str, version: str, plural: str) -> Resource | None:
    """Look a kind up by the three words of its path."""
    return _BY_PATH.get((group, version, plural))


def actions(resource: Resource) -> dict[str, tuple[str, str, str]]:
    """Map the subresources that are actions to the group, version and kind posted to them."""
    return _ACTIONS.get(resource, {})


def subresources(resource: Resource) -> tuple[str, ...]:
    """Name what may follow an object's name in a path."""
    own = [name for name, has in (("status", resource.has_status), ("scale", resource.has_scale)) if has]
    return (*own, *actions(resource))
