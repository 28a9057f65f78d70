"""Plays every emulated guest node: announces it, and runs each worker pod bound to it as a `ray start` process.

Only `ray start` against this installation's own head is ever run, whatever a pod asks for, and only with the slot's
environment: the stand-in is no way to run commands on this machine. A pod has an address of its own in 127/8, so
workers keep their one metrics port, as they do on a cluster. What the API could not be told is told again.
"""

import logging
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from autoscaler.adapters.cluster import WORKER_METRICS_PORT
from autoscaler.embedded import pods, slots
from autoscaler.embedded.fleet import Card, Fleet, card_uuid
from autoscaler.embedded.pods import Stage
from autoscaler.embedded.processes import Children, Command
from autoscaler.embedded.worker import Worker
from autoscaler.ports import Unavailable
from vgpu.adapters import kube
from vgpu.adapters.kube_verbs import Json, Selection
from vgpu.adapters.kube_watch import Reflector
from vgpu.core import names, request

log = logging.getLogger(__name__)

PASS_S = 0.25
HEARTBEAT_S = 10.0
ANNOUNCE_AGAIN_S = 1.0
RAY_POLL_S = 0.5
RAY = Path(sys.executable).with_name("ray")
CONTAINER = [sys.executable, "-m", "autoscaler.embedded.container"]
KUBELET_VERSION = "v1.34.0-emulated"


class RayNodes(Protocol):
    """Where the kubelet sees that a worker's Ray node has joined; `RayServe` is one."""

    def workers_by_ray_node(self) -> Mapping[str, str]:
        """Ray nodes that are alive, by id, with the worker pod each runs in. Raises `Unavailable`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What every emulated node shares: where the emulated cards are, and the Ray cluster workers join."""

    fleet: Fleet
    scratch: Path
    ray_ip: str
    children: Children
    ray: Path = RAY


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """One emulated node: its place among all, and the card below it."""

    index: int
    card_index: int
    card: Card

    @property
    def card_uuid(self) -> str:
        return card_uuid(self.card_index)


class Kubelet:
    """Reconciles pods with processes, pass by pass, in one thread."""

    def __init__(self, client: kube.Kube, ray_nodes: RayNodes, machine: Machine) -> None:
        self._client = client
        self._ray_nodes = ray_nodes
        self._machine = machine
        cards = [(index, card, node) for index, card in enumerate(machine.fleet.cards) for node in card.nodes]
        self._guests = {
            node: Guest(index=place, card_index=index, card=card) for place, (index, card, node) in enumerate(cards)
        }
        self._announced: set[str] = set()
        self._pods: dict[str, Json] = {}
        """By uid, as the watch last gave them; a pod made anew under an old name is another pod."""
        self._workers: dict[str, Worker] = {}
        self._parts: dict[str, str] = {}
        """By pod uid: the part of a shared emulated card that plays its fraction."""
        self._refused: set[str] = set()
        self._joined: dict[str, frozenset[str]] = {}
        self._next_heartbeat_s = self._next_poll_s = float("-inf")
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._stopped = threading.Event()

    def run(self) -> None:
        """Announce the nodes and keep their pods running until stopped."""
        watch = self._client.watch(Selection(kind=kube.PODS))
        threading.Thread(target=self._follow, args=(watch,), name="pods", daemon=True).start()
        while not self._stopped.is_set():
            now_s = time.monotonic()
            self._keep_nodes(now_s)
            self._poll_ray(now_s)
            self._reconcile(now_s)
            self._changed.wait(PASS_S)
            self._changed.clear()
        watch.stop()

    def stop(self) -> None:
        """End `run`; processes are ended by whoever owns the children."""
        self._stopped.set()
        self._changed.set()

    def _follow(self, watch: Reflector) -> None:
        for delta in watch.deltas():
            if not delta.item:
                continue
            uid = delta.item["metadata"]["uid"]
            with self._lock:
                if delta.kind == "deleted":
                    self._pods.pop(uid, None)
                else:
                    self._pods[uid] = delta.item
            self._changed.set()

    def _keep_nodes(self, now_s: float) -> None:
        """Announce what is not announced, and say of the rest that it is alive."""
        if now_s < self._next_heartbeat_s:
            return
        for node in self._guests:
            try:
                if node not in self._announced:
                    self._announce(node)
                guest = self._guests[node]
                parts = len(guest.card.slots) if guest.card.is_shared else 0
                status = pods.node_status(guest.index, _now(), KUBELET_VERSION, parts=parts)
                self._client.set_node_status(node, status)
                self._announced.add(node)
            except (kube.Unavailable, kube.NotFound, kube.Conflict) as error:
                log.warning("node %s: %s", node, error)
                self._announced.discard(node)
        all_known = len(self._announced) == len(self._guests)
        self._next_heartbeat_s = now_s + (HEARTBEAT_S if all_known else ANNOUNCE_AGAIN_S)

    def _announce(self, node: str) -> None:
        """Create the Node object, or take over the one that is there."""
        guest = self._guests[node]
        labels = {
            "kubernetes.io/hostname": node,
            names.LABEL_SCHEDULER_POLICY: str(guest.card.policy),
            names.LABEL_DEVICE_KIND: "emulated",
        }
        annotations: dict[str, str] = {}
        if guest.card.is_shared:
            labels |= {names.LABEL_GPU_PRODUCT: guest.card.name.replace(" ", "-")}
            annotations = {names.ANNOTATION_GPUS: guest.card.offer(guest.card_uuid)}
        else:
            labels |= {names.LABEL_PROFILE: guest.card.profile, names.LABEL_PHYSICAL_GPU: guest.card_uuid}
        about = {"name": node, "labels": labels, "annotations": annotations}
        try:
            self._client.create(kube.NODES, {"apiVersion": "v1", "kind": "Node", "metadata": about})
        except kube.Conflict:
            self._client.label_node(node, labels)
            if annotations:
                self._client.annotate(kube.NODES, node, annotations)

    def _poll_ray(self, now_s: float) -> None:
        """Ask which Ray nodes are alive, while a worker waits for its own; keep the last answer without one."""
        is_awaited = any(worker.stage is Stage.STARTING for worker in self._workers.values())
        if not is_awaited or now_s < self._next_poll_s:
            return
        self._next_poll_s = now_s + RAY_POLL_S
        try:
            workers = self._ray_nodes.workers_by_ray_node()
        except Unavailable as error:
            log.warning("%s", error)
            return
        joined: dict[str, frozenset[str]] = {}
        for ray_node, worker in workers.items():
            joined[worker] = joined.get(worker, frozenset()) | {ray_node}
        self._joined = joined

    def _reconcile(self, now_s: float) -> None:
        with self._lock:
            bound = {uid: pod for uid, pod in self._pods.items() if pod["spec"].get("nodeName") in self._guests}
        for uid in self._workers.keys() - bound.keys():
            self._workers.pop(uid).end(now_s, grace_s=0)  # deleted by force: nobody waits for it
        self._refused &= bound.keys()
        self._parts = {uid: part for uid, part in self._parts.items() if uid in self._workers}
        for uid, pod in bound.items():
            try:
                self._tend(uid, pod, now_s)
            except kube.Unavailable as error:
                log.warning("pod %s: %s", request.pod_key(pod), error)
            except (kube.NotFound, kube.Conflict) as error:
                log.info("pod %s changed meanwhile: %s", request.pod_key(pod), error)

    def _tend(self, uid: str, pod: Json, now_s: float) -> None:
        """Bring one pod's process and status closer to what they should be."""
        about, worker = pod["metadata"], self._workers.get(uid)
        if "deletionTimestamp" in about:
            grace_s = float(about.get("deletionGracePeriodSeconds", pods.GRACE_S))
            if worker is None or worker.end(now_s, grace_s=grace_s):
                self._workers.pop(uid, None)
                # The process is gone: let the API forget the pod.
                self._client.delete(kube.PODS, about["name"], about["namespace"], grace_s=0, uid=uid)
        elif worker is not None:
            worker.join(self._joined.get(about["name"], frozenset()))
            worker.watch(now_s)
            self._report(pod, worker)
        elif uid not in self._refused:
            self._begin(uid, pod)

    def _begin(self, uid: str, pod: Json) -> None:
        """Start the pod's process, or say once why not; a part of a card that is still another's is waited for."""
        guest = self._guests[pod["spec"]["nodeName"]]
        try:
            if (why := pods.refusal(pod, ray_ip=self._machine.ray_ip)) is not None:
                raise slots.Unfit(why)
            taken = {part for holder, part in self._parts.items() if holder in self._workers}
            slot = slots.slot(pod, guest.card, card_uuid(guest.card_index), taken)
        except slots.Unfit as refused:
            self._write_status(pod, pods.status(Stage.REFUSED, ip=self._ip(pod), now=_now(), message=str(refused)))
            self._refused.add(uid)
            return
        if slot is not None:
            self._parts[uid] = slot.part
            self._workers[uid] = self._launch(pod, slot.environment)
            self._report(pod, self._workers[uid])

    def _report(self, pod: Json, worker: Worker) -> None:
        """Tell the API where the worker is, if it does not know."""
        known = (worker.stage, worker.restarts)
        if worker.reported != known:
            self._write_status(pod, pods.status(worker.stage, ip=worker.ip, now=_now(), restarts=worker.restarts))
            worker.reported = known

    def _launch(self, pod: Json, slot_environment: Mapping[str, str]) -> Worker:
        machine, name, guest = self._machine, pod["metadata"]["name"], self._guests[pod["spec"]["nodeName"]]
        ip = self._ip(pod)
        environment = {
            **slot_environment,
            names.ENV_WORKER: name,
            names.ENV_DEVICE_KIND: "emulated",
            names.ENV_EMULATOR_SOCKET: str(machine.scratch / f"gpu-{guest.card_index}.sock"),
            names.ENV_EMULATED_COST_RATIO: str(machine.fleet.cost_ratio),
            names.ENV_METRICS_ADDRESS: f"{ip}:{WORKER_METRICS_PORT}",
        }
        label = guest.card.shape.label
        ray = pods.ray_command(pod, ray=machine.ray, ray_ip=machine.ray_ip, slot_label=label, scratch=machine.scratch)
        command = Command(name=name, arguments=[*CONTAINER, *ray], environment=environment)
        return Worker.launch(command, ip, machine.children)

    def _ip(self, pod: Json) -> str:
        return pods.address(self._guests[pod["spec"]["nodeName"]].index, pod["metadata"]["uid"])

    def _write_status(self, pod: Json, status: Json) -> None:
        self._client.set_pod_status(pod["metadata"]["name"], pod["metadata"]["namespace"], status)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
