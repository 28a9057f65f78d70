"""How many pods a Deployment lacks or has too many, which go first, and what its status says. A pure function.

A stand-in for the Deployment and ReplicaSet controllers in one: it makes pods directly, with no ReplicaSet between.
The order of removal is that of ActivePodsWithRanks in kubernetes pkg/controller/controller_utils.go.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from autoscaler.embedded.apiserver import metadata, resources
from autoscaler.embedded.apiserver.resources import Json, Value
from autoscaler.embedded.apiserver.subresources import is_ready

TEMPLATE_HASH = "pod-template-hash"
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
FINISHED_KEPT = 5  # ended pods left for a person to look at; upstream keeps 12500 in a cluster
_FINISHED = ("Succeeded", "Failed")
_PHASE_ORDER = {"Pending": 0, "Unknown": 1, "Running": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """What to do for one Deployment."""

    create: tuple[Json, ...]
    delete: tuple[Json, ...]
    status: Json


def reconcile(deployment: Json, pods: Sequence[Json], now_s: float) -> Reconciliation:
    """Compare a Deployment with the pods of its namespace."""
    own = [pod for pod in pods if _is_controlled_by(pod, deployment)]
    active = [pod for pod in own if not metadata.is_deleting(pod) and pod["status"].get("phase") not in _FINISHED]
    wanted = deployment["spec"]["replicas"]
    delete = removal_order(active)[: max(0, len(active) - wanted)]
    if len(active) == wanted:
        delete = _outdated(deployment, active)
    finished = [pod for pod in own if pod["status"].get("phase") in _FINISHED and not metadata.is_deleting(pod)]
    finished.sort(key=lambda pod: int(pod["metadata"]["resourceVersion"]), reverse=True)
    missing = max(0, wanted - len(active))
    return Reconciliation(
        create=tuple(new_pod(deployment) for _ in range(missing)),
        delete=(*delete, *finished[FINISHED_KEPT:]),
        status=_status(deployment, active, now_s),
    )


def _outdated(deployment: Json, active: Sequence[Json]) -> list[Json]:
    """Choose the pods to take away because their template has changed; new ones take their place.

    Those that are not ready go at once, the others one at a time and only while every pod is ready.
    """
    outdated = [pod for pod in removal_order(active) if not _is_current(pod, deployment)]
    unready = [pod for pod in outdated if not is_ready(pod)]
    return unready or (outdated[:1] if all(is_ready(pod) for pod in active) else [])


def _is_controlled_by(pod: Json, deployment: Json) -> bool:
    owners = pod["metadata"].get("ownerReferences") or []
    return any(owner.get("controller") and owner["uid"] == deployment["metadata"]["uid"] for owner in owners)


def template_hash(deployment: Json) -> str:
    """Name a pod template by its content."""
    text = json.dumps(deployment["spec"]["template"], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _is_current(pod: Json, deployment: Json) -> bool:
    return bool((pod["metadata"].get("labels") or {}).get(TEMPLATE_HASH) == template_hash(deployment))


def new_pod(deployment: Json) -> Json:
    """Make a pod from a Deployment's template; the server completes its name."""
    had, template = deployment["metadata"], deployment["spec"]["template"]
    about = template.get("metadata") or {}
    owner = {
        "apiVersion": resources.DEPLOYMENTS.api_version,
        "kind": resources.DEPLOYMENTS.kind,
        "name": had["name"],
        "uid": had["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    labels = (about.get("labels") or {}) | {TEMPLATE_HASH: template_hash(deployment)}
    born: Json = {"generateName": f"{had['name']}-", "labels": labels, "ownerReferences": [owner]}
    if about.get("annotations"):
        born["annotations"] = about["annotations"]
    return {"metadata": born, "spec": template["spec"]}


def removal_order(pods: Sequence[Json]) -> list[Json]:
    """Sort pods by who goes first.

    Unassigned before assigned, pending before running, not ready before ready, cheaper to delete before dearer,
    on a node with more of them before fewer, ready for a shorter time before longer, more restarts, then newer.
    """
    on_node = Counter(pod["spec"].get("nodeName") for pod in pods)

    def rank(pod: Json) -> tuple[Value, ...]:
        node = pod["spec"].get("nodeName")
        restarts = max(
            (known.get("restartCount", 0) for known in pod["status"].get("containerStatuses") or []), default=0
        )
        return (
            bool(node),
            _PHASE_ORDER.get(pod["status"].get("phase", ""), 1),
            is_ready(pod),
            _deletion_cost(pod),
            -on_node[node],
            _Newest(_ready_since(pod)),
            -restarts,
            _Newest(pod["metadata"]["creationTimestamp"]),
            pod["metadata"]["name"],
        )

    return sorted(pods, key=rank)


@dataclass(frozen=True, slots=True)
class _Newest:
    """Times as text: unknown first, then the latest."""

    text: str

    def __lt__(self, other: "_Newest") -> bool:
        return self.text > other.text if self.text and other.text else self.text < other.text


def _deletion_cost(pod: Json) -> int:
    """Read a pod's cost of deletion; as upstream, what is not a number counts as 0."""
    text = (pod["metadata"].get("annotations") or {}).get(DELETION_COST, "0")
    try:
        return int(text)
    except ValueError:
        return 0


def _ready_since(pod: Json) -> str:
    for known in pod["status"].get("conditions") or []:
        if known.get("type") == "Ready" and known.get("status") == "True":
            return known.get("lastTransitionTime") or ""
    return ""


def _status(deployment: Json, active: Sequence[Json], now_s: float) -> Json:
    wanted, ready = deployment["spec"]["replicas"], sum(map(is_ready, active))
    updated = sum(_is_current(pod, deployment) for pod in active)
    counts = {"replicas": len(active), "updatedReplicas": updated, "readyReplicas": ready, "availableReplicas": ready}
    counts["unavailableReplicas"] = max(0, wanted - ready)
    done = updated == wanted == len(active) == ready
    conditions = [  # Available asks for every replica; upstream forgives maxUnavailable of them
        ("Available", ready >= wanted, "MinimumReplicasAvailable", "MinimumReplicasUnavailable"),
        ("Progressing", True, "NewReplicaSetAvailable" if done else "ReplicaSetUpdated", ""),
    ]
    return {
        "observedGeneration": deployment["metadata"]["generation"],
        **{name: count for name, count in counts.items() if count},  # as upstream, a count of zero is left out
        "conditions": [
            _condition(deployment, kind, is_so, (yes if is_so else no), now_s) for kind, is_so, yes, no in conditions
        ],
    }


def _condition(deployment: Json, kind: str, is_so: bool, reason: str, now_s: float) -> Json:
    """Write a condition; its time moves only when its answer does."""
    word = "True" if is_so else "False"
    since = metadata.timestamp(now_s)
    for known in deployment["status"].get("conditions") or []:
        if known.get("type") == kind and known.get("status") == word:
            since = known.get("lastTransitionTime", since)
    return {"type": kind, "status": word, "reason": reason, "lastTransitionTime": since}
