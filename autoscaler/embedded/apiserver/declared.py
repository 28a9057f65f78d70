"""Defaults and rules of the kinds nothing here acts on, as one table: what is filled in, required, or fixed for good.

A path is dotted; a step that ends in `[]` means every item of a list. Only what a chart's objects can trip over is
here: the rest of an object is stored as sent.
"""

import re
from base64 import b64encode
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field, replace
from uuid import UUID

from autoscaler.embedded.apiserver import errors, resources, selectors
from autoscaler.embedded.apiserver.errors import FieldFault
from autoscaler.embedded.apiserver.resources import Json, Resource, Value

_RBAC = "rbac.authorization.k8s.io"


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """One kind's table. Defaults are given by the path of the object that gets them; the empty path is the whole."""

    defaults: dict[str, Json] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    one_of: dict[str, tuple[str, ...]] = field(default_factory=dict)


_DAEMON_SET_COUNTS = ("currentNumberScheduled", "desiredNumberScheduled", "numberMisscheduled", "numberReady")
_WEBHOOK: Json = {
    "failurePolicy": "Fail",
    "matchPolicy": "Equivalent",
    "timeoutSeconds": 10,
    "reinvocationPolicy": "Never",
    "namespaceSelector": {},
    "objectSelector": {},
}
_BINDING = Declared(
    defaults={"roleRef": {"apiGroup": _RBAC}},
    required=("roleRef.kind", "roleRef.name", "subjects[].kind", "subjects[].name"),
    fixed=("roleRef",),
    one_of={"subjects[].kind": ("User", "Group", "ServiceAccount"), "roleRef.kind": ("ClusterRole", "Role")},
)
_CLUSTER_BINDING = replace(_BINDING, one_of=_BINDING.one_of | {"roleRef.kind": ("ClusterRole",)})

TABLE: dict[Resource, Declared] = {
    resources.SECRETS: Declared(defaults={"": {"type": "Opaque"}}, fixed=("type",)),
    resources.SERVICES: Declared(
        fixed=("spec.clusterIP",),
        defaults={
            "spec": {"type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster"},
            "spec.ports[]": {"protocol": "TCP"},
            "status": {"loadBalancer": {}},
        },
        required=("spec.ports[].port",),
        one_of={"spec.type": ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")},
    ),
    resources.DAEMON_SETS: Declared(
        defaults={
            "spec": {
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}},
                "revisionHistoryLimit": 10,
            },
            "status": dict.fromkeys(_DAEMON_SET_COUNTS, 0),
        },
        fixed=("spec.selector",),
    ),
    resources.JOBS: Declared(
        defaults={
            "spec": {
                "parallelism": 1,
                "completions": 1,
                "backoffLimit": 6,
                "completionMode": "NonIndexed",
                "suspend": False,
            },
        },
        fixed=("spec.selector", "spec.template", "spec.completions"),
        one_of={"spec.template.spec.restartPolicy": ("OnFailure", "Never")},
    ),
    resources.NETWORK_POLICIES: Declared(defaults={"spec": {"podSelector": {}}}),
    resources.INGRESSES: Declared(
        required=("spec.rules[].http.paths[].pathType", "spec.rules[].http.paths[].backend"),
        one_of={"spec.rules[].http.paths[].pathType": ("Exact", "Prefix", "ImplementationSpecific")},
    ),
    resources.PRIORITY_CLASSES: Declared(
        defaults={"": {"preemptionPolicy": "PreemptLowerPriority"}}, fixed=("value", "preemptionPolicy")
    ),
    resources.MUTATING_WEBHOOKS: Declared(
        defaults={"webhooks[]": _WEBHOOK, "webhooks[].rules[]": {"scope": "*"}},
        required=tuple(
            f"webhooks[].{name}" for name in ("name", "clientConfig", "sideEffects", "admissionReviewVersions")
        ),
        one_of={"webhooks[].sideEffects": ("None", "NoneOnDryRun"), "webhooks[].failurePolicy": ("Ignore", "Fail")},
    ),
    resources.ROLES: Declared(required=("rules[].verbs", "rules[].apiGroups", "rules[].resources")),
    resources.CLUSTER_ROLES: Declared(required=("rules[].verbs",)),
    resources.ROLE_BINDINGS: _BINDING,
    resources.CLUSTER_ROLE_BINDINGS: _CLUSTER_BINDING,
    resources.RAY_CLUSTERS: Declared(
        defaults={
            "spec.workerGroupSpecs[]": {"replicas": 0, "minReplicas": 0, "maxReplicas": 2147483647, "numOfHosts": 1}
        },
        required=(
            "spec.headGroupSpec.template",
            "spec.workerGroupSpecs[].groupName",
            "spec.workerGroupSpecs[].template",
        ),
    ),
    resources.PROMETHEUS_RULES: Declared(
        required=("spec", "spec.groups[].name", "spec.groups[].rules[].expr"),
    ),
    resources.SERVICE_MONITORS: Declared(required=("spec.selector",)),
    resources.POD_MONITORS: Declared(required=("spec.selector",)),
}


def fill(resource: Resource, item: Json) -> None:
    """Fill in an object's defaults, in place."""
    for path, defaults in TABLE[resource].defaults.items():
        if path == "status":
            item.setdefault("status", {})
        for _, holder in _holders(item, path):
            for key, value in defaults.items():
                if key not in holder:
                    holder[key] = deepcopy(value)
    if resource in _FURTHER:
        _FURTHER[resource](item)


def _fill_binding(binding: Json) -> None:
    binding.setdefault("roleRef", {"apiGroup": _RBAC})
    for subject in binding.get("subjects") or []:
        if subject.get("kind") in ("User", "Group"):
            subject.setdefault("apiGroup", _RBAC)


def _fill_policy(policy: Json) -> None:
    spec = policy.setdefault("spec", {})
    spec.setdefault("policyTypes", ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])


def _fill_service(service: Json) -> None:
    for port in service.get("spec", {}).get("ports") or []:
        if "port" in port:
            port.setdefault("targetPort", port["port"])


def _fill_secret(secret: Json) -> None:
    """Move what was written in plain into the data, which is all that is ever read."""
    plain = secret.pop("stringData", None) or {}
    if plain:
        encoded = {key: b64encode(str(value).encode()).decode() for key, value in plain.items()}
        secret["data"] = (secret.get("data") or {}) | encoded


_FURTHER = {
    resources.ROLE_BINDINGS: _fill_binding,
    resources.CLUSTER_ROLE_BINDINGS: _fill_binding,
    resources.NETWORK_POLICIES: _fill_policy,
    resources.SERVICES: _fill_service,
    resources.SECRETS: _fill_secret,
}


def at_birth(resource: Resource, item: Json) -> Json:
    """Give a new Service its address, from its uid; nothing listens there. Two of 65,534 may be the same."""
    spec = item.get("spec")
    if resource is resources.SERVICES and isinstance(spec, dict):
        drawn = UUID(item["metadata"]["uid"]).int % 65534 + 1
        address = f"10.96.{drawn // 256}.{drawn % 256}"
        if spec.get("type") != "ExternalName" and not spec.get("clusterIP"):
            spec["clusterIP"] = address
        if spec.get("clusterIP"):
            spec |= {"clusterIPs": [spec["clusterIP"]], "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"}
    return item


def carried(resource: Resource, old: Json, new: Json) -> Json:
    """Keep a Service's address where a replacement does not name one."""
    if resource is not resources.SERVICES or new.get("spec", {}).get("type") == "ExternalName":
        return new
    names = ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy")
    kept = {name: old["spec"][name] for name in names if name in old.get("spec", {})}
    return new | {"spec": kept | new.get("spec", {})}


def faults(resource: Resource, item: Json) -> list[FieldFault]:
    """Find what an object lacks and which words it may not say."""
    table = TABLE[resource]
    found = []
    for path in table.required:
        *_, last = path.split(".")
        for place, holder in _holders(item, path.removesuffix(last).rstrip(".")):
            if holder.get(last) in (None, "", []):
                found.append(errors.required(f"{place}.{last}".lstrip(".")))
    for path, allowed in table.one_of.items():
        *_, last = path.split(".")
        for place, holder in _holders(item, path.removesuffix(last).rstrip(".")):
            if holder.get(last) not in (None, *allowed):
                quoted = ", ".join(f'"{word}"' for word in sorted(allowed))
                found.append(errors.unsupported(f"{place}.{last}".lstrip("."), holder[last], quoted))
    return found + (_binding_faults(item) if table in (_BINDING, _CLUSTER_BINDING) else [])


def _binding_faults(binding: Json) -> list[FieldFault]:
    return [
        errors.required(f"subjects[{place}].namespace")
        for place, subject in enumerate(binding.get("subjects") or [])
        if subject.get("kind") == "ServiceAccount" and not subject.get("namespace")
    ]


def change_faults(resource: Resource, old: Json, new: Json) -> list[FieldFault]:
    """Find what a write changes that is fixed at creation."""
    fixed = TABLE[resource].fixed if resource in TABLE else ()
    if resource in (resources.SECRETS, resources.CONFIG_MAPS) and old.get("immutable") is True:
        fixed = (*fixed, "data", "binaryData", "immutable")
    return [
        errors.wrong(path, selectors.at(new, path), "field is immutable")
        for path in fixed
        if selectors.at(new, path) != selectors.at(old, path)
    ]


def _holders(item: Value, path: str) -> Iterator[tuple[str, Json]]:
    """Walk to every object a path means, with where it was found; a missing step ends the way there."""
    step, _, rest = path.partition(".")
    if not path:
        yield "", item
        return
    name = re.sub(r"\[\]$", "", step)
    inner = item.get(name)
    below = enumerate(inner) if step.endswith("[]") and isinstance(inner, list) else ((None, inner),)
    for place, value in below:
        if isinstance(value, dict):
            here = name if place is None else f"{name}[{place}]"
            for where, holder in _holders(value, rest):
                yield f"{here}.{where}".rstrip("."), holder
