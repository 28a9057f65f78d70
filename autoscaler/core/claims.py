"""What a model claims of a pool that is too small: its need, no larger than its running replicas have shown it to be.

On cards that are full, a formula that takes the neighbours for an open load says that one more replica adds next to
nothing, and so that a model needs 20 where 4 will do. Such a claim is wrong both ways: with one replica of twenty a
further one seems to lessen nothing, with ten of twenty ten more seem to be missing. What was answered is evidence.
"""

import math

from autoscaler.core.need import Need
from autoscaler.core.sharing import Claim
from autoscaler.core.signals import ModelSignals, Signal
from autoscaler.core.situation import DRAIN_S
from autoscaler.core.spec import ModelSpec
from autoscaler.core.state import ModelState

SHOWN_MARGIN = 1.2
"""Replicas that always have work answer late; a fifth more than keep pace with the load are in time again."""


def claim(
    spec: ModelSpec, state: ModelState, signals: ModelSignals | None, need: Need | None, wanted: int, now_s: float
) -> Claim:
    """The claim of a model that has decided on `wanted` replicas, which is all it says while its need is unknown.

    The headroom asked for shrinks in the same proportion as the replicas for the load of now.
    """
    now = wanted if need is None else min(need.now, spec.max_replicas)
    total = wanted if need is None else min(need.count, spec.max_replicas)
    shown = None if need is None or signals is None else _shown(spec, signals, state.running)
    if shown is not None and shown < now:
        total = math.ceil(total * shown / now)
        now = shown
    lately = state.carried.largest(now_s) or 0
    return Claim(
        model=spec.name,
        priority=spec.priority,
        floor=spec.min_replicas,
        need=total,
        now=now,
        lately=lately,
        count=state.desired,
    )


def _shown(spec: ModelSpec, signals: ModelSignals, running: int) -> int | None:
    """So many replicas at the most carry the load of now; None when the running ones show nothing.

    Those that answer in time are enough. Of those that do not, as many more as the rate and the drain of the backlog
    exceed what was answered, and at least one.
    """
    offered, answered, queued, p95_ms = signals.offered_per_s, signals.answered_per_s, signals.queued, signals.p95_ms
    if not (isinstance(offered, Signal) and isinstance(answered, Signal) and isinstance(queued, Signal)):
        return None
    if signals.gaps or not running:
        return None
    is_late = isinstance(p95_ms, Signal) and p95_ms.value > spec.objective_p95_ms
    if not is_late and not signals.refused:
        return running
    if answered.value <= 0:
        return None
    asked_per_s = offered.value + queued.value / DRAIN_S
    return max(running + 1, math.ceil(running * SHOWN_MARGIN * asked_per_s / answered.value))
