"""With its controllers the embedded server also acts: pods for Deployments, budgets, and what goes with its owner."""

from typing import Any

import pytest

from tests.contracts.kubernetes import build
from tests.contracts.kubernetes.wire import eventually
from vgpu.adapters import kube


def _pods(cluster: kube.Kube, count: int) -> Any:
    """Wait for so many pods and return them."""
    return eventually(lambda: len(found := cluster.list(kube.PODS, "default")) == count and (found or True))


def _run(cluster: kube.Kube, pod: Any) -> str:
    name: str = pod["metadata"]["name"]
    cluster.bind_pod(name, "default", node="n1", annotations={})
    cluster.set_pod_status(name, "default", {"phase": "Running", "conditions": [build.ready()]})
    return name


def test_a_deployment_grows_shrinks_and_replaces(cluster: kube.Kube) -> None:
    cluster.create(kube.DEPLOYMENTS, build.deployment("w", replicas=2), "default")
    running = _run(cluster, _pods(cluster, 2)[1])
    eventually(lambda: cluster.read(kube.DEPLOYMENTS, "w", "default")["status"].get("readyReplicas") == 1)
    cluster.set_replicas("w", "default", 1)
    assert [pod["metadata"]["name"] for pod in _pods(cluster, 1)] == [running]
    cluster.delete(kube.PODS, running, "default", grace_s=0)
    (replacement,) = eventually(
        lambda: [pod for pod in cluster.list(kube.PODS, "default") if pod["metadata"]["name"] != running]
    )
    assert replacement["status"]["phase"] == "Pending"


def test_the_cheapest_running_pod_goes_first(cluster: kube.Kube) -> None:
    cluster.create(kube.DEPLOYMENTS, build.deployment("w", replicas=3), "default")
    names = [_run(cluster, pod) for pod in _pods(cluster, 3)]
    cluster.annotate(kube.PODS, names[1], {"controller.kubernetes.io/pod-deletion-cost": "-100"}, "default")
    cluster.set_replicas("w", "default", 2)
    going = eventually(
        lambda: [pod for pod in cluster.list(kube.PODS, "default") if "deletionTimestamp" in pod["metadata"]]
    )
    assert [pod["metadata"]["name"] for pod in going] == [names[1]]


def test_everything_of_a_deleted_deployment_goes(cluster: kube.Kube) -> None:
    cluster.create(kube.DEPLOYMENTS, build.deployment("w", replicas=3), "default")
    _pods(cluster, 3)
    cluster.delete(kube.DEPLOYMENTS, "w", "default")
    _pods(cluster, 0)


def test_a_budget_is_counted_and_kept(cluster: kube.Kube) -> None:
    budgets = kube.Kind("/apis/policy/v1", "poddisruptionbudgets")
    cluster.create(kube.DEPLOYMENTS, build.deployment("w", replicas=1), "default")
    (pod,) = _pods(cluster, 1)
    name = _run(cluster, pod)
    cluster.create(budgets, build.budget("b", {"app": "w"}), "default")
    eventually(lambda: cluster.read(budgets, "b", "default")["status"].get("currentHealthy") == 1)
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    request = kube.Request("POST", kube.PODS.path("default", name, "eviction"), eviction)
    with pytest.raises(kube.Unavailable, match="429 Cannot evict pod"):
        cluster.send(request)
    cluster.set_replicas("w", "default", 2)
    second = next(pod for pod in _pods(cluster, 2) if pod["metadata"]["name"] != name)
    _run(cluster, second)
    eventually(lambda: cluster.read(budgets, "b", "default")["status"].get("disruptionsAllowed") == 1)
    cluster.send(request)
    assert "deletionTimestamp" in cluster.read(kube.PODS, name, "default")["metadata"]


def test_a_namespace_goes_when_it_is_empty(cluster: kube.Kube) -> None:
    namespaces = kube.Kind("/api/v1", "namespaces")
    cluster.create(namespaces, {"metadata": {"name": "short"}})
    cluster.create(kube.PODS, build.pod("p"), "short")
    cluster.delete(namespaces, "short")
    eventually(lambda: "short" not in [item["metadata"]["name"] for item in cluster.list(namespaces)])
    assert cluster.list(kube.PODS) == ()
