"""Shapes of values that charts have in common, as JSON Schema: by the name of the value, whatever holds it.

What is passed into a pod as it is (an affinity, a security context) is described only as far as its top: the API server
knows the rest, and it differs between versions of Kubernetes.
"""

from typing import Any

Json = dict[str, Any]
_TEXT: Json = {"type": "string"}
_TEXTS: Json = {"type": "object", "additionalProperties": _TEXT}
_LABEL_NAME = r"^(?:[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?$"
_LABELS: Json = {"type": "object", "propertyNames": {"pattern": _LABEL_NAME}, "additionalProperties": _TEXT}
_OBJECTS: Json = {"type": "array", "items": {"type": "object"}}


def _closed(required: tuple[str, ...] = (), **properties: Json) -> Json:
    made: Json = {"type": "object", "properties": properties, "additionalProperties": False}
    return made | ({"required": list(required)} if required else {})


DEFINITIONS: dict[str, Json] = {
    "quantity": {
        "type": ["string", "number"],
        "pattern": r"^[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$",
    },
    "port": {"type": "integer", "minimum": 1, "maximum": 65535},
    "resources": _closed(
        limits={"type": "object", "additionalProperties": {"$ref": "#/definitions/quantity"}},
        requests={"type": "object", "additionalProperties": {"$ref": "#/definitions/quantity"}},
        claims=_OBJECTS,
    ),
    "affinity": _closed(
        nodeAffinity={"type": "object"}, podAffinity={"type": "object"}, podAntiAffinity={"type": "object"}
    ),
    "tolerations": {
        "type": "array",
        "items": _closed(
            key=_TEXT,
            operator={"enum": ["Exists", "Equal", "Lt", "Gt"]},
            value=_TEXT,
            effect={"enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"]},
            tolerationSeconds={"type": "integer"},
        ),
    },
    "topologySpreadConstraints": {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["maxSkew", "topologyKey", "whenUnsatisfiable"],
            "properties": {
                "maxSkew": {"type": "integer", "minimum": 1},
                "topologyKey": _TEXT,
                "whenUnsatisfiable": {"enum": ["DoNotSchedule", "ScheduleAnyway"]},
            },
        },
    },
    "extraEnv": {
        "type": "array",
        "items": _closed(("name",), name={"type": "string", "minLength": 1}, value=_TEXT, valueFrom={"type": "object"}),
    },
    "serviceAccount": _closed(create={"type": "boolean"}, name=_TEXT, annotations=_TEXTS),
    "texts": {"type": "array", "items": _TEXT},
    "references": {"type": "array", "items": _closed(("name",), name={"type": "string", "minLength": 1})},
    "labels": _LABELS,
    "annotations": _TEXTS,
    "objects": _OBJECTS,
    "digest": {"type": "string", "pattern": "^(?:sha256:[0-9a-f]{64})?$"},
    "duration": {"type": "string", "pattern": "^(?:[0-9]+(?:ms|[smhdwy]))*$"},
    "pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
}

_OF_NAME = {
    "resources": "resources",
    "affinity": "affinity",
    "tolerations": "tolerations",
    "topologySpreadConstraints": "topologySpreadConstraints",
    "extraEnv": "extraEnv",
    "extraArgs": "texts",
    "imagePullSecrets": "references",
    "nodeSelector": "labels",
    "podLabels": "labels",
    "commonLabels": "labels",
    "additionalLabels": "labels",
    "labels": "labels",
    "podAnnotations": "annotations",
    "annotations": "annotations",
    "relabelings": "objects",
    "metricRelabelings": "objects",
    "extraVolumes": "objects",
    "extraVolumeMounts": "objects",
    "digest": "digest",
    "interval": "duration",
    "scrapeTimeout": "duration",
    "pullPolicy": "pullPolicy",
    "port": "port",
    "serviceAccount": "serviceAccount",
}


def shape_of(path: str) -> Json | None:
    """The shape that a value of this name has in every chart."""
    name = _OF_NAME.get(path.rpartition(".")[2])
    return {"$ref": f"#/definitions/{name}"} if name else None
