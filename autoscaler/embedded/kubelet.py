"""Plays every emulated guest node: announces it, and runs each pod bound to it as a process.

Only `ray start` against this installation's own head and our own training are ever run, whatever a pod asks for, and
only with the slot's environment: the stand-in is no way to run commands on this machine. A pod has an address of its
own in 127/8, so workers keep their one metrics port, as they do on a cluster. What the API could not be told is told
again. A node whose machine is not there is silent, and what runs on it stands still or is gone.
"""

import logging
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from autoscaler.adapters.cluster import WORKER_METRICS_PORT
from autoscaler.embedded import batch, node_objects, pods, slots
from autoscaler.embedded.exporters import Exporters
from autoscaler.embedded.fleet import Fleet, guests
from autoscaler.embedded.hypervisor import Hypervisor
from autoscaler.embedded.machines import State
from autoscaler.embedded.node_objects import NodeObjects
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
RAY_POLL_S = 0.5
RAY = Path(sys.executable).with_name("ray")
CONTAINER = [sys.executable, "-m", "autoscaler.embedded.container"]
TRAINING = [sys.executable, "-m", "autoscaler.embedded.training"]


class RayNodes(Protocol):
    """Where the kubelet sees that a worker's Ray node has joined; `RayServe` is one."""

    def workers_by_ray_node(self) -> Mapping[str, str]:
        """Ray nodes that are alive, by id, with the worker pod each runs in. Raises `Unavailable`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What every emulated node shares: the host and its cards, the Ray cluster workers join, and the one volume."""

    fleet: Fleet
    hypervisor: Hypervisor
    scratch: Path
    volume: Path
    ray_ip: str
    children: Children
    exporters: Exporters | None = None
    ray: Path = RAY


class Kubelet:
    """Reconciles pods with processes, pass by pass, in one thread."""

    def __init__(self, client: kube.Kube, ray_nodes: RayNodes, machine: Machine) -> None:
        self._client = client
        self._ray_nodes = ray_nodes
        self._machine = machine
        self._guests = guests(machine.fleet)
        self._nodes = NodeObjects(client, self._guests)
        self._power = machine.hypervisor.power()
        self._pods: dict[str, Json] = {}
        """By uid, as the watch last gave them; a pod made anew under an old name is another pod."""
        self._workers: dict[str, Worker] = {}
        self._parts: dict[str, str] = {}
        """By pod uid: its slot; of a fraction, the part of the shared emulated card that plays it."""
        self._restarts: dict[str, int] = {}
        """By pod uid: how often it had started when its machine went off."""
        self._over: set[str] = set()
        """Pods that run nothing, or nothing any more: refused or finished."""
        self._given_up: set[str] = set()
        """Pods of which was said that their node is silent."""
        self._joined: dict[str, frozenset[str]] = {}
        self._next_poll_s = float("-inf")
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._stopped = threading.Event()

    def run(self) -> None:
        """Announce the nodes and keep their pods running until stopped."""
        watch = self._client.watch(Selection(kind=kube.PODS))
        threading.Thread(target=self._follow, args=(watch,), name="pods", daemon=True).start()
        while not self._stopped.is_set():
            now_s = time.monotonic()
            self._follow_power()
            self._nodes.keep(self._power, now_s)
            self._poll_ray(now_s)
            self._reconcile(now_s)
            self._changed.wait(PASS_S)
            self._changed.clear()
        for worker in self._workers.values():
            worker.thaw()  # or they could not hear that they are to end
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

    def _follow_power(self) -> None:
        """Have what runs on a node stand still, go on or end with its machine."""
        before, self._power = self._power, self._machine.hypervisor.power()
        for node, power in self._power.items():
            if (power.state, power.boots) == (before[node].state, before[node].boots):
                continue
            log.info("node %s: its machine is %s", node, power.state)
            here = {uid: worker for uid, worker in self._workers.items() if self._parts[uid].startswith(f"{node}/")}
            for uid, worker in here.items():
                if power.state is State.OFF or power.boots != before[node].boots:
                    worker.lose_power()
                    self._restarts[uid] = worker.restarts + 1
                    del self._workers[uid]
                elif power.state is State.SUSPENDED:
                    worker.freeze()
                else:
                    worker.thaw()
                    worker.reported = None  # the node controller has said otherwise meanwhile
        if self._machine.exporters is not None:
            self._machine.exporters.keep({node for node, power in self._power.items() if power.is_up})

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
            if self._power[self._parts[uid].partition("/")[0]].is_up:
                self._workers.pop(uid).end(now_s, grace_s=0)  # deleted by force: nobody waits for it
        self._over &= bound.keys()
        self._given_up &= bound.keys()
        self._restarts = {uid: restarts for uid, restarts in self._restarts.items() if uid in bound}
        self._parts = {uid: part for uid, part in self._parts.items() if uid in self._workers}
        for uid, pod in bound.items():
            try:
                if self._power[pod["spec"]["nodeName"]].is_up:
                    self._tend(uid, pod, now_s)
                else:
                    self._give_up(uid, pod)
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
            if worker.has_finished:
                self._over.add(uid)
                del self._workers[uid]
        elif uid not in self._over and pod.get("status", {}).get("phase") != "Succeeded":
            self._begin(uid, pod)

    def _give_up(self, uid: str, pod: Json) -> None:
        """Say of a pod on a silent node that it is not ready, as the node controller does."""
        if self._nodes.is_silent(pod["spec"]["nodeName"]) and uid not in self._given_up:
            self._write_status(pod, {"conditions": [pods.unheard(node_objects.now())]})
            self._given_up.add(uid)

    def _begin(self, uid: str, pod: Json) -> None:
        """Start the pod's process, or say once why not; a part of a card that is still another's is waited for."""
        guest = self._guests[pod["spec"]["nodeName"]]
        try:
            arguments = self._arguments(pod)
            taken = {part for holder, part in self._parts.items() if holder in self._workers}
            slot = slots.slot(pod, guest.card, guest.card_uuid, taken)
        except slots.Unfit as refused:
            self._write_status(pod, self._status(pod, Stage.REFUSED, message=str(refused)))
            self._over.add(uid)
            return
        if slot is not None:
            self._parts[uid] = slot.part
            self._workers[uid] = self._launch(pod, arguments, slot.environment)
            self._report(pod, self._workers[uid])

    def _arguments(self, pod: Json) -> Sequence[str]:
        """What is run of a pod. Raises `Unfit`."""
        machine = self._machine
        if batch.is_training(pod):
            return [*TRAINING, *batch.arguments(pod, machine.volume)]
        if (why := pods.refusal(pod, ray_ip=machine.ray_ip)) is not None:
            raise slots.Unfit(why)
        label = self._guests[pod["spec"]["nodeName"]].card.shape.label
        return pods.ray_command(
            pod, ray=machine.ray, ray_ip=machine.ray_ip, slot_label=label, scratch=machine.scratch
        )  # fmt: skip

    def _report(self, pod: Json, worker: Worker) -> None:
        """Tell the API where the worker is, if it does not know."""
        known = (worker.stage, worker.restarts)
        if worker.reported != known:
            self._write_status(pod, self._status(pod, worker.stage, restarts=worker.restarts))
            worker.reported = known
            self._given_up.discard(pod["metadata"]["uid"])

    def _launch(self, pod: Json, arguments: Sequence[str], slot_environment: Mapping[str, str]) -> Worker:
        machine, about, guest = self._machine, pod["metadata"], self._guests[pod["spec"]["nodeName"]]
        name, ip = about["name"], self._ip(pod)
        environment = {
            **slot_environment,
            names.ENV_WORKER: name,
            names.ENV_DEVICE_KIND: "emulated",
            names.ENV_EMULATOR_SOCKET: str(machine.scratch / f"gpu-{guest.card_index}.sock"),
            names.ENV_EMULATED_COST_RATIO: str(machine.fleet.cost_ratio),
            names.ENV_METRICS_ADDRESS: f"{ip}:{WORKER_METRICS_PORT}",
        }
        command = Command(name=name, arguments=[*CONTAINER, *arguments], environment=environment)
        restarts = self._restarts.pop(about["uid"], 0)
        if not batch.is_training(pod):
            return Worker.launch(command, ip, machine.children, restarts=restarts)
        may_finish = batch.may_finish(pod)
        return Worker.launch_job(command, ip, machine.children, restarts=restarts, may_finish=may_finish)

    def _ip(self, pod: Json) -> str:
        return pods.address(self._guests[pod["spec"]["nodeName"]].index, pod["metadata"]["uid"])

    def _status(self, pod: Json, stage: Stage, *, restarts: int = 0, message: str = "") -> Json:
        container = str(pod["spec"]["containers"][0].get("name", pods.WORKER_CONTAINER))
        ip, now = self._ip(pod), node_objects.now()
        return pods.status(stage, ip=ip, now=now, restarts=restarts, message=message, container=container)

    def _write_status(self, pod: Json, status: Json) -> None:
        self._client.set_pod_status(pod["metadata"]["name"], pod["metadata"]["namespace"], status)
