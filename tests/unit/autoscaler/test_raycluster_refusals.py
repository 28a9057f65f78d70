"""RayClusters and worker groups that cannot be sized as asked: what is said, whom it concerns, what stays as it is."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autoscaler.adapters.cluster import KubernetesCluster, open_cluster
from autoscaler.ports import Unavailable
from tests import build
from tests.fakes import kuberay
from tests.fakes.kubernetes import NAMESPACE, Kubernetes, kubernetes
from vgpu.adapters import kube
from vgpu.adapters.kube_verbs import MERGE, Json, Request

POOL, OTHER = "workers-v100-8q-8gb", "workers-v100-16q-16gb"
BOTH = build.fleet(build.model(pool=POOL), build.model("other", pool=OTHER))
PATH = kube.RAYCLUSTERS.path(NAMESPACE, kuberay.NAME)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Kubernetes]:
    """Two groups, of three and of one, and no operator."""
    with kubernetes(tmp_path) as made:
        made.client.create(kube.RAYCLUSTERS, kuberay.manifest({POOL: 3, OTHER: 1}), NAMESPACE)
        yield made


@pytest.fixture
def cluster(running: Kubernetes) -> KubernetesCluster:
    return open_cluster(running.client, namespace=NAMESPACE, ray_cluster=kuberay.NAME)


def edit(running: Kubernetes, spec: Json) -> None:
    running.client.send(Request("PATCH", PATH, {"spec": spec}, content_type=MERGE))


def edit_group(running: Kubernetes, **changes: Any) -> None:
    """Change the first group."""
    first, second = spec(running)["workerGroupSpecs"]
    edit(running, {"workerGroupSpecs": [first | changes, second]})


def spec(running: Kubernetes) -> Json:
    found: Json = running.client.read(kube.RAYCLUSTERS, kuberay.NAME, NAMESPACE)["spec"]
    return found


def counts(cluster: KubernetesCluster) -> dict[str, int]:
    return {pool.pool: pool.wanted for pool in cluster.read(BOTH, 0.0).pools}


def resize(cluster: KubernetesCluster, count: int) -> None:
    cluster.set_workers(POOL, count, preferred_nodes=("n1",), victims=())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"enableInTreeAutoscaling": True},
            "RayCluster default/serve: enableInTreeAutoscaling is true, and a worker group has one owner of its size; "
            "set it to false, or run the autoscaler on other workers",
        ),
        ({"suspend": True}, "RayCluster default/serve: it is suspended; set spec.suspend to false"),
    ],
)
def test_a_cluster_that_is_not_ours_to_size_has_no_pools(
    running: Kubernetes, cluster: KubernetesCluster, changes: Json, said: str
) -> None:
    edit(running, changes)
    before = spec(running)
    seen = cluster.read(BOTH, 0.0)
    assert (seen.pools, seen.problems) == ((), (said,))
    with pytest.raises(Unavailable) as caught:
        resize(cluster, 5)
    assert (str(caught.value), spec(running)) == (said, before)


def test_a_cluster_that_is_not_ours_is_not_tidied_either(running: Kubernetes, cluster: KubernetesCluster) -> None:
    edit_group(running, scaleStrategy={"workersToDelete": ["gone"]})
    cluster.read(BOTH, 0.0)
    assert cluster.is_untidy
    edit(running, {"enableInTreeAutoscaling": True})
    with pytest.raises(Unavailable, match="one owner of its size"):
        cluster.tidy()
    cluster.read(BOTH, 0.0)
    assert not cluster.is_untidy


def test_a_cluster_that_is_not_there_is_one_problem_with_its_remedies(
    running: Kubernetes, cluster: KubernetesCluster
) -> None:
    running.client.delete(kube.RAYCLUSTERS, kuberay.NAME, NAMESPACE)
    seen = cluster.read(BOTH, 0.0)
    assert (seen.pools, seen.problems) == (
        (),
        (
            "RayCluster default/serve: there is none; create it, with KubeRay's CRDs and operator installed, "
            "or use plain Deployments with --workers deployments",
        ),
    )
    with pytest.raises(Unavailable, match=f"GET {PATH}: 404"):
        resize(cluster, 5)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"suspend": True}, "the group is suspended; set its suspend to false"),
        ({"numOfHosts": 2}, "numOfHosts is 2, and a worker is one pod; set it to 1"),
        (
            {"groupName": "renamed"},
            f"no worker groups of this name (there: renamed, {OTHER}); give it one with groupName: {POOL}",
        ),
    ],
)
def test_a_group_that_cannot_be_sized_is_a_problem_of_that_pool_alone(
    running: Kubernetes, cluster: KubernetesCluster, changes: Json, why: str
) -> None:
    edit_group(running, **changes)
    before = spec(running)
    said = f"RayCluster default/serve, group {POOL}: {why}"
    assert cluster.read(BOTH, 0.0).problems == (said,)
    assert counts(cluster) == {OTHER: 1}
    with pytest.raises(Unavailable) as caught:
        resize(cluster, 5)
    assert (str(caught.value), spec(running)) == (said, before)


@pytest.mark.parametrize(
    ("asked", "set_to", "why"),
    [
        (9, 5, "9 workers asked for, and maxReplicas is 5; set maxReplicas to 9 or more"),
        (0, 2, "0 workers asked for, and minReplicas is 2; set minReplicas to 0 or less"),
    ],
)
def test_beyond_a_bound_the_nearest_count_is_set_and_told_until_another_is_asked_for(
    running: Kubernetes, cluster: KubernetesCluster, asked: int, set_to: int, why: str
) -> None:
    edit_group(running, minReplicas=2, maxReplicas=5)
    resize(cluster, asked)
    assert spec(running)["workerGroupSpecs"][0]["replicas"] == set_to
    for _ in range(2):
        assert cluster.read(BOTH, 0.0).problems == (f"RayCluster default/serve, group {POOL}: {why}",)
    resize(cluster, 4)
    assert cluster.read(BOTH, 0.0).problems == ()
    assert counts(cluster) == {POOL: 4, OTHER: 1}


def test_a_count_beyond_the_bounds_is_read_as_the_operator_takes_it(
    running: Kubernetes, cluster: KubernetesCluster
) -> None:
    edit_group(running, replicas=8, maxReplicas=5)
    assert counts(cluster) == {POOL: 5, OTHER: 1}


@pytest.mark.parametrize("code", [401, 403, 429, 500, 503])
def test_every_refusal_of_the_server_is_unavailable_with_the_call_that_failed(
    running: Kubernetes, cluster: KubernetesCluster, code: int
) -> None:
    running.server.faults.refuse(code, verb="get", plural="rayclusters")
    with pytest.raises(Unavailable, match=f"GET {PATH}: {code}"):
        cluster.read(BOTH, 0.0)
    running.server.faults.refuse(code, verb="patch", plural="rayclusters")
    before = spec(running)
    with pytest.raises(Unavailable, match=f"PATCH {PATH}: {code}"):
        resize(cluster, 5)
    assert spec(running) == before
