"""What the slots of one GPU do to each other: how much of its entitlement a slot uses, which cards are saturated.

The device's utilization is never a target. It says how full a slot is against its share (a fixed-share 8q slot of a
16 GB board is full at half of the physical engine) and where another replica could not help. A reading that is missing
is never taken for an idle slot.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from autoscaler.core.observation import Missing, Observation, SlotReading
from autoscaler.core.readings import card_id, fresh_readings, unexplained
from autoscaler.core.spec import PolicySettings
from vgpu.core.inventory import Inventory, Slot, at_once
from vgpu.core.share import SchedulerPolicy, entitled_ratio
from vgpu.core.slot_type import SlotType

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
    """One slot on its card, now: what it uses of the engine and what it meets there. Made for every slot."""

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
    slots: Mapping[str, Slot]
    slots_by_gpu: Mapping[str, tuple[Slot, ...]]
    card_of: Mapping[str, str]
    """By slot: the card it is on."""
    neighbours: Mapping[str, Beside]
    """By slot: it and its neighbours now; only of known cards whose every slot has a reading."""
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
        return self.neighbours.get(slot_id)

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
    slots, ids_by_gpu = _by_card(inventory)
    readings = fresh_readings(slots, seen, policy, now_s)
    smoothed = _usual(readings, usual or {}, slots, _vacant(seen))
    strangers = unexplained(slots, seen)
    by_gpu: dict[str, tuple[Slot, ...]] = {}
    usual_by_gpu: dict[str, float] = {}
    gpus: dict[str, GpuLoad] = {}
    neighbours: dict[str, Beside] = {}
    used: dict[str, float] = {}
    for gpu, ids in ids_by_gpu.items():
        on_card = by_gpu[gpu] = tuple([slots[key] for key in ids])
        read = [reading if isinstance(reading := readings[key], SlotReading) else None for key in ids]
        busy = [reading.busy_ratio for reading in read if reading is not None]
        stranger_ratio = strangers.get(card_id(on_card[0]), 0.0) if strangers else 0.0
        load = gpus[gpu] = _load(gpu, on_card, busy, stranger_ratio, policy)
        usual_by_gpu[gpu] = sum([smoothed[key] for key in ids]) + stranger_ratio
        if load.unread or on_card[0].gpu.uuid is None:
            used |= _used_unseen(load, on_card, read)
        else:
            beside, shares = _on_card(load, on_card, busy)
            neighbours.update(zip(ids, beside, strict=True))
            used.update(zip(ids, shares, strict=True))
    return Contention(
        readings=readings,
        gpus=gpus,
        slots=slots,
        slots_by_gpu=by_gpu,
        card_of={key: gpu for gpu, ids in ids_by_gpu.items() for key in ids},
        neighbours=neighbours,
        used=used,
        usual=smoothed,
        usual_by_gpu=usual_by_gpu,
    )


def _by_card(inventory: Inventory) -> tuple[dict[str, Slot], dict[str, list[str]]]:
    """Every slot by its id, and those of each card."""
    slots: dict[str, Slot] = {}
    ids_by_gpu: dict[str, list[str]] = {}
    for node in inventory.nodes:
        for slot in node.slots:
            slot_id = slot.slot_id
            slots[slot_id] = slot
            ids_by_gpu.setdefault(slot.gpu_key, []).append(slot_id)
    return slots, ids_by_gpu


def _on_card(load: GpuLoad, slots: Sequence[Slot], busy: list[float]) -> tuple[list[Beside], list[float]]:
    """What each slot of a card meets there, given what every one of them uses; and what it uses of its share."""
    policy, held, mosts = load.policy, load.held, _most_by_slot(slots)
    active = sum([ratio > BUSY_RATIO for ratio in busy])
    shares = _shares(load, active, mosts)
    cedes, before = policy is SchedulerPolicy.BEST_EFFORT, 0.0
    beside, used = list[Beside](), list[float]()
    for place, (slot, own_ratio, most, share) in enumerate(zip(slots, busy, mosts, shares, strict=True)):
        # Not the whole less its own: what is left of rounding would be a neighbour that uses next to nothing.
        others_ratio = sum(busy[place + 1 :], before)
        before += own_ratio
        others = active - 1 if own_ratio > BUSY_RATIO else active
        attached = held if slot.holder is not None else held + 1
        beside.append(Beside(policy, own_ratio, others_ratio, attached, others, most))
        # It cedes what the others leave: beside a neighbour at 10 % a slot can have 90 %, not a half.
        entitled = 1 - others_ratio if cedes and 1 - others_ratio > share else share
        used.append(own_ratio / entitled if own_ratio < entitled else 1.0)
    return beside, used


def _shares(load: GpuLoad, active: int, mosts: Sequence[int]) -> list[float]:
    """The part of the engine that each slot of a card is entitled to, so many of them with work."""
    policy = load.policy
    if policy is SchedulerPolicy.FIXED_SHARE:
        return [_entitled_ratio(policy, 1, 0, most) for most in mosts]
    busy = active if policy is SchedulerPolicy.BEST_EFFORT else 0
    # Cards that mix sizes run more vGPUs than the largest profile alone would allow.
    by_most = {most: _entitled_ratio(policy, load.slots, busy, max(most, load.slots)) for most in set(mosts)}
    return [by_most[most] for most in mosts]


def _used_unseen(load: GpuLoad, slots: Sequence[Slot], read: Sequence[SlotReading | None]) -> dict[str, float]:
    """The same on a card that is not known or not wholly read: only for shares that do not depend on neighbours."""
    if load.policy is SchedulerPolicy.BEST_EFFORT:
        return {}  # a neighbour nobody knows of may be busy or not
    if load.policy is SchedulerPolicy.EQUAL_SHARE and slots[0].gpu.uuid is None:
        return {}
    used: dict[str, float] = {}
    for reading, most in zip(read, _most_by_slot(slots), strict=True):
        if reading is not None:
            running = 1 if load.policy is SchedulerPolicy.FIXED_SHARE else load.slots
            used[reading.slot_id] = min(
                1.0, reading.busy_ratio / _entitled_ratio(load.policy, running, 0, max(most, running))
            )
    return used


def _most_by_slot(slots: Sequence[Slot]) -> list[int]:
    """How many vGPUs of its profile one card runs, for each slot of a card."""
    if len({id(slot.profile) for slot in slots}) == 1:  # nearly always: one look-up for the whole card
        return [_most_per_gpu(slots[0].profile)] * len(slots)
    return [_most_per_gpu(slot.profile) for slot in slots]


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


@lru_cache(maxsize=256)
def _most_per_gpu(profile: SlotType) -> int:
    return profile.most_per_gpu


def _load(
    gpu: str, slots: tuple[Slot, ...], busy: Sequence[float], stranger_ratio: float, policy: PolicySettings
) -> GpuLoad:
    card, busy_ratio = slots[0].gpu, sum(busy) + stranger_ratio
    shared = card.uuid is not None and card.policy is not SchedulerPolicy.FIXED_SHARE
    return GpuLoad(
        gpu=gpu,
        policy=card.policy,
        slots=len(at_once(slots)),
        held=sum([slot.holder is not None for slot in slots]),
        busy_ratio=busy_ratio,
        unread=len(slots) - len(busy),
        saturated=shared and busy_ratio >= policy.saturated_ratio,
    )
