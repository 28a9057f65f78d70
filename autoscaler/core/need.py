"""The law: the count of replicas for which the load that may come within a cold start is answered in time.

Capacity says what replicas can do on the cards where they are, queueing how much of it may be used for the objective,
rehearsal which headroom and hold this load has shown to need. What the clients then really see trims the capacity: a
model of the world is believed less while more requests come late than it foretells, and more where fewer do.
"""

from dataclasses import dataclass

from autoscaler.core.bearable import Bearable
from autoscaler.core.rehearsal import Rehearsal
from autoscaler.core.service import Demand, Service
from autoscaler.core.spec import ModelSpec

RELAXED = 1.05
SAME_RATE = 1.03
"""A rate this little beyond what the current count bears is no reason for one more: it would flutter so."""


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
