"""What kube-scheduler sends and reads: the v1 extender protocol as JSON.

The scheduler's Go types carry no JSON names, so its keys are capitalised; Go ignores case in reading, so keys are taken
here in any case. Lists are never null: a null `NodeNames` makes the scheduler look at `Nodes` instead. Only an answer
of 200 is read, so failures are said in `Error`. Source: `k8s.io/kube-scheduler/extender/v1`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

Json = Mapping[str, Any]

MOST_SCORE = 10  # of prioritize; the scheduler multiplies by the extender's weight


class Malformed(ValueError):
    """A request that is not of the protocol."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterRequest:
    """A pod and the nodes it may go to. `nodes` has the objects where the scheduler sent them and not only names."""

    pod: Json
    names: Sequence[str]
    nodes: Mapping[str, Json] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BindRequest:
    """Which pod to bind where."""

    name: str
    namespace: str
    uid: str
    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PreemptRequest:
    """A pod and, by node, the uids of those that would have to go and how many budgets that breaks."""

    pod: Json
    victims: Mapping[str, tuple[tuple[str, ...], int]]


def parse_filter(body: bytes) -> FilterRequest:
    """Read what filter and prioritize get; raise Malformed."""
    given = parse_body(body)
    pod = parse_pod(given)
    if (listed := get(given, "NodeNames")) is not None:
        if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
            raise Malformed("NodeNames must be a list of names")
        return FilterRequest(pod=pod, names=listed, nodes=None)
    if (node_list := get(given, "Nodes")) is None:
        raise Malformed("NodeNames and Nodes are both missing; the scheduler's extender configuration decides which")
    items = get(as_object(node_list, "Nodes"), "items") or []
    if not isinstance(items, list):
        raise Malformed("Nodes.items must be a list")
    try:
        nodes = {str(node["metadata"]["name"]): node for node in items}
    except (TypeError, KeyError):
        raise Malformed("Nodes.items must be nodes with metadata.name") from None
    return FilterRequest(pod=pod, names=list(nodes), nodes=nodes)


def parse_pod(given: Json) -> Json:
    """Read the pod in a request, with the name and uid that everything here relies on; raise Malformed."""
    pod = as_object(get(given, "Pod"), "Pod")
    about = as_object(pod.get("metadata"), "Pod.metadata")
    for key in ("name", "uid"):
        if not isinstance(about.get(key), str) or not about[key]:
            raise Malformed(f"Pod.metadata.{key} is missing")
    return check_pod(pod)


def check_pod(pod: dict[str, Any]) -> dict[str, Any]:
    """Insist on what is read of a pod being of the types it has in Kubernetes; raise Malformed."""
    about, spec = (_if_any(pod.get(key), f"{key} of the pod") for key in ("metadata", "spec"))
    for part, key in ((about, "annotations"), (spec, "nodeSelector"), (spec, "overhead")):
        _if_any(part.get(key), key)
    for field in ("initContainers", "containers"):
        for container in _named(spec.get(field), field):
            resources = _if_any(container.get("resources"), "resources of a container")
            for key in ("limits", "requests"):
                _if_any(resources.get(key), f"{key} of a container")
            _named(container.get("env"), "env of a container")
    return pod


def _if_any(value: object, what: str) -> dict[str, Any]:
    return {} if value is None else as_object(value, what)


def _named(value: object, what: str) -> list[dict[str, Any]]:
    """Insist on a list of objects with names, or on nothing."""
    if value is not None and not isinstance(value, list):
        raise Malformed(f"{what} must be a list")
    items = [as_object(item, f"each of {what}") for item in value or ()]
    if not all(isinstance(item.get("name"), str) for item in items):
        raise Malformed(f"name is missing in {what}")
    return items


def parse_bind(body: bytes) -> BindRequest:
    """Read what bind gets; raise Malformed."""
    given = parse_body(body)
    texts = {key: get(given, key) for key in ("PodName", "PodNamespace", "PodUID", "Node")}
    for key, text in texts.items():
        if not isinstance(text, str) or not text:
            raise Malformed(f"{key} is missing")
    return BindRequest(
        name=str(texts["PodName"]),
        namespace=str(texts["PodNamespace"]),
        uid=str(texts["PodUID"]),
        node=str(texts["Node"]),
    )


def parse_preempt(body: bytes) -> PreemptRequest:
    """Read what preempt gets, with victims as uids or as whole pods; raise Malformed."""
    given = parse_body(body)
    by_node = get(given, "NodeNameToMetaVictims") or get(given, "NodeNameToVictims") or {}
    victims: dict[str, tuple[tuple[str, ...], int]] = {}
    for node, entry in as_object(by_node, "NodeNameToMetaVictims").items():
        found = as_object(entry, node)
        pods, violations = get(found, "Pods") or [], get(found, "NumPDBViolations") or 0
        if not isinstance(pods, list) or not isinstance(violations, int):
            raise Malformed(f"{node}: Pods must be a list and NumPDBViolations a number")
        victims[node] = (tuple(_uid(as_object(pod, "Pods[]")) for pod in pods), violations)
    return PreemptRequest(pod=parse_pod(given), victims=victims)


def _uid(pod: Json) -> str:
    return str(get(pod, "UID") or _if_any(pod.get("metadata"), "metadata").get("uid") or "")


def render_filter(
    asked: FilterRequest,
    passed: Sequence[str],
    *,
    short: Mapping[str, str] | None = None,
    hopeless: Mapping[str, str] | None = None,
) -> bytes:
    """Write a filter's answer, in the form that was asked for."""
    answer: dict[str, Any] = {
        "NodeNames": passed,
        "FailedNodes": short or {},
        "FailedAndUnresolvableNodes": hopeless or {},
        "Error": "",
    }
    if asked.nodes is not None:
        answer["Nodes"] = {"metadata": {}, "items": [asked.nodes[name] for name in passed]}
    return orjson.dumps(answer)


def render_filter_error(text: str) -> bytes:
    """Write that a filter failed: the scheduler ends this attempt and tries the pod again later."""
    return orjson.dumps(
        {"Nodes": {"metadata": {}, "items": []}, "NodeNames": [], "FailedNodes": {}, "FailedAndUnresolvableNodes": {}}
        | {"Error": text or "failed"}
    )


def render_scores(scores: Mapping[str, int]) -> bytes:
    """Write a prioritize's answer."""
    return orjson.dumps([{"Host": node, "Score": score} for node, score in scores.items()])


def render_bind(error: str = "") -> bytes:
    """Write a bind's answer; empty means bound."""
    return orjson.dumps({"Error": error})


def render_preempt(victims: Mapping[str, tuple[tuple[str, ...], int]]) -> bytes:
    """Write a preempt's answer: always with uids, as the scheduler reads it."""
    return orjson.dumps(
        {
            "NodeNameToMetaVictims": {
                node: {"Pods": [{"UID": uid} for uid in uids], "NumPDBViolations": violations}
                for node, (uids, violations) in victims.items()
            }
        }
    )


def parse_body(body: bytes) -> dict[str, Any]:
    """Read a body that must be an object; raise Malformed."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as fault:
        raise Malformed(f"the body is no JSON: {fault}") from None
    return as_object(value, "the body")


def as_object(value: object, what: str) -> dict[str, Any]:
    """Insist on an object; raise Malformed."""
    if not isinstance(value, dict):
        raise Malformed(f"{what} must be an object")
    return value


def as_manifest(value: object) -> dict[str, Any]:
    """Insist on a pod that has at least metadata and a spec; raise Malformed."""
    pod = as_object(value, "the pod")
    as_object(pod.get("metadata"), "metadata of the pod")
    as_object(pod.get("spec"), "spec of the pod")
    return check_pod(pod)


def as_node(value: object) -> dict[str, Any]:
    """Insist on a node that has at least a name; raise Malformed."""
    node = as_object(value, "a node")
    about, status = as_object(node.get("metadata"), "metadata of a node"), _if_any(node.get("status"), "status")
    if not about.get("name"):
        raise Malformed("metadata.name of a node is missing")
    for part, key in ((about, "annotations"), (status, "capacity"), (status, "allocatable"), (about, "labels")):
        _if_any(part.get(key), f"{key} of a node")
    if not all(isinstance(label, str) for label in (about.get("labels") or {}).values()):
        raise Malformed("labels of a node must be texts")
    return node


def get(given: Json, key: str) -> Any:  # noqa: ANN401 - JSON is of any type
    """Find a key in any case; the exact spelling first."""
    if key in given:
        return given[key]
    lowered = key.lower()
    return next((value for name, value in given.items() if name.lower() == lowered), None)
