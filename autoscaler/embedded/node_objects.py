"""The Node objects of the emulated nodes: announced, kept alive, and said to be silent in the node controller's place.

A node that is asleep when the installation starts is announced too, as a cluster knows nodes that it has seen before:
with its labels and amounts, not ready, cordoned and annotated as a switch leaves the nodes it has put to sleep.
"""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime

from autoscaler.embedded import pods
from autoscaler.embedded.fleet import Guest
from autoscaler.embedded.machines import Power
from vgpu.adapters import kube
from vgpu.adapters.kube_verbs import Json
from vgpu.core import names

log = logging.getLogger(__name__)

HEARTBEAT_S = 10.0
ANNOUNCE_AGAIN_S = 1.0
# The node controller's own patience is 40 s. Shorter here: demos last minutes.
SILENCE_S = 1.0
KUBELET_VERSION = "v1.34.0-emulated"
ASLEEP_AT_START = "off"


class NodeObjects:
    """Says of every node what it is. What the API could not be told is told again."""

    def __init__(self, client: kube.Kube, guests: Mapping[str, Guest]) -> None:
        self._client = client
        self._guests = guests
        self._announced: set[str] = set()
        self._known: set[str] = set()
        """Nodes that the cluster has heard of, whatever came of it later."""
        self._told_silent: set[str] = set()
        self._silent_since_s: dict[str, float] = {}
        self._next_s = dict.fromkeys(guests, float("-inf"))

    def keep(self, power: Mapping[str, Power], now_s: float) -> None:
        """Tell what is due of each node; one that has just come up says so at once."""
        for node, guest in self._guests.items():
            has_changed = self._notice(node, is_up=power[node].is_up, now_s=now_s)
            if now_s < self._next_s[node] and not has_changed:
                continue
            try:
                if power[node].is_up:
                    self._say_alive(node, guest, power[node].label)
                    self._next_s[node] = now_s + HEARTBEAT_S
                else:
                    self._next_s[node] = self._say_silent(node, guest, now_s)
            except (kube.Unavailable, kube.NotFound, kube.Conflict) as error:
                log.warning("node %s: %s", node, error)
                self._announced.discard(node)
                self._next_s[node] = now_s + ANNOUNCE_AGAIN_S

    def is_silent(self, node: str) -> bool:
        """Whether the cluster has been told that nothing is heard of it."""
        return node in self._told_silent

    def _notice(self, node: str, *, is_up: bool, now_s: float) -> bool:
        """Remember since when a node is silent; whether that has changed."""
        was_up = node not in self._silent_since_s
        if is_up == was_up:
            return False
        if is_up:
            del self._silent_since_s[node]
            self._told_silent.discard(node)
            self._announced.discard(node)  # its labels may be others than when it went
        else:
            self._silent_since_s[node] = now_s
        return True

    def _say_alive(self, node: str, guest: Guest, label: str) -> None:
        if node not in self._announced:
            self._announce(node, guest, label)
        parts = len(guest.card.slots) if guest.card.is_shared else 0
        self._client.set_node_status(node, pods.node_status(guest.index, now(), KUBELET_VERSION, parts=parts))
        self._announced.add(node)
        self._known.add(node)

    def _say_silent(self, node: str, guest: Guest, now_s: float) -> float:
        """Say once that nothing is heard of a node; when to come back to it."""
        if node in self._told_silent:
            return float("inf")
        if node not in self._known:
            self._announce(node, guest, guest.card.profile, asleep=True)
            self._client.set_node_status(node, pods.node_status(guest.index, now(), KUBELET_VERSION, is_ready=False))
            self._client.cordon(node)
        elif now_s < self._silent_since_s[node] + SILENCE_S:
            return self._silent_since_s[node] + SILENCE_S
        else:
            self._client.set_node_status(node, {"conditions": [pods.silence(now())]})
        self._known.add(node)
        self._told_silent.add(node)
        return float("inf")

    def _announce(self, node: str, guest: Guest, label: str, *, asleep: bool = False) -> None:
        """Create the Node object, or take over the one that is there."""
        labels = {
            "kubernetes.io/hostname": node,
            names.LABEL_SCHEDULER_POLICY: str(guest.card.policy),
            names.LABEL_DEVICE_KIND: "emulated",
        }
        annotations = {names.ANNOTATION_ASLEEP: ASLEEP_AT_START} if asleep else {}
        if guest.card.is_shared:
            labels |= {names.LABEL_GPU_PRODUCT: guest.card.name.replace(" ", "-")}
            annotations |= {names.ANNOTATION_GPUS: guest.card.offer(guest.card_uuid)}
        else:
            labels |= {names.LABEL_PROFILE: label, names.LABEL_PHYSICAL_GPU: guest.card_uuid}
        about: Json = {"name": node, "labels": labels, "annotations": annotations}
        try:
            self._client.create(kube.NODES, {"apiVersion": "v1", "kind": "Node", "metadata": about})
        except kube.Conflict:
            self._client.label_node(node, labels)
            if annotations:
                self._client.annotate(kube.NODES, node, annotations)


def now() -> str:
    """The time as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
