"""The law: the count of replicas for which the load that may come within a cold start is answered in time.

Capacity says what replicas can do on the cards where they are, queueing how much of it may be used for the objective,
rehearsal which headroom and hold this load has shown to need. What the clients then really see trims the capacity: a
model of the world that is too kind is believed less at every tick in which too many requests were late.
"""

from dataclasses import dataclass

from autoscaler.core.capacity import Reach
from autoscaler.core.learning import PROMISE_RATIO
from autoscaler.core.queueing import bearable_ratio
from autoscaler.core.rehearsal import Bearable, Rehearsal
from autoscaler.core.service import Demand, Service
from autoscaler.core.spec import ModelSpec, PolicySettings

SERVICE_VARIATION = 0.1
"""Squared variation of service times, about what a batch of one model shows."""
LEAST_BUSY_RATIO = 0.3
"""Replicas less busy than this gain nothing from company: what is late then is late by itself."""
OUT_OF_REACH_BUSY_RATIO = 0.8
RELAXED = 1.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What one model needs now, and from what it follows."""

    count: int
    """Replicas for the rate to be ready for."""
    relaxed: int
    """The same with a twentieth to spare: a count falls no further than this, so that it does not come back at once."""
    now: int
    """Replicas for the rate that comes in now, with no headroom."""
    rate_per_s: float
    """The rate to be ready for."""
    present: bool
    """Whether what is missed now decides, and not what may come."""
    replica_per_s: float
    """What one replica gets through on the average slot."""
    factor: float
    hold_s: float
    grow_above_per_s: float
    """Beyond this rate the current count would grow."""
    shrink_below_per_s: float
    useful: int
    slots: int
    solo_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """The rate that comes in now, and the rate with its backlog where the objective is missed now."""

    offered_per_s: float
    missed_per_s: float | None = None


def bearable(
    spec: ModelSpec, policy: PolicySettings, demand: Demand, curve: Reach, *, variation: float, trim: float
) -> Bearable:
    """Turn what replicas can do into what they bear within the objective."""
    allowed = PROMISE_RATIO * (1 - policy.attainment_margin_ratio)
    objective_s = spec.objective_p95_ms / 1000
    in_reach = demand.solo_s < objective_s
    rates = [0.0 if spec.min_replicas == 0 else -1.0]
    limits = [0.0]
    for count in range(1, len(curve.rates_per_s)):
        limit_per_s = curve.rates_per_s[count] / trim
        service_s = batch_s(demand, limit_per_s / count)
        ratio = bearable_ratio(
            count,
            patience=objective_s / service_s,
            variation=(variation + SERVICE_VARIATION) / 2,
            allowed_late_ratio=allowed,
        )
        # An objective that a lone request misses is no reason for company: then only the load counts.
        borne = (max(ratio, LEAST_BUSY_RATIO) if in_reach else OUT_OF_REACH_BUSY_RATIO) * limit_per_s
        limits.append(limit_per_s)
        rates.append(-1.0 if count < spec.min_replicas else max(borne, rates[-1]))
    return Bearable(
        rates_per_s=tuple(rates),
        limits_per_s=tuple(limits),
        slack_s=max(0.05 * objective_s, objective_s - batch_s(demand, limits[-1] / (len(limits) - 1))),
        allowed_late_ratio=allowed,
    )


def batch_s(demand: Demand, rate_per_s: float) -> float:
    """How long a request is on a replica that gets through so many a second, its wait for the batch before included."""
    service_s = demand.items / rate_per_s
    return service_s if demand.items <= 1 else 1.5 * service_s


def choose(service: Service, spec: ModelSpec) -> Demand:
    """The batch at which a replica does most while one execution leaves half of the objective for waiting."""
    return service.best(most_items=spec.max_batch_size, within_s=spec.objective_p95_ms / 2000)


def need(
    state: Rehearsal,
    bears: Bearable,
    reached: Reach,
    demand: Demand,
    *,
    present: Present,
    current: int,
) -> Need:
    """The count for the rehearsed rate, or for the rate that is being missed now where that is larger."""
    planned_per_s = max(state.need_per_s, present.offered_per_s)
    missed_per_s = present.missed_per_s or 0.0
    is_missed = missed_per_s > planned_per_s
    rate_per_s = max(planned_per_s, missed_per_s)
    rates, last = bears.rates_per_s, len(bears.rates_per_s) - 1
    return Need(
        count=bears.count(rate_per_s),
        relaxed=bears.count(rate_per_s * RELAXED),
        now=bears.count(max(present.offered_per_s, missed_per_s)),
        rate_per_s=rate_per_s,
        present=is_missed,
        replica_per_s=bears.limits_per_s[-1] / last,
        factor=state.factor,
        hold_s=state.hold_s,
        grow_above_per_s=max(0.0, rates[min(current, last)]) / state.factor,
        shrink_below_per_s=max(0.0, rates[max(0, min(current, last) - 1)]) / RELAXED / state.factor,
        useful=reached.useful,
        slots=reached.slots,
        solo_ms=demand.solo_s * 1000,
    )
