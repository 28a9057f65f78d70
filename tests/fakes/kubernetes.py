"""The embedded API server with emulated nodes, whose kubelet and scheduler are the test."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoscaler.embedded import apiserver, pods
from autoscaler.embedded.apiserver import ApiServer
from autoscaler.embedded.scheduler import Scheduler
from tests.fakes.waiting import eventually
from vgpu.adapters import kube
from vgpu.adapters.kube import Kube
from vgpu.core import names

NAMESPACE = "default"
PROFILE = "v100-8q-8GB"
RAY_IP = "127.0.0.2"
NOW = "2027-01-15T08:00:00Z"


@dataclass
class Kubernetes:
    """A running server and a client of it."""

    server: ApiServer
    client: Kube
    kubeconfig: Path
    operators: list[Callable[[], bool]] = field(default_factory=list)
    """Further controllers: each makes one pass and says whether it found nothing to do."""

    def add_node(self, name: str, *, card: str = "GPU-a", profile: str = PROFILE, **labels: str) -> None:
        """A node with one slot, ready."""
        about = {
            "kubernetes.io/hostname": name,
            names.LABEL_PROFILE: profile,
            names.LABEL_PHYSICAL_GPU: card,
            **{key.replace("_", "-"): value for key, value in labels.items()},
        }
        self.client.create(
            kube.NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": about}}
        )
        index = len(self.client.list(kube.NODES))
        self.client.set_node_status(name, pods.node_status(index, NOW, "v1.34.0-test"))

    def add_pool(self, name: str, *, replicas: int) -> None:
        """A worker pool; its pods appear at once."""
        manifest = pods.pool_manifest(
            name, namespace=NAMESPACE, slot_label=PROFILE, replicas=replicas, ray_address=f"{RAY_IP}:6379"
        )
        self.client.apply_deployment(manifest, NAMESPACE)
        eventually(self.pods, lambda found: len(found) >= replicas)

    def pods(self) -> list[dict[str, Any]]:
        return sorted(self.client.list(kube.PODS, NAMESPACE), key=lambda pod: str(pod["metadata"]["name"]))

    def nodes_of_pods(self) -> dict[str, str | None]:
        return {pod["metadata"]["name"]: pod["spec"].get("nodeName") for pod in self.pods()}

    def settle(self) -> None:
        """Play scheduler, kubelet and operators until all have their pods, bound where there is room, and ready."""
        deadline_s = time.monotonic() + 10.0
        while not self._step():
            assert time.monotonic() < deadline_s, self.pods()

    def _step(self) -> bool:
        quiet = [operator() for operator in self.operators]
        is_settled = all(quiet)
        Scheduler(self.client).schedule_all()
        found = self.pods()
        for pod in found:
            about, uid = pod["metadata"], pod["metadata"]["uid"]
            if "deletionTimestamp" in about:
                self.client.delete(kube.PODS, about["name"], NAMESPACE, grace_s=0, uid=uid)
                is_settled = False
            elif "nodeName" not in pod["spec"]:
                is_settled = is_settled and bool(pod["status"].get("conditions"))  # or nobody has looked at it yet
            elif pod["status"]["phase"] != "Running":
                status = pods.status(pods.Stage.READY, ip=pods.address(1, uid), now=NOW)
                self.client.set_pod_status(about["name"], NAMESPACE, status)
                is_settled = False
        wanted = sum(item["spec"]["replicas"] for item in self.client.list(kube.DEPLOYMENTS, NAMESPACE))
        owners = [owner["kind"] for pod in found for owner in pod["metadata"].get("ownerReferences") or ()]
        return is_settled and wanted == owners.count("Deployment")


@contextmanager
def kubernetes(directory: Path) -> Iterator[Kubernetes]:
    """A server with its controllers, and nothing in it."""
    server = apiserver.start()
    kubeconfig = directory / "kubeconfig"
    server.write_kubeconfig(kubeconfig)
    client = kube.connect(kubeconfig)
    try:
        yield Kubernetes(server, client, kubeconfig)
    finally:
        client.close()
        server.stop()
