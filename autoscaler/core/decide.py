"""The one entrance: decide(spec, state, seen, inventory, now_s) -> (state, plan).

A tick reads in order: samples enter windows, windows give signals, policies recommend, guardrails temper, placement
says what fits and helps, and the plan lists the actions that follow. Nothing here acts, waits or reads a clock.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from autoscaler.core import actions, evidence, guardrails, policy, waking
from autoscaler.core.capacity import Cards, expendable
from autoscaler.core.claims import claim
from autoscaler.core.contention import Contention, measure
from autoscaler.core.decision import Decision, Plan, Reason, Recommendation, SetReplicas, Stage, Step, numbers
from autoscaler.core.moves import move
from autoscaler.core.observation import DeploymentSeen, Missing, Observation, PoolSeen, ReplicaSample
from autoscaler.core.placement import Grant, Want, place_models
from autoscaler.core.service import Demand
from autoscaler.core.sharing import Claim, shares
from autoscaler.core.signals import FreshReplica, ModelSignals, frozen, read_replicas, read_signals, slot_gaps
from autoscaler.core.situation import Situation, needing
from autoscaler.core.spec import FleetSpec, ModelSpec
from autoscaler.core.state import ModelState, State
from vgpu.core.inventory import Inventory

EXCHANGED_PART = 8
"""At most this part of a pool, an eighth, changes hands in one tick."""


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
    now_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draft:
    """A decision before placement, with the memory it leaves."""

    spec: ModelSpec
    current: int
    count: int
    state: ModelState
    steps: tuple[Step, ...]
    claim: Claim
    recommendations: tuple[Recommendation, ...] = ()
    signals: ModelSignals | None = None
    placed: Mapping[str, str | None] = field(default_factory=dict)
    """Running replicas that could be read, and their slots."""
    demand: Demand | None = None


def decide(spec: FleetSpec, state: State, seen: Observation, inventory: Inventory, now_s: float) -> tuple[State, Plan]:
    """Decide every model's replica count and the actions that follow from what is seen at `now_s`."""
    tick = _look(spec, state, seen, inventory, now_s)
    drafts = [
        draft for model in spec.by_priority if (draft := _draft(tick, model, state.models.get(model.name))) is not None
    ]
    shared = _shared(tick, drafts)
    drafts = [_yielding(draft, shared.get(draft.spec.name, draft.current)) for draft in drafts]
    pools = {name: read for name, read in tick.pools.items() if isinstance(read, PoolSeen)}
    bound = {
        name: sum(worker.node is not None and not worker.draining for worker in pool.live)
        for name, pool in pools.items()
    }
    # Of equal priority the one that lacks most chooses first.
    urgent = sorted(drafts, key=lambda draft: (-draft.spec.priority, -draft.claim.gain(draft.current)))
    wants = [_want(spec, draft, shared.get(draft.spec.name)) for draft in urgent]
    placement = place_models(wants, bound, inventory, tick.cards)
    decisions = {draft.spec.name: _decision(tick, draft, placement.grants[draft.spec.name]) for draft in drafts}
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
    return State(models=models, surplus_since_s=surplus, usual=tick.contention.usual), plan


def _shared(tick: _Tick, drafts: Sequence[_Draft]) -> dict[str, int]:
    """By model of every pool that is too small for all needs: its share of it."""
    shared: dict[str, int] = {}
    for pool in tick.spec.pools:
        mine = [draft for draft in drafts if draft.spec.pool == pool.name]
        if len(mine) < 2:
            continue
        running = sum(draft.state.running for draft in mine)
        slots = running + sum(card.slots for card in tick.cards.free.get(pool.profile, ()))
        if sum(max(draft.claim.need, draft.current) for draft in mine) > slots:
            most = max(1, slots // EXCHANGED_PART)
            shared |= shares([_offer(draft) for draft in mine], slots=slots, most=most)
    return shared


def _offer(draft: _Draft) -> Claim:
    """The draft's claim; while anything of it is unread it gives nothing away."""
    is_unread = draft.signals is None or bool(draft.signals.gaps)
    return replace(draft.claim, floor=draft.current) if is_unread else draft.claim


def _yielding(draft: _Draft, share: int) -> _Draft:
    """The draft, fallen to the model's share of a short pool where it has more."""
    if share >= draft.current:
        return draft
    count = max(draft.claim.floor, min(draft.count, share))
    if count == draft.count:  # it falls as far by itself
        return draft
    step = Step(stage=Stage.PLACEMENT, before=draft.count, after=count, reason=Reason.YIELDED)
    return replace(draft, count=count, steps=(*draft.steps, step))


def _look(spec: FleetSpec, state: State, seen: Observation, inventory: Inventory, now_s: float) -> _Tick:
    max_age_s = spec.policy.max_age_s
    contention = measure(inventory, seen, spec.policy, now_s, state.usual)
    workers = frozenset(worker.pod for pool in seen.pools for worker in pool.live) - seen.lived_in
    taken = frozenset(sample.slot_id for sample in seen.replicas if sample.slot_id)
    samples: dict[str, list[ReplicaSample]] = {}
    for sample in seen.replicas:
        samples.setdefault(sample.model, []).append(sample)
    return _Tick(
        spec=spec,
        seen=seen,
        contention=contention,
        cards=Cards.of(inventory, contention, workers, taken),
        deployments=seen.deployments_of((m.name for m in spec.models), now_s=now_s, max_age_s=max_age_s),
        pools={pool.name: seen.pool(pool.name, now_s=now_s, max_age_s=max_age_s) for pool in spec.pools},
        samples=samples,
        now_s=now_s,
    )


def _draft(tick: _Tick, spec: ModelSpec, known: ModelState | None) -> _Draft | None:
    """Recommend and guard; None when nothing at all is known about the model."""
    deployment = tick.deployments[spec.name]
    if isinstance(deployment, Missing):
        return None if known is None else _unreadable(spec, known, tick.now_s)
    state = known or ModelState.start(spec, deployment.target, tick.now_s)
    reset = _reset_step(deployment, state)
    state = state.with_target(deployment, tick.now_s).with_deployment(deployment, tick.spec.guardrails, tick.now_s)
    state, signals, fresh = _signals(tick, spec, state)
    situation = Situation(
        now_s=tick.now_s,
        spec=spec,
        policy=tick.spec.policy,
        guardrails=tick.spec.guardrails,
        signals=signals,
        state=state,
    )
    profile = tick.spec.pool(spec.pool).profile
    situation = needing(situation, fresh, tick.cards, profile)
    situation = replace(situation, state=evidence.learn(situation))
    placed = {replica.replica_id: replica.slot_id for replica in fresh}
    recommendations = policy.recommend(situation)
    situation = replace(situation, state=evidence.with_need(situation, recommendations))
    wanted = _wanted(situation, recommendations)
    steps = (*reset, wanted, *guardrails.apply(situation, wanted.after))
    moved, moving = move(situation, steps[-1].after, tick.cards, tuple(placed.values()), profile)
    steps = (*steps, *(step for step in (moving, _foreign_step(situation, deployment, steps[-1].after)) if step))
    claimed = claim(spec, moved, signals, situation.need if wanted.after else None, steps[-1].after, tick.now_s)
    return _Draft(
        spec=spec,
        current=state.desired,
        count=steps[-1].after,
        state=replace(moved, carried=moved.carried.with_value(tick.now_s, claimed.now)),
        steps=steps,
        claim=replace(claimed, floor=situation.floor),
        recommendations=recommendations,
        signals=signals,
        placed=placed,
        demand=situation.demand,
    )


def _unreadable(spec: ModelSpec, state: ModelState, now_s: float) -> _Draft:
    held = Step(stage=Stage.SEEN, before=state.desired, after=state.desired, reason=Reason.SERVE_UNREADABLE)
    claimed = claim(spec, state, None, None, state.desired, now_s)
    return _Draft(spec=spec, current=state.desired, count=state.desired, state=state, steps=(held,), claim=claimed)


def _signals(
    tick: _Tick, spec: ModelSpec, state: ModelState
) -> tuple[ModelState, ModelSignals, tuple[FreshReplica, ...]]:
    settings = tick.spec.policy
    state = state.with_samples(tick.samples.get(spec.name, ()), settings.window_s)
    fresh, gaps = read_replicas(state.running_ids, state.windows, tick.seen, settings, tick.now_s)
    all_gaps = (*gaps, *frozen(fresh, tick.contention), *slot_gaps(fresh, tick.contention))
    signals = read_signals(spec, settings, fresh, all_gaps, tick.contention, state.running)
    return (*waking.listen(state, signals, fresh, tick.seen, settings, tick.now_s), fresh)


def _reset_step(deployment: DeploymentSeen, state: ModelState) -> tuple[Step, ...]:
    """Notice a target that somebody else changed: a redeploy resets it, for one, and Serve says nothing of it."""
    if state.posted is None or deployment.at_s <= state.posted_s or deployment.target == state.posted:
        return ()
    return (Step(stage=Stage.SEEN, before=deployment.target, after=state.posted, reason=Reason.TARGET_RESET),)


def _foreign_step(situation: Situation, deployment: DeploymentSeen, count: int) -> Step | None:
    """Leave the target, within the bounds, to whoever sets it again and again; not while clients suffer from it."""
    until_s, now_s, spec = situation.state.yields_until_s, situation.now_s, situation.spec
    if until_s is None or now_s >= until_s or situation.too_slow or situation.refusing:
        return None
    theirs = min(max(deployment.target, situation.floor), spec.max_replicas)
    why = numbers(left_s=until_s - now_s)
    return Step(stage=Stage.GUARDRAIL, before=count, after=theirs, reason=Reason.FOREIGN_WRITER, numbers=why)


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


def _want(spec: FleetSpec, draft: _Draft, share: int | None) -> Want:
    return Want(
        model=draft.spec.name,
        pool=draft.spec.pool,
        profile=spec.pool(draft.spec.pool).profile,
        count=draft.count,
        current=draft.current,
        firm=max(draft.state.running, draft.claim.floor),
        share=share,
        demand=draft.demand,
        placed=tuple(draft.placed.values()),
        least_gain_ratio=spec.policy.least_gain_ratio,
    )


def _decision(tick: _Tick, draft: _Draft, grant: Grant) -> Decision:
    steps = draft.steps
    if grant.reason is not None:
        unplaced = numbers(unplaced=grant.unplaced)
        steps += (
            Step(stage=Stage.PLACEMENT, before=draft.count, after=grant.count, reason=grant.reason, numbers=unplaced),
        )
    made = Decision(
        model=draft.spec.name,
        current=draft.current,
        count=grant.count,
        steps=steps,
        recommendations=draft.recommendations,
        signals=draft.signals,
        unplaced=grant.unplaced,
        blocked=grant.blocked,
        victims=_victims(tick, draft, grant.count),
    )
    return waking.foretold(made, draft.spec, draft.state, tick.now_s)


def _victims(tick: _Tick, draft: _Draft, count: int) -> tuple[str, ...]:
    """Whom to let go first; said only when somebody goes and everybody can be seen."""
    if (
        draft.demand is None
        or count >= len(draft.state.running_ids)
        or len(draft.placed) < len(draft.state.running_ids)
    ):
        return ()
    return expendable(tick.cards, draft.demand, draft.placed)


def _remember(tick: _Tick, draft: _Draft, decision: Decision, posted: int | None) -> ModelState:
    """The model's memory after this tick; an action counts as done, and the next tick sees whether it was."""
    state = draft.state.with_desired(decision.count, tick.now_s)
    deployment = tick.deployments[draft.spec.name]
    if posted is not None:
        return replace(state, posted=posted, posted_s=tick.now_s)
    if isinstance(deployment, DeploymentSeen):
        return replace(state, posted=deployment.target, posted_s=deployment.at_s)
    return state
