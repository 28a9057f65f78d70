"""The law: the count of replicas for which the load that may come within a cold start is answered in time.

Capacity says what replicas can do on the cards where they are, queueing how much of it may be used for the objective,
rehearsal which headroom and hold this load has shown to need. What the clients then really see trims the capacity: a
model of the world is believed less while more requests come late than it foretells, and more where fewer do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from autoscaler.core.capacity import Reach
from autoscaler.core.learning import PROMISE_RATIO
from autoscaler.core.queueing import Tolerance
from autoscaler.core.rehearsal import Bearable, Rehearsal
from autoscaler.core.service import Demand, Service
from autoscaler.core.spec import ModelSpec, PolicySettings

SERVICE_VARIATION = 0.1
"""Squared variation of service times, about what a batch of one model shows."""
LEAST_BUSY_RATIO = 0.3
"""Replicas less busy than this gain nothing from company."""
MOST_BUSY_RATIO = 0.95
"""However well a group does, the last twentieth of its time is no reserve."""
OUT_OF_REACH_BUSY_RATIO = 0.8
RELAXED = 1.05
SAME_RATE = 1.03
"""A rate this little beyond what the current count bears is no reason for one more: it would flutter so."""
SAME_PACE = 0.02


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
    # A group that does better than foretold may be busier than foretold; it cannot do more than it can.
    doubt, trust = max(1.0, trim), min(1.0, trim)
    limits = [rate / doubt for rate in curve.rates_per_s]
    if demand.solo_s < objective_s:
        paces = [(lone / doubt, limit) for lone, limit in zip(curve.lone_per_s, limits, strict=True)]
        tolerance = Tolerance.of((variation + SERVICE_VARIATION) / 2, allowed)
        borne = _borne_per_s(paces[1:], demand, objective_s, tolerance, trust)
    else:
        borne = [OUT_OF_REACH_BUSY_RATIO * limit for limit in limits[1:]]
    none = max(1, spec.min_replicas)  # no load is a reason for none: see `waking`
    rates = (*[-1.0] * none, *accumulate(borne[none - 1 :], max))
    return Bearable(
        rates_per_s=rates,
        limits_per_s=tuple(limits),
        slack_s=max(0.05 * objective_s, objective_s - batch_s(demand, limits[-1] / (len(limits) - 1))),
        allowed_late_ratio=allowed,
    )


def _borne_per_s(
    paces: Sequence[tuple[float, float]], demand: Demand, objective_s: float, tolerance: Tolerance, trust: float
) -> list[float]:
    """The rates at which 1, 2 … replicas answer in time.

    The busier they are the more they wait for one another on their cards: the pace of so many falls from the first of
    each of `paces`, in requests/s of each alone on its card, to the second, of all with work. How busy they may be
    follows from the pace, and the pace from how busy they are; two rounds settle it to a percent.
    """
    borne = []
    for count, (lone_per_s, full_per_s) in enumerate(paces, start=1):
        lone_s, full_s = count / lone_per_s, count / full_per_s
        slowing_s = full_s - lone_s
        busy_ratio = tolerance.busy_ratio(count, objective_s / batch_s(demand, 1 / full_s))
        if slowing_s >= SAME_PACE * full_s:
            pace_s = lone_s + slowing_s * busy_ratio
            busy_ratio = tolerance.busy_ratio(count, objective_s / batch_s(demand, 1 / pace_s))
        # What is late although nobody is busy is late by itself, and company is no help.
        busy_ratio /= trust
        if busy_ratio < LEAST_BUSY_RATIO:
            busy_ratio = LEAST_BUSY_RATIO
        elif busy_ratio > MOST_BUSY_RATIO:
            busy_ratio = MOST_BUSY_RATIO
        borne.append(busy_ratio * count / (lone_s + slowing_s * busy_ratio))
    return borne


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
    count = bears.count(rate_per_s)
    if not is_missed and count == current + 1 and rate_per_s <= rates[current] * SAME_RATE:
        count = current
    return Need(
        count=count,
        relaxed=bears.count(rate_per_s * RELAXED),
        now=bears.count(max(present.offered_per_s, missed_per_s)),
        rate_per_s=rate_per_s,
        present=is_missed,
        replica_per_s=bears.limits_per_s[-1] / last,
        factor=state.factor,
        hold_s=state.hold_s,
        grow_above_per_s=max(0.0, rates[min(current, last)]) / state.factor,
        shrink_below_per_s=max(0.0, rates[max(0, min(current, last) - 1)]) / RELAXED / state.factor,
        solo_ms=demand.solo_s * 1000,
    )
