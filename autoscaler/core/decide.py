"""The one entrance: decide(spec, state, seen, inventory, now_s) -> (state, plan).

A tick reads in order: samples enter windows, windows give signals, policies recommend, guardrails temper, placement
says what fits and helps, and the plan lists the actions that follow. Nothing here acts, waits or reads a clock.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autoscaler.core import actions, evidence, foreign, guardrails, markets, policy, spanning, waking
from autoscaler.core.capacity import Cards, expendable
from autoscaler.core.choosing import Homes
from autoscaler.core.claims import claim
from autoscaler.core.contention import Contention, measure
from autoscaler.core.decision import Decision, Plan, Reason, Recommendation, SetReplicas, Stage, Step, numbers
from autoscaler.core.draft import Draft
from autoscaler.core.leaving import Leaving, vacated
from autoscaler.core.markets import Shares
from autoscaler.core.moves import begun_for_others, move
from autoscaler.core.observation import DeploymentSeen, Missing, MissingReason, Observation, PoolSeen, ReplicaSample
from autoscaler.core.placement import Grant, Want, place_models
from autoscaler.core.record import replace
from autoscaler.core.replicas import FreshReplica, read_replicas
from autoscaler.core.signals import ModelSignals, read_signals
from autoscaler.core.situation import Situation, needing
from autoscaler.core.spanning import SlotOption, slot_options
from autoscaler.core.spec import FleetSpec, ModelSpec, PoolSpec
from autoscaler.core.state import Evacuation, ModelState, State
from vgpu.core.inventory import Inventory


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tick:
    """What is known this tick, the same for every model."""

    spec: FleetSpec
    seen: Observation
    contention: Contention
    cards: Cards
    deployments: Mapping[str, DeploymentSeen | Missing]
    pools: Mapping[str, PoolSeen | Missing]
    samples: Mapping[str, Sequence[ReplicaSample]]
    """By model."""
    specs: Mapping[str, PoolSpec]
    """By pool."""
    homes: Homes
    leaving: Leaving
    now_s: float

    def pools_of(self, model: ModelSpec) -> tuple[PoolSpec, ...]:
        return tuple([self.specs[pool] for pool in model.pools])


def decide(spec: FleetSpec, state: State, seen: Observation, inventory: Inventory, now_s: float) -> tuple[State, Plan]:
    """Decide every model's replica count and the actions that follow from what is seen at `now_s`."""
    tick = _look(spec, state, seen, inventory, now_s)
    drafts = [
        draft for model in spec.by_priority if (draft := _draft(tick, model, state.models.get(model.name))) is not None
    ]
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


def _look(spec: FleetSpec, state: State, seen: Observation, inventory: Inventory, now_s: float) -> _Tick:
    max_age_s = spec.policy.max_age_s
    contention = measure(inventory, seen, spec.policy, now_s, state.usual)
    pools = {pool.name: seen.pool(pool.name, now_s=now_s, max_age_s=max_age_s) for pool in spec.pools}
    leaving = Leaving.of(inventory, seen.pools, pools)
    workers = frozenset([worker.pod for pool in seen.pools for worker in pool.live]) - seen.lived_in
    workers -= leaving.workers.keys()
    taken = frozenset([sample.slot_id for sample in seen.replicas if sample.slot_id] if workers else ())
    samples: dict[str, list[ReplicaSample]] = {}
    for sample in seen.replicas:
        samples.setdefault(sample.model, []).append(sample)
    return _Tick(
        spec=spec,
        seen=seen,
        contention=contention,
        cards=Cards.of(inventory, contention, workers, taken),
        deployments=seen.deployments_of((m.name for m in spec.models), now_s=now_s, max_age_s=max_age_s),
        pools=pools,
        samples=samples,
        specs={pool.name: pool for pool in spec.pools},
        homes=Homes.of(spec, seen, inventory, leaving.workers),
        leaving=leaving,
        now_s=now_s,
    )


def _draft(tick: _Tick, spec: ModelSpec, known: ModelState | None) -> Draft | None:
    """Recommend and guard; None when nothing at all is known about the model."""
    deployment, fleet = tick.deployments[spec.name], tick.spec
    if isinstance(deployment, Missing):
        return None if known is None else _unreadable(tick, spec, known)
    state = known or ModelState.start(spec, deployment.target, tick.now_s)
    reset = foreign.reset_step(deployment, state)
    decided, state = state.decided, tick.leaving.noticed(spec, deployment, state, tick.now_s)
    state = state.with_target(deployment, tick.now_s).with_deployment(deployment, fleet.guardrails, tick.now_s)
    state, lives = tick.homes.settled(spec, deployment, state, known, tick.now_s)
    state, signals, fresh = _signals(tick, spec, state)
    situation = Situation(
        now_s=tick.now_s, spec=spec, policy=fleet.policy, guardrails=fleet.guardrails, signals=signals, state=state
    )
    situation = needing(situation, fresh, tick.cards, tick.pools_of(spec))
    situation = evidence.taught(situation)
    placed = {replica.replica_id: replica.slot_id for replica in fresh}
    recommendations = policy.recommend(situation)
    situation = replace(situation, state=evidence.with_need(situation, recommendations))
    wanted = _wanted(situation, recommendations)
    steps = (*reset, wanted, *guardrails.apply(situation, wanted.after))
    moved, moving = move(situation, steps[-1].after, tick.cards, tuple(placed.values()), tick.specs[spec.pool].profile)
    steps = (*steps, *(step for step in (moving, foreign.step(situation, deployment, steps[-1].after)) if step))
    claimed = claim(spec, moved, signals, situation.need if wanted.after else None, steps[-1].after, tick.now_s)
    draft = Draft(
        spec=spec,
        current=state.desired,
        count=steps[-1].after,
        decided=decided,
        state=moved,
        steps=steps,
        claim=claimed if claimed.floor == situation.floor else replace(claimed, floor=situation.floor),
        recommendations=recommendations,
        signals=signals,
        placed=placed,
        demand=situation.demand,
        here=situation.here,
        types=situation.types,
        lives=lives,
    )
    return tick.leaving.marked(draft, deployment)


def _unreadable(tick: _Tick, spec: ModelSpec, state: ModelState) -> Draft:
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


def _signals(
    tick: _Tick, spec: ModelSpec, state: ModelState
) -> tuple[ModelState, ModelSignals, tuple[FreshReplica, ...]]:
    settings = tick.spec.policy
    windows = state.windows_with(tick.samples.get(spec.name, ()), settings.window_s)
    fresh, gaps = read_replicas(state.running_ids, windows, tick.seen, settings, tick.now_s, state.windows)
    measured = read_signals(spec, settings, fresh, gaps, tick.contention, state.running)
    heard, signals = waking.listen(state, measured, fresh, tick.seen, settings, tick.now_s)
    state = replace(
        state, windows=windows, knocks=heard.knocks, asked_s=heard.asked_s, quiet_since_s=heard.quiet_since_s
    )
    return state, signals, fresh


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


def _want(tick: _Tick, draft: Draft, shared: Shares) -> Want:
    lives, going = draft.lives, set[str]()
    if draft.types:
        left = draft.state.running - len(draft.leaving) - draft.count
        going.update(_victims(tick, draft, draft.count)[: max(0, left)])
    return Want(
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
        types=draft.types,
        lives=Counter([pool for replica_id, pool in lives.items() if replica_id not in going]),
        meant=draft.state.spread,
        shunned=frozenset([pool for pool, until_s in draft.state.shunned.items() if until_s > tick.now_s]),
        room={pool: max(0, change) for pool, change in shared.changes.get(draft.spec.name, {}).items()},
        leaving=len(draft.leaving),
    )


def _decision(tick: _Tick, draft: Draft, grant: Grant) -> tuple[Decision, Evacuation | None]:
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


def _victims(tick: _Tick, draft: Draft, count: int) -> tuple[str, ...]:
    """Whom to let go first; said only when somebody goes and everybody can be seen."""
    running = draft.state.running - len(draft.leaving)
    if count >= running or len(draft.placed) < running:
        return ()
    if draft.types:
        return spanning.expendable(tick.cards, draft.types, draft.placed, draft.yields_in)
    return () if draft.demand is None else expendable(tick.cards, draft.here, draft.placed)


def _remember(tick: _Tick, draft: Draft, grant: Grant, evacuation: Evacuation | None, posted: int | None) -> ModelState:
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
