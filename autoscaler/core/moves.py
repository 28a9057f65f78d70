"""Make before break: a replica on a crowded card gets a successor on a better one, and leaves when that one answers.

A move is one replica more for a while. Which one leaves afterwards needs no memory: the fall takes the replica that
the model can best do without, and that is the one whose card has become bad.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from autoscaler.core import spanning
from autoscaler.core.capacity import Cards, gain_beside, own_by_card
from autoscaler.core.decision import Reason, Stage, Step, numbers
from autoscaler.core.draft import Draft
from autoscaler.core.record import replace
from autoscaler.core.situation import Situation
from autoscaler.core.state import ModelState, Moving
from vgpu.core.slot_type import SlotType

SLOW_RATIO = 1.5
"""A replica is slowed by its neighbours when alone it would do this many times as much."""
BETTER_RATIO = 1.4
"""The free slot must promise so many times its rate: a move costs a cold start and a slot for that long."""
LASTING_S = 60.0
EVERY_S = 300.0
LONGEST_S = 180.0
FOR_OTHERS_EVERY_S = 30.0
"""Another model lacks the slot now, so such moves follow each other sooner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Better:
    """Requests per second of the replica that is worst off, and of one on the best free slot."""

    here_per_s: float
    there_per_s: float


def move(
    situation: Situation, count: int, cards: Cards, placed: Sequence[str | None], profile: SlotType
) -> tuple[ModelState, Step | None]:
    """Begin, go on with or end a move; a step while the count is one higher for it."""
    state, now_s = situation.state, situation.now_s
    moving = state.moving
    if state.evacuation is not None:  # it moves anyway
        return (state if moving.since_s is None else replace(state, moving=Moving(ended_s=now_s))), None
    if moving.base is not None and moving.since_s is not None:
        arrived = state.running > moving.base
        # A guardrail that holds the count holds the successor with it, which is no reason to end the move.
        most = moving.base + 1 if situation.types else moving.base
        if arrived or now_s - moving.since_s > LONGEST_S or count > most:
            return replace(state, moving=Moving(ended_s=now_s)), None
        if count > moving.base:
            return state, None
        return state, _step(count, moving.base + 1, Reason.MOVING)
    better = _better(situation, count, cards, placed, profile)
    rested = moving.ended_s is None or now_s - moving.ended_s >= EVERY_S
    if better is None or not rested:
        if moving.since_s is None:
            return state, None
        return replace(state, moving=replace(moving, since_s=None)), None
    since_s = now_s if moving.since_s is None else moving.since_s
    if now_s - since_s < LASTING_S:
        return replace(state, moving=replace(moving, since_s=since_s)), None
    seen = numbers(here_per_s=better.here_per_s, there_per_s=better.there_per_s)
    step = Step(stage=Stage.PLACEMENT, before=count, after=count + 1, reason=Reason.MOVE_INTERFERENCE, numbers=seen)
    return replace(state, moving=replace(moving, base=count, since_s=now_s)), step


def may_move_for_others(draft: Draft, now_s: float) -> bool:
    """Whether a model may begin a move for another one's sake: at rest, nothing in its way, none of the kind lately."""
    state, moving = draft.state, draft.state.moving
    at_rest = 0 < draft.count == draft.current == state.running < draft.spec.max_replicas
    held_until_s = max(state.backoff_until_s or 0.0, state.yields_until_s or 0.0)
    rested = moving.ended_s is None or now_s - moving.ended_s >= FOR_OTHERS_EVERY_S
    return at_rest and moving.base is None and rested and now_s >= held_until_s


def begun_for_others(state: ModelState, count: int, now_s: float) -> tuple[ModelState, Step]:
    """Begin a move for another model's sake; it goes on as any move, whatever the other one then needs."""
    step = _step(count, count + 1, Reason.MOVE_FOR_OTHERS)
    return replace(state, moving=replace(state.moving, base=count, since_s=now_s)), step


def _better(
    situation: Situation, count: int, cards: Cards, placed: Sequence[str | None], profile: SlotType
) -> _Better | None:
    """The move worth making now, if the model is at rest and every replica of it can be seen."""
    state, demand = situation.state, situation.demand
    at_rest = 0 < count == situation.current == state.running == len(placed) and not situation.signals.gaps
    if demand is None or not at_rest or count >= situation.spec.max_replicas:
        return None
    if situation.types:
        found = spanning.exchange(cards, situation.types, placed)
        return None if found is None else _if_worth_it(found.here_per_s, found.there_per_s, found.solo_per_s)
    free = cards.free.get(profile, ())
    if not free:
        return None
    running = own_by_card(cards.contention, placed)
    here = min(
        cards.rates(demand, gpu, range(own, own), own=own, own_ratio=own_ratio)[0] / own
        for gpu, (own, own_ratio) in running.items()
    )
    there = gain_beside(cards, demand, free[0].gpu, running)
    return _if_worth_it(here, there, demand.items / demand.solo_s)


def _if_worth_it(here_per_s: float, there_per_s: float, solo_per_s: float) -> _Better | None:
    if here_per_s * SLOW_RATIO > solo_per_s or there_per_s < BETTER_RATIO * here_per_s:
        return None
    return _Better(here_per_s=here_per_s, there_per_s=there_per_s)


def _step(before: int, after: int, reason: Reason) -> Step:
    return Step(stage=Stage.PLACEMENT, before=before, after=after, reason=reason)
