"""Writes on the node object what the cards say: profile label, conflict, the list of cards, and units where asked.

Rule: read, compare, write only what differs, so that a quiet node costs one read a pass. A label is written only onto
the version of the node that was read without one, so that nobody's label is ever replaced.
"""

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

from vgpu.adapters import kube
from vgpu.adapters.kube import Conflict, Event, NotFound, Request, Subject, Unavailable
from vgpu.adapters.kube_verbs import MERGE
from vgpu.core import names
from vgpu.deviceplugin.devices import Catalogue
from vgpu.deviceplugin.labeller import judge, render_offer
from vgpu.deviceplugin.metrics import PluginMetrics
from vgpu.deviceplugin.roster import Roster

PASS_S = 60.0
COMPONENT = "vgpu-deviceplugin"
_log = logging.getLogger(__name__)

Json = dict[str, Any]


class Api(Protocol):
    """What is asked of Kubernetes."""

    def read(self, kind: kube.Kind, name: str, namespace: str = "") -> Json:
        """Read one object."""

    def send(self, request: Request) -> Json:
        """Send one request."""

    def annotate(self, kind: kube.Kind, name: str, annotations: dict[str, str | None], namespace: str = "") -> Json:
        """Set annotations; None removes one."""

    def set_node_status(self, name: str, status: Json) -> Json:
        """Merge into a node's status."""

    def record_event(self, event: Event, *, wall: datetime) -> None:
        """Tell about an object."""


class NodeWriter:
    """Keeps one node's object true to its cards. `resource` empty leaves the node's status to the kubelet."""

    def __init__(
        self,
        *,
        api: Api,
        node: str,
        roster: Roster,
        metrics: PluginMetrics,
        resource: str = "",
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._api = api
        self._node = node
        self._roster = roster
        self._metrics = metrics
        self._resource = resource
        self._wall = wall
        self._stopping = threading.Event()
        self.has_written = False
        """Whether the last pass went through."""

    def write(self, catalogue: Catalogue) -> None:
        """One pass; what the API does not let through is counted and tried again with the next."""
        try:
            self._write(catalogue)
        except (Unavailable, Conflict, NotFound) as failure:
            self._metrics.count_api_failure()
            self.has_written = False
            _log.warning("node %s: %s; again in %.0f s", self._node, failure, PASS_S)
            return
        self.has_written = True

    def start(self) -> None:
        """Write on every change, and once a minute."""
        threading.Thread(target=self._write_for_ever, name="node-writer", daemon=True).start()

    def stop(self) -> None:
        """Write no more; what is written stays, for the containers on the cards stay too."""
        self._stopping.set()

    def _write_for_ever(self) -> None:
        number = 0
        while not self._stopping.is_set():
            edition = self._roster.wait_beyond(number, timeout_s=PASS_S) or self._roster.edition
            if edition.number and not self._stopping.is_set():
                self.write(edition.catalogue)
            number = edition.number

    def _write(self, catalogue: Catalogue) -> None:
        node = self._api.read(kube.NODES, self._node)
        labels: dict[str, str] = node["metadata"].get("labels") or {}
        annotations: dict[str, str] = node["metadata"].get("annotations") or {}
        verdict = judge(labels, catalogue.cards)
        if verdict.write:
            self._label(node, verdict.write)  # first: any other write makes another version of the node
        if verdict.is_known:
            self._flag(node, annotations.get(names.ANNOTATION_LABEL_CONFLICT, ""), verdict.conflict)
        rendered = render_offer(catalogue)
        if annotations.get(names.ANNOTATION_GPUS) != rendered:
            self._api.annotate(kube.NODES, self._node, {names.ANNOTATION_GPUS: rendered})
        if self._resource:
            self._advertise(node, str(catalogue.healthy_count()))

    def _label(self, node: Json, value: str) -> None:
        about = {"resourceVersion": node["metadata"]["resourceVersion"], "labels": {names.LABEL_PROFILE: value}}
        path = kube.NODES.path(name=self._node)
        try:
            self._api.send(Request("PATCH", path, body={"metadata": about}, content_type=MERGE))
        except Conflict:
            _log.info("node %s changed meanwhile; its label waits for the next pass", self._node)
            return
        _log.info("node %s labelled %s=%s", self._node, names.LABEL_PROFILE, value)

    def _flag(self, node: Json, flagged: str, conflict: str) -> None:
        self._metrics.set_label_conflict(bool(conflict))
        if flagged == conflict:
            return
        self._api.annotate(kube.NODES, self._node, {names.ANNOTATION_LABEL_CONFLICT: conflict or None})
        message = conflict or "the node's profile label and its devices agree again"
        _log.log(logging.WARNING if conflict else logging.INFO, "node %s: %s", self._node, message)
        event = Event(
            subject=Subject(kind="Node", name=self._node, uid=node["metadata"].get("uid", "")),
            reason="ProfileLabelConflict" if conflict else "ProfileLabelAgrees",
            message=message,
            component=COMPONENT,
            is_warning=bool(conflict),
        )
        self._api.record_event(event, wall=self._wall())

    def _advertise(self, node: Json, count: str) -> None:
        """Say how many devices there are, in both lists: the kubelet derives the second from the first, later."""
        status = node.get("status") or {}
        lists = ("capacity", "allocatable")
        if any((status.get(part) or {}).get(self._resource) != count for part in lists):
            self._api.set_node_status(self._node, {part: {self._resource: count} for part in lists})
            _log.info("node %s: %s %s", self._node, count, self._resource)
