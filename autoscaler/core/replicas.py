"""The running replicas of a model that could be read, why the others could not, and one look at all who could.

Everything that a sum over replicas needs is taken in one pass: a fleet has thousands of them, and a tick has no more
than a few microseconds for each.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from autoscaler.core.contention import BUSY_RATIO, Contention
from autoscaler.core.observation import Missing, MissingReason, Observation, ReplicaSample, SlotReading, Source
from autoscaler.core.spec import PolicySettings
from autoscaler.core.window import Increase, Window


class FreshReplica(NamedTuple):
    """A running replica whose window could be read."""

    replica_id: str
    slot_id: str | None
    age_s: float
    samples: tuple[ReplicaSample, ...]
    """Those of the window, two or more."""
    recent: Increase | None = None
    """Over its last part; None when that holds fewer than two samples."""

    @property
    def increase(self) -> Increase:
        """Over the window."""
        return Increase(self.samples)

    @property
    def last(self) -> Increase:
        """Since the sample before the last one."""
        return Increase(self.samples[-2:])


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
    unseen, recent_s, max_age_s = Window(policy.window_s), policy.recent_s, policy.max_age_s
    for replica_id in running:
        window = windows.get(replica_id, unseen)
        samples = window.samples
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
            recent = window.increase(recent_s) if is_dense else None
            fresh.append(FreshReplica(replica_id, last.slot_id, age_s, samples, recent))
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
    gaps: tuple[Missing, ...]
    """Replicas and slots whose word is no evidence."""


def total(fresh: Sequence[FreshReplica], contention: Contention) -> Totals:
    """Add up one model's replicas."""
    answered = arrived = refused = 0
    busy_s = in_flight = queued = used = 0.0
    frozen, unread = list[Missing](), list[Missing]()
    readings, shares = contention.readings, contention.used
    for replica in fresh:
        samples, slot_id = replica.samples, replica.slot_id or ""
        first, last = samples[0], samples[-1]
        before, after = first.counters, last.counters
        answers, refusals = after.answered - before.answered, after.refused - before.refused
        ended = answers + refusals + after.failed - before.failed
        worked_s = after.engine_busy_s - before.engine_busy_s
        answered += answers
        refused += refusals
        arrived += ended + last.in_flight - first.in_flight
        busy_s += worked_s
        held = waiting = 0
        for sample in samples:
            held += sample.in_flight
            waiting += sample.queued
        in_flight += held / len(samples)
        queued += waiting / len(samples)
        # The larger of what each says of itself and what NVML says of its slot, each against the slot's share. Under
        # time slicing its own busy time includes waiting for its slice, so both read 1 for a full slot.
        own, device = min(1.0, worked_s / (last.at_s - first.at_s)), shares.get(slot_id, 0.0)
        used += own if own > device else device
        reading = readings.get(slot_id)
        if not ended and worked_s <= 0 and (held or _is_at_work(reading)):
            frozen.append(Missing(source=Source.REPLICA, name=replica.replica_id, reason=MissingReason.FROZEN))
        if not isinstance(reading, SlotReading):
            unread += _slot_gap(replica, reading)
    over_s = max([replica.samples[-1].at_s - replica.samples[0].at_s for replica in fresh], default=0.0)
    gaps = (*frozen, *unread)
    return Totals(answered, arrived, refused, busy_s, in_flight, queued, used, over_s, gaps)


class Arrivals(NamedTuple):
    """Requests that came to a model's replicas since the last tick."""

    came: int
    over_s: float


def last_arrivals(fresh: Sequence[FreshReplica]) -> Arrivals:
    """What came since the sample before the last one; nothing, in no time, without replicas."""
    came, longest_s = 0, 0.0
    for replica in fresh:
        first, last = replica.samples[-2:]
        before, after = first.counters, last.counters
        came += after.answered - before.answered + after.refused - before.refused + after.failed - before.failed
        came += last.in_flight - first.in_flight
        longest_s = max(longest_s, last.at_s - first.at_s)
    return Arrivals(came, longest_s)


def _is_at_work(reading: SlotReading | Missing | None) -> bool:
    """Whether a slot says that its replica has work: then counters that stand still are no evidence."""
    return isinstance(reading, SlotReading) and reading.busy_ratio > BUSY_RATIO


def _slot_gap(replica: FreshReplica, why: Missing | None) -> tuple[Missing, ...]:
    """The device reading of a replica's slot that is not there, unless the device could not give one."""
    if why is None:
        name = replica.slot_id or f"of {replica.replica_id}"
        return (Missing(source=Source.SLOT, name=name, reason=MissingReason.NOT_SEEN),)
    return () if why.reason is MissingReason.UNSUPPORTED else (why,)
