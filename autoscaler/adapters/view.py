"""A tick as people look at it: models and their objectives, slots by node, the last decision in a sentence. Pure."""

from typing import Any

from autoscaler.core import waking
from autoscaler.core.decision import Decision, Reason
from autoscaler.core.observation import Missing, MissingReason, Observation, ReplicaState
from autoscaler.core.plain import as_json_value
from autoscaler.core.signals import ModelSignals, Signal
from autoscaler.core.spec import ModelSpec
from autoscaler.ports import Tick
from vgpu.core import names
from vgpu.core.inventory import Inventory

Json = dict[str, Any]
FORMAT = 1
SIGNALS = (
    "p50_ms",
    "p95_ms",
    "attainment_ratio",
    "offered_per_s",
    "in_flight",
    "queued",
    "utilization_ratio",
    "unanswered_per_s",
)
"""The signals that people look at; the journal has all of them."""


def render(tick: Tick) -> Json:
    """The whole state as `GET /v1/state` answers it."""
    decisions = {decision.model: decision for decision in (tick.plan.decisions if tick.plan else ())}
    return {
        "format": FORMAT,
        "tick": tick.number,
        "dry_run": tick.dry_run,
        "models_file": {"refused": bool(tick.models_file.problems), "problems": list(tick.models_file.problems)},
        "models": [_model(model, decisions.get(model.name), tick) for model in tick.spec.models],
        "nodes": _nodes(tick.inventory, tick.seen),
        "gpus": as_json_value(tick.plan.gpus) if tick.plan else [],
        "actions": as_json_value(tick.plan.actions) if tick.plan else [],
        "problems": [*tick.problems, *tick.failed_actions],
    }


def explain(tick: Tick, model: str) -> Json | None:
    """One model's last decision with everything behind it; None for a model that is not served here."""
    about = next((entry for entry in tick.spec.models if entry.name == model), None)
    if about is None:
        return None
    decision = next((entry for entry in (tick.plan.decisions if tick.plan else ()) if entry.model == model), None)
    return {
        "format": FORMAT,
        "tick": tick.number,
        "model": model,
        "settings": as_json_value(about),
        "sentence": _sentence(model, decision, tick),
        "outlook": waking.outlook(decision) if decision else None,
        "decision": as_json_value(decision),
        "problems": [*tick.problems, *tick.failed_actions],
    }


def _model(spec: ModelSpec, decision: Decision | None, tick: Tick) -> Json:
    deployment = next((entry for entry in tick.seen.deployments if entry.model == spec.name), None)
    signals = decision.signals if decision else None
    return {
        "name": spec.name,
        "replicas_running": deployment.count(ReplicaState.RUNNING) if deployment else None,
        "replicas_starting": deployment.count(ReplicaState.STARTING) if deployment else None,
        "replicas_target": deployment.target if deployment else None,
        "replicas_desired": desired(decision) if decision else None,
        "replicas_seated": seated(decision) if decision else None,
        "replicas_unplaced": decision.unplaced if decision else None,
        "replicas_leaving": len(decision.leaving) if decision else None,
        "replicas_min": spec.min_replicas,
        "replicas_max": spec.max_replicas,
        "slot_types": [tick.spec.pool(pool).profile.label for pool in spec.pools],
        "objective_p95_ms": spec.objective_p95_ms,
        **_readings(signals),
        "reason": str(decision.reason) if decision else None,
        "decision": _sentence(spec.name, decision, tick),
    }


def desired(decision: Decision) -> int:
    """The count that a model shall have for good: without those that stay on leaving nodes until their successors
    run."""
    return next((step.before for step in decision.steps if step.reason is Reason.NODE_LEAVING), decision.count)


def seated(decision: Decision) -> int:
    """Of `desired`, those that have a slot or get one. Those unplaced are beyond them: some of `desired` where the
    operator asks for more than there are slots, and others where the load does."""
    asked = (step.before for step in decision.steps if step.reason in (Reason.NO_SLOTS, Reason.SATURATED))
    return min(desired(decision), next(asked, decision.unplaced + desired(decision)) - decision.unplaced)


def _readings(signals: ModelSignals | None) -> Json:
    return {name: _value(getattr(signals, name) if signals else None) for name in SIGNALS}


def _value(signal: Signal | Missing | None) -> float | None:
    return round(signal.value, 4) if isinstance(signal, Signal) else None


def _sentence(model: str, decision: Decision | None, tick: Tick) -> str:
    if decision:
        return decision.sentence()
    if tick.plan and any(gap.name == model and gap.reason is MissingReason.NOT_SEEN for gap in tick.plan.undecided):
        return f"{model}: Ray Serve does not have it yet; nothing is decided until it is deployed"
    return f"{model}: nothing is known about it yet"


def _nodes(inventory: Inventory, seen: Observation) -> list[Json]:
    busy = {reading.slot_id: round(reading.busy_ratio, 4) for reading in seen.slots}
    models = _models_by_worker(seen)
    return [
        {
            "name": node.name,
            "ready": node.ready,
            "schedulable": node.schedulable,
            "leaving": node.leaving,
            "device_kind": dict(node.labels).get(names.LABEL_DEVICE_KIND),
            "slots": [
                {
                    "slot": slot.slot_id,
                    "profile": slot.profile.label,
                    "gpu": slot.gpu_key,
                    "worker": slot.holder,
                    "model": models.get(slot.holder or ""),
                    "engine_busy_ratio": busy.get(slot.slot_id),
                }
                for slot in node.slots
            ],
        }
        for node in inventory.nodes
    ]


def _models_by_worker(seen: Observation) -> dict[str, str]:
    return {
        replica.worker: deployment.model
        for deployment in seen.deployments
        for replica in deployment.replicas
        if replica.worker and replica.state is not ReplicaState.STOPPING
    }
