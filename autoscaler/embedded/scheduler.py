"""Binds worker pods to slots: the embedded stand-in for kube-scheduler.

Which slot is decided by `vgpu.core.packing`, the same code that the autoscaler plans with. The pool's preferred nodes
come first, in their order; the rest is best fit. Pods that ask for units of a card go to the extender, over HTTP, as
kube-scheduler hands them to it.
"""

import logging
import threading
from collections.abc import Mapping, Sequence

from autoscaler.embedded.extension import ExtenderFailed, Extension
from vgpu.adapters import kube
from vgpu.adapters.kube_verbs import Json, Selection
from vgpu.adapters.kube_watch import Reflector
from vgpu.core import names, objects, packing, request
from vgpu.core.inventory import Inventory, Slot
from vgpu.core.packing import Candidate
from vgpu.core.profile import ProfileError, parse_profile

log = logging.getLogger(__name__)

RETRY_S = 1.0
Labels = Mapping[str, Mapping[str, str]]
"""Every node's labels, by its name."""


def choose(pod: Json, inventory: Inventory, labels: Labels, preferred_nodes: Sequence[str]) -> Slot | str:
    """The slot for one unbound pod, or why there is none."""
    selector = pod["spec"].get("nodeSelector") or {}
    if names.LABEL_PROFILE not in selector:
        return f"the pod names no slot type; set nodeSelector {names.LABEL_PROFILE}"
    try:
        profile = parse_profile(selector[names.LABEL_PROFILE])
        if (count := objects.slots_requested(pod)) != 1:
            return f"the pod asks for {count} slots; set limits {names.RESOURCE_GPU}: 1"
    except (ProfileError, ValueError) as error:
        return str(error)
    ranks = {node: rank for rank, node in enumerate(preferred_nodes)}

    def ordering(candidate: Candidate) -> tuple[float, ...]:
        return (ranks.get(candidate.slot.node, len(ranks)), *packing.best_fit(candidate))

    def accept(slot: Slot) -> bool:
        return selector.items() <= labels[slot.node].items()

    placement = packing.place(inventory, profile, 1, ordering=ordering, accept=accept)
    if placement.slots:
        return placement.slots[0]
    reasons = ", ".join(f"{node}: {why}" for node, why in placement.blocked)
    return f"0/{len(inventory.nodes)} nodes are available ({reasons})"


def asks_for_units(pod: Json) -> bool:
    """Whether the extender manages what the pod asks for."""
    spec = pod["spec"]
    asked = [
        container.get("resources") or {}
        for key in ("containers", "initContainers")
        for container in spec.get(key) or ()
    ]
    return any(
        names.RESOURCE_VGPU in (resources.get(kind) or {}) for resources in asked for kind in ("limits", "requests")
    )


def takes_pods(node: Json) -> bool:
    """Ready and not cordoned."""
    conditions = (node.get("status") or {}).get("conditions") or ()
    is_ready = any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)
    return is_ready and not (node.get("spec") or {}).get("unschedulable", False)


class Scheduler:
    """Binds what is not bound, each time a pod or node changes."""

    def __init__(self, client: kube.Kube, extension: Extension | None = None) -> None:
        self._client = client
        self._extension = extension
        self._changed = threading.Event()
        self._stopped = threading.Event()
        self._refused: dict[str, str] = {}
        """Why each waiting pod, by uid, was told to wait."""

    def run(self) -> None:
        """Schedule until stopped. Watches tell when; every pass reads the whole cluster anew."""
        watches = [self._client.watch(Selection(kind=kind)) for kind in (kube.PODS, kube.NODES)]
        for watch in watches:
            threading.Thread(target=self._follow, args=(watch,), name="scheduler-watch", daemon=True).start()
        while not self._stopped.is_set():
            try:
                self.schedule_all()
            except kube.Unavailable as error:
                log.warning("cannot schedule now: %s", error)
            # A pass that failed is tried again even if nothing changes.
            self._changed.wait(RETRY_S)
            self._changed.clear()
        for watch in watches:
            watch.stop()

    def stop(self) -> None:
        """End `run`."""
        self._stopped.set()
        self._changed.set()

    def schedule_all(self) -> None:
        """Bind every pod that fits somewhere, oldest first. Raises `Unavailable`."""
        waiting = [
            pod
            for pod in self._client.list(kube.PODS, fields="spec.nodeName=")
            if "deletionTimestamp" not in pod["metadata"]
        ]
        uids = {pod["metadata"]["uid"] for pod in waiting}
        self._refused = {uid: why for uid, why in self._refused.items() if uid in uids}
        for pod in sorted(waiting, key=lambda item: str(item["metadata"]["creationTimestamp"])):
            try:
                self._schedule(pod)
            except (kube.Conflict, kube.NotFound) as error:
                log.info("%s changed meanwhile: %s", request.pod_key(pod), error)
            except ExtenderFailed as error:
                log.warning("%s: %s", request.pod_key(pod), error)

    def _schedule(self, pod: Json) -> None:
        """Bind one pod, or say once, on the pod, why it waits."""
        nodes = self._client.list(kube.NODES)
        if asks_for_units(pod):
            self._extend(pod, nodes)
            return
        inventory = objects.parse_inventory(nodes, self._client.list(kube.PODS)).inventory
        labels = {node["metadata"]["name"]: node["metadata"].get("labels") or {} for node in nodes}
        slot = choose(pod, inventory, labels, self._preferred_nodes(pod))
        name, namespace, uid = (pod["metadata"][key] for key in ("name", "namespace", "uid"))
        if isinstance(slot, Slot):
            annotations = {names.ANNOTATION_SLOT: slot.slot_id}
            self._client.bind_pod(name, namespace, node=slot.node, annotations=annotations, uid=uid)
            log.info("bound %s to %s", name, slot.slot_id)
        else:
            self._refuse(pod, slot)

    def _extend(self, pod: Json, nodes: Sequence[Json]) -> None:
        """Have the extender choose among the nodes that take pods, the preferred ones first, and bind."""
        if self._extension is None:
            self._refuse(pod, f"the pod asks for {names.RESOURCE_VGPU}, and no extender is configured for it")
            return
        selector = (pod["spec"].get("nodeSelector") or {}).items()
        open_nodes = [
            node["metadata"]["name"]
            for node in nodes
            if takes_pods(node) and selector <= (node["metadata"].get("labels") or {}).items()
        ]
        preferred = [node for node in self._preferred_nodes(pod) if node in open_nodes]
        why: Mapping[str, str] = {}
        for among in (preferred[:1], preferred, open_nodes):
            passed, why = self._extension.filter(pod, among) if among else ((), why)
            if passed:
                self._extension.bind(pod, passed[0])
                log.info("bound %s to %s by the extender", pod["metadata"]["name"], passed[0])
                return
        reasons = ", ".join(f"{node}: {reason}" for node, reason in sorted(why.items()))
        self._refuse(pod, f"0/{len(nodes)} nodes are available ({reasons})")

    def _refuse(self, pod: Json, message: str) -> None:
        """Say once, on the pod, why it waits."""
        name, namespace, uid = (pod["metadata"][key] for key in ("name", "namespace", "uid"))
        if self._refused.get(uid) != message:
            condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
            self._client.set_pod_status(name, namespace, {"conditions": [condition]})
            self._refused[uid] = message

    def _preferred_nodes(self, pod: Json) -> tuple[str, ...]:
        """What the autoscaler wrote on the pool's Deployment, or for the pod's group on its RayCluster."""
        group = (pod["metadata"].get("labels") or {}).get(names.LABEL_RAY_GROUP)
        kinds = {
            "Deployment": (kube.DEPLOYMENTS, names.ANNOTATION_PREFERRED_NODES),
            "RayCluster": (kube.RAYCLUSTERS, f"{names.ANNOTATION_PREFIX_PREFERRED_NODES}{group}"),
        }
        for owner in pod["metadata"].get("ownerReferences") or ():
            if owner["kind"] in kinds:
                kind, annotation = kinds[owner["kind"]]
                item = self._client.read(kind, owner["name"], pod["metadata"]["namespace"])
                text = (item["metadata"].get("annotations") or {}).get(annotation, "")
                return tuple(node for node in text.split(",") if node)
        return ()

    def _follow(self, watch: Reflector) -> None:
        for _ in watch.deltas():
            self._changed.set()
