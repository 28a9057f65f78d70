"""A stand-in for KubeRay's operator, and RayClusters for it: what the real one does for worker groups, pass by pass.

What it does was read off the operator's own `reconcilePods` (1.7); nothing of Ray runs. The test says when a pass
happens: an operator that is slow is one that nobody asks.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autoscaler.embedded import pods
from tests.fakes.kubernetes import NAMESPACE, PROFILE, RAY_IP
from vgpu.adapters import kube
from vgpu.adapters.kube_verbs import MERGE, Json, Request, Verbs
from vgpu.core import names

NAME = "serve"
LARGEST = 2147483647


class Died(Exception):
    """The operator ended in the middle of a pass."""


def manifest(groups: Mapping[str, int], *, name: str = NAME, **spec: Any) -> Json:
    """A RayCluster with worker groups of these sizes; each worker is a worker of a Deployment's pool, and one slot."""
    head = {"containers": [{"name": "head", "image": pods.IMAGE}]}
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "rayVersion": "2.60.0",
            "enableInTreeAutoscaling": False,
            "headGroupSpec": {"rayStartParams": {}, "template": {"spec": head}},
            "workerGroupSpecs": [worker_group(group, replicas=count) for group, count in groups.items()],
            **spec,
        },
    }


def worker_group(name: str, *, replicas: int, **changes: Any) -> Json:
    """One entry of `workerGroupSpecs`, with the defaults that the CRD fills in."""
    pool = pods.pool_manifest(name, namespace=NAMESPACE, slot_label=PROFILE, replicas=0, ray_address=f"{RAY_IP}:6379")
    return {
        "groupName": name,
        "replicas": replicas,
        "minReplicas": 0,
        "maxReplicas": LARGEST,
        "numOfHosts": 1,
        "rayStartParams": {},
        "template": pool["spec"]["template"],
        **changes,
    }


def by_name(found: Iterable[Json]) -> list[Json]:
    return sorted(found, key=lambda pod: str(pod["metadata"]["name"]))


@dataclass
class StandInOperator:
    """One running operator, of one RayCluster."""

    client: Verbs
    name: str = NAME
    order: Callable[[Iterable[Json]], Sequence[Json]] = by_name
    """Whom it takes first when there are too many; the real one takes them as its cache happens to list them."""
    writes_left: int | None = None
    """It dies when it has made so many writes; None: never."""
    chosen: list[str] = field(default_factory=list)
    """Pods that went because it had to choose."""
    awaited: set[str] = field(default_factory=set)
    """Pods it has deleted and not seen go. Kept in memory only: a new operator knows nothing of them."""

    def reconcile(self) -> bool:
        """One pass; whether it found nothing to do. Raises `Died`."""
        try:
            cluster = self.client.read(kube.RAYCLUSTERS, self.name, NAMESPACE)
        except kube.NotFound:
            return True
        quiet = [self._reconcile(cluster, group) for group in cluster["spec"].get("workerGroupSpecs") or ()]
        self.write_status()
        return all(quiet)

    def write_status(self) -> None:
        """Count the pods, and tell; it is a write like any other to those who compare versions."""
        cluster = self.client.read(kube.RAYCLUSTERS, self.name, NAMESPACE)
        found = self.client.list(kube.PODS, NAMESPACE, labels=f"{names.LABEL_RAY_CLUSTER}={self.name}")
        status = {
            "observedGeneration": cluster["metadata"]["generation"],
            "availableWorkerReplicas": sum(pod["status"].get("phase") == "Running" for pod in found),
            "desiredWorkerReplicas": sum(map(desired, cluster["spec"].get("workerGroupSpecs") or ())),
        }
        if status.items() <= (cluster.get("status") or {}).items():
            return
        path = kube.RAYCLUSTERS.path(NAMESPACE, self.name, "status")
        self.client.send(Request("PATCH", path, {"status": status}, content_type=MERGE))

    def _reconcile(self, cluster: Json, group: Json) -> bool:
        labels = f"{names.LABEL_RAY_CLUSTER}={self.name},{names.LABEL_RAY_GROUP}={group['groupName']}"
        found = {pod["metadata"]["name"]: pod for pod in self.client.list(kube.PODS, NAMESPACE, labels=labels)}
        if self.awaited & set(found):
            return True
        if group.get("suspend") or cluster["spec"].get("suspend"):
            return not [self._delete(name) for name in found]
        ended = [name for name, pod in found.items() if pod["status"].get("phase") in ("Succeeded", "Failed")]
        if ended:
            return not [self._delete(name) for name in ended]
        named = (group.get("scaleStrategy") or {}).get("workersToDelete") or ()
        deleted = {name for name in named if self._delete(name)}
        counted = [pod for name, pod in found.items() if name not in deleted]
        missing = desired(group) - len(counted)
        for _ in range(missing):
            self._create(cluster, group)
        if not cluster["spec"].get("enableInTreeAutoscaling"):
            for pod in self.order(counted)[: max(0, -missing)]:
                self.chosen.append(pod["metadata"]["name"])
                self._delete(pod["metadata"]["name"])
        return not deleted and missing == 0

    def _create(self, cluster: Json, group: Json) -> None:
        self._write()
        template = group["template"]
        own = {
            names.LABEL_RAY_CLUSTER: self.name,
            names.LABEL_RAY_GROUP: group["groupName"],
            names.LABEL_RAY_NODE_TYPE: "worker",
        }
        owner = {"apiVersion": "ray.io/v1", "kind": "RayCluster", "name": self.name, "controller": True}
        about = {
            "generateName": f"{self.name}-{group['groupName']}-worker-",
            "labels": {**(template.get("metadata") or {}).get("labels", {}), **own},
            "ownerReferences": [{**owner, "uid": cluster["metadata"]["uid"], "blockOwnerDeletion": True}],
        }
        self.client.create(kube.PODS, {"metadata": about, "spec": template["spec"]}, NAMESPACE)

    def _delete(self, name: str) -> bool:
        """Delete a pod by its name alone; False where there is none."""
        self._write()
        try:
            self.client.delete(kube.PODS, name, NAMESPACE)
        except kube.NotFound:
            return False
        self.awaited.add(name)
        return True

    def _write(self) -> None:
        if self.writes_left == 0:
            raise Died
        if self.writes_left is not None:
            self.writes_left -= 1


def desired(group: Json) -> int:
    """How many pods the operator runs for a group."""
    if group.get("suspend"):
        return 0
    least, most = group.get("minReplicas") or 0, group.get("maxReplicas", LARGEST)
    asked: int = max(least, group.get("replicas") or 0)
    return min(asked, max(least, most)) * max(1, group.get("numOfHosts") or 1)
