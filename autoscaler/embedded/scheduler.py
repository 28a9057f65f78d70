"""Binds worker pods to slots: the embedded stand-in for kube-scheduler.

Which slot is decided by `vgpu.core.packing`, the same code that the autoscaler plans with. The pool's preferred nodes
come first, in their order; the rest is best fit.
"""

import logging
import threading
from collections.abc import Sequence

from vgpu.adapters import kube
from vgpu.adapters.kube_verbs import Json, Selection
from vgpu.adapters.kube_watch import Reflector
from vgpu.core import names, objects, packing
from vgpu.core.inventory import Inventory, Slot
from vgpu.core.packing import Candidate
from vgpu.core.profile import ProfileError, parse_profile

log = logging.getLogger(__name__)


def choose(pod: Json, inventory: Inventory, preferred_nodes: Sequence[str]) -> Slot | str:
    """The slot for one unbound pod, or why there is none."""
    selector = pod["spec"].get("nodeSelector") or {}
    label = selector.get(names.LABEL_PROFILE)
    if label is None:
        return f"the pod names no slot type; set nodeSelector {names.LABEL_PROFILE}"
    try:
        profile = parse_profile(label)
    except ProfileError as error:
        return str(error)
    ranks = {node: rank for rank, node in enumerate(preferred_nodes)}
    labels = {node.name: dict(node.labels) for node in inventory.nodes}

    def ordering(candidate: Candidate) -> tuple[float, ...]:
        return (ranks.get(candidate.slot.node, len(ranks)), *packing.best_fit(candidate))

    def accept(slot: Slot) -> bool:
        return all(labels[slot.node].get(key) == value for key, value in selector.items())

    placement = packing.place(inventory, profile, 1, ordering=ordering, accept=accept)
    if placement.slots:
        return placement.slots[0]
    reasons = ", ".join(f"{node}: {why}" for node, why in placement.blocked)
    return f"0/{len(inventory.nodes)} nodes are available ({reasons})"


class Scheduler:
    """Binds what is not bound, each time a pod or node changes."""

    def __init__(self, client: kube.Kube) -> None:
        self._client = client
        self._changed = threading.Event()
        self._stopped = threading.Event()
        self._refused: dict[str, str] = {}

    def run(self) -> None:
        """Schedule until stopped. Watches tell when; every pass reads the whole cluster anew."""
        watches = [self._client.watch(Selection(kind=kind)) for kind in (kube.PODS, kube.NODES)]
        threads = [threading.Thread(target=self._follow, args=(watch,), daemon=True) for watch in watches]
        for thread in threads:
            thread.start()
        while not self._stopped.is_set():
            # A pass that failed is tried again after a second even if nothing changes.
            self._changed.wait(1.0)
            self._changed.clear()
            try:
                self.schedule_all()
            except kube.Unavailable as error:
                log.warning("cannot schedule now: %s", error)
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
        for pod in sorted(waiting, key=lambda item: item["metadata"]["creationTimestamp"]):
            self._schedule(pod)

    def _schedule(self, pod: Json) -> None:
        inventory = objects.parse_inventory(self._client.list(kube.NODES), self._client.list(kube.PODS)).inventory
        slot = choose(pod, inventory, self._preferred_nodes(pod))
        name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
        if isinstance(slot, str):
            self._refuse(pod, slot)
            return
        try:
            annotations = {names.ANNOTATION_SLOT: slot.slot_id}
            self._client.bind_pod(name, namespace, node=slot.node, annotations=annotations, uid=pod["metadata"]["uid"])
            self._refused.pop(name, None)
            log.info("bound %s to %s", name, slot.slot_id)
        except (kube.Conflict, kube.NotFound) as error:
            log.info("%s changed meanwhile: %s", name, error)

    def _preferred_nodes(self, pod: Json) -> tuple[str, ...]:
        owners = pod["metadata"].get("ownerReferences") or ()
        for owner in owners:
            if owner["kind"] == "Deployment":
                try:
                    deployment = self._client.read(kube.DEPLOYMENTS, owner["name"], pod["metadata"]["namespace"])
                except kube.NotFound:
                    return ()
                text = (deployment["metadata"].get("annotations") or {}).get(names.ANNOTATION_PREFERRED_NODES, "")
                return tuple(node for node in text.split(",") if node)
        return ()

    def _refuse(self, pod: Json, why: str) -> None:
        """Say once, on the pod, why it waits."""
        name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
        if self._refused.get(name) == why:
            return
        self._refused[name] = why
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": why}
        try:
            self._client.set_pod_status(name, namespace, {"conditions": [condition]})
        except (kube.Conflict, kube.NotFound) as error:
            log.info("%s changed meanwhile: %s", name, error)

    def _follow(self, watch: Reflector) -> None:
        for _ in watch.deltas():
            self._changed.set()
