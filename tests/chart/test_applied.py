"""The chart applied by the real kubectl to the embedded API server, and the autoscaler there as the chart's account.

What the account may is what the chart's roles say and nothing else: every call the autoscaler makes is on record, and
with any one of them no longer allowed it says which.
"""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from autoscaler import config
from autoscaler.adapters import lease
from autoscaler.adapters.cluster import KubernetesCluster
from autoscaler.adapters.deployment_pools import DeploymentPools
from autoscaler.adapters.lease import LeaseLeadership
from autoscaler.adapters.raycluster_pools import RayClusterPools
from autoscaler.core.spec import FleetSpec
from autoscaler.embedded import addresses, pods
from autoscaler.embedded.apiserver.audit import Record
from autoscaler.ports import Unavailable
from tests.chart.helm import CHART, CI_VALUES, NAMESPACE, RELEASE, VERSIONS, render, run
from tests.fakes import web
from tests.fakes.guarded import Cluster, cluster
from tests.fakes.ray import RayDashboard
from tests.fakes.serving import FakeServing
from tests.fakes.waiting import eventually
from vgpu.adapters import kube
from vgpu.adapters.kube import Kind, Kube
from vgpu.core import names

NAME = f"{RELEASE}-vgpu-serve"
ACCOUNT = f"system:serviceaccount:{NAMESPACE}:{NAME}-autoscaler"
POOL = "workers-v100-8q-8gb"
VALUES = {
    "models": {
        "filetype": None,
        "ocr": {
            "source": "file_type",
            "slot": "v100-8q-8GB",
            "objective_p95_ms": 500,
            "autoscaling": {"min_replicas": 2, "max_replicas": 3},
        },
        "minilm": {"source": "text_embedder", "slot": "a40-8q-8GB", "objective_p95_ms": 200},
    }
}
NOW = "2027-01-15T08:00:00Z"
WALL = datetime(2027, 1, 15, 8, tzinfo=UTC)
ROLES = Kind("/apis/rbac.authorization.k8s.io/v1", "roles")
CLUSTER_ROLES = Kind("/apis/rbac.authorization.k8s.io/v1", "clusterroles")
CONFIG_MAPS = Kind("/api/v1", "configmaps")
RAY_CLUSTERS = Kind("/apis/ray.io/v1", "rayclusters")

# kubectl sends some fields each time and calls that configured: a budget's selector, for it is replaced as a whole, and
# the worker groups, for they are one list to it, and the API has filled in each group's numOfHosts.
ALWAYS_SENT = ("poddisruptionbudget.", "raycluster.")
THERE = {None, "default", "kube-system", "kube-node-lease"}

Json = Any


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The chart with two models, its workers running, and a kubeconfig of the autoscaler's account."""
    with cluster(tmp_path_factory.mktemp("applied"), NAMESPACE) as made:
        made.apply(render(VALUES))
        made.log_in(f"{NAME}-autoscaler", NAMESPACE)
        for place, profile in enumerate(("v100-8q-8GB", "v100-8q-8GB", "v100-8q-8GB", "a40-8q-8GB")):
            _add_node(made.admin, f"n{place}", profile)
        _settle(made.admin)
        yield made


@pytest.fixture
def account(applied: Cluster) -> Iterator[Kube]:
    """The autoscaler's own client."""
    made = kube.connect(applied.folder / f"{NAME}-autoscaler")
    yield made
    made.close()


def _add_node(admin: Kube, name: str, profile: str) -> None:
    labels = {names.LABEL_PROFILE: profile, names.LABEL_PHYSICAL_GPU: f"GPU-{name}", "kubernetes.io/hostname": name}
    admin.create(kube.NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}})
    admin.set_node_status(name, pods.node_status(1, NOW, "v1.37.1-test"))


def _workers(admin: Kube) -> list[Json]:
    return list(admin.list(kube.PODS, NAMESPACE, labels=names.LABEL_POOL))


def _settle(admin: Kube) -> None:
    """Play scheduler and kubelet for the workers: what goes is gone, what is new gets a free node of its slot type."""
    pools = [
        item
        for item in admin.list(kube.DEPLOYMENTS, NAMESPACE)
        if names.LABEL_POOL in _labels(item["spec"]["template"])
    ]
    wanted = sum(item["spec"]["replicas"] for item in pools)
    eventually(lambda: _remaining(admin), lambda found: len(found) == wanted)
    for pod in _workers(admin):
        if "deletionTimestamp" in pod["metadata"]:
            admin.delete(kube.PODS, pod["metadata"]["name"], NAMESPACE, grace_s=0, uid=pod["metadata"]["uid"])
    for pod in _workers(admin):
        if "nodeName" not in pod["spec"]:
            admin.bind_pod(pod["metadata"]["name"], NAMESPACE, node=_free_node(admin, pod), annotations={})
        status = pods.status(pods.Stage.READY, ip="127.0.0.1", now=NOW)
        admin.set_pod_status(pod["metadata"]["name"], NAMESPACE, status)


def _labels(item: Json) -> Json:
    return item["metadata"].get("labels") or {}


def _remaining(admin: Kube) -> list[Json]:
    return [pod for pod in _workers(admin) if "deletionTimestamp" not in pod["metadata"]]


def _free_node(admin: Kube, pod: Json) -> str:
    taken = {other["spec"].get("nodeName") for other in _workers(admin)}
    profile = pod["spec"]["nodeSelector"][names.LABEL_PROFILE]
    nodes = admin.list(kube.NODES, labels=f"{names.LABEL_PROFILE}={profile}")
    return next(node["metadata"]["name"] for node in nodes if node["metadata"]["name"] not in taken)


def _spec(applied: Cluster) -> FleetSpec:
    """What the processes make of the ConfigMap that was applied."""
    path = applied.folder / "models.yaml"
    applied_file = applied.admin.read(CONFIG_MAPS, f"{NAME}-models", NAMESPACE)["data"]["models.yaml"]
    path.write_text(applied_file, encoding="utf-8")
    return config.load(path)


def _cluster_seen_by(client: Kube) -> KubernetesCluster:
    return KubernetesCluster(client, DeploymentPools(client, namespace=NAMESPACE))


@pytest.mark.parametrize("values", CI_VALUES, ids=lambda path: path.name)
def test_everything_is_applied_and_applying_it_again_changes_nothing(values: Path, tmp_path: Path) -> None:
    objects = render(files=(values,))
    namespaces = {entry["metadata"].get("namespace") for entry in objects} - THERE
    with cluster(tmp_path, *namespaces) as made:
        created = made.apply(objects)
        assert ([*created], len(created["created"])) == (["created"], len(objects))
        again = made.apply(objects)
        assert all(name.startswith(ALWAYS_SENT) for name in again.pop("configured", []))
        assert [*again] == ["unchanged"]


def test_the_server_can_apply_it_as_well(tmp_path: Path) -> None:
    """As Helm 4 does; what the autoscaler has scaled meanwhile stays, for the chart says no count."""
    objects = render(VALUES)
    with cluster(tmp_path, NAMESPACE) as made:
        assert made.apply(objects, "--server-side")["serverside-applied"]
        made.admin.set_replicas(POOL, NAMESPACE, 3)
        assert [*made.apply(objects, "--server-side")] == ["serverside-applied"]
        assert made.admin.read_replicas(POOL, NAMESPACE) == 3


@pytest.mark.parametrize("version", VERSIONS)
def test_helm_itself_installs_upgrades_and_uninstalls_it(version: str, tmp_path: Path) -> None:
    """Without the hooks, whose Jobs nobody runs here. An upgrade changes the models file and no count."""
    with cluster(tmp_path, NAMESPACE) as made:

        def helm(verb: str, *words: str | Path) -> None:
            done = run(version, verb, RELEASE, *words, *about)
            assert done.status == 0, done.said

        about = ("--namespace", NAMESPACE, "--kubeconfig", tmp_path / "admin", "--no-hooks")
        helm("install", CHART)
        made.admin.set_replicas(POOL, NAMESPACE, 3)
        helm("upgrade", CHART, "--set", "models.filetype.objective_p95_ms=123")
        assert [model.objective_p95_ms for model in _spec(made).models] == [123]
        assert made.admin.read_replicas(POOL, NAMESPACE) == 3
        helm("uninstall")
        assert made.admin.list(CONFIG_MAPS, NAMESPACE) == made.admin.list(kube.DEPLOYMENTS, NAMESPACE) == ()


def test_the_pools_applied_are_those_of_the_models_applied(applied: Cluster) -> None:
    spec = _spec(applied)
    deployed = {
        item["metadata"]["name"]: item["spec"]["template"]["spec"]["nodeSelector"][names.LABEL_PROFILE]
        for item in applied.admin.list(kube.DEPLOYMENTS, NAMESPACE)
        if names.LABEL_POOL in _labels(item["spec"]["template"])
    }
    assert {pool.name: pool.profile.label for pool in spec.pools} == deployed
    assert [(model.name, model.min_replicas, model.max_replicas) for model in spec.models] == [
        ("minilm", 1, 1),
        ("ocr", 2, 3),
    ]


def test_the_account_sees_the_cluster_as_it_is(applied: Cluster, account: Kube) -> None:
    spec = _spec(applied)
    seen = _cluster_seen_by(account).read(spec, 0.0)
    assert seen.problems == ()
    assert {pool.pool: pool.wanted for pool in seen.pools} == {pool.name: 1 for pool in spec.pools}
    assert sorted(worker.node or "" for pool in seen.pools for worker in pool.workers) == ["n0", "n3"]
    assert all(worker.ready for pool in seen.pools for worker in pool.workers)


def _read(client: Kube, spec: FleetSpec) -> None:
    assert _cluster_seen_by(client).read(spec, 0.0).problems == ()


def _lead(client: Kube, _: FleetSpec) -> None:
    """Take the lease and renew it."""
    lead = LeaseLeadership(client, namespace=NAMESPACE, holder="test", interval_s=1.0)
    assert [lead.is_held(0.0), lead.is_held(1.0)] == [True, True]


def _grow_and_shrink(client: Kube, _: FleetSpec) -> None:
    seen, workers = _cluster_seen_by(client), client.list(kube.PODS, labels=f"{names.LABEL_POOL}={POOL}")
    seen.set_workers(POOL, 2, preferred_nodes=("n1",), victims=())
    seen.set_workers(POOL, 1, preferred_nodes=(), victims=(f"{NAMESPACE}/{workers[0]['metadata']['name']}",))


def _replace(client: Kube, _: FleetSpec) -> None:
    (worker,) = client.list(kube.PODS, NAMESPACE, labels=f"{names.LABEL_POOL}={POOL}")
    _cluster_seen_by(client).replace_workers(POOL, (f"{NAMESPACE}/{worker['metadata']['name']}",))


def _tell(client: Kube, _: FleetSpec) -> None:
    """An Event on the pool, as `autoscaler.adapters.events` writes it; that one only logs what it cannot write."""
    uid = client.read(kube.DEPLOYMENTS, POOL, NAMESPACE)["metadata"]["uid"]
    subject = kube.Subject(kind="Deployment", name=POOL, namespace=NAMESPACE, uid=uid, api_version="apps/v1")
    client.record_event(kube.Event(subject=subject, reason="ScaledUp", message="m", component="c"), wall=WALL)


Permission = tuple[str, str, str]
"""Verb, API group, resource with its subresource."""
LEASES = "coordination.k8s.io"
NEEDS: dict[Callable[[Kube, FleetSpec], None], list[Permission]] = {
    _read: [("list", "", "nodes"), ("list", "", "pods"), ("get", "apps", "deployments/scale")],
    _lead: [("get", LEASES, "leases"), ("create", LEASES, "leases"), ("update", LEASES, "leases")],
    _grow_and_shrink: [
        ("list", "", "pods"),
        ("patch", "", "pods"),
        ("patch", "apps", "deployments"),
        ("patch", "apps", "deployments/scale"),
    ],
    _replace: [("list", "", "pods"), ("delete", "", "pods")],
    _tell: [("get", "apps", "deployments"), ("create", "", "events")],
}


def _begin(applied: Cluster) -> None:
    """One worker in each pool, a lease nobody has, nothing on record."""
    with suppress(kube.NotFound):
        applied.admin.delete(kube.LEASES, lease.NAME, NAMESPACE)
    applied.admin.set_replicas(POOL, NAMESPACE, 1)
    _settle(applied.admin)
    applied.server.audit.clear()


@pytest.mark.parametrize("act", NEEDS)
def test_the_account_may_do_all_that_the_autoscaler_does(
    applied: Cluster, account: Kube, act: Callable[[Kube, FleetSpec], None]
) -> None:
    _begin(applied)
    act(account, _spec(applied))
    made = applied.server.audit.records(ACCOUNT)
    assert [record for record in made if record.code in (401, 403)] == []
    asked = {(record.verb, record.group, _combined(record)) for record in made}
    assert asked == set(NEEDS[act])


@pytest.mark.parametrize(("act", "permission"), [(act, one) for act, needed in NEEDS.items() for one in needed])
def test_without_one_permission_it_is_named(
    applied: Cluster, account: Kube, act: Callable[[Kube, FleetSpec], None], permission: Permission
) -> None:
    _begin(applied)
    spec, (verb, group, resource) = _spec(applied), permission
    with _revoked(applied, permission), pytest.raises((Unavailable, kube.Unavailable)) as refusal:
        act(account, spec)
    told = f'User "{ACCOUNT}" cannot {verb} resource "{resource}" in API group "{group}"'
    assert f"403 {resource.partition('/')[0]}" in str(refusal.value)
    assert told in str(refusal.value)


def _combined(record: Record) -> str:
    return f"{record.resource}/{record.subresource}" if record.subresource else record.resource


@contextmanager
def _revoked(applied: Cluster, permission: Permission) -> Iterator[None]:
    """Take one permission out of every role of the autoscaler, for a while."""
    roles = [
        (kind, item)
        for kind, namespace in ((ROLES, NAMESPACE), (CLUSTER_ROLES, ""))
        for item in applied.admin.list(kind, namespace)
        if "autoscaler" in item["metadata"]["name"]
    ]
    try:
        for kind, item in roles:
            _put(applied.admin, kind, item, [left for rule in item["rules"] for left in _without(rule, permission)])
        yield
    finally:
        for kind, item in roles:
            _put(applied.admin, kind, item, item["rules"])


def _put(admin: Kube, kind: Kind, item: Json, rules: list[Json]) -> None:
    about = {"name": item["metadata"]["name"], "labels": item["metadata"]["labels"]}
    admin.replace(kind, {"metadata": about, "rules": rules}, item["metadata"].get("namespace", ""))


def _without(rule: Json, permission: Permission) -> list[Json]:
    verb, group, resource = permission
    if group not in rule["apiGroups"] or resource not in rule["resources"]:
        return [rule]
    others = [name for name in rule["resources"] if name != resource]
    verbs = [word for word in rule["verbs"] if word != verb]
    apart = [rule | {"resources": others}] if others else []
    return apart + ([rule | {"resources": [resource], "verbs": verbs}] if verbs else [])


def test_the_containers_own_command_scales_as_its_account_may(applied: Cluster) -> None:
    """What the chart's Deployment starts, with this machine's addresses: it sees, leads, scales and tells."""
    _begin(applied)
    _spec(applied)
    deployment = applied.admin.read(kube.DEPLOYMENTS, f"{NAME}-autoscaler", NAMESPACE)
    workers = [f"{NAMESPACE}/{pod['metadata']['name']}" for pod in _workers(applied.admin)]
    memory = FakeServing(lambda: workers, targets={"ocr": 1, "minilm": 1})
    port = addresses.choose({}).autoscaler
    with web.serve(RayDashboard(memory).routes()) as ray, _started(applied, deployment, ray.url, port) as child:
        eventually(lambda: applied.admin.read_replicas(POOL, NAMESPACE) > 1 or child.poll() is not None, within_s=30)
        assert child.poll() is None, _log(applied)
        told = eventually(lambda: applied.admin.list(kube.EVENTS, NAMESPACE, fields="reason=ScaledUp"), within_s=30)
        seen = httpx.get(f"http://127.0.0.1:{port}/v1/state", trust_env=False).json()
        child.send_signal(signal.SIGTERM)
        assert child.wait(10) == 0, _log(applied)
    assert told[0]["involvedObject"]["name"] == POOL
    assert {model["name"]: (model["replicas_min"], model["replicas_max"]) for model in seen["models"]} == {
        "ocr": (2, 3),
        "minilm": (1, 1),
    }
    assert {slot["profile"] for node in seen["nodes"] for slot in node["slots"]} == {"v100-8q-8GB", "a40-8q-8GB"}
    refused = [record for record in applied.server.audit.records(ACCOUNT) if record.code in (401, 403)]
    assert refused == []


@contextmanager
def _started(applied: Cluster, deployment: Json, ray_url: str, port: int) -> "Iterator[subprocess.Popen[bytes]]":
    program, verb, *given = deployment["spec"]["template"]["spec"]["containers"][0]["command"]
    assert (program, verb) == ("vgpu-serve", "run")
    options = dict(word.split("=", 1) for word in given)
    assert options["--namespace"] == NAMESPACE
    options |= {
        "--models": str(applied.folder / "models.yaml"),
        "--kubeconfig": str(applied.folder / f"{NAME}-autoscaler"),
        "--ray-url": ray_url,
        "--listen": f"127.0.0.1:{port}",
        "--interval-s": "0.2",
    }
    for elsewhere in ("--ray-token-file", "--ingress-url"):
        del options[elsewhere]
    words = [f"{name}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "autoscaler.cli", "run", *words]
    with (applied.folder / "log").open("wb") as log:
        child = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield child
    finally:
        child.kill()
        child.wait()


def _log(applied: Cluster) -> str:
    return (applied.folder / "log").read_text(encoding="utf-8")[-3000:]


def test_with_kuberay_the_account_sees_and_sizes_the_worker_groups(tmp_path: Path) -> None:
    with cluster(tmp_path, NAMESPACE) as made:
        made.apply(render(VALUES | {"workers": {"backend": "kuberay"}}))
        made.log_in(f"{NAME}-autoscaler", NAMESPACE)
        spec, client = _spec(made), kube.connect(tmp_path / f"{NAME}-autoscaler")
        with closing(client):
            made.server.audit.clear()
            seen = KubernetesCluster(client, RayClusterPools(client, namespace=NAMESPACE, name=NAME))
            assert {pool.pool: pool.wanted for pool in seen.read(spec, 0.0).pools} == {p.name: 1 for p in spec.pools}
            seen.set_workers(POOL, 2, preferred_nodes=(), victims=())
        groups = made.admin.read(RAY_CLUSTERS, NAME, NAMESPACE)["spec"]["workerGroupSpecs"]
        assert {group["groupName"]: group["replicas"] for group in groups} == {POOL: 2, "workers-a40-8q-8gb": 1}
        assert {record.code for record in made.server.audit.records(ACCOUNT)} == {200}
