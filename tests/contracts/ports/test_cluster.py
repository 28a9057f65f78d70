"""What the loop may rely on of a cluster: the fake that its tests use, and `KubernetesCluster` on an API server.

There with each kind of worker pools: Deployments, and the worker groups of a RayCluster under a stand-in operator.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from autoscaler.adapters.cluster import KubernetesCluster
from autoscaler.adapters.deployment_pools import DeploymentPools
from autoscaler.adapters.pools import Pools
from autoscaler.adapters.raycluster_pools import RayClusterPools
from autoscaler.ports import Cluster, ClusterSeen, Unavailable
from tests import build
from tests.fakes import kuberay
from tests.fakes.cluster import FakeCluster
from tests.fakes.kuberay import StandInOperator
from tests.fakes.kubernetes import NAMESPACE, kubernetes
from vgpu.adapters import kube

POOL = "workers-v100-8q-8gb"
SPEC = build.fleet(build.model(pool=POOL))


@dataclass
class Subject:
    """A cluster of three nodes, each on its own card, with one pool of one worker."""

    cluster: Cluster
    settle: Callable[[], None]
    """Let the world catch up with what was asked of it."""
    break_next: Callable[[str], None]
    """Make the next call of a verb fail."""

    def read(self) -> ClusterSeen:
        self.settle()
        return self.cluster.read(SPEC, 5.0)

    def resize(self, count: int, *, preferred: tuple[str, ...] = (), victims: tuple[str, ...] = ()) -> None:
        self.cluster.set_workers(POOL, count, preferred_nodes=preferred, victims=victims)


@pytest.fixture(params=["fake", "deployments", "raycluster"])
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    names = ("n1", "n2", "n3")
    if request.param == "fake":
        stock = build.inventory(*(build.node(name, card=f"GPU-{name}") for name in names))
        fake = FakeCluster(stock, wanted={POOL: 1})
        yield Subject(fake, lambda: None, fake.fail_next)
        return
    with kubernetes(tmp_path) as running:
        for name in names:
            running.add_node(name, card=f"GPU-{name}")
        pools: Pools
        if request.param == "deployments":
            running.add_pool(POOL, replicas=1)
            pools = DeploymentPools(running.client, namespace=NAMESPACE)
        else:
            running.client.create(kube.RAYCLUSTERS, kuberay.manifest({POOL: 1}), NAMESPACE)
            running.operators.append(StandInOperator(running.client).reconcile)
            pools = RayClusterPools(running.client, namespace=NAMESPACE, name=kuberay.NAME)
        cluster = KubernetesCluster(running.client, pools)
        yield Subject(cluster, running.settle, lambda _: running.server.faults.refuse(500))


def workers(seen: ClusterSeen) -> dict[str, str | None]:
    """Workers of the one pool, and their nodes."""
    return {worker.pod: worker.node for worker in seen.pools[0].workers}


def test_nodes_slots_workers_and_sizes_are_read_together(subject: Subject) -> None:
    seen = subject.read()
    ((pod, node),) = workers(seen).items()
    assert [(slot.node, slot.holder) for slot in seen.inventory.slots if slot.holder] == [(node, pod)]
    assert [(slot.slot_id, slot.gpu_key) for slot in seen.inventory.slots] == [
        ("n1/0", "GPU-n1"), ("n2/0", "GPU-n2"), ("n3/0", "GPU-n3"),
    ]  # fmt: skip
    (pool,) = seen.pools
    assert (pool.pool, pool.at_s, pool.wanted, pool.ready_count) == (POOL, 5.0, 1, 1)
    assert [endpoint.name for endpoint in seen.workers] == [pod]
    assert [endpoint.name for endpoint in seen.exporters] == ["n1", "n2", "n3"]
    assert seen.problems == ()


def test_new_workers_come_to_the_preferred_nodes_in_their_order(subject: Subject) -> None:
    (taken,) = workers(subject.read()).values()
    free = sorted({"n1", "n2", "n3"} - {taken}, reverse=True)
    subject.resize(2, preferred=tuple(free))
    seen = subject.read()
    assert sorted(map(str, workers(seen).values())) == sorted([str(taken), free[0]])
    assert (seen.pools[0].wanted, seen.pools[0].ready_count) == (2, 2)


def test_exactly_the_victims_leave(subject: Subject) -> None:
    subject.resize(3)
    before = workers(subject.read())
    victims = tuple(sorted(before))[1:]
    subject.resize(1, preferred=(), victims=victims)
    seen = subject.read()
    assert sorted(workers(seen)) == sorted(before)[:1]
    assert [slot.holder for slot in seen.inventory.slots if slot.holder] == sorted(before)[:1]


def test_replaced_workers_are_gone_and_new_ones_in_their_place(subject: Subject) -> None:
    subject.resize(3)
    before = workers(subject.read())
    victim = sorted(before)[1]
    subject.cluster.replace_workers(POOL, [victim])
    seen = subject.read()
    assert set(before) - set(workers(seen)) == {victim}
    (made,) = set(workers(seen)) - set(before)
    assert workers(seen)[made] == before[victim]
    assert (seen.pools[0].wanted, seen.pools[0].ready_count) == (3, 3)


def test_a_worker_that_is_gone_already_is_not_replaced_twice(subject: Subject) -> None:
    before = workers(subject.read())
    subject.cluster.replace_workers(POOL, [f"{NAMESPACE}/gone"])
    assert workers(subject.read()) == before


def test_a_worker_without_room_waits_and_is_not_ready(subject: Subject) -> None:
    subject.resize(4)
    seen = subject.read()
    assert (seen.pools[0].wanted, len(seen.pools[0].workers), seen.pools[0].ready_count) == (4, 4, 3)
    assert list(workers(seen).values()).count(None) == 1
    assert len(seen.workers) == 3


def test_a_pool_that_is_not_there_is_a_problem_and_no_pool(subject: Subject) -> None:
    seen = subject.cluster.read(build.fleet(build.model(pool="other")), 0.0)
    assert seen.pools == ()
    assert len(seen.problems) == 1
    assert "other" in seen.problems[0]
    with pytest.raises(Unavailable):
        subject.cluster.set_workers("other", 1, preferred_nodes=(), victims=())


def test_a_call_that_fails_is_unavailable_and_changes_nothing(subject: Subject) -> None:
    before = subject.read()
    subject.break_next("read")
    with pytest.raises(Unavailable):
        subject.cluster.read(SPEC, 0.0)
    subject.break_next("set_workers")
    with pytest.raises(Unavailable):
        subject.resize(3)
    assert workers(subject.read()) == workers(before)
