"""Worker groups sized over an API server, under a stand-in operator that is slow, restarts and would choose others."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from autoscaler.adapters.cluster import KubernetesCluster
from autoscaler.adapters.raycluster_pools import RayClusterPools
from autoscaler.core.observation import PoolSeen
from autoscaler.ports import ClusterSeen, Unavailable
from tests import build
from tests.fakes import kuberay
from tests.fakes.kuberay import Died, StandInOperator
from tests.fakes.kubernetes import NAMESPACE, Kubernetes, kubernetes
from vgpu.adapters import kube
from vgpu.adapters.kube_verbs import MERGE, Json, Request, Verbs
from vgpu.core import names

POOL, OTHER = "workers-v100-8q-8gb", "workers-a100-4q-20gb"
SPEC = build.fleet(build.model(pool=POOL))
PATH = kube.RAYCLUSTERS.path(NAMESPACE, kuberay.NAME)


@dataclass
class Meddled(Verbs):
    """Calls that somebody gets in the way of: `before` holds what happens right before each next patch."""

    client: Verbs
    before: list[Any] = field(default_factory=list)
    patches: int = 0

    def send(self, request: Request) -> Json:
        if request.method == "PATCH":
            self.patches += 1
            if self.before:
                self.before.pop(0)()
        return self.client.send(request)


@dataclass
class Stage:
    """Four nodes, one group of three ready workers and one that is empty, and who acts on them."""

    running: Kubernetes
    operator: StandInOperator
    verbs: Meddled

    def __post_init__(self) -> None:
        self.pools, self.cluster = self.anew()

    def anew(self) -> tuple[RayClusterPools, KubernetesCluster]:
        """An autoscaler that has just been started."""
        pools = RayClusterPools(self.verbs, namespace=NAMESPACE, name=kuberay.NAME)
        return pools, KubernetesCluster(self.running.client, pools)

    @property
    def there(self) -> Json:
        return self.running.client.read(kube.RAYCLUSTERS, kuberay.NAME, NAMESPACE)

    def group(self, name: str = POOL) -> Json:
        (found,) = [entry for entry in self.there["spec"]["workerGroupSpecs"] if entry["groupName"] == name]
        return dict(found)

    @property
    def asked(self) -> tuple[int, list[str]]:
        """What the group asks for: how many, and who shall go."""
        found = self.group()
        return found["replicas"], (found.get("scaleStrategy") or {}).get("workersToDelete", [])

    @property
    def workers(self) -> list[str]:
        return [pod["metadata"]["name"] for pod in self.running.pods()]

    def edit(self, **changes: Any) -> None:
        """Somebody else changes the group, as `kubectl edit` does: the whole list, with what there was."""
        specs = self.there["spec"]["workerGroupSpecs"]
        changed = [entry | changes if entry["groupName"] == POOL else entry for entry in specs]
        patch = {"spec": {"workerGroupSpecs": changed}}
        self.running.client.send(Request("PATCH", PATH, patch, content_type=MERGE))

    def edit_cluster(self, **changes: Any) -> None:
        self.running.client.send(Request("PATCH", PATH, {"spec": changes}, content_type=MERGE))

    def touch(self) -> None:
        """The operator writes a status, and the object has another version."""
        status = {"status": {"lastUpdateTime": str(self.there["metadata"]["resourceVersion"])}}
        self.running.client.send(Request("PATCH", f"{PATH}/status", status, content_type=MERGE))

    def resize(self, count: int, *victims: str) -> None:
        self.cluster.set_workers(POOL, count, preferred_nodes=(), victims=[f"{NAMESPACE}/{name}" for name in victims])

    def read(self) -> ClusterSeen:
        return self.cluster.read(SPEC, 0.0)

    def pool(self) -> PoolSeen:
        (found,) = self.read().pools
        return found


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with kubernetes(tmp_path) as running:
        for index in (1, 2, 3, 4):
            running.add_node(f"n{index}", card=f"GPU-{index}")
        running.client.create(kube.RAYCLUSTERS, kuberay.manifest({OTHER: 0, POOL: 3}), NAMESPACE)
        operator = StandInOperator(running.client)
        running.operators.append(operator.reconcile)
        running.settle()
        yield Stage(running, operator, Meddled(running.client))


def test_growth_is_one_patch_of_the_count_alone(stage: Stage) -> None:
    before = stage.there
    stage.resize(4)
    after = stage.there
    assert after["metadata"]["generation"] == before["metadata"]["generation"] + 1
    before["spec"]["workerGroupSpecs"][1]["replicas"] = 4
    assert after["spec"] == before["spec"]
    old = stage.workers
    stage.running.settle()
    assert set(old) < set(stage.workers)
    assert len(stage.workers) == 4


def test_the_victim_leaves_and_not_who_the_operator_would_have_chosen(stage: Stage) -> None:
    first, second, last = stage.workers
    stage.resize(2, last)
    assert stage.asked == (2, [last])
    stage.running.settle()
    assert (stage.workers, stage.operator.chosen) == ([first, second], [])


def test_without_the_name_the_stand_in_does_choose_another(stage: Stage) -> None:
    first, second, last = stage.workers
    stage.edit(replicas=2)
    stage.running.settle()
    assert (stage.workers, stage.operator.chosen) == ([second, last], [first])


def test_without_a_victim_the_worker_that_waits_for_a_node_goes(stage: Stage) -> None:
    ready = stage.workers
    stage.resize(5)
    stage.running.settle()
    (waiting,) = [pod["metadata"]["name"] for pod in stage.running.pods() if "nodeName" not in pod["spec"]]
    stage.resize(4)
    assert stage.asked == (4, [waiting])
    stage.running.settle()
    assert set(ready) < set(stage.workers)
    assert stage.operator.chosen == []


def test_a_name_stays_until_its_pod_is_gone_and_then_goes(stage: Stage) -> None:
    first, second, last = stage.workers
    stage.resize(2, last)
    stage.operator.reconcile()
    (going,) = [worker for worker in stage.pool().workers if worker.deleting]
    assert going.pod == f"{NAMESPACE}/{last}"
    assert (stage.cluster.is_untidy, stage.asked) == (False, (2, [last]))
    stage.running.settle()
    stage.read()
    assert stage.cluster.is_untidy
    stage.cluster.tidy()
    stage.read()
    assert (stage.cluster.is_untidy, stage.asked) == (False, (2, []))
    stage.running.settle()
    assert (stage.workers, stage.operator.chosen) == ([first, second], [])


def test_if_the_name_were_taken_out_earlier_an_operator_that_restarts_would_take_another(stage: Stage) -> None:
    first, _, last = stage.workers
    stage.resize(2, last)
    stage.operator.reconcile()
    stage.edit(scaleStrategy={"workersToDelete": []})
    successor = StandInOperator(stage.running.client)
    successor.reconcile()
    assert successor.chosen == [first]


def test_a_pod_that_has_the_name_of_one_that_was_deleted_is_left_in_peace(stage: Stage) -> None:
    *_, last = stage.workers
    made = next(pod for pod in stage.running.pods() if pod["metadata"]["name"] == last)
    stage.resize(2, last)
    stage.running.settle()
    stage.read()
    stage.cluster.tidy()
    about = {key: made["metadata"][key] for key in ("name", "labels", "ownerReferences")}
    template = stage.group()["template"]["spec"]
    stage.running.client.create(kube.PODS, {"metadata": about, "spec": template}, NAMESPACE)
    stage.resize(3)
    stage.running.settle()
    assert last in stage.workers


def test_tidying_finds_out_for_itself_that_the_pods_are_gone(stage: Stage) -> None:
    first, second, last = stage.workers
    stage.resize(1, second, last)
    stage.running.client.delete(kube.PODS, last, NAMESPACE, grace_s=0)
    stage.read()
    assert stage.cluster.is_untidy
    stage.cluster.tidy()
    assert stage.asked == (1, [second])
    stage.running.settle()
    assert stage.workers == [first]


@pytest.mark.parametrize("writes", [0, 1, 2])
def test_an_operator_that_dies_half_way_is_finished_by_the_next(stage: Stage, writes: int) -> None:
    first, second, last = stage.workers
    stage.operator.writes_left = writes
    stage.resize(1, second, last)
    if writes < 2:
        with pytest.raises(Died):
            stage.operator.reconcile()
    else:
        stage.operator.reconcile()
    successor = StandInOperator(stage.running.client)
    stage.running.operators[:] = [successor.reconcile]
    successor.reconcile()
    successor.reconcile()
    stage.running.settle()
    assert (stage.workers, successor.chosen, stage.asked) == ([first], [], (1, [second, last]))


def test_a_victim_that_a_slow_operator_has_not_deleted_yet_is_no_worker_any_more(stage: Stage) -> None:
    first, second, last = stage.workers
    stage.resize(2, last)
    seen = stage.pool()
    assert (seen.wanted, [worker.pod for worker in seen.live]) == (
        2,
        [f"{NAMESPACE}/{name}" for name in (first, second)],
    )
    stage.resize(3)
    assert stage.asked == (3, [last])
    stage.running.settle()
    assert last not in stage.workers
    assert {first, second} < set(stage.workers)
    assert (len(stage.workers), stage.operator.chosen) == (3, [])


def test_growth_that_a_slow_operator_has_not_begun_is_taken_back(stage: Stage) -> None:
    before = stage.workers
    stage.resize(6)
    stage.resize(3)
    assert stage.asked == (3, [])
    stage.running.settle()
    assert (stage.workers, stage.operator.chosen) == (before, [])


def test_a_move_is_a_growth_and_then_the_fall_of_another(stage: Stage) -> None:
    first, *rest = stage.workers
    stage.resize(4)
    stage.running.settle()
    (new,) = set(stage.workers) - {first, *rest}
    stage.resize(3, first)
    stage.running.settle()
    assert (stage.workers, stage.operator.chosen) == (sorted([*rest, new]), [])


def test_replaced_workers_are_deleted_and_the_operator_makes_others_when_they_are_gone(stage: Stage) -> None:
    first, second, last = stage.workers
    stage.cluster.replace_workers(POOL, [f"{NAMESPACE}/{second}"])
    stage.operator.reconcile()
    assert stage.workers == [first, second, last]
    stage.running.settle()
    assert {first, last} < set(stage.workers)
    assert (len(stage.workers), stage.asked, stage.operator.chosen) == (3, (3, []), [])


def test_while_one_is_replaced_a_fall_takes_nobody_else(stage: Stage) -> None:
    first, second, last = stage.workers
    stage.cluster.replace_workers(POOL, [f"{NAMESPACE}/{last}"])
    stage.resize(2)
    assert stage.asked == (2, [last])
    stage.running.settle()
    assert (stage.workers, stage.operator.chosen) == ([first, second], [])


def test_a_version_that_changes_before_the_write_is_read_again(stage: Stage) -> None:
    *_, last = stage.workers
    stage.verbs.before = [stage.touch]
    stage.resize(2, last)
    assert (stage.asked, stage.verbs.patches) == ((2, [last]), 2)


def test_a_version_that_changes_before_every_write_is_given_up(stage: Stage) -> None:
    before = stage.asked
    stage.verbs.before = [stage.touch] * 10
    with pytest.raises(
        Unavailable, match=r"^RayCluster default/serve: it changed 10 times while it was being changed$"
    ):
        stage.resize(2)
    assert stage.asked == before
    stage.resize(2)
    assert stage.asked[0] == 2


def test_what_a_user_changes_at_the_same_time_is_kept(stage: Stage) -> None:
    *_, last = stage.workers
    template = stage.group()["template"]
    template["spec"]["priorityClassName"] = "serving"
    reordered = [stage.group() | {"template": template, "maxReplicas": 7}, stage.group(OTHER) | {"replicas": 1}]
    stage.verbs.before = [lambda: stage.edit_cluster(workerGroupSpecs=reordered)]
    stage.resize(2, last)
    expected = [reordered[0] | {"replicas": 2, "scaleStrategy": {"workersToDelete": [last]}}, reordered[1]]
    assert stage.there["spec"]["workerGroupSpecs"] == expected


def test_a_count_that_another_writer_set_is_read_and_set_again(stage: Stage) -> None:
    stage.edit(replicas=4)
    assert stage.pool().wanted == 4
    stage.resize(3)
    assert stage.asked == (3, [])


def test_a_pod_template_is_never_touched(stage: Stage) -> None:
    before = (
        [entry["template"] for entry in stage.there["spec"]["workerGroupSpecs"]],
        stage.there["spec"]["headGroupSpec"],
    )
    *_, last = stage.workers
    stage.cluster.set_workers(POOL, 4, preferred_nodes=("n4", "n1"), victims=())
    stage.resize(3, last)
    stage.running.settle()
    stage.read()
    stage.cluster.tidy()
    after = (
        [entry["template"] for entry in stage.there["spec"]["workerGroupSpecs"]],
        stage.there["spec"]["headGroupSpec"],
    )
    assert after == before
    assert stage.there["metadata"]["annotations"] == {f"preferred-nodes.vgpu-serve.io/{POOL}": "n4,n1"}


def test_who_comes_after_a_patch_that_landed_writes_nothing(stage: Stage) -> None:
    *_, last = stage.workers
    stage.resize(2, last)
    version = stage.there["metadata"]["resourceVersion"]
    _, stage.cluster = stage.anew()
    stage.resize(2, last)
    assert (stage.there["metadata"]["resourceVersion"], stage.asked) == (version, (2, [last]))
    stage.running.settle()
    stage.read()
    stage.cluster.tidy()
    assert stage.asked == (2, [])


def test_pods_of_others_are_no_workers(stage: Stage) -> None:
    labels = {names.LABEL_POOL: POOL, names.LABEL_RAY_GROUP: POOL, names.LABEL_RAY_NODE_TYPE: "worker"}
    strangers = [
        ("head", NAMESPACE, {**labels, names.LABEL_RAY_CLUSTER: kuberay.NAME, names.LABEL_RAY_NODE_TYPE: "head"}),
        ("elsewhere", "kube-system", {**labels, names.LABEL_RAY_CLUSTER: kuberay.NAME}),
        ("neighbour", NAMESPACE, {**labels, names.LABEL_RAY_CLUSTER: "another"}),
        ("plain", NAMESPACE, {names.LABEL_POOL: POOL}),
    ]
    mine = stage.workers
    for name, namespace, carried in strangers:
        spec = {"containers": [{"name": "c", "image": "i"}]}
        stage.running.client.create(kube.PODS, {"metadata": {"name": name, "labels": carried}, "spec": spec}, namespace)
    seen = stage.read()
    assert [worker.pod for worker in seen.pools[0].workers] == [f"{NAMESPACE}/{name}" for name in mine]
    assert [endpoint.name for endpoint in seen.workers] == [f"{NAMESPACE}/{name}" for name in mine]
