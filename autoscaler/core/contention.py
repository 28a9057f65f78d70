"""What the slots of one GPU do to each other: how much of its entitlement a slot uses, which cards are saturated.

The device's utilization is never a target. It says how full a slot is against its share (a fixed-share 8q slot of a
16 GB board is full at half of the physical engine) and where another replica could not help. A reading that is missing
is never taken for an idle slot.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import repeat
from typing import NamedTuple

from autoscaler.core.observation import Missing, Observation, SlotReading
from autoscaler.core.readings import card_id, fresh_readings
from autoscaler.core.spec import PolicySettings
from vgpu.core.inventory import Card, Directory, Inventory, Slot
from vgpu.core.share import SchedulerPolicy, entitled_ratio

# NVML counts in steps of 1 %, and an idle guest still shows one or two: below this a neighbour is at rest.
BUSY_RATIO = 0.05
# The weight of a new reading: at a tick of 5 s a neighbour that stays is believed to 2/3 after half a minute.
SMOOTHING = 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuLoad:
    """One card as its slots show it."""

    gpu: str
    """Its UUID, or "below NODE" where that is not known."""
    policy: SchedulerPolicy
    slots: int
    held: int
    busy_ratio: float
    """The sum over its slots with a fresh reading, and what strangers use of it; a part of the physical engine."""
    unread: int
    """Slots without a fresh reading; above 0, `busy_ratio` is only a lower bound."""
    saturated: bool
    """The engine has nothing left and a further replica would only slow the others."""


class Beside(NamedTuple):
    """One slot on its card, now: what it uses of the engine and what it meets there."""

    policy: SchedulerPolicy
    own_ratio: float
    others_ratio: float
    attached: int
    """Guests on the card, this one included."""
    active: int
    """Other guests with work."""
    most: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Contention:
    """Every card and every slot at one moment."""

    readings: Mapping[str, SlotReading | Missing]
    gpus: Mapping[str, GpuLoad]
    directory: Directory
    """The cards and slots themselves."""
    neighbours: Mapping[str, tuple[SchedulerPolicy, float, float, int, int, int]]
    """By slot: the fields of its `Beside`; only of known cards whose every slot has a reading. Plain tuples: there is
    one for every slot, and a named one takes four times as long to make."""
    used: Mapping[str, float]
    """By slot: its engine use as a part of what it is entitled to, 0 to 1; only where that can be said."""
    usual: Mapping[str, float] = field(default_factory=dict)
    """By slot: its engine use smoothed over about a minute, so that a plan does not follow every job of a neighbour."""
    usual_by_gpu: Mapping[str, float] = field(default_factory=dict)

    def usual_on(self, gpu: str) -> float:
        """What all slots of a card usually use of its engine."""
        return self.usual_by_gpu[gpu]

    def beside(self, slot_id: str) -> Beside | None:
        """The slot and its neighbours now; None unless every slot of a known card has a reading."""
        found = self.neighbours.get(slot_id)
        return None if found is None else Beside(*found)

    def used_of_entitled(self, slot_id: str) -> float | None:
        """The slot's engine use as a part of what it is entitled to, 0 to 1; None where that cannot be said."""
        return self.used.get(slot_id)

    def crowding(self, gpu: str) -> float:
        """How much a new replica would meet on this card, 0 (nothing) to 1, in tenths so that noise decides nothing."""
        load = self.gpus[gpu]
        if load.policy is SchedulerPolicy.FIXED_SHARE:
            return 0.0
        neighbours = load.held / load.slots
        busy_ratio = self.usual_on(gpu) if self.usual else load.busy_ratio
        if load.unread:
            return round(max(neighbours, busy_ratio), 1)
        # Under equal share an idle neighbour takes its turn all the same.
        idle_costs = load.policy is SchedulerPolicy.EQUAL_SHARE
        return round(max(busy_ratio, neighbours if idle_costs else 0.0), 1)


def measure(
    inventory: Inventory,
    seen: Observation,
    policy: PolicySettings,
    now_s: float,
    usual: Mapping[str, float] | None = None,
) -> Contention:
    """Put this tick's slot readings onto the cards of the inventory; `usual` is what the last tick called usual."""
    directory = inventory.directory
    readings, strangers = fresh_readings(directory, seen, policy, now_s)
    smoothed = _usual(readings, usual or {}, directory.slots, _vacant(seen))
    usual_by_gpu: dict[str, float] = {}
    gpus: dict[str, GpuLoad] = {}
    neighbours: dict[str, tuple[SchedulerPolicy, float, float, int, int, int]] = {}
    used: dict[str, float] = {}
    for gpu, card in directory.cards.items():
        ids = card.slots
        busy = [reading.busy_ratio for key in ids if isinstance(reading := readings[key], SlotReading)]
        stranger_ratio = strangers.get(card_id(next(iter(ids.values()))), 0.0) if strangers else 0.0
        load = gpus[gpu] = _load(gpu, card, busy, stranger_ratio, policy)
        usual_by_gpu[gpu] = sum([smoothed[key] for key in ids]) + stranger_ratio
        if load.unread or card.gpu.uuid is None:
            used |= _used_unseen(load, card, readings)
        else:
            others_ratios, active = _others_ratios(busy), sum([ratio > BUSY_RATIO for ratio in busy])
            neighbours.update(zip(ids, _beside(load, card, busy, others_ratios, active), strict=True))
            used.update(zip(ids, _used(load, card, busy, others_ratios, active), strict=True))
    return Contention(
        readings=readings,
        gpus=gpus,
        directory=directory,
        neighbours=neighbours,
        used=used,
        usual=smoothed,
        usual_by_gpu=usual_by_gpu,
    )


def _others_ratios(busy: Sequence[float]) -> list[float]:
    """What all the others of a card use, for each slot."""
    others, before = list[float](), 0.0
    for place, own_ratio in enumerate(busy, start=1):
        # Not the whole less its own: what is left of rounding would be a neighbour that uses next to nothing.
        others.append(sum(busy[place:], before))
        before += own_ratio
    return others


def _beside(
    load: GpuLoad, card: Card, busy: Sequence[float], others_ratios: Sequence[float], active: int
) -> Iterable[tuple[SchedulerPolicy, float, float, int, int, int]]:
    """What each slot of a card meets there, given what every one of them uses; so many have work."""
    others = [active - 1 if ratio > BUSY_RATIO else active for ratio in busy]
    return zip(repeat(load.policy), busy, others_ratios, card.attached, others, card.mosts)


def _used(load: GpuLoad, card: Card, busy: Sequence[float], others_ratios: Sequence[float], active: int) -> list[float]:
    """What each slot of a card uses of the part of the engine that it is entitled to."""
    shares = _shares(load, card, active, others_ratios)
    return [own / share if own < share else 1.0 for own, share in zip(busy, shares, strict=True)]


def _shares(load: GpuLoad, card: Card, active: int, others_ratios: Sequence[float]) -> list[float]:
    """The part of the engine that each slot of a card is entitled to, so many of them with work."""
    policy = load.policy
    if policy is SchedulerPolicy.FIXED_SHARE:
        return [_entitled_ratio(policy, 1, 0, most) for most in card.mosts]
    # Cards that mix sizes run more vGPUs than the largest profile alone would allow.
    if policy is SchedulerPolicy.EQUAL_SHARE:
        return [_entitled_ratio(policy, load.slots, 0, load.slots)] * len(card.slots)
    share = _entitled_ratio(policy, load.slots, active, load.slots)
    # A slot is ceded what the others leave: beside a neighbour at 10 % it can have 90 %, not a half.
    return [left if (left := 1 - ratio) > share else share for ratio in others_ratios]


def _used_unseen(load: GpuLoad, card: Card, readings: Mapping[str, SlotReading | Missing]) -> dict[str, float]:
    """The same on a card that is not known or not wholly read: only for shares that do not depend on neighbours."""
    if load.policy is SchedulerPolicy.BEST_EFFORT:
        return {}  # a neighbour nobody knows of may be busy or not
    if load.policy is SchedulerPolicy.EQUAL_SHARE and card.gpu.uuid is None:
        return {}
    used: dict[str, float] = {}
    for slot_id, most in zip(card.slots, card.mosts, strict=True):
        reading = readings[slot_id]
        if isinstance(reading, SlotReading):
            running = 1 if load.policy is SchedulerPolicy.FIXED_SHARE else load.slots
            used[slot_id] = min(1.0, reading.busy_ratio / _entitled_ratio(load.policy, running, 0, max(most, running)))
    return used


def _vacant(seen: Observation) -> set[str]:
    """Workers in which no replica lives."""
    lived_in = {replica.worker for deployment in seen.deployments for replica in deployment.replicas}
    return {worker.pod for pool in seen.pools for worker in pool.workers} - lived_in


def _usual(
    readings: Mapping[str, SlotReading | Missing],
    before: Mapping[str, float],
    slots: Mapping[str, Slot],
    vacant: Collection[str],
) -> dict[str, float]:
    """Smooth each slot's engine use; a slot without a reading keeps what it had.

    A slot that nobody holds, or a worker in which no replica lives, is believed at once: what a replica that has left
    once used would be taken for a neighbour's use, make its card look full, and have the count that has just fallen
    rise again.
    """
    usual: dict[str, float] = {}
    for slot_id, reading in readings.items():
        known = before.get(slot_id)
        if not isinstance(reading, SlotReading):
            usual[slot_id] = known or 0.0
            continue
        busy_ratio = reading.busy_ratio
        if known is None or (busy_ratio < known and ((holder := slots[slot_id].holder) is None or holder in vacant)):
            known = busy_ratio
        usual[slot_id] = known + SMOOTHING * (busy_ratio - known)
    return usual


@lru_cache(maxsize=4096)
def _entitled_ratio(policy: SchedulerPolicy, running: int, busy: int, most: int) -> float:
    return entitled_ratio(policy, running=running, busy=busy, most_per_gpu=most)


def _load(gpu: str, card: Card, busy: Sequence[float], stranger_ratio: float, policy: PolicySettings) -> GpuLoad:
    busy_ratio = sum(busy) + stranger_ratio
    shared = card.gpu.uuid is not None and card.gpu.policy is not SchedulerPolicy.FIXED_SHARE
    return GpuLoad(
        gpu=gpu,
        policy=card.gpu.policy,
        slots=card.at_once,
        held=card.held,
        busy_ratio=busy_ratio,
        unread=len(card.slots) - len(busy),
        saturated=shared and busy_ratio >= policy.saturated_ratio,
    )
