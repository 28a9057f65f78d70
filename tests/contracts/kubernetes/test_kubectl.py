"""The real kubectl against the embedded server: what the README tells people to type."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.contracts.kubernetes import build
from tests.contracts.kubernetes.wire import eventually
from vgpu.adapters import kube

_KUBECTL = Path(sys.executable).with_name("kubectl")
Kubectl = Callable[..., str]


def _command(folder: Path, *words: str) -> tuple[list[str], dict[str, str]]:
    # Its discovery cache would outlive the server in the home directory.
    settings = {"HOME": str(folder), "KUBECONFIG": str(folder / "kubeconfig"), "PATH": os.environ["PATH"]}
    return [str(_KUBECTL), *words], settings


@pytest.fixture
def kubectl(cluster: kube.Kube, tmp_path: Path) -> Kubectl:
    """Run kubectl; return what it prints, fail where it fails."""

    def run(*words: str, stdin: str = "") -> str:
        command, settings = _command(tmp_path, *words)
        done = subprocess.run(command, env=settings, input=stdin, capture_output=True, text=True, timeout=20)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    return run


@pytest.fixture
def fleet(cluster: kube.Kube) -> list[str]:
    """Two labelled nodes and a Deployment with one running pod and one that waits."""
    for name in ("n1", "n2"):
        cluster.create(kube.NODES, {"metadata": {"name": name, "labels": {"vgpu.type": "v100-8q-8GB"}}})
        cluster.set_node_status(
            name, {"conditions": [build.ready()], "nodeInfo": {"kubeletVersion": "v1.37.1+emulated"}}
        )
    cluster.create(kube.DEPLOYMENTS, build.deployment("w", replicas=2), "default")
    pods = eventually(lambda: len(found := cluster.list(kube.PODS, "default")) == 2 and found)
    names = [pod["metadata"]["name"] for pod in pods]
    _start(cluster, names[0])
    return names


def _start(cluster: kube.Kube, pod: str) -> None:
    cluster.bind_pod(pod, "default", node="n1", annotations={"vgpu-serve.io/slot": "n1/0"})
    statuses = [{"name": name, "ready": True, "restartCount": 0} for name in ("main", "side")]
    status = {"phase": "Running", "podIP": "127.0.0.1", "conditions": [build.ready()], "containerStatuses": statuses}
    cluster.set_pod_status(pod, "default", status)


def _rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_get_nodes_shows_the_slot_type(kubectl: Kubectl, fleet: list[str]) -> None:
    headings, *rows = _rows(kubectl("get", "nodes", "-L", "vgpu.type"))
    assert headings == ["NAME", "STATUS", "ROLES", "AGE", "VERSION", "VGPU.TYPE"]
    assert [(row[0], row[1], row[2], row[4], row[5]) for row in rows] == [
        (name, "Ready", "<none>", "v1.37.1+emulated", "v100-8q-8GB") for name in ("n1", "n2")
    ]


def test_get_pods_shows_where_they_run(kubectl: Kubectl, fleet: list[str]) -> None:
    headings, *rows = kubectl("get", "pods", "-o", "wide").splitlines()
    assert re.split(r"\s{2,}", headings) == [
        *("NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE", "NOMINATED NODE", "READINESS GATES")
    ]
    shown = {row.split()[0]: row.split()[1:4] + row.split()[5:7] for row in rows}
    assert shown == {
        fleet[0]: ["2/2", "Running", "0", "127.0.0.1", "n1"],
        fleet[1]: ["0/2", "Pending", "0", "<none>", "<none>"],
    }


def test_get_deployments_and_describe(kubectl: Kubectl, fleet: list[str]) -> None:
    headings, row = _rows(kubectl("get", "deploy"))
    assert (headings, row[:4]) == (["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"], ["w", "1/2", "2", "1"])
    assert "vgpu-serve.io/slot: n1/0" in kubectl("describe", "pod", fleet[0])
    assert "vgpu.type=v100-8q-8GB" in kubectl("describe", "node", "n1")
    assert "2 desired" in kubectl("describe", "deployment", "w")


def test_label_annotate_and_cordon(kubectl: Kubectl, fleet: list[str], cluster: kube.Kube) -> None:
    kubectl("label", "node", "n1", "tier=gold")
    kubectl("annotate", "deployment", "w", "vgpu-serve.io/preferred-nodes=n2,n1")
    kubectl("cordon", "n2")
    assert cluster.read(kube.NODES, "n1")["metadata"]["labels"]["tier"] == "gold"
    annotations = cluster.read(kube.DEPLOYMENTS, "w", "default")["metadata"]["annotations"]
    assert annotations == {"vgpu-serve.io/preferred-nodes": "n2,n1"}
    assert [row[1] for row in _rows(kubectl("get", "nodes"))[1:]] == ["Ready", "Ready,SchedulingDisabled"]


def test_scale_and_delete_a_pod(kubectl: Kubectl, fleet: list[str], cluster: kube.Kube) -> None:
    kubectl("scale", "deployment", "w", "--replicas=3")
    eventually(lambda: len(cluster.list(kube.PODS, "default")) == 3)
    kubectl("delete", "pod", fleet[1])
    eventually(lambda: len(cluster.list(kube.PODS, "default")) == 3)
    assert fleet[1] not in [pod["metadata"]["name"] for pod in cluster.list(kube.PODS, "default")]


def test_apply_creates_then_merges_into_what_others_have_set(
    kubectl: Kubectl, cluster: kube.Kube, tmp_path: Path
) -> None:
    manifest, file = build.deployment("a", replicas=1), tmp_path / "a.json"
    file.write_text(json.dumps(manifest), encoding="utf-8")
    assert "created" in kubectl("apply", "-f", str(file))
    assert "unchanged" in kubectl("apply", "-f", str(file))
    cluster.annotate(kube.DEPLOYMENTS, "a", {"set.by": "another"}, "default")
    manifest["spec"]["template"]["spec"]["containers"][1]["image"] = "example.com/side:2"
    file.write_text(json.dumps(manifest), encoding="utf-8")
    assert "configured" in kubectl("apply", "-f", str(file))
    applied = cluster.read(kube.DEPLOYMENTS, "a", "default")
    images = [known["image"] for known in applied["spec"]["template"]["spec"]["containers"]]
    assert images == ["example.com/main:1", "example.com/side:2"]
    assert applied["metadata"]["annotations"]["set.by"] == "another"
    assert "deleted" in kubectl("delete", "-f", str(file))


def test_server_side_apply_shares_fields_and_names_who_owns_them(
    kubectl: Kubectl, cluster: kube.Kube, tmp_path: Path
) -> None:
    manifest, file = build.deployment("a"), tmp_path / "a.json"
    file.write_text(json.dumps(manifest), encoding="utf-8")
    assert "serverside-applied" in kubectl("apply", "--server-side", "-f", str(file))
    kubectl("scale", "deployment", "a", "--replicas=3")
    with pytest.raises(AssertionError, match=r"conflict with \"kubectl\" with subresource \"scale\" using apps/v1"):
        kubectl("apply", "--server-side", "-f", str(file))
    assert "serverside-applied" in kubectl("apply", "--server-side", "--force-conflicts", "-f", str(file))
    assert cluster.read_replicas("a", "default") == 1


def test_wait_for_ready_returns_once_it_is_so(
    kubectl: Kubectl, fleet: list[str], cluster: kube.Kube, tmp_path: Path
) -> None:
    command, settings = _command(tmp_path, "wait", "--for=condition=Ready", f"pod/{fleet[1]}", "--timeout=15s")
    with subprocess.Popen(command, env=settings, stdout=subprocess.PIPE, text=True) as waiting:
        time.sleep(0.5)
        assert waiting.poll() is None
        _start(cluster, fleet[1])
        assert waiting.wait(5) == 0
    kubectl("wait", "--for=condition=Available", "deployment/w", "--timeout=5s")
    assert "successfully rolled out" in kubectl("rollout", "status", "deployment/w", "--timeout=5s")


def test_get_with_watch_follows(kubectl: Kubectl, fleet: list[str], cluster: kube.Kube, tmp_path: Path) -> None:
    command, settings = _command(tmp_path, "get", "pods", "-w")
    with subprocess.Popen(command, env=settings, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        shown = [watching.stdout.readline().split() for _ in range(3)]
        _start(cluster, fleet[1])
        shown += [watching.stdout.readline().split() for _ in range(2)]
        watching.terminate()
    assert shown[0] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert [row[:3] for row in shown[1:3]] == [[fleet[0], "2/2", "Running"], [fleet[1], "0/2", "Pending"]]
    assert [row[:3] for row in shown[3:]] == [[fleet[1], "0/2", "Pending"], [fleet[1], "2/2", "Running"]]


def test_drain_evicts_what_runs_on_a_node(
    kubectl: Kubectl, fleet: list[str], cluster: kube.Kube, tmp_path: Path
) -> None:
    command, settings = _command(tmp_path, "drain", "n1", "--timeout=15s")
    with subprocess.Popen(command, env=settings, stdout=subprocess.PIPE, text=True) as draining:
        eventually(lambda: "deletionTimestamp" in cluster.read(kube.PODS, fleet[0], "default")["metadata"])
        cluster.delete(kube.PODS, fleet[0], "default", grace_s=0)  # as its kubelet does
        assert draining.wait(15) == 0
    assert cluster.read(kube.NODES, "n1")["spec"]["unschedulable"] is True


def test_discovery_version_and_health(kubectl: Kubectl) -> None:
    names = {row[0] for row in _rows(kubectl("api-resources", "--no-headers"))}
    assert {"nodes", "pods", "deployments", "leases", "poddisruptionbudgets"} <= names
    assert "v1.37.1+emulated" in kubectl("version")
    assert kubectl("get", "--raw", "/readyz") == "ok"
