"""Each slot's fresh reading, or why there is none.

A profile's slot is a device with a reading of its own. A fraction is a part of a card that many share: its reading is
the sum of its tenant's processes, and the card has one too, which says whether somebody was left out.
"""

from collections.abc import Collection, Mapping

from autoscaler.core.observation import Missing, MissingReason, Observation, SlotReading, Source
from autoscaler.core.spec import PolicySettings
from vgpu.core.inventory import Directory, Slot
from vgpu.core.slot_type import Fraction

# NVML counts a card's time and its processes' apart, in steps of 1 % and over different samples.
UNEXPLAINED_RATIO = 0.15


def fresh_readings(
    directory: Directory, seen: Observation, policy: PolicySettings, now_s: float
) -> tuple[dict[str, SlotReading | Missing], dict[str, float]]:
    """Each slot's fresh reading, or why there is none; and by shared card, what strangers use of it."""
    taken = {reading.slot_id: reading for reading in seen.slots}
    told = seen.missing_by_name(Source.SLOT)
    strangers = _unexplained(directory, taken)
    slots, max_age_s = directory.slots, policy.max_age_s
    readings: dict[str, SlotReading | Missing] = {
        slot_id: reading
        for slot_id, reading in zip(slots, map(taken.get, slots), strict=True)
        if reading is not None and now_s - reading.at_s <= max_age_s
    }
    if len(readings) < len(slots):  # nearly always all were read
        for slot_id, slot in slots.items():
            if slot_id not in readings:
                readings[slot_id] = _unread(slot, taken, told, strangers, now_s, max_age_s)
    return readings, strangers


def _unread(
    slot: Slot,
    taken: Mapping[str, SlotReading],
    told: Mapping[str, Missing],
    strangers: Collection[str],
    now_s: float,
    max_age_s: float,
) -> SlotReading | Missing:
    """Why a slot has no fresh reading of its own; or what its card's says of it."""
    slot_id = slot.slot_id
    reading = taken.get(slot_id)
    if reading is None and isinstance(slot.profile, Fraction) and slot_id not in told:
        reading = _at_rest(slot, taken, strangers)
    if reading is None:
        return told.get(slot_id) or Missing(source=Source.SLOT, name=slot_id, reason=MissingReason.NOT_SEEN)
    age_s = now_s - reading.at_s
    if age_s <= max_age_s:
        return reading
    return Missing(source=Source.SLOT, name=slot_id, reason=MissingReason.STALE, age_s=age_s)


def card_id(slot: Slot) -> str:
    """What the exporter calls the whole of a card that a node has and shares."""
    return f"{slot.node}/{slot.gpu.index}"


def _unexplained(directory: Directory, taken: Mapping[str, SlotReading]) -> dict[str, float]:
    """By shared card: what it is used beyond what its tenants say that they use, where that is more than chance."""
    left: dict[str, float] = {}
    for slot_id, slot in [
        each for card in directory.cards.values() if card.has_fractions for each in card.slots.items()
    ]:
        if isinstance(slot.profile, Fraction) and (card := taken.get(card_id(slot))) is not None:
            tenant = taken.get(slot_id)
            use = 0.0 if tenant is None else tenant.busy_ratio
            left[card.slot_id] = left.get(card.slot_id, card.busy_ratio) - use
    return {card: ratio for card, ratio in left.items() if ratio > UNEXPLAINED_RATIO}


def _at_rest(slot: Slot, taken: Mapping[str, SlotReading], strangers: Collection[str]) -> SlotReading | None:
    """A fraction is its tenant's processes: without one it uses nothing, if all that the card does is somebody's.

    What nobody accounts for may be this tenant's, whose processes could not be told, or a stranger's: then the slot is
    not at rest but unknown, and so are its neighbours' chances.
    """
    card = taken.get(card_id(slot))
    if card is None or card.slot_id in strangers:
        return None
    return SlotReading(slot_id=slot.slot_id, at_s=card.at_s, busy_ratio=0.0)
