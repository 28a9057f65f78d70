"""What single values of this chart take, where neither their default nor their name tells: by their path."""

from typing import Any

Json = dict[str, Any]
_TEXT: Json = {"type": "string"}
_ANY: Json = {"type": "object"}


def _ref(name: str) -> Json:
    return {"$ref": f"#/definitions/{name}"}


def _closed(required: tuple[str, ...] = (), **properties: Json) -> Json:
    made: Json = {"type": "object", "properties": properties, "additionalProperties": False}
    return made | ({"required": list(required)} if required else {})


_COUNT: Json = {"type": "integer", "minimum": 0}
_SECONDS: Json = {"type": "integer", "minimum": 1}
_SHARING: Json = {"enum": ["best-effort", "equal-share", "fixed-share"]}
_SIZE: Json = {"allOf": [_ref("quantity")]}
_PART: Json = {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^[0-9]+%$"}]}
# Never both: the API refuses that.
_BUDGET: Json = {
    **_closed(minAvailable=_PART, maxUnavailable=_PART),
    "not": {"required": ["minAvailable", "maxUnavailable"]},
}
_PRIORITY: Json = _closed(
    value={"type": "integer", "maximum": 1000000000},
    preemptionPolicy={"enum": ["PreemptLowerPriority", "Never"]},
)
_NAME: Json = {"type": "string", "maxLength": 63, "pattern": "^(?:[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)?$"}
_PEERS: Json = {
    "type": "array",
    "items": _closed(ipBlock=_ANY, namespaceSelector=_ANY, podSelector=_ANY),
}
_CIDRS: Json = {"type": "array", "items": {"type": "string", "pattern": "^[0-9a-fA-F.:]+/[0-9]{1,3}$"}}
_EGRESS: Json = {
    "type": "array",
    "items": _closed(("to",), to={**_PEERS, "minItems": 1}, ports={"type": "array", "items": _ANY}),
}
_CREDENTIALS: Json = {
    "type": "object",
    # The name of a volume too, with a word before it.
    "propertyNames": {"maxLength": 50, "pattern": "^[a-z0-9](?:[-a-z0-9]*[a-z0-9])?$"},
    "additionalProperties": _closed(("secretName",), secretName={"type": "string", "minLength": 1}),
}
_HOSTS: Json = {
    "type": "array",
    "items": _closed(
        host=_TEXT,
        paths={
            "type": "array",
            "items": _closed(
                ("path", "pathType"),
                path=_TEXT,
                pathType={"enum": ["Exact", "Prefix", "ImplementationSpecific"]},
            ),
        },
    ),
}

PARTICULARS: dict[str, Json] = {
    "nameOverride": _NAME,
    "fullnameOverride": _NAME,
    "tenantQuotas": {
        "type": "object",
        "additionalProperties": _closed(
            ("namespace", "hard"),
            namespace={**_NAME, "minLength": 1},
            hard={"type": "object", "additionalProperties": _ref("quantity")},
        ),
    },
    "modelsCheck.activeDeadlineSeconds": _SECONDS,
    "ray.head.shmSize": _SIZE,
    "ray.head.tmpSize": _SIZE,
    "ray.head.terminationGracePeriodSeconds": _SECONDS,
    "ray.head.service.type": {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
    "ray.head.service.loadBalancerSourceRanges": _CIDRS,
    "workers.backend": {"enum": ["deployments", "kuberay"]},
    "workers.slotSchedulerPolicy": _SHARING,
    "workers.drainTimeoutSeconds": _SECONDS,
    "workers.terminationGracePeriodSeconds": _SECONDS,
    "workers.shmSize": _SIZE,
    "workers.tmpSize": _SIZE,
    "autoscaler.replicas": _COUNT,
    "autoscaler.intervalSeconds": {"type": "number", "exclusiveMinimum": 0},
    "extender.replicas": _COUNT,
    "extender.webhook.failurePolicy": {"enum": ["Fail", "Ignore"]},
    "extender.webhook.timeoutSeconds": {"type": "integer", "minimum": 1, "maximum": 30},
    "scheduler.replicas": _COUNT,
    "switcher.credentials": _CREDENTIALS,
    "switcher.replicas": _COUNT,
    "switcher.intervalSeconds": {"type": "number", "exclusiveMinimum": 0, "maximum": 60},
    "scheduler.verbosity": {"type": "integer", "minimum": 0, "maximum": 10},
    "devicePlugin.mode": {"enum": ["bookkeeping", "allocate", "node-status"]},
    "devicePlugin.schedulerPolicy": _SHARING,
    "networkPolicy.clients": _PEERS,
    "networkPolicy.apiServerCIDRs": _CIDRS,
    "networkPolicy.switcherEgress": _EGRESS,
    "ingress.hosts": _HOSTS,
    "ingress.tls": {
        "type": "array",
        "items": _closed(hosts={"type": "array", "items": _TEXT}, secretName=_TEXT),
    },
    "httpRoute.parentRefs": {"type": "array", "items": {"type": "object", "required": ["name"]}},
    "httpRoute.hostnames": {"type": "array", "items": _TEXT},
    "priorityClasses.control": _PRIORITY,
    "priorityClasses.workers": _PRIORITY,
    "podDisruptionBudget.head": _BUDGET,
    "podDisruptionBudget.workers": _BUDGET,
    "podDisruptionBudget.autoscaler": _BUDGET,
    "podDisruptionBudget.scheduler": _BUDGET,
    "extraObjects": {"type": "array", "items": {"type": ["object", "string"]}},
}
