"""Rendered roles against the calls the code makes: each process does all it ever does, as its own service account.

The stand-in's API server grants what the chart's roles grant and keeps a record of who asked what. A call that no role
allows would be answered 403; a rule that no call made use of is one too many.
"""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client import CollectorRegistry

from autoscaler.adapters.cluster import KubernetesCluster
from autoscaler.adapters.deployment_pools import DeploymentPools
from autoscaler.adapters.events import Events
from autoscaler.adapters.lease import LeaseLeadership
from autoscaler.adapters.raycluster_pools import RayClusterPools
from autoscaler.config import parse
from autoscaler.embedded.apiserver import ApiServer, Options, start
from autoscaler.embedded.apiserver.audit import Record
from autoscaler.ports import Change
from tests import build as tests_build
from tests.chart.helm import NAMESPACE, RELEASE, of_kind, render
from tests.fakes.waiting import eventually
from tests.unit.autoscaler.ticks import MODELS_FILE, tick
from tests.unit.deviceplugin.build import card, catalogue
from tests.unit.extender import build
from vgpu.adapters import kube
from vgpu.adapters.kube import Kind, Kube
from vgpu.core import names
from vgpu.deviceplugin.metrics import PluginMetrics
from vgpu.deviceplugin.node_writer import NodeWriter
from vgpu.deviceplugin.roster import Roster
from vgpu.switcher.records import Records

Json = Any
NAME = f"{RELEASE}-vgpu-serve"
POOL = "workers-v100-8q-8gb"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
ROLES = ("Role", "ClusterRole")
# In the order in which they can be created.
APPLIED = {
    "ServiceAccount": Kind("/api/v1", "serviceaccounts"),
    "ClusterRole": Kind(RBAC, "clusterroles"),
    "Role": Kind(RBAC, "roles"),
    "ClusterRoleBinding": Kind(RBAC, "clusterrolebindings"),
    "RoleBinding": Kind(RBAC, "rolebindings"),
    "Deployment": kube.DEPLOYMENTS,
    "RayCluster": Kind("/apis/ray.io/v1", "rayclusters"),
}


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Rule:
    """One thing that a role allows: in one namespace or everywhere, of one object or of all."""

    namespace: str
    verb: str
    group: str
    resource: str
    name: str

    def is_for(self, made: Record) -> bool:
        """Nothing narrower would have done for this call."""
        resource = f"{made.resource}/{made.subresource}" if made.subresource else made.resource
        same = (made.verb, made.group, resource) == (self.verb, self.group, self.resource)
        elsewhere = made.namespace != NAMESPACE  # in all namespaces, in none, or in another one
        placed = made.namespace == self.namespace if self.namespace else elsewhere
        return same and placed and self.name in ("", made.name)


def rules_of(objects: tuple[Json, ...], account: str) -> set[Rule]:
    """Every rule that is bound to the account."""
    roles = {_place(role, role["kind"], role["metadata"]["name"]): role for role in of_kind(objects, *ROLES)}
    return {
        Rule(namespace=binding["metadata"].get("namespace", ""), verb=verb, group=group, resource=resource, name=name)
        for binding in of_kind(objects, "RoleBinding", "ClusterRoleBinding")
        if account in {subject["name"] for subject in binding["subjects"]}
        for rule in roles[_place(binding, binding["roleRef"]["kind"], binding["roleRef"]["name"])]["rules"]
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [""])
    }


def _place(entry: Json, kind: str, name: str) -> tuple[str, str, str]:
    """Kind, namespace and name of a role that is, or is referred to by, this object."""
    return kind, entry["metadata"].get("namespace", "") if kind == "Role" else "", name


@dataclass(frozen=True)
class World:
    """A server with the chart's roles and pools, and its administrator."""

    server: ApiServer
    admin: Kube
    objects: tuple[Json, ...]
    folder: Path
    bound: list[Json] = field(default_factory=list)
    """Bindings beside the chart's own."""

    def kubeconfig(self, component: str) -> Path:
        """A kubeconfig of the component's account, with a token of its own."""
        path = APPLIED["ServiceAccount"].path(NAMESPACE, f"{NAME}-{component}", "token")
        made = self.admin.send(kube.Request("POST", path, body={"spec": {"expirationSeconds": 3600}}))
        self.server.write_kubeconfig(self.folder / component, made["status"]["token"])
        return self.folder / component

    def check(self, component: str) -> None:
        """What was asked and what is allowed are the same."""
        made = self.server.audit.records(f"system:serviceaccount:{NAMESPACE}:{NAME}-{component}")
        assert made
        assert [record for record in made if record.code in (401, 403)] == []
        rules = rules_of((*self.objects, *self.bound), f"{NAME}-{component}")
        assert rules
        assert sorted(rule for rule in rules if not any(rule.is_for(record) for record in made)) == []


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Makes a server for some values."""
    server = start(Options(token="the administrator's"))
    server.write_kubeconfig(tmp_path / "admin")
    admin = kube.connect(tmp_path / "admin")

    def made(values: Json = None) -> World:
        objects = render(values)
        admin.create(Kind("/api/v1", "namespaces"), {"metadata": {"name": NAMESPACE}})
        for kind, where in APPLIED.items():
            for entry in of_kind(objects, kind):
                if entry["metadata"].get("namespace") != "kube-system":
                    admin.create(where, entry, entry["metadata"].get("namespace", ""))
        return World(server, admin, objects, tmp_path)

    yield made
    admin.close()
    server.stop()


def _lead_and_tell(made: World, client: Kube, events: Events) -> None:
    """Take the lease, keep it, give it back; tell of a pool and of the models file, which is told of on the lease."""
    lead = LeaseLeadership(client, namespace=NAMESPACE, holder="test", interval_s=1.0)
    assert [lead.is_held(0.0), lead.is_held(1.0)] == [True, True]
    lead.close()
    fleet = tests_build.fleet(tests_build.model("minilm", pool=POOL), tests_build.model("filetype", pool=POOL))
    events.record(tick(spec=fleet, models_file=replace(MODELS_FILE, change=Change.APPLIED)))
    told = {event["reason"] for event in made.admin.list(kube.EVENTS, NAMESPACE)}
    assert {"ScaledUp", "ModelsFileApplied"} <= told


def _worker(pool_labels: Json) -> Json:
    about = {"name": "w", "namespace": NAMESPACE, "labels": pool_labels}
    return {"metadata": about, "spec": {"containers": [{"name": "w", "image": "example.com/w:1"}]}}


def test_the_autoscaler_with_deployments(world: Callable[..., World]) -> None:
    made = world()
    spec = parse({"models": {"m": {"source": "synthetic", "slot": "v100-8q-8GB", "objective_p95_ms": 200}}})
    with closing(kube.connect(made.kubeconfig("autoscaler"))) as client:
        pools = DeploymentPools(client, namespace=NAMESPACE)
        seen = KubernetesCluster(client, pools)
        eventually(lambda: made.admin.list(kube.PODS, NAMESPACE, labels=f"{names.LABEL_POOL}={POOL}"))
        assert seen.read(spec, 0.0).problems == ()
        pods = eventually(
            lambda: [p["metadata"]["name"] for p in made.admin.list(kube.PODS, NAMESPACE, labels=names.LABEL_POOL)]
        )
        seen.set_workers(POOL, 2, preferred_nodes=("n1",), victims=())
        seen.set_workers(POOL, 1, preferred_nodes=(), victims=(f"{NAMESPACE}/{pods[0]}",))
        (left,) = eventually(lambda: _staying(made.admin), lambda found: len(found) == 1)
        seen.replace_workers(POOL, (f"{NAMESPACE}/{left}",))
        _lead_and_tell(made, client, Events(client, namespace=NAMESPACE))
    made.check("autoscaler")


def _staying(admin: Kube) -> list[str]:
    found = admin.list(kube.PODS, NAMESPACE, labels=f"{names.LABEL_POOL}={POOL}")
    return [pod["metadata"]["name"] for pod in found if "deletionTimestamp" not in pod["metadata"]]


def test_the_autoscaler_with_kuberay(world: Callable[..., World]) -> None:
    made = world({"workers": {"backend": "kuberay"}})
    spec = parse({"models": {"m": {"source": "synthetic", "slot": "v100-8q-8GB", "objective_p95_ms": 200}}})
    labels = {
        names.LABEL_RAY_CLUSTER: NAME,
        names.LABEL_RAY_GROUP: POOL,
        names.LABEL_RAY_NODE_TYPE: "worker",
        names.LABEL_POOL: POOL,
    }
    made.admin.create(kube.PODS, _worker(labels), NAMESPACE)
    with closing(kube.connect(made.kubeconfig("autoscaler"))) as client:
        pools = RayClusterPools(client, namespace=NAMESPACE, name=NAME)
        seen = KubernetesCluster(client, pools)
        assert seen.read(spec, 0.0).problems == ()
        seen.set_workers(POOL, 2, preferred_nodes=("n1",), victims=())
        seen.replace_workers(POOL, (f"{NAMESPACE}/w",))
        _lead_and_tell(made, client, Events(client, namespace=NAMESPACE, ray_cluster=NAME))
    made.check("autoscaler")


@pytest.mark.parametrize("mode", ["bookkeeping", "node-status"])
def test_the_device_plugin(world: Callable[..., World], mode: str) -> None:
    made = world({"devicePlugin": {"mode": mode}})
    made.admin.create(kube.NODES, {"metadata": {"name": "n1"}})
    with closing(kube.connect(made.kubeconfig("device-plugin"))) as client:
        writer = NodeWriter(
            api=client,
            node="n1",
            roster=Roster(1),
            metrics=PluginMetrics(CollectorRegistry(), "n1"),
            resource=names.RESOURCE_VGPU if mode == "node-status" else "",
        )
        writer.write(catalogue(card(profile="v100-8q")))
        made.admin.label_node("n1", {names.LABEL_PROFILE: "v100-4q-4GB"})
        writer.write(catalogue(card(profile="v100-8q")))
        assert writer.has_written
    made.check("device-plugin")


def test_the_extender(world: Callable[..., World]) -> None:
    made = world()
    node = build.node("n0", 16384)
    made.admin.create(kube.NODES, {"metadata": node["metadata"]})
    amounts = node["status"]["allocatable"]
    made.admin.set_node_status("n0", {"allocatable": amounts, "capacity": amounts})
    asked = [_share(made.admin, name, units) for name, units in (("a", 500), ("b", 1500))]
    with _process(made, "extender") as client:
        eventually(lambda: client.get("/readyz").status_code == 200, within_s=30)
        for pod in asked:
            found = client.post("/filter", json={"Pod": pod, "Nodes": None, "NodeNames": ["n0"]}).json()
            if found["NodeNames"]:
                about = pod["metadata"]
                body = {"PodName": about["name"], "PodNamespace": "default", "PodUID": about["uid"], "Node": "n0"}
                assert client.post("/bind", json=body).json()["Error"] == ""
        assert client.get("/explain", params={"pod": "default/a"}).json()["asks"][0]["units"] == 500
        eventually(lambda: made.admin.list(kube.EVENTS))
    made.check("extender")


def _share(admin: Kube, name: str, units: int) -> Json:
    spec = build.share(name, units)["spec"]
    spec["containers"][0]["resources"]["requests"] = {names.RESOURCE_VGPU: str(units)}
    return admin.create(kube.PODS, {"metadata": {"name": name, "namespace": "default"}, "spec": spec}, "default")


SWITCHED = {
    "gpus": {"gpu-a": {"board": "v100", "provider": "agent"}},
    "layouts": {
        name: {"gpu-a": [{"node": "n1", "profile": profile, "config": name}]}
        for name, profile in {"day": "v100-4q-4GB", "night": "v100-16q-16GB"}.items()
    },
    "providers": {"agent": {"kind": "vgpu_device_manager"}},
}


def test_the_switcher_and_who_asks_it(world: Callable[..., World]) -> None:
    """One switch by hand, of a node that a batch job has to leave and that is recut in place."""
    made = world({"switcher": {"enabled": True, "operatorRole": True, "config": SWITCHED}})
    made.admin.create(kube.NODES, {"metadata": {"name": "n1", "labels": {names.LABEL_PROFILE: "v100-4q-4GB"}}})
    _beat(made.admin, "2027-01-15T08:00:00Z")
    _batch_job(made.admin)
    file = made.folder / "switcher.yaml"
    file.write_text(yaml.safe_dump(SWITCHED))
    with _process(made, "switcher", "--config", str(file), "--interval-s", "0.1") as client:
        records = Records(made.admin, NAMESPACE)
        eventually(lambda: records.read("gpu-a").layout == "day", within_s=20)
        assert client.get("/v1/plan", params={"layout": "night"}).json()["plans"][0]["would_refuse"] == []
        person = _asking(_operator(made), str(client.base_url), "switch", "night")
        job = eventually(lambda: _evicted(made.admin), within_s=20)
        made.admin.delete(kube.PODS, job["name"], "default", grace_s=0, uid=job["uid"])
        eventually(lambda: _labels(made.admin).get("nvidia.com/vgpu.config") == "night", within_s=20)
        recut = {"nvidia.com/vgpu.config.state": "success", names.LABEL_PROFILE: "v100-16q-16GB"}
        made.admin.label_node("n1", recut)
        _beat(made.admin, "2027-01-15T08:05:00Z")
        assert person.wait(20) == 0
    assert {event["reason"] for event in made.admin.list(kube.EVENTS, "default")} >= {"SwitchStarted", "SwitchDone"}
    made.check("switcher")
    made.check("operator")


def _operator(made: World) -> Path:
    """A person, as far as the server is concerned, to whom somebody has bound the chart's Role."""
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": f"{NAME}-operator"}}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": f"{NAME}-switch-operator"}
    subject = {"kind": "ServiceAccount", "name": f"{NAME}-operator", "namespace": NAMESPACE}
    about = {"name": "operators", "namespace": NAMESPACE}
    binding = {"kind": "RoleBinding", "metadata": about, "roleRef": role, "subjects": [subject]}
    made.admin.create(APPLIED["ServiceAccount"], account, NAMESPACE)
    made.admin.create(APPLIED["RoleBinding"], binding, NAMESPACE)
    made.bound.append(binding)
    return made.kubeconfig("operator")


def _asking(kubeconfig: Path, url: str, *words: str) -> "subprocess.Popen[bytes]":
    """The command line, as a person gives it."""
    where = ("--switcher-url", url, "--kubeconfig", str(kubeconfig))
    return subprocess.Popen([sys.executable, "-m", "autoscaler.cli", *words, *where], stdout=subprocess.DEVNULL)


def _batch_job(admin: Kube) -> None:
    spec = {"nodeName": "n1", "containers": [{"name": "job", "image": "example.com/job:1"}]}
    admin.create(kube.PODS, {"metadata": {"name": "job", "namespace": "default"}, "spec": spec}, "default")


def _evicted(admin: Kube) -> Json:
    (pod,) = admin.list(kube.PODS, "default", fields="spec.nodeName=n1")
    return pod["metadata"] if "deletionTimestamp" in pod["metadata"] else None


def _beat(admin: Kube, at: str) -> None:
    """As a kubelet shows that it lives."""
    ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": at}
    amounts = {names.RESOURCE_GPU: "1"}
    admin.set_node_status("n1", {"conditions": [ready], "allocatable": amounts, "capacity": amounts})


def _labels(admin: Kube) -> Json:
    return admin.read(kube.NODES, "n1")["metadata"]["labels"]


class _process:  # noqa: N801 - a context manager named as the functions beside it
    """The process itself, told to end before the record is looked at: it gives its lease back."""

    def __init__(self, made: World, component: str, *more: str) -> None:
        self._log = made.folder / "log"
        options = ("--listen", "127.0.0.1:0", "--namespace", NAMESPACE, "--kubeconfig", made.kubeconfig(component))
        with self._log.open("wb") as file:
            command = [sys.executable, "-m", f"vgpu.{component}", *options, *more]
            self._process = subprocess.Popen(command, stderr=file)

    def __enter__(self) -> httpx.Client:
        said = "listening on 127.0.0.1:"
        text = eventually(self._log.read_text, lambda found: said in found, within_s=20)
        port = int(text.split(said)[1].split(" ")[0])
        eventually(lambda: _listens(port), within_s=20)
        return httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10, trust_env=False)

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(20) == 0


def _listens(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).status_code > 0
    except httpx.TransportError:
        return False
