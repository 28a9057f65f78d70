"""The one entrance: decide(spec, state, seen, inventory, now_s) -> (state, plan).

A tick reads in order: samples enter windows, windows give signals, policies recommend, guardrails temper, placement
says what fits and helps, and the plan lists the actions that follow. Nothing here acts, waits or reads a clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from autoscaler.core import actions, guardrails, policy, signals
from autoscaler.core.contention import Contention, measure
from autoscaler.core.decision import Decision, Plan, Reason, Recommendation, SetReplicas, Stage, Step, numbers
from autoscaler.core.observation import DeploymentSeen, Missing, Observation, PoolSeen
from autoscaler.core.placement import Grant, Want, place_models
from autoscaler.core.policy import Situation
from autoscaler.core.signals import ModelSignals, Signal
from autoscaler.core.spec import FleetSpec, ModelSpec
from autoscaler.core.state import ModelState, Overload, State
from vgpu.core.inventory import Inventory


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draft:
    """A decision before placement, with the memory it leaves."""

    spec: ModelSpec
    current: int
    count: int
    state: ModelState
    steps: tuple[Step, ...]
    recommendations: tuple[Recommendation, ...] = ()
    signals: ModelSignals | None = None


def decide(
    spec: FleetSpec, state: State, seen: Observation, inventory: Inventory, now_s: float
) -> tuple[State, Plan]:
    """Decide every model's replica count and the actions that follow from what is seen at `now_s`."""
    max_age_s = spec.policy.max_age_s
    deployments = {model.name: seen.deployment(model.name, now_s=now_s, max_age_s=max_age_s) for model in spec.models}
    pools = {pool.name: seen.pool(pool.name, now_s=now_s, max_age_s=max_age_s) for pool in spec.pools}
    contention = measure(inventory, seen, spec.policy, now_s)
    drafts = [
        draft
        for model in spec.by_priority
        if (draft := _draft(spec, model, state.models.get(model.name), deployments, seen, contention, now_s))
    ]
    bound = {
        name: sum(worker.node is not None for worker in pool.live)
        for name, pool in pools.items()
        if isinstance(pool, PoolSeen)
    }
    placement = place_models([_want(spec, draft) for draft in drafts], bound, inventory, contention)
    decisions = {draft.spec.name: _settled(draft, placement.grants[draft.spec.name]) for draft in drafts}
    fleet = actions.Fleet(
        spec=spec,
        decisions=decisions,
        deployments={name: read for name, read in deployments.items() if isinstance(read, DeploymentSeen)},
        pools={name: read for name, read in pools.items() if isinstance(read, PoolSeen)},
    )
    planned, surplus = actions.plan_actions(fleet, placement.nodes, state.surplus_since_s, now_s)
    posted = {action.model: action.count for action in planned if isinstance(action, SetReplicas)}
    plan = Plan(
        at_s=now_s,
        decisions=tuple(decisions.values()),
        actions=planned,
        gpus=tuple(contention.gpus.values()),
        undecided=tuple(
            read for name, read in deployments.items() if isinstance(read, Missing) and name not in decisions
        ),
    )
    models = {
        draft.spec.name: _remember(draft, decisions[draft.spec.name], posted, deployments, now_s) for draft in drafts
    }
    return State(models=models, surplus_since_s=surplus), plan
