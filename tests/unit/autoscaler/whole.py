"""A loop between fakes that fit together: replicas live in the cluster's workers, metrics come from the replicas."""

from dataclasses import dataclass
from typing import Any

from autoscaler.core.spec import FleetSpec, GuardrailSettings
from autoscaler.loop import Loop, World
from autoscaler.ports import Tick
from tests import build
from tests.fakes.clock import VirtualClock
from tests.fakes.cluster import FakeCluster
from tests.fakes.ingress import FakeIngress
from tests.fakes.leadership import FakeLeadership
from tests.fakes.metrics import FakeMetrics, Load
from tests.fakes.models import FakeModels
from tests.fakes.recorder import FakeRecorder
from tests.fakes.serving import FakeServing

POOL = "v100-8q"
BUSY = Load(per_s=10.0, latency_ms=900.0, in_flight=30, queued=25)
CALM = Load(per_s=2.0, latency_ms=20.0, in_flight=0, queued=0)


@dataclass
class Whole:
    """Everything around one loop, and the loop."""

    loop: Loop
    models: FakeModels
    clock: VirtualClock
    cluster: FakeCluster
    serving: FakeServing
    metrics: FakeMetrics
    leadership: FakeLeadership
    recorder: FakeRecorder
    changes: list[tuple[object, ...]]
    """What the loop changed, in its order: (pool, count, preferred nodes, victims) or (model, count)."""

    def run(self, seconds: float) -> list[Tick]:
        """The ticks of the next seconds."""
        before = len(self.recorder.ticks)
        self.clock.until_s = self.clock.at_s + seconds
        self.loop.run()
        return self.recorder.ticks[before:]

    @property
    def replicas(self) -> int:
        return len(self.serving.running)


def whole(
    *,
    nodes: int = 4,
    workers: int = 1,
    target: int = 1,
    load: Load = CALM,
    spec: FleetSpec | None = None,
    interval_s: float = 1.0,
    dry_run: bool = False,
    ingress: FakeIngress | None = None,
) -> Whole:
    """One model on one pool, a card of its own below each node."""
    stock = build.inventory(*(build.node(f"n{index}", card=f"GPU-{index}") for index in range(nodes)))
    changes: list[tuple[object, ...]] = []
    cluster = FakeCluster(stock, wanted={POOL: workers}, changes=changes)
    serving = FakeServing(lambda: cluster.workers, targets={"minilm": target}, changes=changes)
    metrics = FakeMetrics(lambda: serving.running, lambda: cluster.workers, load=load)
    clock, leadership, recorder = VirtualClock(), FakeLeadership(), FakeRecorder()
    models = FakeModels(spec or quick_spec())
    world = World(
        models=models,
        cluster=cluster,
        serving=serving,
        metrics=metrics,
        leadership=leadership,
        recorder=recorder,
        clock=clock,
        draw=lambda: 0.5,
        ingress=ingress,
    )
    loop = Loop(world, interval_s=interval_s, dry_run=dry_run)
    return Whole(loop, models, clock, cluster, serving, metrics, leadership, recorder, changes)


def quick_spec(*, worker_keep_s: float = 5.0, **model: Any) -> FleetSpec:
    """A model that follows its load within seconds, also down."""
    given = {"scale_down_window_s": 5.0, **model}
    guardrails = GuardrailSettings(settle_up_s=1.0, settle_down_s=5.0, worker_keep_s=worker_keep_s, step_up_ratio=2.0)
    return build.fleet(build.model(**given), guardrails=guardrails)
