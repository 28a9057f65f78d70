"""Builders with honest defaults that refuse what could not exist.

A test that starts from an impossible state proves nothing, so `world` checks what it is given the way a cluster would:
one pod in a slot, one replica in a worker, no metrics from a replica that is not there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from autoscaler.core.histogram import Histogram
from autoscaler.core.observation import (
    Counters,
    DeploymentSeen,
    IngressSample,
    Missing,
    MissingReason,
    Observation,
    PoolSeen,
    ReplicaSample,
    ReplicaSeen,
    ReplicaState,
    SlotReading,
    Source,
    WorkerSeen,
)
from autoscaler.core.signals import ModelSignals, Signal
from autoscaler.core.situation import Situation
from autoscaler.core.spec import FleetSpec, GuardrailSettings, ModelSpec, PolicySettings, PoolSpec
from autoscaler.core.state import ModelState, Overload
from autoscaler.core.window import SlidingMax, Window, with_sample
from vgpu.core import names
from vgpu.core.inventory import Gpu, Inventory, Node, Slot
from vgpu.core.profile import parse_profile
from vgpu.core.share import SchedulerPolicy

PROFILE = "v100-8q-8GB"
EDGES_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class ImpossibleStateError(AssertionError):
    """The test describes a world that no cluster could be in."""


def node(
    name: str = "n1",
    *,
    profile: str = PROFILE,
    slots: int = 1,
    card: str | None = None,
    policy: SchedulerPolicy = SchedulerPolicy.BEST_EFFORT,
    held: Mapping[int, str] | None = None,
    usable: bool = True,
    leaving: bool = False,
) -> Node:
    """A node whose slots all lie on one card; `held` says which pod holds which index."""
    parsed = parse_profile(profile)
    gpu = Gpu(uuid=card, framebuffer_mib=parsed.board_framebuffer_mib, policy=policy)
    holders = dict(held or {})
    if set(holders) - set(range(slots)):
        raise ImpossibleStateError(f"node {name} has {slots} slots; {sorted(holders)} are said to be held")
    return Node(
        name=name,
        ready=usable,
        schedulable=True,
        leaving=leaving,
        slots=tuple(
            Slot(node=name, index=index, profile=parsed, gpu=gpu, holder=holders.get(index)) for index in range(slots)
        ),
    )


def inventory(*nodes: Node) -> Inventory:
    return Inventory(nodes=nodes)


def leaving(stock: Inventory, *nodes: str) -> Inventory:
    """The same stock with these nodes, and no others, to be taken away."""
    return Inventory(nodes=tuple(replace(each, leaving=each.name in nodes) for each in stock.nodes))


def node_json(
    name: str = "n1",
    *,
    labels: Mapping[str, str] | None = None,
    gpus: int | str = 1,
    ready: bool = True,
    unschedulable: bool = False,
    annotations: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """A Node as the Kubernetes API gives it."""
    return {
        "metadata": {
            "name": name,
            "labels": {names.LABEL_PROFILE: PROFILE} if labels is None else dict(labels),
            **({} if annotations is None else {"annotations": dict(annotations)}),
        },
        "spec": {"unschedulable": True} if unschedulable else {},
        "status": {
            "capacity": {names.RESOURCE_GPU: str(gpus)},
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }


def pod_json(
    name: str, *, node: str | None = "n1", gpus: int | str = 1, slot: str | None = None, phase: str = "Running"
) -> dict[str, Any]:
    """A Pod as the Kubernetes API gives it."""
    return {
        "metadata": {
            "name": name,
            "namespace": "serving",
            "annotations": {names.ANNOTATION_SLOT: slot} if slot else {},
        },
        "spec": {
            **({"nodeName": node} if node else {}),
            "containers": [{"name": "worker", "resources": {"limits": {names.RESOURCE_GPU: str(gpus)}}}],
        },
        "status": {"phase": phase},
    }


def model(name: str = "minilm", **fields: Any) -> ModelSpec:
    given = {"pool": "v100-8q", "objective_p95_ms": 200, "max_replicas": 4, **fields}
    return ModelSpec(name=name, **given)


def fleet(
    *models: ModelSpec,
    policy: PolicySettings | None = None,
    guardrails: GuardrailSettings | None = None,
    profile: str = PROFILE,
) -> FleetSpec:
    """A fleet with one pool for every pool that its models name."""
    chosen = models or (model(),)
    return FleetSpec(
        pools=tuple(PoolSpec(name=pool, profile=parse_profile(profile)) for pool in sorted({m.pool for m in chosen})),
        models=chosen,
        policy=policy or PolicySettings(),
        guardrails=guardrails or GuardrailSettings(),
    )


def histogram(latencies_ms: Mapping[float, int] | None = None, edges_s: tuple[float, ...] = EDGES_S) -> Histogram:
    """A histogram of so many requests at each latency."""
    given = latencies_ms or {}
    counts = tuple(sum(n for ms, n in given.items() if ms / 1000 <= edge) for edge in edges_s)
    return Histogram(edges_s=edges_s, counts=(*counts, sum(given.values())))


def counters(
    latencies_ms: Mapping[float, int] | None = None, *, refused: int = 0, failed: int = 0, busy_s: float = 0.0
) -> Counters:
    """Counters of a replica that answered these requests; `failed` of them ended in an error."""
    duration = histogram(latencies_ms)
    return Counters(
        answered=duration.total - failed, refused=refused, failed=failed, duration=duration, engine_busy_s=busy_s
    )


def sample(
    replica_id: str = "r1",
    at_s: float = 0.0,
    counted: Counters | None = None,
    *,
    model: str = "minilm",
    slot_id: str | None = "n1/0",
    in_flight: int = 0,
    queued: int = 0,
) -> ReplicaSample:
    return ReplicaSample(
        replica_id=replica_id,
        model=model,
        slot_id=slot_id,
        at_s=at_s,
        counters=counted or counters(),
        in_flight=in_flight,
        queued=queued,
    )


def window(*samples: ReplicaSample, span_s: float = 10.0) -> Window:
    """What is kept of samples that came one after the other."""
    kept: Window = ()
    for taken in samples:
        kept = with_sample(kept, taken, span_s)
    return kept


def ingress(unanswered: int, at_s: float = 0.0, *, model: str = "minilm", process: str = "") -> IngressSample:
    return IngressSample(model=model, at_s=at_s, unanswered=unanswered, process=process)


def deployment(
    *,
    model: str = "minilm",
    at_s: float = 0.0,
    target: int = 1,
    running: Mapping[str, str | None] | None = None,
    starting: Sequence[str] = (),
    stopping: Mapping[str, str | None] | None = None,
) -> DeploymentSeen:
    """A deployment; `running` and `stopping` map replica ids to worker pods."""
    seen = [
        *(ReplicaSeen(replica_id=key, state=ReplicaState.RUNNING, worker=pod) for key, pod in (running or {}).items()),
        *(ReplicaSeen(replica_id=key, state=ReplicaState.STARTING) for key in starting),
        *(
            ReplicaSeen(replica_id=key, state=ReplicaState.STOPPING, worker=pod)
            for key, pod in (stopping or {}).items()
        ),
    ]
    return DeploymentSeen(model=model, at_s=at_s, target=target, replicas=tuple(seen))


def pool(*workers: WorkerSeen, name: str = "v100-8q", at_s: float = 0.0, wanted: int | None = None) -> PoolSeen:
    return PoolSeen(pool=name, at_s=at_s, wanted=len(workers) if wanted is None else wanted, workers=workers)


def worker(
    pod: str, node: str | None = "n1", *, ready: bool = True, deleting: bool = False, draining: bool = False
) -> WorkerSeen:
    """A worker; one that is drained takes no replica any more, so it is not ready."""
    if ready and node is None:
        raise ImpossibleStateError(f"worker {pod} is ready on no node")
    return WorkerSeen(pod=pod, node=node, ready=ready and not draining, deleting=deleting, draining=draining)


def world(
    stock: Inventory,
    *,
    pools: Sequence[PoolSeen] = (),
    deployments: Sequence[DeploymentSeen] = (),
    replicas: Sequence[ReplicaSample] = (),
    slots: Sequence[SlotReading] = (),
    ingress: Sequence[IngressSample] = (),
    missing: Sequence[Missing] = (),
) -> Observation:
    """An observation of this inventory, refused when the two could not have been seen together."""
    workers = {seen.pod: seen for group in pools for seen in group.workers}
    listed = [replica for group in deployments for replica in group.replicas]
    pods = [replica.worker for replica in listed if replica.worker is not None]
    slot_ids = set(stock.slots_by_id())
    held_by = [slot.holder for slot in stock.slots if slot.holder is not None]
    checks = [
        (len(pods) == len(set(pods)), f"two replicas live in one worker: {sorted(pods)}"),
        (not pools or set(pods) <= set(workers), f"replicas live in workers that no pool has: {sorted(pods)}"),
        (
            {seen.pod for seen in workers.values() if seen.node} <= set(held_by),
            f"workers sit on nodes and hold no slot: {sorted(workers)} against {sorted(held_by)}",
        ),
        (
            {reading.replica_id for reading in replicas} <= {replica.replica_id for replica in listed},
            "metrics come from a replica that Serve does not list",
        ),
        (
            {reading.slot_id for reading in replicas if reading.slot_id} <= slot_ids,
            "a replica names a slot that is not in the inventory",
        ),
        ({reading.slot_id for reading in slots} <= slot_ids, "a reading is of a slot that is not in the inventory"),
    ]
    problems = [problem for holds, problem in checks if not holds]
    if problems:
        raise ImpossibleStateError("; ".join(problems))
    return Observation(
        replicas=tuple(replicas),
        deployments=tuple(deployments),
        pools=tuple(pools),
        slots=tuple(slots),
        ingress=tuple(ingress),
        missing=tuple(missing),
    )


def signals(*, gaps: tuple[Missing, ...] = (), **values: float | Missing) -> ModelSignals:
    """Signals of a model with two calm replicas; a number becomes a fresh Signal."""
    counts = {"running": 2, "fresh": 2, "requests": 100, "refused": 0}
    given: dict[str, float | Missing] = {
        "p50_ms": 40.0,
        "p95_ms": 80.0,
        "attainment_ratio": 1.0,
        "offered_per_s": 10.0,
        "offered_recent_per_s": absent(),
        "answered_per_s": 10.0,
        "in_flight": 2.0,
        "queued": 0.0,
        "utilization_ratio": 0.5,
        "capacity_per_s": 20.0,
        **values,
    }
    return ModelSignals(
        model="minilm",
        gaps=gaps,
        **{name: int(given.pop(name, count)) for name, count in counts.items()},
        **{
            name: value if isinstance(value, Missing) else Signal(value=value, age_s=1.0)
            for name, value in given.items()
        },
    )


def absent(reason: MissingReason = MissingReason.NOT_SEEN, name: str = "r1") -> Missing:
    return Missing(source=Source.REPLICA, name=name, reason=reason)


def situation(
    measured: ModelSignals | None = None,
    *,
    current: int = 2,
    running: int | None = None,
    needs: Sequence[tuple[float, int]] = (),
    spec: ModelSpec | None = None,
    policy: PolicySettings | None = None,
    guardrails: GuardrailSettings | None = None,
    now_s: float = 1000.0,
    **remembered: Any,
) -> Situation:
    """A model at rest for a long time: `current` replicas run and nothing changed lately."""
    chosen = spec or model(max_replicas=20)
    window = SlidingMax(span_s=300.0 if chosen.scale_down_window_s is None else chosen.scale_down_window_s)
    for at_s, value in needs:
        window = window.with_value(at_s, value)
    state = ModelState(
        desired=current,
        needs=window,
        running_ids=tuple(f"r{index}" for index in range(current if running is None else running)),
        **{"running_since_s": 0.0, **remembered},
    )
    return Situation(
        now_s=now_s,
        spec=chosen,
        policy=policy or PolicySettings(),
        guardrails=guardrails or GuardrailSettings(),
        signals=measured or signals(),
        state=state,
    )


def overload(count: int, offered_per_s: float, at_s: float = 0.0) -> Overload:
    return Overload(count=count, offered_per_s=offered_per_s, at_s=at_s)
