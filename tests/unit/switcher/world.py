"""A cluster whose machines can be suspended: the embedded API server, with kubelets and a hypervisor in virtual time.

By day node-1 to node-3 are cut from gpu-a, by night node-5; node-8 and node-9 lie elsewhere and take what must move.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from autoscaler.embedded.apiserver import ApiServer, Options, start
from tests.unit.switcher.machines import INTERVAL_S, Hypervisor, Machine, Serving, SlowConnections
from vgpu.adapters import kube
from vgpu.adapters.kube import Kube
from vgpu.adapters.kube_verbs import CONFIG_MAPS, MERGE, Request, Verbs
from vgpu.core import names
from vgpu.core.switching.record import Asked, Cause, Result, Step, Switch
from vgpu.core.switching.seen import MachineState
from vgpu.switcher.cluster import Cluster
from vgpu.switcher.connections import Connections
from vgpu.switcher.followed import Followed
from vgpu.switcher.observing import Observer
from vgpu.switcher.records import Record, Records
from vgpu.switcher.room import Wanted
from vgpu.switcher.running import Switcher
from vgpu.switcher.turn import Hands

NAMESPACE = "default"
BEGAN_S = 1_800_000_000.0  # a Friday in January 2027, 8:00 UTC
DAY, NIGHT, ELSEWHERE = ("node-1", "node-2", "node-3"), ("node-5",), ("node-8", "node-9")
SMALL, LARGE = "v100-4q-4GB", "v100-16q-16GB"

FILE = """
time_zone: UTC
gpus:
  gpu-a: {board: v100, provider: lab}
layouts:
  day: {gpu-a: [{node: node-1, profile: v100-4q}, {node: node-2, profile: v100-4q}, {node: node-3, profile: v100-4q}]}
  night: {gpu-a: [{node: node-5, profile: v100-16q}]}
policy: {timeouts_s: {check: 8, cordon: 8, make_room: 8, drain: 8, stop: 16, start: 16, ready: 16}}
providers:
  lab: {kind: emulated, url: "http://127.0.0.1:1", token_file: nowhere}
"""


class Inline(Executor):
    """Runs what is submitted at once, so that each pass has its turns within."""

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **options: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        try:
            future.set_result(work(*arguments, **options))
        except Exception as fault:  # as a pool's thread does: whoever asks for the result is told
            future.set_exception(fault)
        return future


class Wire(Verbs):
    """The switcher's own way to the API, which can be cut: then it leads to a port where nobody listens."""

    def __init__(self, there: Kube, nowhere: Kube) -> None:
        self._there, self._nowhere = there, nowhere
        self.is_cut = False

    def send(self, request: Request) -> Any:
        return (self._nowhere if self.is_cut else self._there).send(request)


@dataclass
class World:
    """Everything, at one moment of virtual time."""

    server: ApiServer
    client: Kube
    wire: Wire
    file: Path
    now_s: float = BEGAN_S
    dead: set[str] = field(default_factory=set)
    """Nodes whose kubelet never reports again."""
    labels: dict[str, str] = field(default_factory=dict)
    """Nodes that come with another profile than theirs."""
    bound: dict[str, int] = field(default_factory=dict)
    """Passes that a pod still takes to end once it is asked to, by its name."""
    leads: bool = True
    is_api_up: bool = True

    def __post_init__(self) -> None:
        small = {name: Machine(SMALL) for name in (*DAY, *ELSEWHERE)}
        self.hypervisor = Hypervisor(
            small | {NIGHT[0]: Machine(LARGE, MachineState.SUSPENDED)}, now_s=lambda: self.now_s
        )
        self.serving = Serving((Wanted(model="search", seated=2, unplaced=0, slot_types=(SMALL,)),))
        self.records = Records(self.client, NAMESPACE)
        self.cluster = Cluster(self.client)
        self._beats: dict[str, tuple[bool, str]] = {}
        self._ran: set[str] = set(small)
        for name in (*DAY, *ELSEWHERE):
            self._add_node(name, SMALL)
        self._add_node(NIGHT[0], LARGE)
        self.client.set_node(NIGHT[0], unschedulable=True, annotations={names.ANNOTATION_ASLEEP: "day"})
        self.kubelets()

    def _add_node(self, name: str, profile: str) -> None:
        about = {"name": name, "labels": {names.LABEL_PROFILE: profile}}
        self.client.create(kube.NODES, {"apiVersion": "v1", "kind": "Node", "metadata": about})

    def add_pod(self, name: str, node: str, **about: Any) -> None:
        """A pod that holds a slot of a node."""
        limits = {"limits": {names.RESOURCE_GPU: "1"}}
        spec = {"nodeName": node, "containers": [{"name": "main", "image": "x:1", "resources": limits}]}
        metadata = {"name": name, **about}
        self.client.create(
            kube.PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}, NAMESPACE
        )

    def add_worker(self, name: str, node: str) -> None:
        """A worker of ours."""
        self.add_pod(name, node, labels={names.LABEL_POOL: "workers-v100-4q-4gb"})

    def switcher(
        self,
        *,
        pool: Executor | None = None,
        slow: Mapping[str, threading.Event] | None = None,
        dry_run: bool = False,
        **changed: Any,
    ) -> Switcher:
        """A switcher that has just been started. A slow provider waits for its event before it says what it sees."""
        connections = SlowConnections(lambda settings: self.hypervisor, slow or {})
        observer = Observer(Cluster(self.wire), self.serving, connections)
        parts: dict[str, Any] = {
            "records": Records(self.wire, NAMESPACE),
            "cluster": observer.cluster,
            "observer": observer,
            "connections": connections,
            "now_s": lambda: self.now_s,
            "may_act": lambda: self.leads,
        }
        file = Followed(self.file, interval_s=INTERVAL_S)
        return Switcher(file, Hands(**(parts | changed)), pool=pool or Inline(), dry_run=dry_run)

    def observer(self) -> Observer:
        """Eyes of its own, as the HTTP side has them."""
        return Observer(self.cluster, self.serving, Connections(lambda settings: self.hypervisor))

    @contextmanager
    def served(self, server: ThreadingHTTPServer) -> Iterator[str]:
        """Serve in a thread; the address."""
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def ask(self, layout: str, *, number: int = 1, gpu: str = "gpu-a", origin: str = "") -> None:
        """Ask for a layout by hand."""
        asked = Asked(id=f"hand-{number}", layout=layout, cause=Cause.HAND, at_s=self.now_s)
        self.records.ask(gpu, asked, layout=origin)

    def record(self, gpu: str = "gpu-a") -> Record:
        return self.records.read(gpu)

    def ended(self, gpu: str = "gpu-a") -> Switch:
        """The last switch of a GPU."""
        switch = self.record(gpu).switch
        assert switch is not None
        return switch

    def ended_now(self, gpu: str = "gpu-a") -> Result | None:
        """How the last switch ended; None while one is under way, or none was."""
        switch = self.record(gpu).switch
        return None if switch is None else switch.result

    def step_now(self) -> Step | None:
        """The step that the switch under way is at."""
        switch = self.record().under_way
        return None if switch is None else switch.step

    def pass_by(self) -> None:
        """Two seconds, in which kubelets and the autoscaler do what they do."""
        self.now_s += INTERVAL_S
        if self.is_api_up:
            self.kubelets()
            self.autoscaler()

    def kubelets(self) -> None:
        """Report each node a pass after its machine runs, and none that does not; end the pods that are to go."""
        runs = set(filter(self.hypervisor.is_running, self.hypervisor.machines))
        alive, self._ran = runs & self._ran, runs
        for name in (*DAY, *NIGHT, *ELSEWHERE):
            ready = name in alive and name not in self.dead
            if ready:
                self._renew(name)
            label = self.labels.get(name, "")
            if ready == self._beats.get(name, (None, ""))[0] and label == self._beats[name][1]:
                continue
            self._beats[name] = (ready, label)
            if label and ready:
                self.client.label_node(name, {names.LABEL_PROFILE: label})
            condition = {"type": "Ready", "status": "True" if ready else "Unknown"}
            stamp = {"lastHeartbeatTime": f"{self.now_s:.0f}"} if ready else {}
            amounts = {names.RESOURCE_GPU: "1"}
            status = {"conditions": [condition | stamp], "capacity": amounts, "allocatable": amounts}
            self.client.set_node_status(name, status)
        for pod in self.client.list(kube.PODS, NAMESPACE):
            about = pod["metadata"]
            left = self.bound.get(about["name"], 0)
            if "deletionTimestamp" in about and left <= 0:
                self.client.delete(kube.PODS, about["name"], NAMESPACE, grace_s=0)
            elif "deletionTimestamp" in about:
                self.bound[about["name"]] = left - 1

    def _renew(self, node: str) -> None:
        """A living kubelet's lease on its node."""
        about = {"name": node, "namespace": "kube-node-lease"}
        stamp = datetime.fromtimestamp(self.now_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        lease = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": about,
            "spec": {"renewTime": stamp},
        }
        try:
            path = kube.LEASES.path("kube-node-lease", node)
            self.client.send(Request("PATCH", path, {"spec": lease["spec"]}, content_type=MERGE))
        except kube.NotFound:
            self.client.create_lease("kube-node-lease", lease)

    def autoscaler(self) -> None:
        """Move the workers of leaving nodes: a successor on a free node elsewhere first, then away with the old one."""
        if not self.serving.moves:
            return
        leaving = {
            node["metadata"]["name"]
            for node in self.client.list(kube.NODES)
            if names.ANNOTATION_LEAVING in (node["metadata"].get("annotations") or {})
        }
        workers = self.client.list(kube.PODS, NAMESPACE, labels=names.LABEL_POOL)
        taken = {pod["spec"]["nodeName"] for pod in workers}
        free = [node for node in ELSEWHERE if node not in taken]
        for pod in workers:
            if pod["spec"]["nodeName"] in leaving and "deletionTimestamp" not in pod["metadata"]:
                if free:
                    self.add_worker(f"{pod['metadata']['name']}-moved", free.pop())
                self.client.delete(kube.PODS, pod["metadata"]["name"], NAMESPACE)

    def run(self, switcher: Switcher, passes: int = 60, *, until: Callable[[], bool] | None = None) -> Switcher:
        """Make passes until nothing is under way, or asked for, or something else is so."""
        for _ in range(passes):
            switcher.step()
            self.pass_by()
            if until() if until else self.rests():
                break
        return switcher

    def run_to(self, step: Step) -> None:
        """Switch to the night, and lose the switcher at a step."""
        switcher = self.switcher()
        switcher.step()
        self.ask("night")
        self.run(switcher, 30, until=lambda: self.step_now() is step)

    def rests(self) -> bool:
        """Whether nothing is under way or asked for."""
        record = self.record()
        return record.request is None and record.under_way is None

    def overlap(self) -> bool:
        """Whether guests of both layouts run at this moment."""
        return any(map(self.hypervisor.is_running, DAY)) and any(map(self.hypervisor.is_running, NIGHT))

    def nodes(self, names: Sequence[str] = (*DAY, *NIGHT)) -> dict[str, str]:
        """Each node in a few words: how it stands and what it carries."""
        seen = self.cluster.nodes(names)
        return {
            name: " ".join(
                filter(
                    None,
                    (
                        "ready" if node.ready else "silent",
                        "" if node.schedulable else "cordoned",
                        "leaving" if node.leaving else "",
                        "asleep" if node.asleep else "",
                    ),
                )
            )
            for name, node in seen.items()
        }


WORKERS = (("w1", "node-1"), ("w2", "node-2"))
IN_DAY = dict.fromkeys(DAY, "ready") | {NIGHT[0]: "silent cordoned asleep"}
IN_NIGHT = dict.fromkeys(DAY, "silent cordoned asleep") | {NIGHT[0]: "ready"}


@contextmanager
def world(directory: Path, *, file: str = FILE, with_controllers: bool = False) -> Iterator[World]:
    """A server of its own, in the day's layout."""
    path = directory / "switcher.yaml"
    path.write_text(file)
    server = start(Options(with_controllers=with_controllers))
    server.write_kubeconfig(directory / "kubeconfig")
    nowhere = directory / "nowhere"
    nowhere.write_text((directory / "kubeconfig").read_text().replace(f":{server.port}", ":9"))
    client, cut = kube.connect(directory / "kubeconfig", timeout_s=5.0), kube.connect(nowhere, timeout_s=5.0)
    try:
        yield World(server, client, Wire(client, cut), path)
    finally:
        client.close()
        cut.close()
        server.stop()


def config_map(client: Kube, gpu: str = "gpu-a") -> Any:
    """The ConfigMap of a GPU as it is."""
    return client.read(CONFIG_MAPS, f"vgpu-switch-{gpu}", NAMESPACE)
