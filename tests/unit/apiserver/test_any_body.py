"""Whatever clients send: it is refused with a reason, or stored, and what is stored breaks nothing that reads it."""

from contextlib import suppress
from copy import deepcopy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.embedded.apiserver import controllers, deletion, listing, resources, subresources, tables
from autoscaler.embedded.apiserver.deletion import DeleteOptions
from autoscaler.embedded.apiserver.errors import ApiError
from autoscaler.embedded.apiserver.paths import Target
from autoscaler.embedded.apiserver.resources import Resource
from autoscaler.embedded.apiserver.store import Store
from tests.unit.apiserver import build

_SELECTOR = {"matchLabels": {"x": "y"}, "matchExpressions": [{"key": "x", "operator": "In", "values": ["y"]}]}
_CONTAINER = {"name": "c", "image": "i:1", "resources": {"limits": {"cpu": "1", "memory": 1}, "requests": {"cpu": "1"}}}
_POD_SPEC = {"containers": [_CONTAINER], "nodeName": "n", "readinessGates": [{"conditionType": "Slot"}]}
_SINCE = "2027-01-15T08:00:00Z"
_CONDITIONS = [{"type": "Ready", "status": "True", "reason": "Up", "lastTransitionTime": _SINCE}]
_STATE = {"waiting": {"reason": "Slow"}, "terminated": {"reason": "Error", "exitCode": 1}}
_OWNER = {"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u", "controller": True}
_ABOUT = {
    "name": "x",
    "labels": {"x": "y", "node-role.kubernetes.io/gpu": ""},
    "annotations": {"controller.kubernetes.io/pod-deletion-cost": "1"},
    "finalizers": ["example.com/hold"],
    "ownerReferences": [_OWNER],
}
_BODIES: dict[Resource, Any] = {
    resources.NAMESPACES: {"spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}},
    resources.NODES: {
        "spec": {"unschedulable": True},
        "status": {
            "conditions": _CONDITIONS,
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "nodeInfo": {"kubeletVersion": "v1"},
            "capacity": {"nvidia.com/gpu": "2"},
        },
    },
    resources.PODS: {
        "spec": _POD_SPEC,
        "status": {
            "phase": "Running",
            "reason": "Up",
            "podIP": "127.0.0.1",
            "conditions": _CONDITIONS,
            "containerStatuses": [{"ready": True, "restartCount": 1, "state": _STATE}],
        },
    },
    resources.EVENTS: {
        "involvedObject": {"kind": "Pod", "name": "p"},
        "source": {"component": "kubelet"},
        "lastTimestamp": _SINCE,
        "count": 1,
    },
    resources.CONFIG_MAPS: {"data": {"x": "y"}},
    resources.DEPLOYMENTS: {
        "spec": {
            "replicas": 2,
            "selector": _SELECTOR,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": 1}},
            "template": {"metadata": {"labels": {"x": "y"}, "annotations": {"a": "b"}}, "spec": _POD_SPEC},
        },
        "status": {
            "replicas": 1,
            "conditions": [{"type": "Available", "status": "False", "lastTransitionTime": _SINCE}],
        },
    },
    resources.LEASES: {"spec": {"holderIdentity": "a", "leaseDurationSeconds": 3, "renewTime": _SINCE}},
    resources.DISRUPTION_BUDGETS: {
        "spec": {"selector": _SELECTOR, "minAvailable": "50%"},
        "status": {"disruptionsAllowed": 1, "observedGeneration": 1, "disruptedPods": {"p": _SINCE}},
    },
}
_ODD = st.sampled_from(
    [None, True, -1, 3, 1.5, "", "x", "9" * 30, "2027-13-01", "\ud800", [], [None], ["x"], {}, {"x": "x"}]
)


def _paths(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [way, *(path for key, below in inner for path in _paths(below, (*way, key)))]


@st.composite
def _bodies(draw: st.DrawFn) -> tuple[Resource, Any]:
    """A good body of some kind with up to three places spoilt."""
    resource = draw(st.sampled_from(resources.RESOURCES))
    root = {"body": deepcopy({"metadata": _ABOUT, **_BODIES[resource]})}
    for _ in range(draw(st.integers(0, 3))):
        *way, last = draw(st.sampled_from(_paths(root)[1:]))
        holder: Any = root
        for step in way:
            holder = holder[step]
        holder[last] = deepcopy(draw(_ODD))
    return resource, root["body"]


def _stored(store: Store, resource: Resource, body: Any) -> bool:
    namespace = "default" if resource.namespaced else ""
    try:
        store.create(resource, namespace, body)
        store.update(resource, namespace, "x", lambda _: body)
        if resource.has_status:
            store.update(resource, namespace, "x", lambda _: body, part="status")
    except ApiError as refusal:
        return refusal.code not in (400, 422)
    return True


def _read_in_every_way(store: Store, resource: Resource) -> None:
    target = Target(verb="list", resource=resource)
    selection = listing.parse_selection(target, {"labelSelector": "x=y", "fieldSelector": "metadata.name!=z"})
    listing.page(store, selection, {"limit": "1"})
    listing.watch_events(selection, store.history.after(0))
    tables.render(resource, store.list(resource), {}, store.now_s())


@settings(max_examples=300)
@given(_bodies())
def test_any_body_is_refused_or_breaks_nothing(case: tuple[Resource, Any]) -> None:
    """Only an ApiError of 400 or 422 is a refusal; any other exception is this server's own fault and fails here."""
    resource, body = case
    store = build.store()
    if not _stored(store, resource, body):
        return
    for _ in range(3):
        controllers.reconcile(store)
    for known in resources.RESOURCES:
        _read_in_every_way(store, known)
    for pod in store.list(resources.PODS):
        with suppress(ApiError):
            subresources.bind(store, "default", pod["metadata"]["name"], {"target": {"name": "n"}})
        with suppress(ApiError):
            subresources.evict(store, "default", pod["metadata"]["name"], None)
    with suppress(ApiError):
        deletion.delete(store, resource, "default" if resource.namespaced else "", "x", DeleteOptions(grace_s=0))
    controllers.reconcile(store)


def test_the_bodies_tried_here_are_good_before_they_are_spoilt() -> None:
    for resource, body in _BODIES.items():
        assert _stored(build.store(), resource, {"metadata": _ABOUT, **body}), resource.plural
