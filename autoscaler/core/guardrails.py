"""Guardrails: ordered steps that may only make a recommendation safer, each with its reason.

Fast up, slow down, never down on missing data, always within bounds. The order is part of the rule: bounds come last
because they are the operator's word, so they hold even while everything else would rather wait.
"""

import math
from collections.abc import Callable

from autoscaler.core.decision import Reason, Stage, Step, numbers
from autoscaler.core.policy import needed_for_offered
from autoscaler.core.situation import Situation

Guardrail = Callable[[Situation, int], Step | None]
"""Takes the situation and the count so far; a step when it changes the count, None when it has no objection."""


def apply(situation: Situation, count: int) -> tuple[Step, ...]:
    """Run every guardrail in order over a recommended count; the last step's `after` is the guarded count."""
    steps: list[Step] = []
    for guardrail in GUARDRAILS:
        step = guardrail(situation, count)
        if step is not None:
            steps.append(step)
            count = step.after
    return tuple(steps)


def hold_without_readings(situation: Situation, count: int) -> Step | None:
    """Never fall while an input of the fall is missing."""
    gaps = situation.signals.gaps
    if count >= situation.current or not gaps:
        return None
    return _step(count, situation.current, Reason.NO_FRESH_METRICS, gaps=len(gaps))


def wait_for_help(situation: Situation, count: int) -> Step | None:
    """While help is on its way, too new to show, or already enough, judge by the offered rate alone.

    Latency and backlog still tell of the fleet before it: 1 replica with 60 requests waiting would ask for 8, again
    at every tick of a 40 s cold start, although the 3 decided on will do. Nothing falls while replicas are awaited.
    """
    current, pending = situation.current, situation.state.pending
    if not current:
        return None  # there is no help on its way: whoever asks gets it
    if count < current:
        if situation.need is not None and count <= situation.state.running < current:
            # What was awaited is not needed any more. One or two fewer are no reason: who is cancelled today starts
            # anew tomorrow, and a step that wavers between 17 and 19 would be answered after minutes.
            running = situation.state.running
            return _step(count, running, Reason.COLD_START_PENDING, pending=pending) if count < running else None
        return _step(count, current, Reason.COLD_START_PENDING, pending=pending) if pending else None
    allowed = min(count, max(current, needed_for_offered(situation)))
    if allowed == count:
        return None
    if pending:
        return _step(count, allowed, Reason.COLD_START_PENDING, pending=pending)
    if not situation.steady:
        since_s = situation.now_s - situation.state.running_since_s
        return _step(count, allowed, Reason.SETTLING, since_s=since_s)
    if situation.draining:
        return _step(count, allowed, Reason.BACKLOG_DRAINING)
    return None


def worst_need(situation: Situation, count: int) -> Step | None:
    """Fall no further than the largest need of the scale-down window."""
    if count >= situation.current or (situation.need is not None and situation.spec.scale_down_window_s is None):
        return None  # the learned need holds what it has to by itself
    if situation.idle:
        return None  # the idle time has been the hold
    largest = situation.state.needs.largest(situation.now_s)
    floor = situation.current if largest is None else min(situation.current, largest)
    if floor <= count:
        return None
    return _step(count, floor, Reason.WORST_NEED, window_s=situation.state.needs.span_s)


def settle(situation: Situation, count: int) -> Step | None:
    """After a change wait until it can be seen, longer before a fall than before a rise."""
    changed_s = situation.state.changed_s
    if count == situation.current or changed_s is None:
        return None
    settings = situation.guardrails
    since_s = situation.now_s - changed_s
    rises = count > situation.current
    if rises and (situation.need is not None or not situation.current):
        return None  # the need follows from the load, which does not have to settle
    if since_s >= (settings.settle_up_s if rises else settings.settle_down_s):
        return None
    return _step(count, situation.current, Reason.SETTLING, since_s=since_s)


def step_limit(situation: Situation, count: int) -> Step | None:
    """Rise by a factor or a number, whichever is more; fall by one, or by a part of many once the load is known."""
    current, settings = situation.current, situation.guardrails
    # The ceiling: with a factor of 1.1 and 2 replicas, 2.2 would floor to 2 for ever.
    highest = max(math.ceil(current * settings.step_up_ratio), current + settings.step_up_count)
    lowest = current - 1 if situation.need is None else current - max(1, current // settings.step_down_part)
    allowed = min(max(count, lowest), highest)
    return None if allowed == count else _step(count, allowed, Reason.STEP_LIMIT)


def give_up_pending(situation: Situation, count: int) -> Step | None:
    """After replicas failed to start in time, count only what runs and add none for a while."""
    until_s = situation.state.backoff_until_s
    runs = situation.state.running
    if until_s is None or situation.now_s >= until_s or count <= runs:
        return None
    return _step(count, runs, Reason.PENDING_EXPIRED)


def bounds(situation: Situation, count: int) -> Step | None:
    """Stay between the least and the most the operator allows."""
    least, most = situation.floor, situation.spec.max_replicas
    bounded = min(max(count, least), most)
    if bounded == count:
        return None
    return _step(count, bounded, Reason.BOUNDS, min_replicas=least, max_replicas=most)


GUARDRAILS: tuple[Guardrail, ...] = (
    hold_without_readings,
    wait_for_help,
    worst_need,
    settle,
    step_limit,
    give_up_pending,
    bounds,
)


def _step(before: int, after: int, reason: Reason, **seen: float) -> Step:
    return Step(stage=Stage.GUARDRAIL, before=before, after=after, reason=reason, numbers=numbers(**seen))
