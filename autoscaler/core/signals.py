"""Windows -> signals: the typed values that a policy may use, or Missing with a reason.

A signal over several replicas adds up those that could be read. Every input that a fall would need and that is not
there is listed in `gaps`; with a gap the sums are lower bounds, good enough to grow on and never to shrink on.
"""

from dataclasses import dataclass

from autoscaler.core.contention import Contention
from autoscaler.core.histogram import Histogram
from autoscaler.core.observation import Missing, MissingReason, Source
from autoscaler.core.replicas import FreshReplica, Totals, total
from autoscaler.core.spec import ModelSpec, PolicySettings
from autoscaler.core.window import Increase


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """A value over the window; `age_s` is the age of the oldest sample that closes it."""

    value: float
    age_s: float


NOT_COUNTED = Missing(source=Source.SIGNAL, name="unanswered_per_s", reason=MissingReason.NOT_SEEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSignals:
    """Everything that was measured about one model this tick."""

    model: str
    running: int
    """Replicas in state RUNNING."""
    fresh: int
    """Those of them whose metrics could be read."""
    requests: int
    """Requests answered in the window, failed ones included."""
    refused: int
    """Requests turned away in the window."""
    p50_ms: Signal | Missing
    p95_ms: Signal | Missing
    attainment_ratio: Signal | Missing
    """Part of all requests, refused ones included, that were answered within the objective."""
    offered_per_s: Signal | Missing
    """Requests that came in, refused ones included."""
    offered_recent_per_s: Signal | Missing
    """The same over the last part of the window."""
    answered_per_s: Signal | Missing
    in_flight: Signal | Missing
    """Over all fresh replicas, the mean over the window; so is `queued`."""
    queued: Signal | Missing
    utilization_ratio: Signal | Missing
    """Mean over the fresh replicas of what each slot uses of its entitled share."""
    capacity_per_s: Signal | Missing
    """Requests that one replica answers in a second of engine time, as measured now, neighbours included."""
    unanswered_per_s: Signal | Missing = NOT_COUNTED
    """Requests that found no replica, as the ingress counted them; part of what was offered."""
    gaps: tuple[Missing, ...]


def read_signals(
    spec: ModelSpec,
    policy: PolicySettings,
    fresh: tuple[FreshReplica, ...],
    gaps: tuple[Missing, ...],
    contention: Contention,
    running: int,
) -> ModelSignals:
    """What the fresh replicas of one model come to; `gaps` are those that keep others from being read."""
    totals = total(fresh, contention)
    durations = totals.duration
    values = {
        **_latencies(spec, durations, totals.refused),
        **_rates(policy, totals),
        "offered_recent_per_s": _offered_per_s([replica.recent for replica in fresh if replica.recent is not None]),
        "utilization_ratio": totals.used / len(fresh) if fresh else None,
    }
    all_gaps = (*gaps, *totals.gaps)
    why = MissingReason.TOO_FEW_REQUESTS
    if None in values.values():
        why = _why_quiet(fresh, all_gaps)
    age_s = max([replica.age_s for replica in fresh], default=0.0)
    return ModelSignals(
        model=spec.name,
        running=running,
        fresh=len(fresh),
        requests=durations.total if durations else 0,
        refused=totals.refused,
        gaps=all_gaps,
        **{
            name: Missing(source=Source.SIGNAL, name=name, reason=why)
            if value is None
            else Signal(value=value, age_s=age_s)
            for name, value in values.items()
        },
    )


def _latencies(spec: ModelSpec, durations: Histogram | None, refused: int) -> dict[str, float | None]:
    if durations is None or durations.total == 0:
        return {"p50_ms": None, "p95_ms": None, "attainment_ratio": 0.0 if refused else None}
    p50_s, p95_s = durations.quantile_s(0.50), durations.quantile_s(0.95)
    return {
        "p50_ms": None if p50_s is None else p50_s * 1000,
        "p95_ms": None if p95_s is None else p95_s * 1000,
        "attainment_ratio": durations.count_within(spec.objective_p95_ms / 1000) / (durations.total + refused),
    }


def _rates(policy: PolicySettings, totals: Totals) -> dict[str, float | None]:
    if not totals.over_s:
        return dict.fromkeys(("offered_per_s", "answered_per_s", "in_flight", "queued", "capacity_per_s"))
    answered, busy_s, over_s = totals.answered, totals.busy_s, totals.over_s
    return {
        "offered_per_s": max(0, totals.arrived) / over_s,
        "answered_per_s": answered / over_s,
        "in_flight": totals.in_flight,
        "queued": totals.queued,
        "capacity_per_s": answered / busy_s if answered >= policy.least_requests and busy_s > 0 else None,
    }


def _offered_per_s(increases: list[Increase]) -> float | None:
    if not increases:
        return None
    over_s = max([increase.over_s for increase in increases])
    return max(0, sum([increase.arrived for increase in increases])) / over_s


def _why_quiet(fresh: tuple[FreshReplica, ...], gaps: tuple[Missing, ...]) -> MissingReason:
    """Why there is no latency: zero traffic needs positive evidence, fresh counters that stand still everywhere."""
    if not fresh:
        return gaps[0].reason if gaps else MissingReason.NO_REPLICAS
    still = all(replica.increase.arrived == 0 and replica.increase.in_flight_mean == 0 for replica in fresh)
    if still and all(gap.source is not Source.REPLICA for gap in gaps):
        return MissingReason.NO_TRAFFIC
    return MissingReason.TOO_FEW_REQUESTS
