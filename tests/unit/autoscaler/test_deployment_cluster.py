"""What `KubernetesCluster` writes on the way, and what of a cluster it passes over."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from autoscaler.adapters.cluster import KubernetesCluster, open_cluster
from autoscaler.ports import Endpoint, Unavailable
from tests import build
from tests.fakes.kubernetes import NAMESPACE, Kubernetes, kubernetes
from vgpu.adapters import kube
from vgpu.core import names

POOL = "workers-v100-8q-8gb"
SPEC = build.fleet(build.model(pool=POOL))
COST = names.ANNOTATION_DELETION_COST


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Kubernetes]:
    """Three nodes, and a pool of three workers on them."""
    with kubernetes(tmp_path) as made:
        for index in (1, 2, 3):
            made.add_node(f"n{index}", card=f"GPU-{index}")
        made.add_pool(POOL, replicas=3)
        made.settle()
        yield made


@pytest.fixture
def cluster(running: Kubernetes) -> KubernetesCluster:
    return open_cluster(running.client, namespace=NAMESPACE, ray_cluster=None)


def costs(running: Kubernetes) -> dict[str, str | None]:
    """What each worker says it costs to delete."""
    return {pod["metadata"]["name"]: (pod["metadata"].get("annotations") or {}).get(COST) for pod in running.pods()}


def test_workers_and_exporters_are_scraped_at_their_own_addresses(
    running: Kubernetes, cluster: KubernetesCluster
) -> None:
    seen = cluster.read(SPEC, 0.0)
    assert seen.workers == tuple(
        Endpoint(name=f"{NAMESPACE}/{pod['metadata']['name']}", url=f"http://{pod['status']['podIP']}:9105/metrics")
        for pod in running.pods()
    )
    assert [endpoint.url for endpoint in seen.exporters] == [
        "http://127.2.0.1:9400/metrics", "http://127.3.0.1:9400/metrics", "http://127.4.0.1:9400/metrics",
    ]  # fmt: skip


def test_who_is_taken_away_or_not_ready_is_not_asked(running: Kubernetes, cluster: KubernetesCluster) -> None:
    """A machine that is suspended answers nothing, and each tick would wait for it."""
    running.client.annotate(kube.NODES, "n1", {names.ANNOTATION_ASLEEP: "day"})
    running.client.annotate(kube.NODES, "n2", {names.ANNOTATION_LEAVING: "night"})
    running.client.set_node_status("n3", {"conditions": [{"type": "Ready", "status": "Unknown"}]})
    seen = cluster.read(SPEC, 0.0)
    assert [endpoint.name for endpoint in seen.exporters] == ["n2"]
    assert [(node.name, node.leaving, len(node.slots)) for node in seen.inventory.nodes] == [
        ("n1", False, 0), ("n2", True, 1), ("n3", False, 1),
    ]  # fmt: skip
    assert (seen.inventory.free_slots, seen.problems) == ((), ())


def test_an_ipv6_address_is_written_as_a_url_wants_it(running: Kubernetes, cluster: KubernetesCluster) -> None:
    name = running.pods()[0]["metadata"]["name"]
    running.client.set_pod_status(name, NAMESPACE, {"podIP": "fd00::5"})
    assert "http://[fd00::5]:9105/metrics" in [endpoint.url for endpoint in cluster.read(SPEC, 0.0).workers]


def test_preferred_nodes_are_written_on_the_pool(running: Kubernetes, cluster: KubernetesCluster) -> None:
    cluster.set_workers(POOL, 4, preferred_nodes=("n2", "n1"), victims=())
    deployment = running.client.read(kube.DEPLOYMENTS, POOL, NAMESPACE)
    assert deployment["metadata"]["annotations"][names.ANNOTATION_PREFERRED_NODES] == "n2,n1"
    assert deployment["spec"]["replicas"] == 4


def test_a_victim_is_made_the_cheapest_pod_to_delete(running: Kubernetes, cluster: KubernetesCluster) -> None:
    victim = running.pods()[1]["metadata"]["name"]
    cluster.set_workers(POOL, 2, preferred_nodes=(), victims=(f"{NAMESPACE}/{victim}",))
    assert costs(running)[victim] == "-1000"
    running.settle()
    assert victim not in costs(running)
    assert len(costs(running)) == 2


def test_a_mark_whose_scaling_failed_does_not_cost_a_later_replica_its_life(
    running: Kubernetes, cluster: KubernetesCluster
) -> None:
    first, second, _ = (pod["metadata"]["name"] for pod in running.pods())
    running.server.faults.refuse(500, verb="patch", plural="deployments")
    with pytest.raises(Unavailable):
        cluster.set_workers(POOL, 2, preferred_nodes=(), victims=(f"{NAMESPACE}/{first}",))
    assert costs(running)[first] == "-1000"
    cluster.set_workers(POOL, 2, preferred_nodes=(), victims=(f"{NAMESPACE}/{second}",))
    running.settle()
    assert first in costs(running)
    assert second not in costs(running)
    assert costs(running)[first] is None


def test_pods_that_ended_or_belong_to_others_are_no_workers(running: Kubernetes, cluster: KubernetesCluster) -> None:
    ended = running.pods()[0]["metadata"]["name"]
    running.client.set_pod_status(ended, NAMESPACE, {"phase": "Failed"})
    manifest = {
        "metadata": {"name": "stranger", "labels": {names.LABEL_POOL: POOL}},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    }
    running.client.create(kube.PODS, manifest, "kube-system")
    (pool,) = cluster.read(SPEC, 0.0).pools
    assert f"{NAMESPACE}/{ended}" not in [worker.pod for worker in pool.workers]
    assert all(worker.pod.startswith(f"{NAMESPACE}/") for worker in pool.workers)


def test_a_worker_on_its_way_out_is_said_to_be(running: Kubernetes, cluster: KubernetesCluster) -> None:
    name = running.pods()[0]["metadata"]["name"]
    running.client.delete(kube.PODS, name, NAMESPACE, grace_s=60)
    (pool,) = cluster.read(SPEC, 0.0).pools
    assert [worker.deleting for worker in pool.workers if worker.pod == f"{NAMESPACE}/{name}"] == [True]


def test_a_node_with_a_contradictory_label_is_a_problem_and_hides_no_other(
    running: Kubernetes, cluster: KubernetesCluster
) -> None:
    running.client.label_node("n3", {names.LABEL_PROFILE: "v100-8q-16GB"})
    seen = cluster.read(SPEC, 0.0)
    assert [node.name for node in seen.inventory.nodes] == ["n1", "n2"]
    assert len(seen.problems) == 1
    assert seen.problems[0].startswith("Node n3: 'v100-8q-16GB' contradicts itself")


def test_a_missing_deployment_is_a_problem_of_that_pool_alone(cluster: KubernetesCluster) -> None:
    both = build.fleet(build.model(pool=POOL), build.model("other", pool="workers-other"))
    seen = cluster.read(both, 0.0)
    assert [pool.pool for pool in seen.pools] == [POOL]
    assert seen.problems == (f"Deployment {NAMESPACE}/workers-other: there is none; create the worker pool",)


@pytest.mark.parametrize("code", [401, 403, 429, 500, 503])
def test_every_refusal_is_unavailable_with_the_call_that_failed(
    running: Kubernetes, cluster: KubernetesCluster, code: int
) -> None:
    running.server.faults.refuse(code, verb="list", plural="nodes")
    with pytest.raises(Unavailable, match=f"GET /api/v1/nodes: {code}"):
        cluster.read(SPEC, 0.0)


def test_a_server_that_is_gone_is_unavailable(running: Kubernetes, cluster: KubernetesCluster) -> None:
    running.server.stop()
    with pytest.raises(Unavailable, match="GET /api/v1/nodes"):
        cluster.read(SPEC, 0.0)
