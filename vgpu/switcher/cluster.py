"""Kubernetes as the switcher sees and changes it: nodes, the pods on them, and Events about them."""

import logging
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from vgpu.adapters.kube_errors import Conflict, NotFound, Unavailable
from vgpu.adapters.kube_verbs import LEASES, NODES, PODS, Event, Kind, Subject, Verbs
from vgpu.core import names
from vgpu.core.hold import is_finished
from vgpu.core.profile import ProfileError
from vgpu.core.slot_type import parse_slot_type
from vgpu.core.switching.seen import NodeSeen, PodSeen

log = logging.getLogger(__name__)

Json = dict[str, Any]

COMPONENT = "vgpu-serve-switcher"
NODE_LEASES = "kube-node-lease"  # the namespace in which kubelets renew a lease by their node's name
_MIRROR = "kubernetes.io/config.mirror"  # a static pod: the kubelet's own, nobody else can remove it


class Cluster:
    """One cluster. Every call raises `Unavailable` where nothing is known."""

    def __init__(self, verbs: Verbs) -> None:
        self._verbs = verbs

    def nodes(self, wanted: Iterable[str]) -> dict[str, NodeSeen]:
        """These nodes; those that do not exist are left out."""
        found: dict[str, NodeSeen] = {}
        for name in sorted(set(wanted)):
            if (node := self._read(NODES, name)) is not None:
                found[name] = parse_node(node, self._read(LEASES, name, NODE_LEASES))
        return found

    def pods(self, nodes: Iterable[str]) -> tuple[PodSeen, ...]:
        """The pods on these nodes that have to go before a node may: not a DaemonSet's, no mirror, none finished."""
        found: list[PodSeen] = []
        for node in sorted(set(nodes)):
            listed = self._list(PODS, fields=f"spec.nodeName={node}")
            found += [parse_pod(pod) for pod in listed if counts(pod)]
        return tuple(sorted(found, key=lambda pod: pod.key))

    def everything(self) -> tuple[tuple[Json, ...], tuple[Json, ...]]:
        """All nodes and all pods that are not finished, as the API has them."""
        return self._list(NODES), self._list(PODS, fields="status.phase!=Succeeded,status.phase!=Failed")

    def give_up(self, node: str, layout: str) -> None:
        """Cordon a node and mark it as leaving for a layout, in one write. One that does not exist is left alone."""
        self._set(node, unschedulable=True, annotations={names.ANNOTATION_LEAVING: layout})

    def put_to_sleep(self, node: str, layout: str) -> None:
        """Mark a node that was given up as asleep instead of leaving; it stays cordoned."""
        marks = {names.ANNOTATION_LEAVING: None, names.ANNOTATION_ASLEEP: layout}
        self._set(node, unschedulable=True, annotations=marks)

    def take_back(self, node: str, *, stays_cordoned: bool = False) -> None:
        """Uncordon a node, unless it stays so, and remove both marks, in one write."""
        self._set(
            node,
            unschedulable=None if stays_cordoned else False,
            annotations=dict.fromkeys((names.ANNOTATION_LEAVING, names.ANNOTATION_ASLEEP)),
        )

    def evict(self, pod: PodSeen) -> None:
        """Ask a pod to go, once. Raises `TooManyRequests` where its disruption budget says not now."""
        namespace, _, name = pod.key.partition("/")
        try:
            self._verbs.evict(name, namespace, uid=pod.uid)
        except (NotFound, Conflict):
            return  # it has gone; another of its name is another pod, seen next time

    def tell(self, events: Iterable[Event]) -> None:
        """Write Events; one that cannot be written is logged, for telling must not hold up doing."""
        for event in events:
            try:
                self._verbs.record_event(event, wall=datetime.now(UTC))
            except (Unavailable, Conflict, NotFound) as fault:
                log.warning("cannot write an Event (%s): %s", fault, event.message)

    def _read(self, kind: Kind, name: str, namespace: str = "") -> Json | None:
        """One object; None where it is not there."""
        try:
            return self._verbs.read(kind, name, namespace)
        except NotFound:
            return None
        except Conflict as fault:
            raise Unavailable(fault.what, fault.why) from fault

    def _list(self, kind: Kind, *, fields: str = "") -> tuple[Json, ...]:
        try:
            return self._verbs.list(kind, fields=fields)
        except (NotFound, Conflict) as fault:
            raise Unavailable(fault.what, fault.why) from fault

    def _set(self, node: str, *, unschedulable: bool | None, annotations: Mapping[str, str | None]) -> None:
        try:
            self._verbs.set_node(node, unschedulable=unschedulable, annotations=annotations)
        except NotFound:
            return
        except Conflict as fault:
            raise Unavailable(fault.what, fault.why) from fault


def parse_node(node: Json, lease: Json | None = None) -> NodeSeen:
    """Read a node and the kubelet's lease on it.

    Its heartbeat is what the kubelet writes while it lives: the lease, every 10 s, and the Ready condition, every 5 min
    where nothing changes (Kubernetes, "Nodes", heartbeats).
    """
    about, spec, status = node["metadata"], node.get("spec") or {}, node.get("status") or {}
    labels, annotations = about.get("labels") or {}, about.get("annotations") or {}
    ready: Json = next((each for each in status.get("conditions") or () if each.get("type") == "Ready"), {})
    amounts = {**(status.get("capacity") or {}), **(status.get("allocatable") or {})}
    gpus = str(amounts.get(names.RESOURCE_GPU, 0))
    renewed = ((lease or {}).get("spec") or {}).get("renewTime")
    return NodeSeen(
        name=about["name"],
        ready=ready.get("status") == "True",
        schedulable=not spec.get("unschedulable", False),
        leaving=names.ANNOTATION_LEAVING in annotations,
        asleep=names.ANNOTATION_ASLEEP in annotations,
        profile=_spelt(labels.get(names.LABEL_PROFILE) or labels.get(names.LABEL_PROFILE_LEGACY, "")),
        conflict=annotations.get(names.ANNOTATION_LABEL_CONFLICT, ""),
        gpus=int(gpus) if gpus.isascii() and gpus.isdecimal() else 0,
        heartbeat=" ".join(filter(None, (ready.get("lastHeartbeatTime"), renewed))),
    )


def _spelt(label: str) -> str:
    """A slot type as we write it; what is none stays as it stands."""
    try:
        return parse_slot_type(label).label
    except ProfileError:
        return label


def counts(pod: Json) -> bool:
    """Whether a node must wait for this pod to go."""
    about = pod["metadata"]
    owned = any(
        owner.get("kind") == "DaemonSet" and owner.get("controller") for owner in about.get("ownerReferences") or ()
    )
    return not owned and _MIRROR not in (about.get("annotations") or {}) and not is_finished(pod)


def parse_pod(pod: Json) -> PodSeen:
    """Read a pod that is bound to a node."""
    about = pod["metadata"]
    return PodSeen(
        key=f"{about.get('namespace', '')}/{about['name']}",
        uid=about["uid"],
        node=pod["spec"]["nodeName"],
        is_worker=names.LABEL_POOL in (about.get("labels") or {}),
        deleting="deletionTimestamp" in about,
    )


def node_event(node: str, reason: str, message: str, *, is_warning: bool = False) -> Event:
    """Something to tell where `kubectl describe node` shows it; the uid is the name, as in the kubelet's own Events."""
    subject = Subject(kind="Node", name=node, uid=node)
    return Event(subject=subject, reason=reason, message=message, component=COMPONENT, is_warning=is_warning)
