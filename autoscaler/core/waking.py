"""To nothing and back: a model with min_replicas 0 that nobody asks has no replica, and the first request wakes it.

A replica says what it was asked; for a model without one the ingress counts the requests that it refused. To zero takes
proof: every replica and the ingress were read, and for `idle_s` no request came. A missing reading keeps the last
replica. Where the ingress cannot be read for `idle_s`, at least a minute, one is started: somebody may wait, and nobody
could say so.
"""

from collections.abc import Sequence
from typing import NamedTuple

from autoscaler.core.decision import Decision, Reason, Recommendation, numbers
from autoscaler.core.ingress import Knocks
from autoscaler.core.observation import IngressSample, Missing, MissingReason, Observation, ReplicaSample, Source
from autoscaler.core.record import replace
from autoscaler.core.replicas import FreshReplica
from autoscaler.core.signals import ModelSignals, Signal
from autoscaler.core.situation import Situation
from autoscaler.core.spec import ModelSpec, PolicySettings
from autoscaler.core.state import ModelState

OVERDUE_S = 5.0
"""A start that takes longer than those before is expected so soon from now."""


class Heard(NamedTuple):
    """What a model's memory holds of who asks, after this tick."""

    knocks: Knocks
    asked_s: float | None
    quiet_since_s: float | None


def listen(
    state: ModelState,
    signals: ModelSignals,
    fresh: Sequence[FreshReplica],
    seen: Observation,
    policy: PolicySettings,
    now_s: float,
) -> tuple[Heard, ModelSignals]:
    """Take in whether anybody asks; requests that found no replica join the offered rates."""
    knocks = state.knocks
    ingress = seen.ingress_of(signals.model, now_s=now_s, max_age_s=policy.max_age_s)
    if isinstance(ingress, IngressSample):
        knocks = knocks.with_sample(ingress, policy.window_s)
    is_new = knocks is not state.knocks
    asked = (is_new and knocks.just_came > 0) or any(_is_asked(replica.samples) for replica in fresh)
    unread = isinstance(ingress, Missing) or any(gap.source is Source.REPLICA for gap in signals.gaps)
    # Who was woken is not idle before a replica is there: those who asked were told to come back then.
    awaited = state.pending > 0 and not state.running
    since_s = now_s if state.quiet_since_s is None else state.quiet_since_s
    heard = Heard(
        knocks=knocks,
        asked_s=now_s if asked else state.asked_s,
        quiet_since_s=None if asked or unread or awaited else since_s,
    )
    return heard, _with_unanswered(signals, ingress, fresh, knocks, now_s)


def recommend(situation: Situation) -> Recommendation | None:
    """The word of this module, before any other policy's; None where it has none, for the count is above zero and stays
    there."""
    spec, state = situation.spec, situation.state
    if spec.min_replicas > 0:
        return None
    if situation.current > 0:
        quiet_s = situation.quiet_s
        if not situation.idle or quiet_s is None:
            return None
        return Recommendation(count=0, reason=Reason.IDLE, numbers=numbers(quiet_s=quiet_s, idle_s=spec.idle_s))
    if situation.floor == 0:
        return Recommendation(count=0, reason=Reason.ASLEEP, numbers=numbers())
    if situation.woken:
        count = 1 if situation.need is None else max(1, situation.need.count)
        seen = numbers(unanswered=state.knocks.came, over_s=state.knocks.over_s)
        return Recommendation(count=count, reason=Reason.WOKEN, numbers=seen)
    unread_s = situation.now_s - state.knocks.heard_s
    return Recommendation(count=1, reason=Reason.INGRESS_UNREADABLE, numbers=numbers(unread_s=unread_s))


def foretold(decision: Decision, spec: ModelSpec, state: ModelState, now_s: float) -> Decision:
    """The decision with what is ahead near zero, for clients who wait and people who ask."""
    sleeps_in_s = starts_in_s = None
    if spec.min_replicas == 0 and decision.count > 0 and state.quiet_since_s is not None:
        sleeps_in_s = max(0.0, spec.idle_s - (now_s - state.quiet_since_s))
    start_s, wishes = state.learned.slowest_start_s, state.learned.asked
    if not state.running and start_s:
        is_on_its_way = wishes and decision.count > 0
        starts_in_s = max(OVERDUE_S, start_s - (now_s - wishes[0][0])) if is_on_its_way else start_s
    if sleeps_in_s is None and starts_in_s is None:
        return decision
    return replace(decision, sleeps_in_s=sleeps_in_s, starts_in_s=starts_in_s)


def outlook(decision: Decision) -> str | None:
    """What would change the count, for a person; None where nothing is known."""
    known = decision.recommendations[0].numbers if decision.recommendations else {}
    said = []
    if "grow_above_per_s" in known:
        said.append(f"above {known['grow_above_per_s']:.1f} requests/s it would grow")
        if known["shrink_below_per_s"] > 0:
            said.append(f"below {known['shrink_below_per_s']:.1f} for {known['hold_s']:.0f} s it would shrink")
    start = "" if decision.starts_in_s is None else f" in about {decision.starts_in_s:.0f} s"
    if decision.reason is Reason.ASLEEP:
        said.append(f"the first request would start one{start and ', ready' + start}")
    elif start:
        said.append(f"a replica is expected{start}")
    if decision.sleeps_in_s is not None:
        said.append(f"without a request for {decision.sleeps_in_s:.0f} s more it would have none")
    return ", ".join(said) or None


def _is_asked(samples: Sequence[ReplicaSample]) -> bool:
    """Whether a request came to a replica since its sample before the last, or is still there."""
    return samples[-1].in_flight > 0 or samples[-1].arrived > samples[-2].arrived


def _with_unanswered(
    signals: ModelSignals, ingress: IngressSample | Missing, fresh: Sequence[FreshReplica], knocks: Knocks, now_s: float
) -> ModelSignals:
    if isinstance(ingress, Missing):
        unread = replace(ingress, source=Source.SIGNAL, name="unanswered_per_s")
        return signals if unread == signals.unanswered_per_s else replace(signals, unanswered_per_s=unread)
    if knocks.over_s <= 0:
        why = Missing(source=Source.SIGNAL, name="unanswered_per_s", reason=MissingReason.TOO_FEW_SAMPLES)
        return replace(signals, unanswered_per_s=why)
    unanswered = Signal(value=knocks.came / knocks.over_s, age_s=now_s - knocks.heard_s)
    signals = replace(signals, unanswered_per_s=unanswered)
    if not signals.running:
        return replace(signals, offered_per_s=unanswered, offered_recent_per_s=unanswered)
    offered = signals.offered_per_s
    if not knocks.came or isinstance(offered, Missing):
        return signals
    # One time for both: who was refused in 9 s of the 10 and who was answered in the tenth did not come side by side.
    read_s = max(replica.increase.over_s for replica in fresh)
    per_s = (offered.value * read_s + knocks.came) / max(read_s, knocks.over_s)
    return replace(signals, offered_per_s=Signal(value=per_s, age_s=max(offered.age_s, unanswered.age_s)))
