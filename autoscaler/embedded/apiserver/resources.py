"""The one table of kinds this server knows; routing, discovery, selectors, rules and printing all read it.

A kind that is not in the table does not exist here: its path answers 404, as on a server that never heard of it.
"""

from dataclasses import dataclass
from typing import Any

Value = Any  # any JSON value; whoever reads one checks it
Json = dict[str, Value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One kind: where it is served and which of the API's general rules apply to it."""

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

RESOURCES = (NAMESPACES, NODES, PODS, EVENTS, CONFIG_MAPS, DEPLOYMENTS, LEASES, DISRUPTION_BUDGETS)

# Subresources that are actions on a pod: what a client posts to them.
POD_ACTIONS = {"binding": ("", "v1", "Binding"), "eviction": ("policy", "v1", "Eviction")}


def find(group: str, version: str, plural: str) -> Resource | None:
    """Look a kind up by the three words of its path."""
    for resource in RESOURCES:
        if (resource.group, resource.version, resource.plural) == (group, version, plural):
            return resource
    return None


def subresources(resource: Resource) -> tuple[str, ...]:
    """Name what may follow an object's name in a path."""
    own = [name for name, has in (("status", resource.has_status), ("scale", resource.has_scale)) if has]
    return (*own, *POD_ACTIONS) if resource is PODS else tuple(own)
