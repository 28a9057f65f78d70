"""The process over real HTTP, against the API server's stand-in: watches, Bindings, Events, the lease, the end."""

import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from autoscaler.embedded import apiserver
from autoscaler.embedded.apiserver import ApiServer, Options, tls
from tests.fakes.waiting import eventually
from tests.unit.extender import build
from vgpu.adapters import kube
from vgpu.adapters.kube import Kube

Json = dict[str, Any]


@dataclass
class Cluster:
    """The stand-in and a client of it."""

    server: ApiServer
    client: Kube
    kubeconfig: Path

    def add_node(self, name: str, *framebuffers_mib: int) -> None:
        node = build.node(name, *framebuffers_mib)
        self.client.create(kube.NODES, {"apiVersion": "v1", "kind": "Node", "metadata": node["metadata"]})
        amounts = node["status"]["allocatable"]
        self.client.set_node_status(name, {"allocatable": amounts, "capacity": amounts})

    def add_pod(self, name: str, units: object) -> Json:
        made = build.share(name, units)
        about = {"name": name, "namespace": "default"}
        manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": made["spec"]}
        manifest["spec"]["containers"][0]["resources"]["requests"] = {"nvidia.com/vgpu": str(units)}
        return self.client.create(kube.PODS, manifest, "default")

    def pod(self, name: str) -> Json:
        return self.client.read(kube.PODS, name, "default")

    def events(self) -> list[str]:
        return [event["message"] for event in self.client.list(kube.EVENTS)]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    server = apiserver.start(Options(with_controllers=False))
    server.write_kubeconfig(tmp_path / "kubeconfig")
    client = kube.connect(tmp_path / "kubeconfig")
    made = Cluster(server, client, tmp_path / "kubeconfig")
    made.add_node("n0", 16384)
    made.add_node("n1", 16384, 32768)
    yield made
    client.close()
    server.stop()


@contextmanager
def extender(cluster: Cluster, log: Path, *options: str) -> Iterator[tuple[httpx.Client, "subprocess.Popen[bytes]"]]:
    """A process, and a client of it once it listens."""
    command = [
        sys.executable,
        "-m",
        "vgpu.extender",
        "--listen",
        "127.0.0.1:0",
        "--kubeconfig",
        str(cluster.kubeconfig),
        *options,
    ]
    with log.open("wb") as file:
        started = subprocess.Popen(command, stderr=file)
    try:
        line = eventually(
            lambda: [line for line in log.read_text().splitlines() if "listening on" in line], within_s=20
        )
        port = int(line[0].split("listening on 127.0.0.1:")[1].split(" ")[0])
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            yield client, started
    finally:
        started.terminate()
        started.wait(20)


def ready(client: httpx.Client) -> httpx.Response:
    try:
        return client.get("/readyz")
    except httpx.TransportError:
        return httpx.Response(0)


def is_ready(client: httpx.Client) -> None:
    eventually(lambda: ready(client), lambda answer: answer.status_code == 200, within_s=30)


def filtered(client: httpx.Client, pod: Json) -> Json:
    answer = client.post("/filter", json={"Pod": pod, "Nodes": None, "NodeNames": ["n0", "n1"]})
    assert answer.status_code == 200
    found: Json = answer.json()
    return found


def bound(client: httpx.Client, pod: Json, node: str) -> str:
    about = pod["metadata"]
    body = {"PodName": about["name"], "PodNamespace": "default", "PodUID": about["uid"], "Node": node}
    return str(client.post("/bind", json=body).json()["Error"])


def schedule(client: httpx.Client, pod: Json) -> str:
    (node,) = filtered(client, pod)["NodeNames"]
    assert bound(client, pod, node) == ""
    return str(node)


def test_a_pod_gets_its_node_and_its_slot_in_one_write(cluster: Cluster, tmp_path: Path) -> None:
    with extender(cluster, tmp_path / "log") as (client, process):
        is_ready(client)
        assert schedule(client, cluster.add_pod("a", 500)) == "n0"
        assert cluster.pod("a")["metadata"]["annotations"]["vgpu-serve.io/allocation"] == (
            "v1 n0 main=500:8192@0/GPU-n0-0"
        )
        refused = filtered(client, cluster.add_pod("b", 1500))
        assert refused["NodeNames"] == []
        assert eventually(cluster.events)[0].startswith("pod default/b, container main: nvidia.com/vgpu is 1500")
        assert client.get("/healthz").status_code == 200
        assert 'vgpu_gpu_allocated_units{gpu="0",node="n0"} 500.0' in client.get("/metrics").text
        assert client.get("/explain", params={"pod": "default/a"}).json()["asks"][0]["units"] == 500
        body = {"Pod": {"metadata": {"name": "w"}, "spec": build.share("w", 1000)["spec"]}, "Count": 3}
        assert client.post("/what-if", json=body).json()["missing"] == 1
        assert client.post("/filter", content=b"{").json()["Error"].startswith("the body is no JSON")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_units_come_back_when_the_watch_tells_that_a_pod_is_gone(cluster: Cluster, tmp_path: Path) -> None:
    with extender(cluster, tmp_path / "log") as (client, _):
        is_ready(client)
        cluster.client.cordon("n1")
        for name in ("a", "b"):
            schedule(client, cluster.add_pod(name, 1000))
        waiting = cluster.add_pod("c", 2000)
        assert filtered(client, waiting)["NodeNames"] == []
        cluster.client.delete(kube.PODS, "b", "default", grace_s=0)
        eventually(lambda: filtered(client, waiting)["NodeNames"], lambda names: names == ["n1"])


def test_what_happened_in_a_gap_of_the_watch_is_made_up_for(cluster: Cluster, tmp_path: Path) -> None:
    """The watch is cut, and the version to go on from is gone (410) while a pod that we bound is deleted."""
    with extender(cluster, tmp_path / "log") as (client, _):
        is_ready(client)
        for name in ("a", "b", "c"):
            schedule(client, cluster.add_pod(name, 1000))
        cluster.server.faults.refuse(410, times=1, verb="watch", plural="pods")
        cluster.server.faults.drop_watches(1)
        waiting = cluster.add_pod("d", 1000)
        cluster.client.delete(kube.PODS, "b", "default", grace_s=0)
        eventually(lambda: filtered(client, waiting)["NodeNames"])
        cluster.server.faults.clear()
        assert bound(client, waiting, filtered(client, waiting)["NodeNames"][0]) == ""


def test_the_next_process_knows_what_the_last_one_bound(cluster: Cluster, tmp_path: Path) -> None:
    with extender(cluster, tmp_path / "first") as (client, leader):
        is_ready(client)
        assert schedule(client, cluster.add_pod("a", 700)) == "n0"
        with extender(cluster, tmp_path / "second") as (follower, _):
            eventually(lambda: ready(follower).text, lambda text: "another process leads" in text)
            pod = cluster.add_pod("b", 300)
            assert filtered(follower, pod)["Error"] == "vgpu-extender is not ready: another process leads"
            leader.terminate()  # frees the lease as it ends
            leader.wait(20)
            is_ready(follower)
            assert schedule(follower, pod) == "n0"


def test_a_port_in_use_is_refused_in_one_line(cluster: Cluster) -> None:
    address = f"127.0.0.1:{cluster.server.port}"
    command = [sys.executable, "-m", "vgpu.extender", "--listen", address, "--kubeconfig", str(cluster.kubeconfig)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1] == (
        f"python -m vgpu.extender: cannot listen on {address} (Address already in use); "
        "free it or choose another with --listen"
    )


def refused(*options: str) -> str:
    ended = subprocess.run(
        [sys.executable, "-m", "vgpu.extender", *options], capture_output=True, text=True, timeout=30, check=False
    )
    assert ended.returncode == 2
    return ended.stderr.splitlines()[-1]


def test_tls_needs_both_files_and_files_that_are_some(tmp_path: Path) -> None:
    cert, key = str(tmp_path / "cert"), str(tmp_path / "key")
    prefix = "python -m vgpu.extender: "
    assert refused("--tls-cert", cert) == f"{prefix}--tls-cert and --tls-key belong together; give both"
    assert refused("--tls-cert", cert, "--tls-key", key) == (
        f"{prefix}cannot serve TLS with {cert} and {key} (No such file or directory); give PEM files"
    )


def test_the_webhook_is_served_over_tls(cluster: Cluster, tmp_path: Path) -> None:
    identity, cert, key = tls.create("127.0.0.1", datetime.now(UTC)), tmp_path / "cert", tmp_path / "key"
    cert.write_bytes(identity.certificate)
    key.write_bytes(identity.key)
    with extender(cluster, tmp_path / "log", "--tls-cert", str(cert), "--tls-key", str(key)) as (plain, _):
        review = {"request": {"uid": "r", "object": {"metadata": {"name": "p"}, "spec": {}}}}
        with httpx.Client(
            base_url=str(plain.base_url).replace("http:", "https:"), verify=ssl.create_default_context(cafile=cert)
        ) as client:
            answer = eventually(lambda: client.post("/mutate", json=review))
        assert answer.json()["response"] == {"uid": "r", "allowed": True}
