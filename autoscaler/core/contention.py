"""What the slots of one GPU do to each other: how much of its entitlement a slot uses, which cards are saturated.

The device's utilization is never a target. It says how full a slot is against its share (a fixed-share 8q slot of a
16 GB board is full at half of the physical engine) and where another replica could not help. A reading that is missing
is never taken for an idle slot.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from autoscaler.core.observation import Missing, MissingReason, Observation, SlotReading, Source
from autoscaler.core.spec import PolicySettings
from vgpu.core.inventory import Inventory, Slot
from vgpu.core.share import SchedulerPolicy, entitled_ratio

# NVML counts in steps of 1 %, and an idle guest still shows one or two: below this a neighbour is at rest.
BUSY_RATIO = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuLoad:
    """One card as its slots show it."""

    gpu: str
    """Its UUID, or "below NODE" where that is not known."""
    policy: SchedulerPolicy
    slots: int
    held: int
    busy_ratio: float
    """The sum over its slots with a fresh reading, a part of the physical engine."""
    unread: int
    """Slots without a fresh reading; above 0, `busy_ratio` is only a lower bound."""
    saturated: bool
    """The engine has nothing left and a further replica would only slow the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contention:
    """Every card and every slot at one moment."""

    readings: Mapping[str, SlotReading | Missing]
    gpus: Mapping[str, GpuLoad]
    slots: Mapping[str, Slot]
    slots_by_gpu: Mapping[str, tuple[Slot, ...]]

    def used_of_entitled(self, slot_id: str) -> float | None:
        """The slot's engine use as a part of what it is entitled to, 0 to 1; None where that cannot be said."""
        reading = self.readings.get(slot_id)
        if not isinstance(reading, SlotReading):
            return None
        entitled = self._entitled(self.slots[slot_id])
        return None if entitled is None else min(1.0, reading.busy_ratio / entitled)

    def crowding(self, gpu: str) -> float:
        """How much a new replica would meet on this card, 0 (nothing) to 1, in tenths so that noise decides nothing."""
        load = self.gpus[gpu]
        if load.policy is SchedulerPolicy.FIXED_SHARE:
            return 0.0
        neighbours = load.held / load.slots
        if load.unread:
            return round(max(neighbours, load.busy_ratio), 1)
        # Under equal share an idle neighbour takes its turn all the same.
        idle_costs = load.policy is SchedulerPolicy.EQUAL_SHARE
        return round(max(load.busy_ratio, neighbours if idle_costs else 0.0), 1)

    def _entitled(self, slot: Slot) -> float | None:
        most = slot.profile.most_per_gpu
        if slot.gpu.policy is SchedulerPolicy.FIXED_SHARE:
            return entitled_ratio(slot.gpu.policy, running=1, busy=0, most_per_gpu=most)
        if slot.gpu.uuid is None:
            return None  # unknown neighbours
        on_card = self.slots_by_gpu[slot.gpu_key]
        busy = {
            neighbour.slot_id: reading.busy_ratio
            for neighbour in on_card
            if isinstance(reading := self.readings.get(neighbour.slot_id), SlotReading)
        }
        running = len(on_card)
        most = max(most, running)  # cards that mix sizes run more vGPUs than the largest profile alone would allow
        if slot.gpu.policy is SchedulerPolicy.EQUAL_SHARE:
            return entitled_ratio(slot.gpu.policy, running=running, busy=0, most_per_gpu=most)
        if len(busy) < running:
            return None  # an unread neighbour may be busy or not
        active = sum(ratio > BUSY_RATIO for ratio in busy.values())
        fair = entitled_ratio(slot.gpu.policy, running=running, busy=active, most_per_gpu=most)
        # Best effort cedes what the others leave: beside a neighbour at 10 % a slot can have 90 %, not a half.
        left_over = 1 - sum(ratio for slot_id, ratio in busy.items() if slot_id != slot.slot_id)
        return max(fair, left_over)


def measure(inventory: Inventory, seen: Observation, policy: PolicySettings, now_s: float) -> Contention:
    """Put this tick's slot readings onto the cards of the inventory."""
    taken = {reading.slot_id: reading for reading in seen.slots}
    readings: dict[str, SlotReading | Missing] = {}
    for slot in inventory.slots:
        reading = taken.get(slot.slot_id)
        if reading is None:
            readings[slot.slot_id] = seen.why_missing(Source.SLOT, slot.slot_id)
        elif now_s - reading.at_s > policy.max_age_s:
            readings[slot.slot_id] = Missing(
                source=Source.SLOT, name=slot.slot_id, reason=MissingReason.STALE, age_s=now_s - reading.at_s
            )
        else:
            readings[slot.slot_id] = reading
    by_gpu = inventory.slots_by_gpu()
    gpus = {gpu: _load(gpu, slots, readings, policy) for gpu, slots in by_gpu.items()}
    return Contention(readings=readings, gpus=gpus, slots=inventory.slots_by_id(), slots_by_gpu=by_gpu)


def _load(
    gpu: str, slots: tuple[Slot, ...], readings: Mapping[str, SlotReading | Missing], policy: PolicySettings
) -> GpuLoad:
    busy = [reading.busy_ratio for slot in slots if isinstance(reading := readings[slot.slot_id], SlotReading)]
    card = slots[0].gpu
    shared = card.uuid is not None and card.policy is not SchedulerPolicy.FIXED_SHARE
    return GpuLoad(
        gpu=gpu,
        policy=card.policy,
        slots=len(slots),
        held=sum(slot.holder is not None for slot in slots),
        busy_ratio=sum(busy),
        unread=len(slots) - len(busy),
        saturated=shared and sum(busy) >= policy.saturated_ratio,
    )
