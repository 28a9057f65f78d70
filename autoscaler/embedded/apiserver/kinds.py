"""What is special about each kind: the defaults the API fills in and the rules a write must keep.

Only the defaults and rules a client of this server can trip over are here; other fields are stored as sent.
"""

import re
from collections.abc import Callable
from copy import deepcopy

from autoscaler.embedded.apiserver import declared, errors, metadata, resources, selectors
from autoscaler.embedded.apiserver.errors import ApiError, FieldFault
from autoscaler.embedded.apiserver.resources import Json, Resource

_POD_DEFAULTS: Json = {
    "restartPolicy": "Always",
    "terminationGracePeriodSeconds": 30,
    "dnsPolicy": "ClusterFirst",
    "securityContext": {},
    "schedulerName": "default-scheduler",
    "enableServiceLinks": True,
}
_CONTAINER_DEFAULTS: Json = {
    "resources": {},
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
}
_DEPLOYMENT_DEFAULTS: Json = {
    "replicas": 1,
    "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}},
    "revisionHistoryLimit": 10,
    "progressDeadlineSeconds": 600,
}
# The fields of a running pod's spec that may change; all else is fixed at creation.
_CHANGEABLE_POD_FIELDS = ("activeDeadlineSeconds", "terminationGracePeriodSeconds", "tolerations")


def _fill(target: Json, defaults: Json) -> None:
    for key, value in defaults.items():
        if key not in target:
            target[key] = deepcopy(value)


def _default_pod_spec(spec: Json) -> None:
    _fill(spec, _POD_DEFAULTS)
    for container in [*spec.get("initContainers", []), *spec.get("containers", [])]:
        _fill(container, _CONTAINER_DEFAULTS)
        tag = str(container.get("image", "")).rpartition("/")[2].partition(":")[2]
        _fill(container, {"imagePullPolicy": "Always" if tag in ("", "latest") else "IfNotPresent"})
        limits = container["resources"].get("limits")
        if limits:  # what is limited and not requested is requested in full
            container["resources"]["requests"] = limits | container["resources"].get("requests", {})


def _default_pod(pod: Json) -> None:
    spec = pod.setdefault("spec", {})
    _default_pod_spec(spec)
    _fill(pod.setdefault("status", {}), {"phase": "Pending", "qosClass": _qos_class(spec)})


def _qos_class(spec: Json) -> str:
    wanted = [container["resources"] for container in spec.get("containers", [])]
    if not any(resources.get("requests") or resources.get("limits") for resources in wanted):
        return "BestEffort"
    bound = all({"cpu", "memory"} <= set(r.get("limits", {})) and r["limits"] == r["requests"] for r in wanted)
    return "Guaranteed" if bound else "Burstable"


def _default_deployment(deployment: Json) -> None:
    spec = deployment.setdefault("spec", {})
    _fill(spec, _DEPLOYMENT_DEFAULTS)
    _default_template(deployment)


def _default_namespace(namespace: Json) -> None:
    _fill(namespace, {"spec": {"finalizers": ["kubernetes"]}})
    _fill(namespace.setdefault("status", {}), {"phase": "Active"})
    name = namespace["metadata"].get("name", "")
    namespace["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = name


def _default_template(workload: Json) -> None:
    _default_pod_spec(workload.setdefault("spec", {}).setdefault("template", {}).setdefault("spec", {}))


def _default_budget(budget: Json) -> None:
    budget.setdefault("spec", {})


_DEFAULTS: dict[Resource, Callable[[Json], None]] = {
    resources.PODS: _default_pod,
    resources.DEPLOYMENTS: _default_deployment,
    resources.DAEMON_SETS: _default_template,
    resources.JOBS: _default_template,
    resources.NAMESPACES: _default_namespace,
    resources.DISRUPTION_BUDGETS: _default_budget,
}


def _container_faults(spec: Json, where: str) -> list[FieldFault]:
    containers = spec.get("containers", [])
    found = [] if containers else [errors.required(f"{where}.containers")]
    for place, container in enumerate(containers):
        found += [
            errors.required(f"{where}.containers[{place}].{key}") for key in ("name", "image") if not container.get(key)
        ]
    return found


def _pod_faults(pod: Json) -> list[FieldFault]:
    return _container_faults(pod["spec"], "spec")


def _daemon_set_faults(daemon_set: Json) -> list[FieldFault]:
    spec, template = daemon_set["spec"], daemon_set["spec"]["template"]
    found = _selector_faults(spec.get("selector", {}))
    if not found and not selectors.parse_label_selector(spec["selector"])(template):
        labels = template.get("metadata", {}).get("labels", {})
        found.append(
            errors.wrong("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")
        )
    return found + _container_faults(template["spec"], "spec.template.spec")


def _deployment_faults(deployment: Json) -> list[FieldFault]:
    found, replicas = _daemon_set_faults(deployment), deployment["spec"]["replicas"]
    if replicas < 0:
        found.append(errors.wrong("spec.replicas", replicas, "must be greater than or equal to 0"))
    return found


def _job_faults(job: Json) -> list[FieldFault]:
    return _container_faults(job["spec"]["template"]["spec"], "spec.template.spec")


def _selector_faults(selector: Json) -> list[FieldFault]:
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        return [errors.required("spec.selector")]
    try:
        selectors.parse_label_selector(selector)
    except ApiError as fault:
        return [errors.wrong("spec.selector", selector, str(fault))]
    return []


def _budget_faults(budget: Json) -> list[FieldFault]:
    spec = budget["spec"]
    found = _selector_faults(spec["selector"]) if spec.get("selector") else []
    given = [name for name in ("minAvailable", "maxUnavailable") if name in spec]
    if len(given) == 2:
        found.append(errors.wrong("spec", spec, "minAvailable and maxUnavailable cannot be both set"))
    for name in given:
        if not re.fullmatch(r"[0-9]{1,9}%?" if isinstance(spec[name], str) else r"[0-9]{1,9}", str(spec[name])):
            found.append(errors.wrong(f"spec.{name}", spec[name], "must be 0 or more, or a percentage"))
    return found


_RULES: dict[Resource, Callable[[Json], list[FieldFault]]] = {
    resources.PODS: _pod_faults,
    resources.DEPLOYMENTS: _deployment_faults,
    resources.DAEMON_SETS: _daemon_set_faults,
    resources.JOBS: _job_faults,
    resources.DISRUPTION_BUDGETS: _budget_faults,
}


def _fixed_part(pod: Json) -> Json:
    spec = {key: value for key, value in pod["spec"].items() if key not in _CHANGEABLE_POD_FIELDS}
    return spec | {"containers": [container | {"image": ""} for container in spec["containers"]]}


def _change_faults(resource: Resource, old: Json, new: Json) -> list[FieldFault]:
    if resource is resources.PODS and _fixed_part(old) != _fixed_part(new):
        allowed = ", ".join(("containers[*].image", *_CHANGEABLE_POD_FIELDS))
        return [errors.forbidden_field("spec", f"pod updates may not change fields other than {allowed}")]
    if resource is resources.DEPLOYMENTS and old["spec"]["selector"] != new["spec"]["selector"]:
        return [errors.wrong("spec.selector", new["spec"]["selector"], "field is immutable")]
    return declared.change_faults(resource, old, new)


def with_defaults(resource: Resource, item: Json) -> Json:
    """Fill in what the client left to the server, in place, and return the object."""
    if resource in _DEFAULTS:
        _DEFAULTS[resource](item)
    if resource in declared.TABLE:
        declared.fill(resource, item)
    return item


def check(resource: Resource, item: Json, old: Json | None = None) -> None:
    """Raise Invalid where an object, or its change from the old one, breaks the rules; every fault is named."""
    found = metadata.faults(item["metadata"], has_free_name=resource.has_free_names)
    if resource in _RULES:
        found += _RULES[resource](item)
    if resource in declared.TABLE:
        found += declared.faults(resource, item)
    if old is not None and not found:
        found = _change_faults(resource, old, item)
    if found:
        raise errors.invalid(resource, item["metadata"].get("name", ""), found)
