"""Signals -> recommendations: how many replicas a model needs, and why. No memory, no limits: those are guardrails.

Each policy is a function and a row in POLICIES. The largest recommendation wins; ties keep the first. A policy whose
signal is missing has no opinion. Every policy asks for no less when the load is larger.
"""

import math
from collections.abc import Callable

from autoscaler.core import waking
from autoscaler.core.decision import Reason, Recommendation, numbers
from autoscaler.core.need import Need
from autoscaler.core.observation import Missing, MissingReason
from autoscaler.core.signals import Signal
from autoscaler.core.situation import Situation

# A sum of shares such as 0.7 + 0.7 + 0.7 must not round up to one replica more.
_ROUNDING = 1e-9


Policy = Callable[[Situation], Recommendation | None]


def recommend(situation: Situation) -> tuple[Recommendation, ...]:
    """All recommendations, the winner first; empty when no signal could be read."""
    zero = waking.recommend(situation)
    if zero is not None:
        return (zero,)
    if situation.need is not None:
        return (planned_need(situation, situation.need),)
    made = [made for policy in POLICIES if (made := policy(situation)) is not None]
    return tuple(sorted(made, key=lambda recommendation: -recommendation.count))


def planned_need(situation: Situation, need: Need) -> Recommendation:
    """Be ready for the load that may come: the law, once a model's costs are known."""
    current = situation.current
    count = need.count if need.count >= current else min(current, need.relaxed)
    offered = situation.signals.offered_per_s
    seen = {
        "rate_per_s": need.rate_per_s,
        "offered_per_s": offered.value if isinstance(offered, Signal) else 0.0,
        "replica_per_s": need.replica_per_s,
        "factor": need.factor,
        "hold_s": need.hold_s,
        "grow_above_per_s": need.grow_above_per_s,
        "shrink_below_per_s": need.shrink_below_per_s,
    }
    if need.solo_ms >= situation.spec.objective_p95_ms:
        reason = Reason.OBJECTIVE_BELOW_SOLO
        seen |= {"solo_ms": need.solo_ms, "objective_ms": situation.spec.objective_p95_ms}
    elif need.present and count > current:
        reason = Reason.LATENCY_ABOVE_OBJECTIVE_NOW
    elif count > current:
        reason = Reason.LOAD_EXPECTED
    else:
        reason = Reason.LOAD_BORNE if need.rate_per_s > 0 else Reason.NO_TRAFFIC
    return Recommendation(count=count, reason=reason, numbers=numbers(**seen))


def latency_objective(situation: Situation) -> Recommendation | None:
    """Keep p95 within the objective: more when it is missed, none less while it is near."""
    spec, signals = situation.spec, situation.signals
    if situation.too_slow or situation.refusing:
        return _at_least_remembered(situation, _more(situation))
    if isinstance(signals.p95_ms, Missing):
        if signals.p95_ms.reason is not MissingReason.NO_TRAFFIC:
            return None
        return Recommendation(count=situation.floor, reason=Reason.NO_TRAFFIC, numbers=numbers())
    p95_ms = signals.p95_ms.value
    seen = numbers(p95_ms=p95_ms, objective_ms=spec.objective_p95_ms)
    near = p95_ms > situation.policy.calm_ratio * spec.objective_p95_ms
    if near and situation.waiting_with(situation.current - 1):
        held = Recommendation(count=situation.current, reason=Reason.LATENCY_NEAR_OBJECTIVE, numbers=seen)
        return _at_least_remembered(situation, held)
    calm = Recommendation(count=situation.floor, reason=Reason.LATENCY_WITHIN_OBJECTIVE, numbers=seen)
    return _at_least_remembered(situation, calm)


def in_flight_target(situation: Situation) -> Recommendation | None:
    """Keep the requests that one replica holds, waiting ones included, at their target."""
    in_flight = situation.signals.in_flight
    if isinstance(in_flight, Missing):
        return None
    target = situation.spec.target_in_flight
    count = _tracked(in_flight.value / target, situation)
    return Recommendation(
        count=count,
        reason=Reason.QUEUE_ABOVE_TARGET if count > situation.current else Reason.QUEUE_WITHIN_TARGET,
        numbers=numbers(in_flight=in_flight.value, target=target),
    )


def normalised_utilization(situation: Situation) -> Recommendation | None:
    """Keep what a slot uses of its entitled share at its target."""
    utilization = situation.signals.utilization_ratio
    if isinstance(utilization, Missing):
        return None
    target = situation.spec.target_utilization_ratio
    count = _tracked(utilization.value * situation.signals.fresh / target, situation)
    above = count > situation.current
    return Recommendation(
        count=count,
        reason=Reason.UTILIZATION_ABOVE_TARGET if above else Reason.UTILIZATION_WITHIN_TARGET,
        numbers=numbers(utilization_ratio=utilization.value, target_ratio=target),
    )


POLICIES: tuple[Policy, ...] = (latency_objective, in_flight_target, normalised_utilization)


def needed_for_offered(situation: Situation) -> int:
    """Replicas that the offered load needs at the capacity just measured; 0 when either is unknown.

    count = offered_per_s / (capacity_per_s x target_utilization), rounded up, with the larger of the rates over the
    window and over its last part. Requests refused and requests still waiting are part of the offer, so one jump
    covers a load step that a search by ones would take many rounds for.
    """
    if situation.need is not None:
        return situation.need.count
    signals = situation.signals
    capacity = signals.capacity_per_s
    rates = [rate.value for rate in (signals.offered_per_s, signals.offered_recent_per_s) if isinstance(rate, Signal)]
    if isinstance(capacity, Missing) or not rates:
        return 0
    return math.ceil(max(rates) / (capacity.value * situation.spec.target_utilization_ratio) - _ROUNDING)


def _more(situation: Situation) -> Recommendation:
    """The objective is missed: at least one more, unless nothing waits and more of the same could not help."""
    spec, signals, current = situation.spec, situation.signals, situation.current
    needed = needed_for_offered(situation)
    seen: dict[str, float] = {"needed": needed, "refused": signals.refused, "objective_ms": spec.objective_p95_ms}
    if isinstance(signals.p95_ms, Signal):
        seen["p95_ms"] = signals.p95_ms.value
    if not situation.refusing and not situation.waiting_with(max(1, signals.fresh)):
        return Recommendation(count=current, reason=Reason.OBJECTIVE_OUT_OF_REACH, numbers=numbers(**seen))
    reason = Reason.LATENCY_ABOVE_OBJECTIVE if situation.too_slow else Reason.REQUESTS_REFUSED
    return Recommendation(count=max(current + 1, needed), reason=reason, numbers=numbers(**seen))


def _at_least_remembered(situation: Situation, made: Recommendation) -> Recommendation:
    """Ask for more than every count that is remembered to have missed the objective at no more than this load.

    A rate within the tolerance of the remembered one counts as the same load.
    """
    offered = situation.signals.offered_per_s
    if isinstance(offered, Missing):
        return made
    same_load = 1 - situation.policy.tolerance_ratio
    for overload in sorted(situation.state.overloads, key=lambda overload: -overload.count):
        if overload.count >= made.count and offered.value >= same_load * overload.offered_per_s:
            remembered = numbers(
                overloaded_count=overload.count,
                overloaded_per_s=overload.offered_per_s,
                offered_per_s=offered.value,
            )
            return Recommendation(count=overload.count + 1, reason=Reason.OVERLOAD_REMEMBERED, numbers=remembered)
    return made


def _tracked(wanted: float, situation: Situation) -> int:
    """Round up, but leave the current count while it is overshot by no more than the tolerance.

    The tolerance lies above the current count only: from 10, 10.8 stays and 9.2 falls to 10. A band on both sides
    would pin a falling count above its need.
    """
    current = situation.current
    if current < wanted <= current * (1 + situation.policy.tolerance_ratio):
        return current
    return math.ceil(wanted - _ROUNDING)
