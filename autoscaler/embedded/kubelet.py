"""Plays every emulated guest node: announces it, and runs each worker pod bound to it as a `ray start` process.

Only `ray start` is ever run, whatever a pod asks for: the stand-in is no way to run commands on this machine. A pod has
an address of its own in 127/8, so workers keep their one metrics port, as they do on a cluster.
"""

import logging
import sys
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from autoscaler.adapters.cluster import WORKER_METRICS_PORT
from autoscaler.adapters.ray_serve import RayServe
from autoscaler.embedded import pods
from autoscaler.embedded.fleet import Card, Fleet, card_uuid, slot_uuid
from autoscaler.embedded.processes import Children, kill_session
from autoscaler.embedded.worker import Start, Worker
from autoscaler.ports import Unavailable
from vgpu.adapters import kube
from vgpu.adapters.kube_verbs import Json, Selection
from vgpu.adapters.kube_watch import Reflector
from vgpu.core import names, objects

log = logging.getLogger(__name__)

PASS_S = 0.25
HEARTBEAT_S = 10.0
RAY_POLL_S = 0.5
CONTAINER = [sys.executable, "-m", "autoscaler.embedded.container"]
KUBELET_VERSION = "v1.34.0-emulated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What every emulated node shares: where the emulated cards are, and the Ray cluster workers join."""

    fleet: Fleet
    scratch: Path
    ray_ip: str
    children: Children


class Kubelet:
    """Reconciles pods with processes, pass by pass, in one thread."""

    def __init__(self, client: kube.Kube, serving: RayServe, machine: Machine) -> None:
        self._client = client
        self._serving = serving
        self._machine = machine
        self._cards: dict[str, tuple[int, Card]] = {
            node: (index, card) for index, card in enumerate(machine.fleet.cards) for node in card.nodes
        }
        self._pods: dict[str, Json] = {}
        self._workers: dict[str, Worker] = {}
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._stopped = threading.Event()

    def run(self) -> None:
        """Announce the nodes and keep their pods running until stopped."""
        for node in self._cards:
            self._announce(node)
        watch = self._client.watch(Selection(kind=kube.PODS))
        threading.Thread(target=self._follow, args=(watch,), daemon=True).start()
        heartbeat_s = ray_s = time.monotonic()
        joined: frozenset[str] = frozenset()
        while not self._stopped.is_set():
            self._changed.wait(PASS_S)
            self._changed.clear()
            now_s = time.monotonic()
            if now_s - ray_s >= RAY_POLL_S:
                ray_s, joined = now_s, self._joined(joined)
            if now_s - heartbeat_s >= HEARTBEAT_S:
                heartbeat_s = now_s
                for node in self._cards:
                    self._heartbeat(node)
            self._reconcile(now_s, joined)
        watch.stop()

    def stop(self) -> None:
        """End `run`; processes are ended by whoever owns the children."""
        self._stopped.set()
        self._changed.set()

    def _follow(self, watch: Reflector) -> None:
        for delta in watch.deltas():
            if not delta.item:
                continue
            key = objects.pod_key(delta.item)
            with self._lock:
                if delta.kind == "deleted":
                    self._pods.pop(key, None)
                else:
                    self._pods[key] = delta.item
            self._changed.set()

    def _joined(self, known: frozenset[str]) -> frozenset[str]:
        """Worker pods whose Ray node is alive; what was last known where Ray does not answer."""
        if not self._workers:
            return frozenset()
        try:
            return frozenset(filter(None, self._serving.workers_by_ray_node().values()))
        except Unavailable as error:
            log.warning("%s", error)
            return known

    def _reconcile(self, now_s: float, joined: frozenset[str]) -> None:
        with self._lock:
            bound = {key: pod for key, pod in self._pods.items() if pod["spec"].get("nodeName") in self._cards}
        for key in [key for key in self._workers if key not in bound]:
            kill_session(self._workers.pop(key).child.process)  # deleted by force: nobody waits for it
        for key, pod in sorted(bound.items()):
            try:
                worker = self._workers.get(key)
                if worker is None and "deletionTimestamp" not in pod["metadata"]:
                    self._start(key, pod, now_s)
                elif worker is None and "deletionTimestamp" in pod["metadata"]:
                    self._forget(pod)
                elif worker is not None:
                    self._advance(key, pod, worker, now_s, joined)
            except kube.Unavailable as error:
                log.warning("pod %s: %s", key, error)
            except (kube.NotFound, kube.Conflict) as error:
                log.info("pod %s changed meanwhile: %s", key, error)

    def _start(self, key: str, pod: Json, now_s: float) -> None:
        if (refusal := pods.refusal(pod)) is not None:
            self._write_status(pod, pods.failed_status(refusal, _now()))
            return
        start = self._start_of(pod)
        self._workers[key] = Worker.launch(start, self._machine.children, now_s)
        self._write_status(pod, pods.starting_status(start.ip, _now(), restarts=0))

    def _advance(self, key: str, pod: Json, worker: Worker, now_s: float, joined: frozenset[str]) -> None:
        name = pod["metadata"]["name"]
        if "deletionTimestamp" in pod["metadata"]:
            if worker.end(now_s, grace_s=float(pod["metadata"].get("deletionGracePeriodSeconds", 30))):
                del self._workers[key]
                self._forget(pod)
        elif worker.has_died:
            if worker.restart_is_due(now_s):
                worker.restart(self._machine.children, now_s)
                status = pods.starting_status(worker.start.ip, _now(), restarts=worker.restarts)
            elif not worker.is_announced_dead:
                worker.is_announced_dead = True
                log.warning("worker %s ended with status %s", name, worker.child.process.returncode)
                status = pods.crashed_status(worker.start.ip, _now(), restarts=worker.restarts)
            else:
                return
            self._write_status(pod, status)
        elif worker.is_starting and name in joined:
            worker.is_starting = False
            self._write_status(pod, pods.ready_status(worker.start.ip, _now(), restarts=worker.restarts))

    def _start_of(self, pod: Json) -> Start:
        node = pod["spec"]["nodeName"]
        position, card = self._cards[node]
        slot_id = (pod["metadata"].get("annotations") or {}).get(names.ANNOTATION_SLOT, f"{node}/0")
        ip = pods.address(list(self._cards).index(node), pod["metadata"]["uid"])
        environment = {
            names.ENV_WORKER: pod["metadata"]["name"],
            names.ENV_SLOT_ID: slot_id,
            names.ENV_SLOT_PROFILE: card.profile,
            names.ENV_SLOT_UNITS: str(card.shape.units),
            names.ENV_SLOT_FRAMEBUFFER_MIB: str(card.shape.framebuffer_mib),
            names.ENV_SLOT_MOST_PER_GPU: str(card.shape.most_per_gpu),
            names.ENV_SLOT_POLICY: str(card.policy),
            names.ENV_DEVICE_KIND: "emulated",
            names.ENV_VISIBLE_DEVICES: slot_uuid(slot_id),
            names.ENV_EMULATOR_SOCKET: str(self._machine.scratch / f"gpu-{position}.sock"),
            names.ENV_EMULATED_COST_RATIO: str(self._machine.fleet.cost_ratio),
            names.ENV_METRICS_ADDRESS: f"{ip}:{WORKER_METRICS_PORT}",
            **pods.environment(pod),
        }
        command = CONTAINER + pods.ray_command(
            pod, ray_ip=self._machine.ray_ip, slot_label=card.profile, scratch=self._machine.scratch
        )
        return Start(name=pod["metadata"]["name"], ip=ip, command=tuple(command), environment=environment)

    def _announce(self, node: str) -> None:
        """Create the Node object, or take over the one that is there."""
        position, card = self._cards[node]
        labels = {
            "kubernetes.io/hostname": node,
            names.LABEL_PROFILE: card.profile,
            names.LABEL_PHYSICAL_GPU: card_uuid(position),
            names.LABEL_SCHEDULER_POLICY: str(card.policy),
            names.LABEL_DEVICE_KIND: "emulated",
        }
        manifest = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node, "labels": labels}}
        try:
            self._client.create(kube.NODES, manifest)
        except kube.Conflict:
            self._client.label_node(node, labels)
        self._heartbeat(node)

    def _heartbeat(self, node: str) -> None:
        index = list(self._cards).index(node)
        try:
            self._client.set_node_status(node, pods.node_status(index, _now(), KUBELET_VERSION))
        except (kube.Unavailable, kube.NotFound, kube.Conflict) as error:
            log.warning("heartbeat of %s: %s", node, error)

    def _write_status(self, pod: Json, status: Json) -> None:
        self._client.set_pod_status(pod["metadata"]["name"], pod["metadata"]["namespace"], status)

    def _forget(self, pod: Json) -> None:
        """The process is gone: let the API forget the pod."""
        about = pod["metadata"]
        self._client.delete(kube.PODS, about["name"], about["namespace"], grace_s=0, uid=about["uid"])


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
