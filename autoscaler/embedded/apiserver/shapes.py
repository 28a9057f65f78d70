"""Which JSON types the fields this server reads must have; a body that does not fit cannot be decoded and is refused.

As in the real server's decoding, a null is the same as an absent field, and a field no shape names is kept as it came.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from autoscaler.embedded.apiserver import errors, resources
from autoscaler.embedded.apiserver.resources import Json, Resource, Value


@dataclass(frozen=True, slots=True)
class Leaf:
    """A plain value: what Kubernetes calls it and which JSON values it may be."""

    word: str
    accepts: Callable[[Value], bool]


Shape = Leaf | dict[str, "Shape"] | list["Shape"] | None  # None: anything


def _is_time(value: Value) -> bool:
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def _is_whole(value: Value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


ANY_KEY = "*"
TEXT = Leaf("string", lambda value: isinstance(value, str))
WHOLE = Leaf("int32", _is_whole)
FLAG = Leaf("bool", lambda value: isinstance(value, bool))
TIME = Leaf("Time", _is_time)
QUANTITY = Leaf("Quantity", lambda value: isinstance(value, str | float) or _is_whole(value))
COUNT_OR_PERCENT = Leaf("IntOrString", lambda value: isinstance(value, str) or _is_whole(value))

_TEXTS: Shape = {ANY_KEY: TEXT}
_QUANTITIES: Shape = {ANY_KEY: QUANTITY}
_METADATA: Shape = {
    "name": TEXT,
    "generateName": TEXT,
    "namespace": TEXT,
    "uid": TEXT,
    "resourceVersion": TEXT,
    "labels": _TEXTS,
    "annotations": _TEXTS,
    "finalizers": [TEXT],
    "ownerReferences": [{"apiVersion": TEXT, "kind": TEXT, "name": TEXT, "uid": TEXT, "controller": FLAG}],
}
_LEFT_OUT = ("labels", "annotations", "finalizers", "ownerReferences", "generateName")
_CONDITIONS: Shape = [{"type": TEXT, "status": TEXT, "reason": TEXT, "lastTransitionTime": TIME}]
_SELECTOR: Shape = {"matchLabels": _TEXTS, "matchExpressions": [{"key": TEXT, "operator": TEXT, "values": [TEXT]}]}
_CONTAINERS: Shape = [{"name": TEXT, "image": TEXT, "resources": {"limits": _QUANTITIES, "requests": _QUANTITIES}}]
_POD_SPEC: Shape = {
    "nodeName": TEXT,
    "restartPolicy": TEXT,
    "containers": _CONTAINERS,
    "initContainers": _CONTAINERS,
    "terminationGracePeriodSeconds": WHOLE,
    "readinessGates": [{"conditionType": TEXT}],
}
_CONTAINER_STATE: Shape = {"waiting": {"reason": TEXT}, "terminated": {"reason": TEXT, "exitCode": WHOLE}}
_POD_STATUS: Shape = {
    "phase": TEXT,
    "reason": TEXT,
    "podIP": TEXT,
    "conditions": _CONDITIONS,
    "containerStatuses": [{"ready": FLAG, "restartCount": WHOLE, "state": _CONTAINER_STATE}],
}
_ROLLING: Shape = {"maxUnavailable": COUNT_OR_PERCENT, "maxSurge": COUNT_OR_PERCENT}
_TEMPLATE: Shape = {"metadata": _METADATA, "spec": _POD_SPEC}
_RULES: Shape = [
    {"verbs": [TEXT], "apiGroups": [TEXT], "resources": [TEXT], "resourceNames": [TEXT], "nonResourceURLs": [TEXT]}
]
_BINDING: Shape = {
    "roleRef": {"apiGroup": TEXT, "kind": TEXT, "name": TEXT},
    "subjects": [{"apiGroup": TEXT, "kind": TEXT, "name": TEXT, "namespace": TEXT}],
}
_POLICY_PORTS: Shape = [{"port": COUNT_OR_PERCENT, "endPort": WHOLE, "protocol": TEXT}]
_ROUTE: Shape = {"path": TEXT, "pathType": TEXT, "backend": {}}
_WORKER_GROUP: Shape = {
    "groupName": TEXT,
    "replicas": WHOLE,
    "minReplicas": WHOLE,
    "maxReplicas": WHOLE,
    "numOfHosts": WHOLE,
    "template": _TEMPLATE,
    "scaleStrategy": {"workersToDelete": [TEXT]},
}
_SELECTED: Shape = {"spec": {"selector": _SELECTOR}}
_SHAPES: dict[Resource, Shape] = {
    resources.NAMESPACES: {"spec": {"finalizers": [TEXT]}, "status": {"phase": TEXT}},
    resources.NODES: {
        "spec": {"unschedulable": FLAG},
        "status": {
            "conditions": _CONDITIONS,
            "addresses": [{"type": TEXT, "address": TEXT}],
            "nodeInfo": {},
            "capacity": _QUANTITIES,
            "allocatable": _QUANTITIES,
        },
    },
    resources.PODS: {"spec": _POD_SPEC, "status": _POD_STATUS},
    resources.EVENTS: {
        "involvedObject": _TEXTS,
        "source": _TEXTS,
        "reason": TEXT,
        "message": TEXT,
        "type": TEXT,
        "count": WHOLE,
        "lastTimestamp": TIME,
    },
    resources.CONFIG_MAPS: {"data": _TEXTS},
    resources.DEPLOYMENTS: {
        "spec": {
            "replicas": WHOLE,
            "selector": _SELECTOR,
            "strategy": {"type": TEXT, "rollingUpdate": _ROLLING},
            "template": _TEMPLATE,
        },
        "status": {"replicas": WHOLE, "readyReplicas": WHOLE, "updatedReplicas": WHOLE, "conditions": _CONDITIONS},
    },
    resources.LEASES: {
        "spec": {
            "holderIdentity": TEXT,
            "leaseDurationSeconds": WHOLE,
            "leaseTransitions": WHOLE,
            "acquireTime": TIME,
            "renewTime": TIME,
        }
    },
    resources.DISRUPTION_BUDGETS: {
        "spec": {"selector": _SELECTOR, "minAvailable": COUNT_OR_PERCENT, "maxUnavailable": COUNT_OR_PERCENT},
        "status": {
            "observedGeneration": WHOLE,
            "disruptionsAllowed": WHOLE,
            "currentHealthy": WHOLE,
            "desiredHealthy": WHOLE,
            "disruptedPods": {ANY_KEY: TIME},
        },
    },
    resources.SECRETS: {"data": _TEXTS, "stringData": _TEXTS, "type": TEXT, "immutable": FLAG},
    resources.SERVICES: {
        "spec": {
            "type": TEXT,
            "clusterIP": TEXT,
            "clusterIPs": [TEXT],
            "selector": _TEXTS,
            "ports": [{"name": TEXT, "port": WHOLE, "targetPort": COUNT_OR_PERCENT, "protocol": TEXT}],
        },
        "status": {},
    },
    resources.SERVICE_ACCOUNTS: {"automountServiceAccountToken": FLAG, "imagePullSecrets": [{"name": TEXT}]},
    resources.QUOTAS: {"spec": {"hard": _QUANTITIES}, "status": {"hard": _QUANTITIES, "used": _QUANTITIES}},
    resources.DAEMON_SETS: {
        "spec": {"selector": _SELECTOR, "updateStrategy": {}, "template": _TEMPLATE},
        "status": {ANY_KEY: None, "conditions": _CONDITIONS},
    },
    resources.JOBS: {
        "spec": {
            "parallelism": WHOLE,
            "completions": WHOLE,
            "backoffLimit": WHOLE,
            "selector": _SELECTOR,
            "template": _TEMPLATE,
        },
        "status": {"succeeded": WHOLE, "failed": WHOLE, "active": WHOLE, "conditions": _CONDITIONS},
    },
    resources.PRIORITY_CLASSES: {"value": WHOLE, "globalDefault": FLAG, "preemptionPolicy": TEXT, "description": TEXT},
    resources.NETWORK_POLICIES: {
        "spec": {
            "podSelector": _SELECTOR,
            "policyTypes": [TEXT],
            "ingress": [{"from": [{}], "ports": _POLICY_PORTS}],
            "egress": [{"to": [{}], "ports": _POLICY_PORTS}],
        }
    },
    resources.INGRESSES: {
        "spec": {"ingressClassName": TEXT, "rules": [{"host": TEXT, "http": {"paths": [_ROUTE]}}], "tls": [{}]},
        "status": {},
    },
    resources.MUTATING_WEBHOOKS: {
        "webhooks": [
            {
                "name": TEXT,
                "clientConfig": {},
                "rules": [{"operations": [TEXT], "apiGroups": [TEXT], "apiVersions": [TEXT], "resources": [TEXT]}],
                "failurePolicy": TEXT,
                "sideEffects": TEXT,
                "admissionReviewVersions": [TEXT],
                "timeoutSeconds": WHOLE,
            }
        ]
    },
    resources.ROLES: {"rules": _RULES},
    resources.CLUSTER_ROLES: {"rules": _RULES, "aggregationRule": {}},
    resources.ROLE_BINDINGS: _BINDING,
    resources.CLUSTER_ROLE_BINDINGS: _BINDING,
    resources.RAY_CLUSTERS: {
        "spec": {"headGroupSpec": {"template": _TEMPLATE}, "workerGroupSpecs": [_WORKER_GROUP]},
        "status": {},
    },
    resources.HTTP_ROUTES: {"spec": {"parentRefs": [{}], "hostnames": [TEXT], "rules": [{}]}, "status": {}},
    resources.SERVICE_MONITORS: _SELECTED,
    resources.POD_MONITORS: _SELECTED,
    resources.PROMETHEUS_RULES: {"spec": {"groups": [{"name": TEXT, "rules": [{"expr": COUNT_OR_PERCENT}]}]}},
}


def decode(resource: Resource, namespace: str, name: str, body: Value) -> Json:
    """Read a body as an object of this kind for this path, into a new object; `name` is empty on creation."""
    if not isinstance(body, dict):
        raise errors.bad_request("the body of the request must be an object")
    shape = {"metadata": _METADATA, **_as_fields(_SHAPES[resource])}
    item: Json = _decoded(resource, body, shape, "")
    if resource.is_custom and not name and not (item.get("kind") and item.get("apiVersion")):
        raise errors.bad_request("Object 'Kind' is missing: a custom object names its apiVersion and kind")
    for field, expected in (("apiVersion", resource.api_version), ("kind", resource.kind)):
        if item.setdefault(field, expected) != expected:
            why = f"the {field} in the data ({item[field]}) does not match the expected {field} ({expected})"
            raise errors.bad_request(why)
    # As in the real server's encoding, what is empty of these is the same as absent.
    about = {key: value for key, value in item.get("metadata", {}).items() if value or key not in _LEFT_OUT}
    item["metadata"] = about
    if about.get("namespace", namespace) != namespace:
        why = "the namespace of the provided object does not match the namespace sent on the request"
        raise errors.bad_request(why)
    if name and about.get("name", name) != name:
        why = f"the name of the object ({about['name']}) does not match the name on the URL ({name})"
        raise errors.bad_request(why)
    if name:
        about["name"] = name
    return item


def _as_fields(shape: Shape) -> dict[str, Shape]:
    assert isinstance(shape, dict)
    return shape


def _decoded(resource: Resource, value: Value, shape: Shape | None, path: str) -> Value:
    """Copy a value, without its nulls, checking what the shape names."""
    if isinstance(shape, Leaf) and not shape.accepts(value):
        raise _undecodable(resource, path, shape.word)
    if isinstance(value, dict):
        if isinstance(shape, list | Leaf):
            raise _undecodable(resource, path, "list")
        fields = shape or {}
        return {
            key: _decoded(resource, inner, fields.get(key, fields.get(ANY_KEY)), f"{path}.{key}".lstrip("."))
            for key, inner in value.items()
            if inner is not None
        }
    if isinstance(value, list):
        if isinstance(shape, dict):
            raise _undecodable(resource, path, "object")
        item_shape = shape[0] if isinstance(shape, list) else None
        return [_decoded(resource, inner, item_shape, f"{path}[{place}]") for place, inner in enumerate(value)]
    if isinstance(shape, dict | list):
        raise _undecodable(resource, path, "object" if isinstance(shape, dict) else "list")
    return value


def _undecodable(resource: Resource, path: str, word: str) -> errors.ApiError:
    told = f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}'
    return errors.bad_request(f"{told}: json: cannot unmarshal into field {path} of type {word}")
