"""What has to go because something else went, and how many losses each disruption budget allows. Pure functions."""

import math
from collections.abc import Iterable, Sequence

from autoscaler.embedded.apiserver import deletion, metadata, resources, selectors
from autoscaler.embedded.apiserver.resources import Json, Resource, Value
from autoscaler.embedded.apiserver.subresources import is_ready
from autoscaler.embedded.apiserver.tables import parse_time

EVENT_LIFE_S = 3600.0  # as upstream
_EVICTION_MEMORY_S = 120.0  # as upstream: after this, an evicted pod that is still there counts as healthy again
Found = tuple[Resource, Json]


def doomed(everything: Sequence[Found], now_s: float) -> tuple[list[Found], list[Found]]:
    """Find what must be deleted, and what must lose a reference to an owner that is gone (in its new state)."""
    alive = {item["metadata"]["uid"] for _, item in everything}
    ending = {
        item["metadata"]["name"]
        for resource, item in everything
        if resource is resources.NAMESPACES and metadata.is_deleting(item)
    }
    delete: list[Found] = []
    loosen: list[Found] = []
    for resource, item in everything:
        if metadata.is_deleting(item):
            continue
        owners = item["metadata"].get("ownerReferences") or []
        gone = frozenset(owner["uid"] for owner in owners if _is_served(owner) and owner["uid"] not in alive)
        is_orphan = bool(gone) and len(gone) == len(owners)
        if is_orphan or item["metadata"].get("namespace") in ending or _is_old(resource, item, now_s):
            delete.append((resource, item))
        elif gone:
            loosen.append((resource, deletion.without_owners(item, gone)))
    return delete, loosen


def _is_served(owner: Json) -> bool:
    """An owner of a kind this server never heard of cannot be known to be gone."""
    return any((owner.get("apiVersion"), owner.get("kind")) == (r.api_version, r.kind) for r in resources.RESOURCES)


def _is_old(resource: Resource, item: Json, now_s: float) -> bool:
    return resource is resources.EVENTS and now_s - parse_time(item["metadata"]["creationTimestamp"]) > EVENT_LIFE_S


def emptied_namespaces(everything: Iterable[Found]) -> list[Json]:
    """Find the namespaces that wait for their removal and hold nothing any more."""
    found = list(everything)
    inhabited = {item["metadata"].get("namespace") for _, item in found}
    return [
        item
        for resource, item in found
        if resource is resources.NAMESPACES and metadata.is_deleting(item) and item["metadata"]["name"] not in inhabited
    ]


def budget_status(budget: Json, pods: Sequence[Json], now_s: float) -> Json:
    """Count a budget's pods and the losses it allows.

    The pods that exist stand for those expected; the real controller asks their owners' scales.
    """
    spec, matches = budget["spec"], selectors.parse_label_selector(budget["spec"].get("selector"))
    mine = [pod for pod in pods if matches(pod) and pod["status"].get("phase") not in ("Succeeded", "Failed")]
    disrupted = _still_disrupted(budget, mine, now_s)
    healthy = [
        p for p in mine if is_ready(p) and not metadata.is_deleting(p) and p["metadata"]["name"] not in disrupted
    ]
    if spec.get("maxUnavailable") is not None:
        desired = max(0, len(mine) - _amount(spec["maxUnavailable"], len(mine)))
    else:
        desired = _amount(spec.get("minAvailable", 1), len(mine))
    status: Json = {
        "observedGeneration": budget["metadata"]["generation"],
        "currentHealthy": len(healthy),
        "desiredHealthy": desired,
        "expectedPods": len(mine),
        "disruptionsAllowed": max(0, len(healthy) - desired) if mine else 0,
    }
    return status | ({"disruptedPods": disrupted} if disrupted else {})


def _still_disrupted(budget: Json, pods: Iterable[Json], now_s: float) -> dict[str, str]:
    """Pods whose eviction was granted but that still look alive; they may not be counted on."""
    waiting = {pod["metadata"]["name"] for pod in pods if not metadata.is_deleting(pod)}
    known = (budget["status"].get("disruptedPods") or {}).items()
    return {name: at for name, at in known if name in waiting and now_s - parse_time(at) <= _EVICTION_MEMORY_S}


def _amount(asked: Value, total: int) -> int:
    """Read a count or a percentage of a total, rounded up as upstream does."""
    if isinstance(asked, str):
        return math.ceil(int(asked.removesuffix("%")) * total / 100)
    return int(asked)
