"""One tick as Prometheus gauges: rendered when asked for, so that what is not known now has no series. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from autoscaler.adapters import view
from autoscaler.core.decision import Decision, Reason, Stage
from autoscaler.core.observation import PoolSeen, ReplicaState, Source
from autoscaler.core.signals import Signal
from autoscaler.core.spec import FleetSpec
from autoscaler.ports import Tick

LIMITS = (
    Reason.COLD_START_PENDING,
    Reason.BACKLOG_DRAINING,
    Reason.SETTLING,
    Reason.STEP_LIMIT,
    Reason.PENDING_EXPIRED,
    Reason.BOUNDS,
    Reason.FOREIGN_WRITER,
    Reason.YIELDED,
    Reason.NO_SLOTS,
    Reason.SATURATED,
    Reason.WORKERS_UNREADABLE,
)
"""The reasons that may keep a model below what it asks for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A tick, and what is worked out of several."""

    tick: Tick
    ended_s: float
    """When it ended, as Unix time."""
    ages_s: Mapping[Source, float]


def families(shown: Shown) -> Iterator[Metric]:
    """Everything one tick says."""
    tick = shown.tick
    yield from _replicas(tick)
    yield from _pools(tick)
    yield from _signals(tick)
    yield from _limits(tick)
    yield from _models(tick)
    ages = _family("vgpu_serve_signal_age_seconds", "Age of the oldest reading of a source", "source")
    for source, age_s in shown.ages_s.items():
        ages.add_metric((source,), age_s)
    yield ages
    yield GaugeMetricFamily("vgpu_serve_problems", "Problems of the last tick", value=len(tick.problems))
    yield GaugeMetricFamily("vgpu_serve_leader", "1 when this autoscaler changes things", value=not tick.dry_run)
    yield GaugeMetricFamily(
        "vgpu_serve_models_file_refused",
        "1 while the present models file cannot be followed",
        value=bool(tick.models_file.problems),
    )
    yield GaugeMetricFamily(
        "vgpu_serve_last_tick_timestamp_seconds", "When the last tick ended, as Unix time", value=shown.ended_s
    )


def limits(decision: Decision) -> frozenset[Reason]:
    """What keeps a model below the count that its policy asks for; nothing when it gets as many, or more."""
    asked = next((step.after for step in decision.steps if step.stage is Stage.POLICY), None)
    if asked is None or decision.count >= asked:
        return frozenset()
    tempered = (step for step in decision.steps if step.stage in (Stage.GUARDRAIL, Stage.PLACEMENT))
    return frozenset(step.reason for step in tempered if step.after < step.before)


def _family(name: str, documentation: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, documentation, labels=labels)


def _decisions(tick: Tick) -> tuple[Decision, ...]:
    return tick.plan.decisions if tick.plan else ()


def _is_fresh(at_s: float, tick: Tick) -> bool:
    """Whether a reading may still be shown: decisions take it for missing by the same limit."""
    return (tick.plan.at_s if tick.plan else tick.at_s) - at_s <= tick.spec.policy.max_age_s


def _replicas(tick: Tick) -> Iterator[Metric]:
    replicas = _family("vgpu_serve_replicas", "Replicas of a model", "model", "state")
    unplaced = _family("vgpu_serve_unplaced_replicas", "Replicas asked for that no slot takes", "model")
    leaving = _family("vgpu_serve_replicas_leaving", "Running replicas on nodes that will be taken away", "model")
    for deployment in tick.seen.deployments:
        if _is_fresh(deployment.at_s, tick):
            for state in ReplicaState:
                replicas.add_metric((deployment.model, state), deployment.count(state))
    for decision in _decisions(tick):
        replicas.add_metric((decision.model, "desired"), view.desired(decision))
        unplaced.add_metric((decision.model,), decision.unplaced)
        leaving.add_metric((decision.model,), len(decision.leaving))
    yield from (replicas, unplaced, leaving)


def _pools(tick: Tick) -> Iterator[Metric]:
    workers = _family("vgpu_serve_workers", "Workers of a pool", "pool", "state")
    for pool in tick.seen.pools:
        if _is_fresh(pool.at_s, tick):
            for state, count in _workers(pool, tick.lent.get(pool.pool, 0)).items():
                workers.add_metric((pool.pool, state), count)
    slots = _family("vgpu_serve_slots", "Slots of a node", "node", "state")
    # Nodes are read together with the pools.
    is_known = not tick.seen.pools or any(_is_fresh(pool.at_s, tick) for pool in tick.seen.pools)
    for node in tick.inventory.nodes if is_known else ():
        slots.add_metric((node.name, "used"), len(node.held))
        slots.add_metric((node.name, "free"), 0 if node.leaving else len(node.free))
    yield from (workers, slots)


def _workers(pool: PoolSeen, lent: int) -> dict[str, int]:
    """How many workers are in which state; those lent to other applications are at work."""
    draining = sum(worker.draining or worker.deleting for worker in pool.workers)
    ready = sum(worker.ready and not worker.draining for worker in pool.live)
    return {
        "wanted": pool.wanted + lent,
        "ready": ready + lent,
        "starting": len(pool.workers) - draining - ready,
        "draining": draining,
    }


def _signals(tick: Tick) -> Iterator[Metric]:
    said = "What a decision was made from, by name with its unit"
    signals = _family("vgpu_serve_signal", said, "model", "signal")
    missing = _family("vgpu_serve_signals_missing", "Readings a decision had to do without", "model")
    for decision in _decisions(tick):
        if decision.signals is None:
            continue
        missing.add_metric((decision.model,), len(decision.signals.gaps))
        for name in view.SIGNALS:
            if isinstance(signal := getattr(decision.signals, name), Signal):
                signals.add_metric((decision.model, name), signal.value)
    yield from (signals, missing)


def _limits(tick: Tick) -> Iterator[Metric]:
    limited = _family(
        "vgpu_serve_limited", "1 while this keeps a model below the count it asks for", "model", "guardrail"
    )
    for decision in _decisions(tick):
        found = limits(decision)
        for reason in LIMITS:
            limited.add_metric((decision.model, reason), reason in found)
    yield limited


def _models(tick: Tick) -> Iterator[Metric]:
    spec = tick.spec
    objective = _family("vgpu_serve_objective_seconds", "95 of 100 requests shall be answered within this", "model")
    bounds = _family("vgpu_serve_replicas_limit", "Fewest and most replicas of a model", "model", "bound")
    for model in spec.models:
        objective.add_metric((model.name,), model.objective_p95_ms / 1000)
        bounds.add_metric((model.name, "min"), model.min_replicas)
        bounds.add_metric((model.name, "max"), model.max_replicas)
    info = _family("vgpu_serve_model_info", "What the models file says of a model", "model", "source", "slot", "tenant")
    for about in tick.models_file.about:
        info.add_metric((about.name, about.source, _slot(spec, about.name), about.tenant), 1)
    yield from (objective, bounds, info)


def _slot(spec: FleetSpec, name: str) -> str:
    """The model's slot types, separated by commas."""
    pools = next((model.pools for model in spec.models if model.name == name), ())
    return ",".join(spec.pool(pool).profile.label for pool in pools)
