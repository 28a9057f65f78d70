"""The whole loop on worker groups: an API server, a stand-in operator, and fakes for Ray Serve and what it measures."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from autoscaler.adapters.cluster import KubernetesCluster
from autoscaler.adapters.raycluster_pools import RayClusterPools
from autoscaler.loop import Loop, World
from autoscaler.ports import Tick
from tests.fakes import kuberay
from tests.fakes.clock import VirtualClock
from tests.fakes.kuberay import StandInOperator
from tests.fakes.kubernetes import NAMESPACE, Kubernetes, kubernetes
from tests.fakes.leadership import FakeLeadership
from tests.fakes.metrics import FakeMetrics
from tests.fakes.models import FakeModels
from tests.fakes.recorder import FakeRecorder
from tests.fakes.serving import FakeServing
from tests.unit.autoscaler.whole import BUSY, CALM, POOL, quick_spec
from vgpu.adapters import kube
from vgpu.adapters.kube_verbs import Json
from vgpu.core import names, request


@dataclass
class PlayingClock(VirtualClock):
    """While the loop sleeps, operator, scheduler and kubelet do all there is to do; `slow_s` the operator does not."""

    running: Kubernetes | None = None
    operator: StandInOperator | None = None
    slow_until_s: float = 0.0

    def sleep(self, duration_s: float) -> bool:
        assert self.running is not None
        assert self.operator is not None
        is_slow = self.at_s < self.slow_until_s
        self.running.operators[:] = [] if is_slow else [self.operator.reconcile]
        self.running.settle()
        return super().sleep(duration_s)


@dataclass
class Stage:
    """One model on one worker group, of one worker of four nodes."""

    running: Kubernetes
    operator: StandInOperator
    clock: PlayingClock
    leadership: FakeLeadership = field(default_factory=FakeLeadership)
    changes: list[tuple[object, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.serving = FakeServing(lambda: self.nodes, targets={"minilm": 1}, changes=self.changes)
        self.metrics = FakeMetrics(lambda: self.serving.running, lambda: self.nodes, load=CALM)

    @property
    def nodes(self) -> dict[str, str]:
        """Workers that are ready, and where."""
        return {
            f"{NAMESPACE}/{pod['metadata']['name']}": pod["spec"]["nodeName"]
            for pod in self.running.pods()
            if pod["status"].get("phase") == "Running"
        }

    @property
    def group(self) -> Json:
        found: Json = self.running.client.read(kube.RAYCLUSTERS, kuberay.NAME, NAMESPACE)["spec"]["workerGroupSpecs"][0]
        return found

    def run(self, seconds: float) -> list[Tick]:
        """The ticks of the next seconds, by an autoscaler that has just been started."""
        pools = RayClusterPools(self.running.client, namespace=NAMESPACE, name=kuberay.NAME)
        recorder = FakeRecorder()
        world = World(
            models=FakeModels(quick_spec()),
            cluster=KubernetesCluster(self.running.client, pools),
            serving=self.serving,
            metrics=self.metrics,
            leadership=self.leadership,
            recorder=recorder,
            clock=self.clock,
            draw=lambda: 0.5,
        )
        self.clock.until_s = self.clock.at_s + seconds
        Loop(world, interval_s=1.0).run()
        return recorder.ticks


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with kubernetes(tmp_path) as running:
        for index in (1, 2, 3, 4):
            running.add_node(f"n{index}", card=f"GPU-{index}")
        running.client.create(kube.RAYCLUSTERS, kuberay.manifest({POOL: 1}), NAMESPACE)
        operator = StandInOperator(running.client)
        running.operators.append(operator.reconcile)
        running.settle()
        yield Stage(running, operator, PlayingClock(running=running, operator=operator))


def troubles(ticks: list[Tick]) -> list[str]:
    return [trouble for tick in ticks for trouble in (*tick.problems, *tick.failed_actions)]


def test_under_load_the_group_grows_and_shrinks_again_by_workers_without_a_replica(stage: Stage) -> None:
    template = stage.group["template"]
    stage.operator.order = lambda found: sorted(
        found, key=lambda pod: request.pod_key(pod) not in stage.serving.running
    )
    stage.metrics.load = BUSY
    ticks = stage.run(20.0)
    assert (stage.group["replicas"], len(stage.serving.running)) == (3, 3)
    replicas = dict(stage.serving.running)
    stage.metrics.load = CALM
    ticks += stage.run(60.0)
    assert (stage.group["replicas"], len(stage.nodes)) == (1, 1)
    # The operator would have taken the one with a replica; no name of those who went is left behind.
    assert stage.serving.running.items() <= replicas.items()
    assert (list(stage.serving.running), stage.operator.chosen) == (list(stage.nodes), [])
    assert stage.group["scaleStrategy"] == {"workersToDelete": []}
    assert stage.group["template"] == template
    assert troubles(ticks) == []


def test_a_drained_worker_is_emptied_and_goes_and_no_other(stage: Stage) -> None:
    stage.metrics.load = BUSY
    stage.run(20.0)
    drained = sorted(stage.nodes)[-1]
    others = set(stage.nodes) - {drained}
    stage.serving.drained.add(drained)
    ticks = stage.run(20.0)
    assert others < set(stage.nodes)
    assert drained not in stage.nodes
    assert (len(stage.serving.running), len(stage.nodes)) == (stage.group["replicas"], stage.group["replicas"])
    assert (stage.operator.chosen, troubles(ticks)) == ([], [])


def test_an_autoscaler_that_starts_anew_tidies_after_the_one_before(stage: Stage) -> None:
    stage.metrics.load = BUSY
    stage.run(20.0)
    before = set(stage.nodes)
    gone = sorted(before)[-1].partition("/")[2]
    pools = RayClusterPools(stage.running.client, namespace=NAMESPACE, name=kuberay.NAME)
    pools.set_count(POOL, 2, preferred_nodes=(), victims=(f"{NAMESPACE}/{gone}",))
    stage.running.settle()
    assert stage.group["scaleStrategy"] == {"workersToDelete": [gone]}
    stage.run(3.0)
    assert stage.group["scaleStrategy"] == {"workersToDelete": []}


def test_who_does_not_lead_leaves_the_names_of_the_gone_where_they_are(stage: Stage) -> None:
    pools = RayClusterPools(stage.running.client, namespace=NAMESPACE, name=kuberay.NAME)
    stage.metrics.load = BUSY
    stage.run(20.0)
    gone = sorted(stage.nodes)[-1]
    pools.set_count(POOL, 2, preferred_nodes=(), victims=(gone,))
    stage.running.settle()
    stage.leadership.held = False
    stage.run(5.0)
    assert stage.group["scaleStrategy"] == {"workersToDelete": [gone.partition("/")[2]]}


def test_an_operator_that_sleeps_makes_the_loop_wait_and_nothing_go_wrong(stage: Stage) -> None:
    stage.metrics.load = BUSY
    stage.clock.slow_until_s = 30.0
    ticks = stage.run(30.0)
    assert (stage.group["replicas"], len(stage.nodes), stage.serving.targets) == (3, 1, {"minilm": 1})
    ticks += stage.run(20.0)
    assert (len(stage.nodes), len(stage.serving.running)) == (3, 3)
    stage.metrics.load = CALM
    stage.clock.slow_until_s = stage.clock.at_s + 40.0
    ticks += stage.run(40.0)
    assert len(stage.nodes) == 3
    ticks += stage.run(40.0)
    assert (len(stage.nodes), len(stage.serving.running), stage.operator.chosen) == (1, 1, [])
    assert troubles(ticks) == []


def test_a_node_that_leaves_is_emptied_its_successor_first(stage: Stage) -> None:
    stage.run(5.0)
    ((old, node),) = stage.nodes.items()
    stage.running.client.annotate(kube.NODES, node, {names.ANNOTATION_LEAVING: "night"})
    stage.changes.clear()
    ticks = stage.run(15.0)
    assert stage.changes == [("minilm", 2), ("drain", (old,)), ("minilm", 1)]
    ((new, other),) = stage.nodes.items()
    assert (list(stage.serving.running), other != node, stage.group["replicas"]) == ([new], True, 1)
    assert (stage.operator.chosen, troubles(ticks)) == ([], [])
