"""The one entrance: decide(spec, state, seen, inventory, now_s) -> (state, plan).

A tick reads in order: samples enter windows, windows give signals, policies recommend, guardrails temper, placement
says what fits and helps, and the plan lists the actions that follow. Nothing here acts, waits or reads a clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from autoscaler.core import actions, evidence, guardrails, policy
from autoscaler.core.contention import Contention, measure
from autoscaler.core.decision import Decision, Plan, Reason, Recommendation, SetReplicas, Stage, Step, numbers
from autoscaler.core.observation import DeploymentSeen, Missing, Observation, PoolSeen
from autoscaler.core.placement import Grant, Want, place_models
from autoscaler.core.policy import Situation
from autoscaler.core.signals import ModelSignals, read_replicas, read_signals, slot_gaps
from autoscaler.core.spec import FleetSpec, ModelSpec
from autoscaler.core.state import ModelState, State
from vgpu.core.inventory import Inventory


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tick:
    """What is known this tick, the same for every model."""

    spec: FleetSpec
    seen: Observation
    contention: Contention
    deployments: Mapping[str, DeploymentSeen | Missing]
    pools: Mapping[str, PoolSeen | Missing]
    now_s: float


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


def decide(spec: FleetSpec, state: State, seen: Observation, inventory: Inventory, now_s: float) -> tuple[State, Plan]:
    """Decide every model's replica count and the actions that follow from what is seen at `now_s`."""
    tick = _look(spec, seen, inventory, now_s)
    drafts = [
        draft for model in spec.by_priority if (draft := _draft(tick, model, state.models.get(model.name))) is not None
    ]
    pools = {name: read for name, read in tick.pools.items() if isinstance(read, PoolSeen)}
    bound = {name: sum(worker.node is not None for worker in pool.live) for name, pool in pools.items()}
    placement = place_models([_want(spec, draft) for draft in drafts], bound, inventory, tick.contention)
    decisions = {draft.spec.name: _decision(draft, placement.grants[draft.spec.name]) for draft in drafts}
    deployments = {name: read for name, read in tick.deployments.items() if isinstance(read, DeploymentSeen)}
    fleet = actions.Fleet(spec=spec, decisions=decisions, deployments=deployments, pools=pools)
    planned, surplus = actions.plan_actions(fleet, placement.nodes, state.surplus_since_s, now_s)
    posted = {action.model: action.count for action in planned if isinstance(action, SetReplicas)}
    models = {
        draft.spec.name: _remember(tick, draft, decisions[draft.spec.name], posted.get(draft.spec.name))
        for draft in drafts
    }
    plan = Plan(
        at_s=now_s,
        decisions=tuple(decisions.values()),
        actions=planned,
        gpus=tuple(tick.contention.gpus.values()),
        undecided=tuple(
            read for name, read in tick.deployments.items() if isinstance(read, Missing) and name not in decisions
        ),
    )
    return State(models=models, surplus_since_s=surplus), plan


def _look(spec: FleetSpec, seen: Observation, inventory: Inventory, now_s: float) -> _Tick:
    max_age_s = spec.policy.max_age_s
    return _Tick(
        spec=spec,
        seen=seen,
        contention=measure(inventory, seen, spec.policy, now_s),
        deployments={m.name: seen.deployment(m.name, now_s=now_s, max_age_s=max_age_s) for m in spec.models},
        pools={pool.name: seen.pool(pool.name, now_s=now_s, max_age_s=max_age_s) for pool in spec.pools},
        now_s=now_s,
    )


def _draft(tick: _Tick, spec: ModelSpec, known: ModelState | None) -> _Draft | None:
    """Recommend and guard; None when nothing at all is known about the model."""
    deployment = tick.deployments[spec.name]
    if isinstance(deployment, Missing):
        return None if known is None else _unreadable(spec, known)
    state = known or ModelState.start(spec, deployment.target, tick.now_s)
    state = state.with_deployment(deployment, tick.spec.guardrails, tick.now_s)
    samples = (sample for sample in tick.seen.replicas if sample.model == spec.name)
    state = state.with_samples(samples, tick.spec.policy.window_s)
    situation = Situation(
        now_s=tick.now_s,
        spec=spec,
        policy=tick.spec.policy,
        guardrails=tick.spec.guardrails,
        signals=_signals(tick, spec, state),
        state=state,
    )
    situation = replace(situation, state=evidence.learn(situation))
    recommendations = policy.recommend(situation)
    situation = replace(situation, state=_with_need(situation, recommendations))
    wanted = _wanted(situation, recommendations)
    guarded = guardrails.apply(situation, wanted.after)
    steps = (*_reset_step(deployment, state), wanted, *guarded)
    return _Draft(
        spec=spec,
        current=state.desired,
        count=steps[-1].after,
        state=situation.state,
        steps=steps,
        recommendations=recommendations,
        signals=situation.signals,
    )


def _unreadable(spec: ModelSpec, state: ModelState) -> _Draft:
    held = Step(stage=Stage.SEEN, before=state.desired, after=state.desired, reason=Reason.SERVE_UNREADABLE)
    return _Draft(spec=spec, current=state.desired, count=state.desired, state=state, steps=(held,))


def _signals(tick: _Tick, spec: ModelSpec, state: ModelState) -> ModelSignals:
    settings = tick.spec.policy
    fresh, gaps = read_replicas(state.running_ids, state.windows, tick.seen, settings, tick.now_s)
    all_gaps = (*gaps, *slot_gaps(fresh, tick.contention))
    return read_signals(spec, settings, fresh, all_gaps, tick.contention, state.running)


def _reset_step(deployment: DeploymentSeen, state: ModelState) -> tuple[Step, ...]:
    """Notice a target that somebody else changed: a redeploy resets it, for one, and Serve says nothing of it."""
    if state.posted is None or deployment.at_s <= state.posted_s or deployment.target == state.posted:
        return ()
    return (Step(stage=Stage.SEEN, before=deployment.target, after=state.posted, reason=Reason.TARGET_RESET),)


def _with_need(situation: Situation, recommendations: tuple[Recommendation, ...]) -> ModelState:
    """Remember the need of this tick; while readings are missing the need may be anything up to what is there."""
    spec, state = situation.spec, situation.state
    need = min(max(recommendations[0].count, spec.min_replicas), spec.max_replicas) if recommendations else 0
    if situation.signals.gaps or not recommendations:
        need = max(need, state.desired)
    return replace(state, needs=state.needs.with_value(situation.now_s, need))


def _wanted(situation: Situation, recommendations: tuple[Recommendation, ...]) -> Step:
    """The winning recommendation as the first step; without any, a hold."""
    current = situation.current
    if not recommendations:
        reason, why = Reason.NO_FRESH_METRICS, numbers(gaps=len(situation.signals.gaps))
        if not situation.state.running:
            reason, why = Reason.COLD_START_PENDING, numbers(pending=situation.state.pending)
        return Step(stage=Stage.POLICY, before=current, after=current, reason=reason, numbers=why)
    winner = recommendations[0]
    return Step(stage=Stage.POLICY, before=current, after=winner.count, reason=winner.reason, numbers=winner.numbers)


def _want(spec: FleetSpec, draft: _Draft) -> Want:
    return Want(
        model=draft.spec.name,
        pool=draft.spec.pool,
        profile=spec.pool(draft.spec.pool).profile,
        count=draft.count,
        current=draft.current,
        firm=max(draft.state.running, draft.spec.min_replicas),
    )


def _decision(draft: _Draft, grant: Grant) -> Decision:
    steps = draft.steps
    if grant.reason is not None:
        unplaced = numbers(unplaced=grant.unplaced)
        steps += (
            Step(stage=Stage.PLACEMENT, before=draft.count, after=grant.count, reason=grant.reason, numbers=unplaced),
        )
    return Decision(
        model=draft.spec.name,
        current=draft.current,
        count=grant.count,
        steps=steps,
        recommendations=draft.recommendations,
        signals=draft.signals,
        unplaced=grant.unplaced,
        blocked=grant.blocked,
    )


def _remember(tick: _Tick, draft: _Draft, decision: Decision, posted: int | None) -> ModelState:
    """The model's memory after this tick; an action counts as done, and the next tick sees whether it was."""
    state = draft.state.with_desired(decision.count, tick.now_s)
    deployment = tick.deployments[draft.spec.name]
    if posted is not None:
        return replace(state, posted=posted, posted_s=tick.now_s)
    if isinstance(deployment, DeploymentSeen):
        return replace(state, posted=deployment.target, posted_s=deployment.at_s)
    return state
