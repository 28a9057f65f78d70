"""The running replicas of a model that could be read, why the others could not, and one look at all who could.

Everything that a sum over replicas needs is taken in one pass: a fleet has thousands of them, and a tick has no more
than a few microseconds for each.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from autoscaler.core.contention import BUSY_RATIO, Contention
from autoscaler.core.histogram import Histogram
from autoscaler.core.lanes import unpacked
from autoscaler.core.observation import (
    WHOLE_COUNTS,
    Missing,
    MissingReason,
    Observation,
    SlotReading,
    Source,
)
from autoscaler.core.spec import PolicySettings
from autoscaler.core.window import Increase, Window, increase


class FreshReplica(NamedTuple):
    """A running replica whose window could be read."""

    replica_id: str
    slot_id: str | None
    age_s: float
    samples: Window
    """Two or more."""
    recent: Increase | None = None
    """Over its last part; None when that holds fewer than two samples."""
    is_new: bool = True
    """Whether its last sample came this tick: what was learned once is not learned again."""

    @property
    def increase(self) -> Increase:
        """Over the window."""
        return Increase(self.samples)

    @property
    def last(self) -> Increase:
        """Since the sample before the last one."""
        return Increase(self.samples[-2:])


def read_replicas(  # what was there, what is there, and the rules
    running: Iterable[str],
    windows: Mapping[str, Window],
    seen: Observation,
    policy: PolicySettings,
    now_s: float,
    before: Mapping[str, Window] = MappingProxyType({}),
) -> tuple[tuple[FreshReplica, ...], tuple[Missing, ...]]:
    """Divide the running replicas into those that can be read and the reasons why the others cannot.

    `before` are the windows as the last tick left them.
    """
    fresh: list[FreshReplica] = []
    gaps: list[Missing] = []
    recent_s, max_age_s = policy.recent_s, policy.max_age_s
    for replica_id in running:
        samples = windows.get(replica_id, ())
        if not samples:
            gaps.append(seen.why_missing(Source.REPLICA, replica_id))
            continue
        last = samples[-1]
        age_s = now_s - last.at_s
        if age_s > max_age_s:
            gaps.append(Missing(source=Source.REPLICA, name=replica_id, reason=MissingReason.STALE, age_s=age_s))
        elif len(samples) < 2:
            gaps.append(Missing(source=Source.REPLICA, name=replica_id, reason=MissingReason.TOO_FEW_SAMPLES))
        else:
            is_dense = samples[-2].at_s >= last.at_s - recent_s
            recent, is_new = increase(samples, recent_s) if is_dense else None, samples is not before.get(replica_id)
            fresh.append(FreshReplica(replica_id, last.slot_id, age_s, samples, recent, is_new))
    alike, odd = _of_one_kind(fresh)
    return alike, (*gaps, *odd)


def _of_one_kind(fresh: list[FreshReplica]) -> tuple[tuple[FreshReplica, ...], tuple[Missing, ...]]:
    """Those whose histograms have the most common edges, and the rest as gaps: only equal edges can be added up."""
    edges = [replica.samples[-1].counters.duration.edges_s for replica in fresh]
    if not edges or edges.count(edges[0]) == len(edges):
        return tuple(fresh), ()
    kept = Counter(edges).most_common(1)[0][0]
    return (
        tuple(replica for replica, its in zip(fresh, edges, strict=True) if its == kept),
        tuple(
            Missing(source=Source.REPLICA, name=replica.replica_id, reason=MissingReason.DIFFERENT_EDGES)
            for replica, its in zip(fresh, edges, strict=True)
            if its != kept
        ),
    )


class Totals(NamedTuple):
    """What the fresh replicas of one model did together over their windows."""

    answered: int
    arrived: int
    refused: int
    busy_s: float
    in_flight: float
    """The mean over the window, of each replica, added up; so is `queued`."""
    queued: float
    used: float
    """What each slot uses of its entitled share, added up."""
    over_s: float
    """One time for all rates: a replica that has run for 2 s of the 10 got nothing in the other 8. Dividing each by its
    own time would count twice the load that moved from an old replica to a new one. 0 without replicas."""
    duration: Histogram | None
    """The latencies of all together; None without replicas."""
    gaps: tuple[Missing, ...]
    """Replicas and slots whose word is no evidence."""


def total(fresh: Sequence[FreshReplica], contention: Contention) -> Totals:
    """Add up one model's replicas, which have histograms of the same edges."""
    arrived = lanes = 0
    over_s = busy_s = in_flight = queued = used = 0.0
    frozen, unread = list[Missing](), list[Missing]()
    shares = contention.used
    for replica in fresh:
        samples = replica.samples
        first, last = samples[0], samples[-1]
        before, after = first.counters, last.counters
        ran_s, worked_s = last.at_s - first.at_s, after.engine_busy_s - before.engine_busy_s
        lanes += after.lanes - before.lanes
        arrived += last.arrived - first.arrived
        busy_s += worked_s
        over_s = ran_s if ran_s > over_s else over_s
        held = waiting = 0
        for sample in samples:
            held += sample.in_flight
            waiting += sample.queued
        in_flight += held / len(samples)
        queued += waiting / len(samples)
        # The larger of what each says of itself and what NVML says of its slot, each against the slot's share. Under
        # time slicing its own busy time includes waiting for its slice, so both read 1 for a full slot.
        own, device = worked_s / ran_s if worked_s < ran_s else 1.0, shares.get(replica.slot_id or "")
        used += own if device is None or own > device else device
        if device is None:  # a share that is known was read
            unread += _slot_gap(replica, contention)
        if worked_s <= 0 and after.ended == before.ended and (held or _is_at_work(replica, contention)):
            frozen.append(Missing(source=Source.REPLICA, name=replica.replica_id, reason=MissingReason.FROZEN))
    counted, duration = _unpacked(fresh, lanes)
    answered, refused, *_ = counted
    gaps = (*frozen, *unread)
    return Totals(answered, arrived, refused, busy_s, in_flight, queued, used, over_s, duration, gaps)


def _unpacked(fresh: Sequence[FreshReplica], lanes: int) -> tuple[tuple[int, ...], Histogram | None]:
    """The sum of what the replicas counted: answered, refused, failed and batches; and the latencies."""
    if not fresh:
        return (0, 0, 0, 0), None
    edges_s = fresh[0].samples[-1].counters.duration.edges_s
    counts = unpacked(lanes, WHOLE_COUNTS + len(edges_s) + 1)
    return counts[:WHOLE_COUNTS], Histogram.of_buckets(edges_s, counts[WHOLE_COUNTS:])


class Arrivals(NamedTuple):
    """Requests that came to a model's replicas since the last tick."""

    came: int
    over_s: float


def last_arrivals(fresh: Sequence[FreshReplica]) -> Arrivals:
    """What came since the sample before the last one; nothing, in no time, without replicas."""
    came, longest_s = 0, 0.0
    for replica in fresh:
        samples = replica.samples
        first, last = samples[-2], samples[-1]
        came += last.arrived - first.arrived
        over_s = last.at_s - first.at_s
        longest_s = over_s if over_s > longest_s else longest_s
    return Arrivals(came, longest_s)


def _is_at_work(replica: FreshReplica, contention: Contention) -> bool:
    """Whether its slot says that a replica has work: then counters that stand still are no evidence."""
    reading = contention.readings.get(replica.slot_id or "")
    return isinstance(reading, SlotReading) and reading.busy_ratio > BUSY_RATIO


def _slot_gap(replica: FreshReplica, contention: Contention) -> tuple[Missing, ...]:
    """The device reading of a replica's slot where it is not there, unless the device could not give one."""
    why = contention.readings.get(replica.slot_id or "")
    if why is None:
        name = replica.slot_id or f"of {replica.replica_id}"
        return (Missing(source=Source.SLOT, name=name, reason=MissingReason.NOT_SEEN),)
    return () if isinstance(why, SlotReading) or why.reason is MissingReason.UNSUPPORTED else (why,)
