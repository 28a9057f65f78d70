"""What one batch costs a replica, learned per model: time off the engine and time of the engine, alone on its card.

A replica's time for a batch holds its waits for the time slices of others. NVML's reading of its slot does not, so the
engine part is known even under contention, and the waits can be taken out again. Samples of a replica that has just
started, or that sits on a card too full to tell, teach nothing: capacity learned while warming up is the commonest
reason for gross over-scaling (ai-dynamo/dynamo#12430).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from autoscaler.core.contention import Contention
from autoscaler.core.replicas import FreshReplica

MEMORY_BATCHES = 3000.0
"""Batches after which a lesson weighs 1/e. At 15 a second, three minutes of one replica."""
LEAST_BATCHES = 20.0
"""Fewer than this teach no cost at all."""
TELLING_RATIO = 0.85
"""Others' use of the card above which waits and work cannot be told apart."""
_FLAT = 0.02
"""Variance of the batch size below which its influence cannot be read off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """One batch: seconds elsewhere, then seconds of the whole engine; `items` requests in it."""

    away_s: float
    engine_s: float
    items: float = 1.0

    @property
    def solo_s(self) -> float:
        return self.away_s + self.engine_s


Lesson = tuple[float, float, float, float]
"""Batches, requests in each, seconds of each alone, those of them on the engine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Weighted sums over batches of (items, solo seconds, engine seconds): a line through them is a batch's cost."""

    weight: float = 0.0
    items: float = 0.0
    items_squared: float = 0.0
    solo_s: float = 0.0
    solo_items_s: float = 0.0
    engine_s: float = 0.0
    engine_items_s: float = 0.0
    most_items: float = 1.0
    """The largest mean batch seen, fading."""

    @property
    def is_known(self) -> bool:
        return self.weight >= LEAST_BATCHES

    def with_batches(self, *, batches: float, items: float, solo_s: float, engine_s: float) -> "Service":
        """Take in `batches` of `items` requests each that took `solo_s` alone, `engine_s` of them on the engine."""
        return self.with_lessons([(batches, items, solo_s, engine_s)])

    def with_lessons(self, lessons: Iterable[Lesson]) -> "Service":
        """Take in several lessons, one after the other."""
        weight, total, squared, most = self.weight, self.items, self.items_squared, self.most_items
        solo, solo_items, engine, engine_items = self.solo_s, self.solo_items_s, self.engine_s, self.engine_items_s
        for batches, items, solo_s, engine_s in lessons:
            keep = 1 - batches / MEMORY_BATCHES if batches < MEMORY_BATCHES else 0.0
            requests = batches * items
            weight = weight * keep + batches
            total = total * keep + requests
            squared = squared * keep + requests * items
            solo = solo * keep + batches * solo_s
            solo_items = solo_items * keep + requests * solo_s
            engine = engine * keep + batches * engine_s
            engine_items = engine_items * keep + requests * engine_s
            faded = 1 + (most - 1) * keep
            most = items if items > faded else faded
        return Service(
            weight=weight,
            items=total,
            items_squared=squared,
            solo_s=solo,
            solo_items_s=solo_items,
            engine_s=engine,
            engine_items_s=engine_items,
            most_items=most,
        )

    def demand(self, items: float) -> Demand:
        """The cost of a batch of so many. ValueError while nothing is known."""
        if not self.is_known:
            raise ValueError(f"only {self.weight:.0f} batches were seen; {LEAST_BATCHES:.0f} tell a cost")
        mean_items = self.items / self.weight
        solo_s = self._at(self.solo_s, self.solo_items_s, items, mean_items)
        engine_s = min(solo_s, self._at(self.engine_s, self.engine_items_s, items, mean_items))
        return Demand(away_s=solo_s - engine_s, engine_s=engine_s, items=items)

    def best(self, *, most_items: int, within_s: float) -> Demand:
        """The batch size with the highest rate whose time stays within `within_s`; single requests where none does."""
        chosen = self.demand(1.0)
        for items in _sizes(min(float(most_items), max(1.0, self.most_items * 2))):
            candidate = self.demand(items)
            if candidate.solo_s <= within_s and items / candidate.solo_s > chosen.items / chosen.solo_s:
                chosen = candidate
        return chosen

    def _at(self, total_s: float, total_items_s: float, items: float, mean_items: float) -> float:
        """The line at a batch size. Its slope is between nothing and strictly in proportion; unknown, in proportion."""
        mean_s = total_s / self.weight
        steepest = mean_s / mean_items
        variance = self.items_squared / self.weight - mean_items * mean_items
        slope = steepest
        if variance > _FLAT:
            slope = min(steepest, max(0.0, (total_items_s / self.weight - mean_items * mean_s) / variance))
        return max(mean_s / 100, mean_s + slope * (items - mean_items))


def _sizes(most: float) -> Iterable[float]:
    size = 2.0
    while size < most:
        yield size
        size *= 2
    if most > 1:
        yield most


def learn(service: Service, fresh: Iterable[FreshReplica], contention: Contention, warm: frozenset[str]) -> Service:
    """Take in what the warm replicas did, each with the waits for its neighbours taken out."""
    lessons: list[Lesson] = []
    neighbours = contention.neighbours
    for replica in fresh:
        if replica.replica_id not in warm:
            continue
        samples = replica.samples
        first, last = samples[-2], samples[-1]
        before, after = first.counters, last.counters
        answered, busy_s = after.answered - before.answered, after.engine_busy_s - before.engine_busy_s
        batches = after.batches - before.batches or answered
        if batches < 1 or busy_s <= 0 or answered < 1:
            continue
        # No device reading: the whole time counts as the engine's, as if this replica were alone.
        solo_s = engine_s = busy_s / batches
        beside = neighbours.get(replica.slot_id or "")
        if beside is not None:
            own_ratio, others_ratio, stretch = beside
            if others_ratio > TELLING_RATIO:
                continue
            device_s = own_ratio * (last.at_s - first.at_s) / batches
            engine_s = device_s if device_s < solo_s else solo_s
            alone_s = solo_s - (stretch - 1) * engine_s
            solo_s = alone_s if alone_s > engine_s else engine_s
        lessons.append((float(batches), answered / batches, solo_s, engine_s))
    return service.with_lessons(lessons) if lessons else service
