"""The one entrance: decide(spec, state, seen, inventory, now_s) -> (state, plan).

A tick reads in order: samples enter windows, windows give signals, policies recommend, guardrails temper, placement
says what fits and helps, and the plan lists the actions that follow. Nothing here acts, waits or reads a clock.
"""

from collections import Counter

from autoscaler.core import actions, evidence, foreign, guardrails, markets, policy, spanning, waking
from autoscaler.core.capacity import expendable
from autoscaler.core.claims import claim
from autoscaler.core.decision import Decision, Plan, Reason, Recommendation, SetReplicas, Stage, Step, numbers
from autoscaler.core.draft import Draft
from autoscaler.core.leaving import vacated
from autoscaler.core.markets import Shares
from autoscaler.core.moves import begun_for_others, move
from autoscaler.core.observation import DeploymentSeen, Missing, MissingReason, Observation
from autoscaler.core.placement import Grant, Want, place_models
from autoscaler.core.record import replace
from autoscaler.core.sight import Sight, Tick, look, sighted
from autoscaler.core.situation import Situation, needing, prospect
from autoscaler.core.spanning import SlotOption, slot_options
from autoscaler.core.spec import FleetSpec, ModelSpec
from autoscaler.core.state import Evacuation, ModelState, State
from vgpu.core.inventory import Inventory


def decide(spec: FleetSpec, state: State, seen: Observation, inventory: Inventory, now_s: float) -> tuple[State, Plan]:
    """Decide every model's replica count and the actions that follow from what is seen at `now_s`."""
    tick = look(spec, state, seen, inventory, now_s)
    drafts = _drafts(tick, state)
    shared = markets.shared(spec, drafts, tick.cards, now_s)
    drafts = [_yielding(draft, shared, now_s) for draft in drafts]
    gone = tick.leaving.nodes | {None}
    bound = {name: sum([worker.node not in gone for worker in pool.live]) for name, pool in tick.leaving.pools.items()}
    # Of equal priority the one that lacks most chooses first.
    urgent = sorted(drafts, key=lambda draft: (-draft.spec.priority, -draft.claim.gain(draft.current)))
    wants = [_want(tick, draft, shared) for draft in urgent]
    placement = place_models(wants, bound, inventory, tick.cards, tick.homes.vacant)
    grants = placement.grants
    made = {draft.spec.name: _decision(tick, draft, grants[draft.spec.name]) for draft in drafts}
    decisions = {name: decision for name, (decision, _) in made.items()}
    deployments = {name: read for name, read in tick.deployments.items() if isinstance(read, DeploymentSeen)}
    undecided = [read for name, read in tick.deployments.items() if isinstance(read, Missing) and name not in decisions]
    absent = frozenset(read.name for read in undecided if read.reason is MissingReason.NOT_SEEN)
    pools, closing = vacated(tick.leaving, spec, deployments, absent)
    fleet = actions.Fleet(
        spec=spec, decisions=decisions, deployments=deployments, pools=pools, absent=absent, closing=closing
    )
    planned, surplus = actions.plan_actions(fleet, placement.nodes, state.surplus_since_s, now_s)
    posted = {action.model: action.count for action in planned if isinstance(action, SetReplicas)}
    models = {
        name: _remember(tick, draft, grants[name], made[name][1], posted.get(name))
        for name, draft in ((draft.spec.name, draft) for draft in drafts)
    }
    plan = Plan(
        at_s=now_s,
        decisions=tuple(decisions.values()),
        actions=planned,
        gpus=tuple(tick.contention.gpus.values()),
        undecided=tuple(undecided),
    )
    return State(models=models, surplus_since_s=surplus, usual=tick.contention.usual), plan


def _yielding(draft: Draft, shared: Shares, now_s: float) -> Draft:
    """The draft, fallen to the model's share of a short pool where it has more; with a move begun where it shall leave
    such a pool for another."""
    name = draft.spec.name
    changes = shared.changes.get(name, {})
    draft = replace(draft, yields_in=frozenset(pool for pool, by in changes.items() if by < 0)) if changes else draft
    share, count = shared.counts.get(name, draft.current), draft.count
    if share < draft.current:
        count = max(draft.claim.floor, min(count, share))
    elif name in shared.moves:
        state, step = begun_for_others(draft.state, draft.count, now_s)
        return replace(draft, state=state, count=step.after, steps=(*draft.steps, step))
    if count == draft.count:  # it falls as far by itself
        return draft
    step = Step(stage=Stage.PLACEMENT, before=draft.count, after=count, reason=Reason.YIELDED)
    return replace(draft, count=count, steps=(*draft.steps, step))


def _drafts(tick: Tick, state: State) -> list[Draft]:
    """What each model would have; models of which nothing at all is known are left out.

    One step after the other for all of them: their needs are worked out for the whole fleet at once.
    """
    sights = {
        model.name: sighted(tick, model, state.models.get(model.name), deployment)
        for model in tick.spec.by_priority
        if isinstance(deployment := tick.deployments[model.name], DeploymentSeen)
    }
    prospects = [
        prospect(sight.situation, sight.fresh, tick.cards, tick.pools_of(sight.situation.spec))
        for sight in sights.values()
    ]
    situations = needing(prospects, tick.spec.policy)
    drafts = {
        name: _draft(tick, sight, situation)
        for (name, sight), situation in zip(sights.items(), situations, strict=True)
    }
    for model in tick.spec.models:
        if model.name not in drafts and (known := state.models.get(model.name)) is not None:
            drafts[model.name] = _unreadable(tick, model, known)
    return [drafts[model.name] for model in tick.spec.by_priority if model.name in drafts]


def _draft(tick: Tick, sight: Sight, situation: Situation) -> Draft:
    """Recommend and guard."""
    spec, signals, placed = situation.spec, situation.signals, {each.replica_id: each.slot_id for each in sight.fresh}
    situation = evidence.taught(situation)
    recommendations = policy.recommend(situation)
    situation = replace(situation, state=evidence.with_need(situation, recommendations))
    wanted = _wanted(situation, recommendations)
    steps = (*sight.reset, wanted, *guardrails.apply(situation, wanted.after))
    slots, profile = tuple(placed.values()), tick.specs[spec.pool].profile
    moved, moving = move(situation, steps[-1].after, tick.cards, slots, profile)
    others = foreign.step(situation, sight.deployment, steps[-1].after)
    steps = (*steps, *(step for step in (moving, others) if step))
    claimed = claim(spec, moved, signals, situation.need if wanted.after else None, steps[-1].after, tick.now_s)
    draft = Draft(
        spec=spec,
        current=situation.current,
        count=steps[-1].after,
        decided=sight.decided,
        state=moved,
        steps=steps,
        claim=claimed if claimed.floor == situation.floor else replace(claimed, floor=situation.floor),
        recommendations=recommendations,
        signals=signals,
        placed=placed,
        demand=situation.demand,
        here=situation.here,
        types=situation.types,
        lives=sight.lives,
    )
    return tick.leaving.marked(draft, sight.deployment)


def _unreadable(tick: Tick, spec: ModelSpec, state: ModelState) -> Draft:
    held = Step(stage=Stage.SEEN, before=state.desired, after=state.desired, reason=Reason.SERVE_UNREADABLE)
    claimed = claim(spec, state, None, None, state.desired, tick.now_s)
    options: tuple[SlotOption, ...] = ()
    if spec.further_pools:
        options = slot_options(spec, tick.pools_of(spec), state.boards, state.learned.service)
    return Draft(
        spec=spec,
        current=state.desired,
        count=state.desired,
        decided=state.decided,
        state=state,
        steps=(held,),
        claim=claimed,
        types=options,
    )


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


def _want(tick: Tick, draft: Draft, shared: Shares) -> Want:
    want = Want(
        model=draft.spec.name,
        pool=draft.spec.pool,
        profile=tick.specs[draft.spec.pool].profile,
        count=draft.count,
        current=draft.current,
        firm=max(draft.state.running, draft.claim.floor),
        share=shared.counts.get(draft.spec.name),
        demand=draft.demand,
        placed=tuple(draft.placed.values()),
        least_gain_ratio=tick.spec.policy.least_gain_ratio,
        leaving=len(draft.leaving),
    )
    if not draft.types:
        return want
    going = set(_victims(tick, draft, draft.count)[: max(0, draft.state.running - len(draft.leaving) - draft.count)])
    changes = shared.changes.get(draft.spec.name, {})
    return replace(
        want,
        types=draft.types,
        lives=Counter([pool for replica_id, pool in draft.lives.items() if replica_id not in going]),
        meant=draft.state.spread,
        shunned=frozenset([pool for pool, until_s in draft.state.shunned.items() if until_s > tick.now_s]),
        room={pool: max(0, change) for pool, change in changes.items()},
    )


def _decision(tick: Tick, draft: Draft, grant: Grant) -> tuple[Decision, Evacuation | None]:
    """The decision, and what it is for replicas on leaving nodes."""
    steps = draft.steps
    if grant.reason is not None:
        unplaced = numbers(unplaced=grant.unplaced)
        steps += (
            Step(stage=Stage.PLACEMENT, before=draft.count, after=grant.count, reason=grant.reason, numbers=unplaced),
        )
    made = Decision(
        model=draft.spec.name,
        current=draft.decided,
        count=grant.count,
        steps=steps,
        recommendations=draft.recommendations,
        signals=draft.signals,
        unplaced=grant.unplaced,
        blocked=grant.blocked,
        victims=_victims(tick, draft, grant.count),
        spread=grant.spread,
    )
    made, evacuation = tick.leaving.decided(draft, grant, made, tick.now_s)
    return waking.foretold(made, draft.spec, draft.state, tick.now_s), evacuation


def _victims(tick: Tick, draft: Draft, count: int) -> tuple[str, ...]:
    """Whom to let go first; said only when somebody goes and everybody can be seen."""
    running = draft.state.running - len(draft.leaving)
    if count >= running or len(draft.placed) < running:
        return ()
    if draft.types:
        return spanning.expendable(tick.cards, draft.types, draft.placed, draft.yields_in)
    return () if draft.demand is None else expendable(tick.cards, draft.here, draft.placed)


def _remember(tick: Tick, draft: Draft, grant: Grant, evacuation: Evacuation | None, posted: int | None) -> ModelState:
    """The model's memory after this tick; an action counts as done, and the next tick sees whether it was."""
    state = draft.state.with_desired(grant.count, tick.now_s)
    if evacuation is not None:
        state = replace(state, evacuation=evacuation)
    if grant.spread or not grant.count:
        state = replace(state, spread=dict(grant.spread)) if draft.types else state
    deployment = tick.deployments[draft.spec.name]
    if isinstance(deployment, Missing):
        return state if posted is None else replace(state, posted=posted, posted_s=tick.now_s)
    return replace(
        state,
        carried=state.carried.with_value(tick.now_s, draft.claim.now),
        posted=deployment.target if posted is None else posted,
        posted_s=deployment.at_s if posted is None else tick.now_s,
    )
