"""What `kubectl get` prints: the server, not kubectl, chooses the columns and writes the cells.

Columns and cells follow the real server's, so that a person who knows one reads the other. Wide columns are those that
`-o wide` adds.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from autoscaler.embedded.apiserver import metadata, resources, selectors
from autoscaler.embedded.apiserver.resources import Json, Resource, Value
from autoscaler.embedded.apiserver.subresources import is_ready

_NONE, _UNSET, _UNKNOWN = "<none>", "<unset>", "<unknown>"
_ROLE = "node-role.kubernetes.io/"


@dataclass(frozen=True, slots=True)
class Column:
    """A heading and how to write its cell for an object at a time."""

    name: str
    cell: Callable[[Json, float], Value]
    wide: bool = False


def _field(path: str, missing: str = _NONE) -> Callable[[Json, float], Value]:
    def read(item: Json, _: float) -> Value:
        value = selectors.at(item, path)
        return missing if value is None or value == "" else value

    return read


def render_age(seconds: float) -> str:
    """Write a duration as kubectl does: two units while the first is small, then one."""
    s = int(seconds)
    minutes, hours, days = s // 60, s // 3600, s // 86400
    bounds = (
        (s < 0, "0s"),
        (s < 120, f"{s}s"),
        (minutes < 10, f"{minutes}m{s % 60}s" if s % 60 else f"{minutes}m"),
        (hours < 3, f"{minutes}m"),
        (hours < 8, f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"),
        (hours < 48, f"{hours}h"),
        (days < 8, f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"),
        (days < 730, f"{days}d"),
    )
    return next((text for is_so, text in bounds if is_so), f"{days // 365}y")


def parse_time(text: str) -> float:
    """Read a time as the API writes it, with or without fractions of a second, to Unix seconds."""
    return datetime.fromisoformat(re.sub(r"Z$", "+00:00", text)).astimezone(UTC).timestamp()


def _since(path: str) -> Callable[[Json, float], str]:
    def read(item: Json, now_s: float) -> str:
        text = selectors.at(item, path)
        return render_age(now_s - parse_time(text)) if text else _UNKNOWN

    return read


def _node_status(node: Json, _: float) -> str:
    ready = "Ready" if is_ready(node) else "NotReady"
    conditions = node.get("status", {}).get("conditions") or []
    words = [ready if any(known.get("type") == "Ready" for known in conditions) else "Unknown"]
    if node.get("spec", {}).get("unschedulable"):
        words.append("SchedulingDisabled")
    return ",".join(words)


def _node_roles(node: Json, _: float) -> str:
    labels = node["metadata"].get("labels") or {}
    return ",".join(sorted(key.removeprefix(_ROLE) for key in labels if key.startswith(_ROLE))) or _NONE


def _node_address(kind: str) -> Callable[[Json, float], str]:
    def read(node: Json, _: float) -> str:
        addresses = node.get("status", {}).get("addresses") or []
        return next((str(known.get("address", "")) for known in addresses if known.get("type") == kind), _NONE)

    return read


def _container_statuses(pod: Json) -> list[Json]:
    return pod["status"].get("containerStatuses") or []


def _pod_ready(pod: Json, _: float) -> str:
    ready = sum(bool(status.get("ready")) for status in _container_statuses(pod))
    return f"{ready}/{len(pod['spec'].get('containers') or [])}"


def _pod_status(pod: Json, _: float) -> str:
    """The most telling word: going, why a container is not running, why the pod is not, its phase."""
    if metadata.is_deleting(pod):
        return "Terminating"
    told: str = pod["status"].get("reason") or pod["status"].get("phase") or _UNKNOWN
    for status in _container_statuses(pod):
        state = status.get("state") or {}
        if word := (state.get("waiting") or {}).get("reason"):
            return str(word)
        if (ended := state.get("terminated")) is not None:
            told = ended.get("reason") or f"ExitCode:{ended.get('exitCode', 0)}"
    return told


def _pod_restarts(pod: Json, _: float) -> int:
    return sum(status.get("restartCount", 0) for status in _container_statuses(pod))


def _readiness_gates(pod: Json, _: float) -> str:
    gates = [gate.get("conditionType") for gate in pod["spec"].get("readinessGates") or []]
    true = {known.get("type") for known in pod["status"].get("conditions") or [] if known.get("status") == "True"}
    return f"{len(true.intersection(gates))}/{len(gates)}" if gates else _NONE


def _deployment_ready(deployment: Json, _: float) -> str:
    return f"{deployment['status'].get('readyReplicas', 0)}/{deployment['spec']['replicas']}"


def _count(path: str) -> Callable[[Json, float], int]:
    return lambda item, _: selectors.at(item, path) or 0


def _containers(field: str) -> Callable[[Json, float], str]:
    return lambda item, _: ",".join(known[field] for known in item["spec"]["template"]["spec"]["containers"])


def _service_ports(service: Json, _: float) -> str:
    ports = selectors.at(service, "spec.ports") or []
    return ",".join(f"{port.get('port')}/{port.get('protocol', 'TCP')}" for port in ports) or _NONE


def _bound_role(binding: Json, _: float) -> str:
    return f"{selectors.at(binding, 'roleRef.kind')}/{selectors.at(binding, 'roleRef.name')}"


def _event_object(event: Json, _: float) -> str:
    about = event.get("involvedObject") or {}
    return f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}"


def _event_age(event: Json, now_s: float) -> str:
    path = "lastTimestamp" if event.get("lastTimestamp") else "metadata.creationTimestamp"
    return _since(path)(event, now_s)


_NAME = Column("Name", _field("metadata.name"))
_AGE = Column("Age", _since("metadata.creationTimestamp"))

_COLUMNS: dict[Resource, tuple[Column, ...]] = {
    resources.NODES: (
        _NAME,
        Column("Status", _node_status),
        Column("Roles", _node_roles),
        _AGE,
        Column("Version", _field("status.nodeInfo.kubeletVersion", "")),
        Column("Internal-IP", _node_address("InternalIP"), wide=True),
        Column("External-IP", _node_address("ExternalIP"), wide=True),
        Column("OS-Image", _field("status.nodeInfo.osImage", _UNKNOWN), wide=True),
        Column("Kernel-Version", _field("status.nodeInfo.kernelVersion", _UNKNOWN), wide=True),
        Column("Container-Runtime", _field("status.nodeInfo.containerRuntimeVersion", _UNKNOWN), wide=True),
    ),
    resources.PODS: (
        _NAME,
        Column("Ready", _pod_ready),
        Column("Status", _pod_status),
        Column("Restarts", _pod_restarts),
        _AGE,
        Column("IP", _field("status.podIP"), wide=True),
        Column("Node", _field("spec.nodeName"), wide=True),
        Column("Nominated Node", _field("status.nominatedNodeName"), wide=True),
        Column("Readiness Gates", _readiness_gates, wide=True),
    ),
    resources.DEPLOYMENTS: (
        _NAME,
        Column("Ready", _deployment_ready),
        Column("Up-to-date", _count("status.updatedReplicas")),
        Column("Available", _count("status.availableReplicas")),
        _AGE,
        Column("Containers", _containers("name"), wide=True),
        Column("Images", _containers("image"), wide=True),
        Column("Selector", lambda item, _: selectors.render_label_selector(item["spec"]["selector"]), wide=True),
    ),
    resources.NAMESPACES: (_NAME, Column("Status", _field("status.phase")), _AGE),
    resources.CONFIG_MAPS: (_NAME, Column("Data", lambda item, _: len(item.get("data") or {})), _AGE),
    resources.LEASES: (_NAME, Column("Holder", _field("spec.holderIdentity", "")), _AGE),
    resources.DISRUPTION_BUDGETS: (
        _NAME,
        Column("Min Available", _field("spec.minAvailable", "N/A")),
        Column("Max Unavailable", _field("spec.maxUnavailable", "N/A")),
        Column("Allowed Disruptions", _count("status.disruptionsAllowed")),
        _AGE,
    ),
    resources.SECRETS: (
        _NAME,
        Column("Type", _field("type")),
        Column("Data", lambda item, _: len(item.get("data") or {})),
        _AGE,
    ),
    resources.SERVICES: (
        _NAME,
        Column("Type", _field("spec.type")),
        Column("Cluster-IP", _field("spec.clusterIP")),
        Column("External-IP", lambda *_: _NONE),
        Column("Port(s)", _service_ports),
        _AGE,
    ),
    resources.DAEMON_SETS: (
        _NAME,
        Column("Desired", _count("status.desiredNumberScheduled")),
        Column("Current", _count("status.currentNumberScheduled")),
        Column("Ready", _count("status.numberReady")),
        _AGE,
    ),
    resources.JOBS: (
        _NAME,
        Column("Completions", lambda item, _: f"{_count('status.succeeded')(item, _)}/{item['spec']['completions']}"),
        _AGE,
    ),
    resources.PRIORITY_CLASSES: (_NAME, Column("Value", _count("value")), _AGE),
    resources.ROLE_BINDINGS: (_NAME, Column("Role", _bound_role), _AGE),
    resources.CLUSTER_ROLE_BINDINGS: (_NAME, Column("Role", _bound_role), _AGE),
    resources.EVENTS: (
        Column("Last Seen", _event_age),
        Column("Type", _field("type", "")),
        Column("Reason", _field("reason", "")),
        Column("Object", _event_object),
        Column("Message", _field("message", "")),
        Column("Name", _field("metadata.name"), wide=True),
    ),
}


def render(resource: Resource, items: Iterable[Json], about: Json, now_s: float, *, headings: bool = True) -> Json:
    """Write objects as a Table; rows carry the objects' metadata, from which kubectl fills its label columns."""
    columns = _COLUMNS.get(resource, (_NAME, _AGE))
    definitions = [
        {"name": c.name, "type": "string", "format": "name" if c is _NAME else "", "priority": int(c.wide)}
        for c in columns
    ]
    rows = [{"cells": [column.cell(item, now_s) for column in columns], "object": _as_metadata(item)} for item in items]
    table: Json = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": about, "rows": rows}
    return table | {"columnDefinitions": definitions if headings else []}


def _as_metadata(item: Json) -> Json:
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": item["metadata"]}
