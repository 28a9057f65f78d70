"""Windows -> signals: the typed values that a policy may use, or Missing with a reason.

A signal over several replicas adds up those that could be read. Every input that a fall would need and that is not
there is listed in `gaps`; with a gap the sums are lower bounds, good enough to grow on and never to shrink on.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import sub
from typing import NamedTuple

from autoscaler.core.contention import BUSY_RATIO, Contention
from autoscaler.core.histogram import Histogram
from autoscaler.core.observation import Missing, MissingReason, Observation, SlotReading, Source
from autoscaler.core.spec import ModelSpec, PolicySettings
from autoscaler.core.window import Increase, Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """A value over the window; `age_s` is the age of the oldest sample that closes it."""

    value: float
    age_s: float


NOT_COUNTED = Missing(source=Source.SIGNAL, name="unanswered_per_s", reason=MissingReason.NOT_SEEN)


class FreshReplica(NamedTuple):
    """A running replica whose window could be read."""

    replica_id: str
    slot_id: str | None
    age_s: float
    increase: Increase
    """Over the window."""
    recent: Increase | None
    """Over its last part; None when that holds fewer than two samples."""
    last: Increase
    """Since the sample before the last one."""


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


def read_replicas(
    running: Iterable[str],
    windows: Mapping[str, Window],
    seen: Observation,
    policy: PolicySettings,
    now_s: float,
) -> tuple[tuple[FreshReplica, ...], tuple[Missing, ...]]:
    """Divide the running replicas into those that can be read and the reasons why the others cannot."""
    fresh: list[FreshReplica] = []
    gaps: list[Missing] = []
    for replica_id in running:
        window = windows.get(replica_id)
        if window is None or not window.samples:
            gaps.append(seen.why_missing(Source.REPLICA, replica_id))
            continue
        last = window.samples[-1]
        age_s = now_s - last.at_s
        increase = window.increase()
        if age_s > policy.max_age_s:
            gaps.append(Missing(source=Source.REPLICA, name=replica_id, reason=MissingReason.STALE, age_s=age_s))
        elif increase is None:
            gaps.append(Missing(source=Source.REPLICA, name=replica_id, reason=MissingReason.TOO_FEW_SAMPLES))
        else:
            recent = window.increase(policy.recent_s)
            newest = window.last_increase() or increase
            fresh.append(
                FreshReplica(
                    replica_id=replica_id,
                    slot_id=last.slot_id,
                    age_s=age_s,
                    increase=increase,
                    recent=recent,
                    last=newest,
                )
            )
    alike, odd = _of_one_kind(fresh)
    return alike, (*gaps, *odd)


def _of_one_kind(fresh: list[FreshReplica]) -> tuple[tuple[FreshReplica, ...], tuple[Missing, ...]]:
    """Those whose histograms have the most common edges, and the rest as gaps: only equal edges can be added up."""
    edges = [replica.increase.last.duration.edges_s for replica in fresh]
    if not edges or edges.count(edges[0]) == len(edges):
        return tuple(fresh), ()
    kept = Counter(edges).most_common(1)[0][0]
    return (
        tuple(replica for replica in fresh if replica.increase.last.duration.edges_s == kept),
        tuple(
            Missing(source=Source.REPLICA, name=replica.replica_id, reason=MissingReason.DIFFERENT_EDGES)
            for replica in fresh
            if replica.increase.last.duration.edges_s != kept
        ),
    )


def frozen(fresh: Iterable[FreshReplica], contention: Contention) -> tuple[Missing, ...]:
    """Replicas whose counters stand still although something says that they have work: their word is no evidence."""
    gaps: list[Missing] = []
    for replica in fresh:
        increase = replica.increase
        if increase.ended or increase.engine_busy_s > 0:
            continue
        reading = contention.readings.get(replica.slot_id or "")
        at_work = isinstance(reading, SlotReading) and reading.busy_ratio > BUSY_RATIO
        if increase.in_flight_mean > 0 or at_work:
            gaps.append(Missing(source=Source.REPLICA, name=replica.replica_id, reason=MissingReason.FROZEN))
    return tuple(gaps)


def slot_gaps(fresh: Iterable[FreshReplica], contention: Contention) -> tuple[Missing, ...]:
    """Device readings of these replicas' slots that are not there, although the device could give one."""
    gaps: list[Missing] = []
    for replica in fresh:
        slot_id = replica.slot_id or f"of {replica.replica_id}"
        reading = contention.readings.get(slot_id)
        if reading is None:
            reading = Missing(source=Source.SLOT, name=slot_id, reason=MissingReason.NOT_SEEN)
        if isinstance(reading, Missing) and reading.reason is not MissingReason.UNSUPPORTED:
            gaps.append(reading)
    return tuple(gaps)


def read_signals(
    spec: ModelSpec,
    policy: PolicySettings,
    fresh: tuple[FreshReplica, ...],
    gaps: tuple[Missing, ...],
    contention: Contention,
    running: int,
) -> ModelSignals:
    """Sum up the fresh replicas of one model."""
    increases = [replica.increase for replica in fresh]
    durations = _durations(increases)
    refused = sum([increase.refused for increase in increases])
    values = {
        **_latencies(spec, durations, refused),
        **_rates(policy, increases),
        "offered_recent_per_s": _offered_per_s([replica.recent for replica in fresh if replica.recent is not None]),
        "utilization_ratio": _mean_utilization(fresh, contention),
    }
    age_s = max([replica.age_s for replica in fresh], default=0.0)
    why_quiet = _why_quiet(fresh, gaps) if None in values.values() else None
    return ModelSignals(
        model=spec.name,
        running=running,
        fresh=len(fresh),
        requests=durations.total if durations else 0,
        refused=refused,
        gaps=gaps,
        **{
            name: Signal(value=value, age_s=age_s)
            if value is not None
            else Missing(source=Source.SIGNAL, name=name, reason=why_quiet or MissingReason.TOO_FEW_REQUESTS)
            for name, value in values.items()
        },
    )


def _durations(increases: list[Increase]) -> Histogram | None:
    """The latencies of all replicas together: the sum of their last counts less the sum of their first."""
    if not increases:
        return None
    first = map(sum, zip(*[increase.first.duration.counts for increase in increases], strict=True))
    last = map(sum, zip(*[increase.last.duration.counts for increase in increases], strict=True))
    return Histogram(edges_s=increases[0].last.duration.edges_s, counts=tuple(map(sub, last, first)))


def _latencies(spec: ModelSpec, durations: Histogram | None, refused: int) -> dict[str, float | None]:
    if durations is None or durations.total == 0:
        return {"p50_ms": None, "p95_ms": None, "attainment_ratio": 0.0 if refused else None}
    p50_s, p95_s = durations.quantile_s(0.50), durations.quantile_s(0.95)
    return {
        "p50_ms": None if p50_s is None else p50_s * 1000,
        "p95_ms": None if p95_s is None else p95_s * 1000,
        "attainment_ratio": durations.count_within(spec.objective_p95_ms / 1000) / (durations.total + refused),
    }


def _rates(policy: PolicySettings, increases: list[Increase]) -> dict[str, float | None]:
    if not increases:
        return dict.fromkeys(("offered_per_s", "answered_per_s", "in_flight", "queued", "capacity_per_s"))
    answered = arrived = 0
    busy_s = in_flight = queued = 0.0
    for increase in increases:  # one look at each replica for all sums
        samples = increase.samples
        first, last = samples[0], samples[-1]
        before, after = first.counters, last.counters
        answers = after.answered - before.answered
        answered += answers
        arrived += answers + after.refused - before.refused + after.failed - before.failed
        arrived += last.in_flight - first.in_flight
        busy_s += after.engine_busy_s - before.engine_busy_s
        held = waiting = 0
        for sample in samples:
            held += sample.in_flight
            waiting += sample.queued
        in_flight += held / len(samples)
        queued += waiting / len(samples)
    over_s = _longest_s(increases)
    return {
        "offered_per_s": max(0, arrived) / over_s,
        "answered_per_s": answered / over_s,
        "in_flight": in_flight,
        "queued": queued,
        "capacity_per_s": answered / busy_s if answered >= policy.least_requests and busy_s > 0 else None,
    }


def _longest_s(increases: list[Increase]) -> float:
    """One time for all rates: a replica that has run for 2 s of the 10 got nothing in the other 8.

    Dividing each by its own time would count twice the load that moved from an old replica to a new one.
    """
    return max([increase.over_s for increase in increases])


def _offered_per_s(increases: list[Increase]) -> float | None:
    if not increases:
        return None
    return max(0, sum([increase.arrived for increase in increases])) / _longest_s(increases)


def _why_quiet(fresh: tuple[FreshReplica, ...], gaps: tuple[Missing, ...]) -> MissingReason:
    """Why there is no latency: zero traffic needs positive evidence, fresh counters that stand still everywhere."""
    if not fresh:
        return gaps[0].reason if gaps else MissingReason.NO_REPLICAS
    still = all(replica.increase.arrived == 0 and replica.increase.in_flight_mean == 0 for replica in fresh)
    if still and all(gap.source is not Source.REPLICA for gap in gaps):
        return MissingReason.NO_TRAFFIC
    return MissingReason.TOO_FEW_REQUESTS


def _mean_utilization(fresh: tuple[FreshReplica, ...], contention: Contention) -> float | None:
    """The larger of what each replica says of itself and what NVML says of its slot, each against the slot's share.

    Under time slicing the replica's own busy time includes waiting for its slice, so both read 1 for a full slot.
    """
    if not fresh:
        return None
    used = 0.0
    for replica in fresh:
        own = min(1.0, replica.increase.engine_busy_s / replica.increase.over_s)
        device = contention.used_of_entitled(replica.slot_id) if replica.slot_id else None
        used += own if device is None or own > device else device
    return used / len(fresh)
