"""What the API of operators knows, of the kinds the chart can render: the keys that may stand where, and what must.

Their own schemas take a misspelt key without a word, so these lists refuse every key they do not have. They hold what a
chart like ours may need and not all there is: whoever renders a further field adds it here, having looked it up in the
kind's reference.
"""

from collections.abc import Iterator
from typing import Any

from jsonschema import Draft7Validator

Json = Any
_ANY: Json = {}
_TEXT: Json = {"type": "string", "minLength": 1}
_FLAG: Json = {"type": "boolean"}
_COUNT: Json = {"type": "integer", "minimum": 0}
_TEXTS: Json = {"type": "object", "additionalProperties": {"type": "string"}}
_DURATION: Json = {
    "type": "string",
    "pattern": "^([0-9]+y)?([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$",
}


def _closed(required: str = "", **properties: Json) -> Json:
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


def _list(items: Json, least: int = 0) -> Json:
    return {"type": "array", "items": items, "minItems": least}


_SELECTOR = _closed(
    matchLabels=_TEXTS, matchExpressions=_list(_closed("key operator", key=_TEXT, operator=_TEXT, values=_ANY))
)
_REPLACING = ("replace", "hashmod", "labelmap", "labeldrop", "labelkeep", "lowercase", "uppercase")
_KEEPING = ("keep", "drop", "keepequal", "dropequal")
_RELABELING = _closed(
    sourceLabels=_list(_TEXT),
    separator={"type": "string"},
    targetLabel=_TEXT,
    regex={"type": "string"},
    modulus=_COUNT,
    replacement={"type": "string"},
    action={"enum": [*_REPLACING, *_KEEPING]},
)
_SCRAPE = {
    "port": _TEXT,
    "targetPort": {"type": ["integer", "string"]},
    "path": {"type": "string", "pattern": "^/"},
    "scheme": {"enum": ["http", "https", "HTTP", "HTTPS"]},
    "params": {"type": "object"},
    "interval": _DURATION,
    "scrapeTimeout": _DURATION,
    "honorLabels": _FLAG,
    "honorTimestamps": _FLAG,
    "relabelings": _list(_RELABELING),
    "metricRelabelings": _list(_RELABELING),
    "tlsConfig": {"type": "object"},
    "basicAuth": {"type": "object"},
    "authorization": {"type": "object"},
    "followRedirects": _FLAG,
    "enableHttp2": _FLAG,
}
_WHERE = _closed(any=_FLAG, matchNames=_list(_TEXT))
_MONITOR = {
    "selector": _SELECTOR,
    "namespaceSelector": _WHERE,
    "jobLabel": _TEXT,
    "podTargetLabels": _list(_TEXT),
    "sampleLimit": _COUNT,
    "attachMetadata": _closed(node=_FLAG),
}
_RULE = {
    "oneOf": [
        _closed("record expr", record=_TEXT, expr=_TEXT, labels=_TEXTS),
        {
            **_closed("alert expr", alert=_TEXT, expr=_TEXT, labels=_TEXTS, annotations=_TEXTS),
        },
    ]
}
_RULE["oneOf"][1]["properties"] |= {"for": _DURATION, "keep_firing_for": _DURATION}

_BACKEND = _closed(
    "name", group={"type": "string"}, kind=_TEXT, name=_TEXT, namespace=_TEXT, port=_COUNT, weight=_COUNT
)
_MATCH = _closed(
    path=_closed(type={"enum": ["Exact", "PathPrefix", "RegularExpression"]}, value=_TEXT),
    headers=_list(_closed("name value", type=_TEXT, name=_TEXT, value=_TEXT)),
    queryParams=_list(_closed("name value", type=_TEXT, name=_TEXT, value=_TEXT)),
    method=_TEXT,
)
_PARENT = _closed(
    "name", group={"type": "string"}, kind=_TEXT, namespace=_TEXT, name=_TEXT, sectionName=_TEXT, port=_COUNT
)

_TEMPLATE: Json = {"type": "object", "required": ["spec"]}
_WORKERS = _closed(
    "groupName template",
    groupName=_TEXT,
    replicas=_COUNT,
    minReplicas=_COUNT,
    maxReplicas=_COUNT,
    idleTimeoutSeconds=_COUNT,
    suspend=_FLAG,
    rayStartParams=_TEXTS,
    resources=_TEXTS,
    labels=_TEXTS,
    numOfHosts=_COUNT,
    scaleStrategy=_closed(workersToDelete=_list(_TEXT)),
    template=_TEMPLATE,
)

CUSTOM_KINDS: dict[tuple[str, str], Json] = {
    ("monitoring.coreos.com/v1", "ServiceMonitor"): _closed(
        "selector endpoints", **_MONITOR, targetLabels=_list(_TEXT), endpoints=_list(_closed("port", **_SCRAPE), 1)
    ),
    ("monitoring.coreos.com/v1", "PodMonitor"): _closed(
        "selector podMetricsEndpoints",
        **_MONITOR,
        podMetricsEndpoints=_list(_closed("port", **_SCRAPE, portNumber=_COUNT, filterRunning=_FLAG), 1),
    ),
    ("monitoring.coreos.com/v1", "PrometheusRule"): _closed(
        "groups",
        groups=_list(
            _closed("name rules", name=_TEXT, interval=_DURATION, limit=_COUNT, labels=_TEXTS, rules=_list(_RULE, 1)), 1
        ),
    ),
    ("gateway.networking.k8s.io/v1", "HTTPRoute"): _closed(
        "parentRefs rules",
        parentRefs=_list(_PARENT, 1),
        hostnames=_list(_TEXT),
        rules=_list(
            _closed(
                "backendRefs",
                name=_TEXT,
                matches=_list(_MATCH),
                filters=_list({"type": "object", "required": ["type"]}),
                backendRefs=_list(_BACKEND, 1),
                timeouts=_closed(request=_DURATION, backendRequest=_DURATION),
                retry={"type": "object"},
                sessionPersistence={"type": "object"},
            ),
            1,
        ),
    ),
    ("ray.io/v1", "RayCluster"): _closed(
        "headGroupSpec",
        rayVersion=_TEXT,
        enableInTreeAutoscaling=_FLAG,
        autoscalerOptions={"type": "object"},
        suspend=_FLAG,
        managedBy=_TEXT,
        authOptions=_closed("mode", mode={"enum": ["token", "disabled"]}),
        headServiceAnnotations=_TEXTS,
        gcsFaultToleranceOptions={"type": "object"},
        headGroupSpec=_closed(
            "template",
            serviceType=_TEXT,
            headService={"type": "object"},
            enableIngress=_FLAG,
            rayStartParams=_TEXTS,
            resources=_TEXTS,
            labels=_TEXTS,
            template=_TEMPLATE,
        ),
        workerGroupSpecs=_list(_WORKERS),
    ),
}


def faults_of_custom(entry: Json) -> Iterator[str]:
    """What is wrong with an object of such a kind."""
    whole = _closed(
        "apiVersion kind metadata spec",
        apiVersion=_TEXT,
        kind=_TEXT,
        metadata=_closed("name", name=_TEXT, namespace=_TEXT, labels=_TEXTS, annotations=_TEXTS),
        spec=CUSTOM_KINDS[entry["apiVersion"], entry["kind"]],
    )
    for error in Draft7Validator(whole).iter_errors(entry):
        yield f"{error.json_path}: {error.message[:300]}"
