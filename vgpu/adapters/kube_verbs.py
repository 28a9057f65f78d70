"""What our processes ask of Kubernetes, as paths and JSON; how it is sent is for `kube.py` to say.

Objects go in and come out as the API's own JSON, so that parsing stays with those who know what they mean. Retrying is
left to the caller, who knows what is still worth doing.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from vgpu.adapters.kube_errors import Conflict, NotFound

Json = dict[str, Any]

PAGE_ITEMS = 500
APPLY_TRIES = 10  # its controller writes a Deployment's status about once for each of its pods that starts
JSON = "application/json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"


@dataclass(frozen=True, slots=True)
class Kind:
    """Where a kind of object is served."""

    prefix: str
    plural: str

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Build the path of an object, or of all of them."""
        scope = ("namespaces", namespace) if namespace else ()
        return "/".join(word for word in (self.prefix, *scope, self.plural, name, subresource) if word)


NODES = Kind("/api/v1", "nodes")
PODS = Kind("/api/v1", "pods")
EVENTS = Kind("/api/v1", "events")
CONFIG_MAPS = Kind("/api/v1", "configmaps")
DEPLOYMENTS = Kind("/apis/apps/v1", "deployments")
LEASES = Kind("/apis/coordination.k8s.io/v1", "leases")
RAYCLUSTERS = Kind("/apis/ray.io/v1", "rayclusters")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The object an Event is about."""

    kind: str
    name: str
    namespace: str = ""
    uid: str = ""
    api_version: str = "v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something to tell about an object: a reason in one CamelCase word, and a sentence."""

    subject: Subject
    reason: str
    message: str
    component: str
    is_warning: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which objects of a kind: in one namespace or in all, by labels and fields."""

    kind: Kind
    namespace: str = ""
    labels: str = ""
    fields: str = ""

    def query(self) -> dict[str, str]:
        """Write the selectors as a request carries them."""
        given = {"labelSelector": self.labels, "fieldSelector": self.fields}
        return {name: value for name, value in given.items() if value}


@dataclass(frozen=True, slots=True)
class Request:
    """One call of the API."""

    method: str
    path: str
    body: Json | Sequence[Json] | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    content_type: str = JSON


class Verbs(ABC):
    """The calls. Each raises Unavailable, Conflict or NotFound and nothing else."""

    @abstractmethod
    def send(self, request: Request) -> Json:
        """Send one request and read its answer."""

    def list(self, kind: Kind, namespace: str = "", *, labels: str = "", fields: str = "") -> tuple[Json, ...]:
        """List objects of a kind; list items carry no `kind` or `apiVersion` of their own."""
        items, _ = self.list_selection(Selection(kind=kind, namespace=namespace, labels=labels, fields=fields))
        return tuple(items)

    def list_selection(self, selection: Selection) -> tuple[Sequence[Json], str]:
        """List objects page by page, all as of one version; return that too."""
        path, query = selection.kind.path(selection.namespace), selection.query() | {"limit": str(PAGE_ITEMS)}
        items: list[Json] = []
        while True:
            page = self.send(Request("GET", path, query=query))
            items += page["items"] or []
            if not page["metadata"].get("continue"):
                return items, page["metadata"]["resourceVersion"]
            query["continue"] = page["metadata"]["continue"]

    def read(self, kind: Kind, name: str, namespace: str = "") -> Json:
        """Read one object."""
        return self.send(Request("GET", kind.path(namespace, name)))

    def create(self, kind: Kind, manifest: Json, namespace: str = "") -> Json:
        """Create an object; raise Conflict where the name is taken."""
        return self.send(Request("POST", kind.path(namespace), manifest))

    def replace(self, kind: Kind, manifest: Json, namespace: str = "") -> Json:
        """Replace an object; raise Conflict where the manifest names a version that is no longer the last."""
        return self.send(Request("PUT", kind.path(namespace, manifest["metadata"]["name"]), manifest))

    def delete(
        self, kind: Kind, name: str, namespace: str = "", *, grace_s: int | None = None, uid: str | None = None
    ) -> None:
        """Delete an object; with a uid, only the one that has it, else Conflict. Grace 0 removes a pod at once."""
        options: Json = {"propagationPolicy": "Background"}
        if grace_s is not None:
            options["gracePeriodSeconds"] = grace_s
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        self.send(Request("DELETE", kind.path(namespace, name), options))

    def amend(self, kind: Kind, there: Json, operations: Sequence[Json]) -> Json:
        """Change parts of an object as it was read, by JSON patch (RFC 6902); raise Conflict where it changed since.

        The version travels in the patch, so that the server compares it with the object's own and answers 409. A `test`
        of it would answer 422, which a patch that breaks a rule does too.
        """
        about = there["metadata"]
        as_read = {"op": "replace", "path": "/metadata/resourceVersion", "value": about["resourceVersion"]}
        path = kind.path(about.get("namespace", ""), about["name"])
        return self.send(Request("PATCH", path, [as_read, *operations], content_type=JSON_PATCH))

    def annotate(self, kind: Kind, name: str, annotations: Mapping[str, str | None], namespace: str = "") -> Json:
        """Set annotations on an object; None removes one."""
        return self._patch(kind.path(namespace, name), {"metadata": {"annotations": dict(annotations)}})

    def read_replicas(self, name: str, namespace: str) -> int:
        """Read the count a Deployment asks for, through its scale."""
        replicas: int = self.send(Request("GET", DEPLOYMENTS.path(namespace, name, "scale")))["spec"].get("replicas", 0)
        return replicas

    def set_replicas(self, name: str, namespace: str, replicas: int) -> None:
        """Set the count a Deployment asks for, through its scale."""
        self._patch(DEPLOYMENTS.path(namespace, name, "scale"), {"spec": {"replicas": replicas}})

    def apply_deployment(self, manifest: Json, namespace: str) -> Json:
        """Create a Deployment, or make the one there like the manifest; the count there stays as it is.

        The count belongs to whoever scales the Deployment from its creation on.
        """
        for _ in range(APPLY_TRIES):
            with suppress(Conflict):
                return self.create(DEPLOYMENTS, manifest, namespace)
            with suppress(Conflict, NotFound):
                return self._replace_deployment(manifest, namespace)
        raise Conflict(f"apply deployment {manifest['metadata']['name']}", f"it changed {APPLY_TRIES} times meanwhile")

    def _replace_deployment(self, manifest: Json, namespace: str) -> Json:
        there = self.read(DEPLOYMENTS, manifest["metadata"]["name"], namespace)
        spec = manifest["spec"] | {"replicas": there["spec"]["replicas"]}
        had = {"resourceVersion": there["metadata"]["resourceVersion"]}
        return self.replace(DEPLOYMENTS, manifest | {"metadata": manifest["metadata"] | had, "spec": spec}, namespace)

    def bind_pod(self, name: str, namespace: str, *, node: str, annotations: Mapping[str, str], uid: str = "") -> None:
        """Assign a pod to a node and annotate it, in one write; raise Conflict where it has a node already."""
        about: Json = {"name": name, "namespace": namespace, "annotations": dict(annotations)}
        about |= {"uid": uid} if uid else {}
        target = {"apiVersion": "v1", "kind": "Node", "name": node}
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": about, "target": target}
        self.send(Request("POST", PODS.path(namespace, name, "binding"), binding))

    def evict(self, name: str, namespace: str, *, uid: str) -> None:
        """Ask for a pod to go, by its own grace period; raise TooManyRequests where a disruption budget says not now.

        Only the pod that has the uid, else Conflict.
        """
        about: Json = {"name": name, "namespace": namespace}
        options: Json = {"preconditions": {"uid": uid}}
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": about, "deleteOptions": options}
        self.send(Request("POST", PODS.path(namespace, name, "eviction"), eviction))

    def set_pod_status(self, name: str, namespace: str, status: Json) -> Json:
        """Merge into a pod's status; conditions by type, other lists are replaced."""
        return self._patch(PODS.path(namespace, name, "status"), {"status": status}, STRATEGIC)

    def set_node_status(self, name: str, status: Json) -> Json:
        """Merge into a node's status; conditions and addresses by type, other lists are replaced."""
        return self._patch(NODES.path(name=name, subresource="status"), {"status": status}, STRATEGIC)

    def label_node(self, name: str, labels: Mapping[str, str | None]) -> Json:
        """Set labels on a node; None removes one."""
        return self._patch(NODES.path(name=name), {"metadata": {"labels": dict(labels)}})

    def set_node(self, name: str, *, unschedulable: bool | None, annotations: Mapping[str, str | None]) -> Json:
        """Set annotations on a node (None removes one) and whether new pods keep off it (None leaves that), at once."""
        patch: Json = {"metadata": {"annotations": dict(annotations)}}
        patch |= {} if unschedulable is None else {"spec": {"unschedulable": unschedulable or None}}
        return self._patch(NODES.path(name=name), patch)

    def cordon(self, name: str, *, unschedulable: bool = True) -> Json:
        """Keep new pods off a node, or allow them again."""
        return self._patch(NODES.path(name=name), {"spec": {"unschedulable": unschedulable or None}})

    def record_event(self, event: Event, *, wall: datetime) -> None:
        """Tell about an object where `kubectl describe` shows it."""
        subject = event.subject
        namespace, now = subject.namespace or "default", wall.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        about = {"kind": subject.kind, "apiVersion": subject.api_version, "name": subject.name, "uid": subject.uid}
        about |= {"namespace": subject.namespace} if subject.namespace else {}
        manifest: Json = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{subject.name}.", "namespace": namespace},
            "involvedObject": {key: value for key, value in about.items() if value},
            "reason": event.reason,
            "message": event.message,
            "type": "Warning" if event.is_warning else "Normal",
            "source": {"component": event.component},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        self.create(EVENTS, manifest, namespace)

    def read_lease(self, namespace: str, name: str) -> Json:
        """Read a lease."""
        return self.read(LEASES, name, namespace)

    def create_lease(self, namespace: str, manifest: Json) -> Json:
        """Create a lease; raise Conflict where there is one."""
        return self.create(LEASES, manifest, namespace)

    def replace_lease(self, namespace: str, manifest: Json) -> Json:
        """Replace a lease; raise Conflict where it has changed."""
        return self.replace(LEASES, manifest, namespace)

    def _patch(self, path: str, patch: Json, content_type: str = MERGE) -> Json:
        return self.send(Request("PATCH", path, body=patch, content_type=content_type))
