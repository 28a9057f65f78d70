"""What NVML read becomes cards: which are advertised, which are not well, which are refused and why.

A card seen once stays advertised, unhealthy, while the driver cannot read it: the kubelet would otherwise forget the
containers on it. It is healthy again with the first good reading. Pure: readings, time and memory are arguments.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from vgpu.adapters.nvml import DeviceReading, Missing, VirtualizationMode
from vgpu.core.profile import Profile, ProfileError, parse_profile
from vgpu.core.share import UNITS_PER_GPU
from vgpu.deviceplugin.devices import LONGEST_ID, Card, device_id

# A driver may keep a part of the framebuffer for itself, and never adds any. The nearest sizes that NVIDIA sells of one
# board are 4 and 5 GB, 20 % apart: 10 % stay well between.
LEAST_READ_PERCENT = 90


class RefusedBecause(StrEnum):
    """Why a GPU is not advertised."""

    NO_UUID = "no_uuid"
    LONG_UUID = "long_uuid"
    REPEATED_UUID = "repeated_uuid"
    MEMORY_UNKNOWN = "memory_unknown"
    TOO_SMALL = "too_small"
    VGPU_HOST = "vgpu_host"
    UNKNOWN_PROFILE = "unknown_profile"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A GPU that is not advertised; the sentence names it and the remedy."""

    index: int
    because: RefusedBecause
    message: str
    uuid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """A critical error (XID) that the driver told of; uuid None where it did not say of which GPU."""

    uuid: str | None
    xid: int
    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """The cards of this node at one moment, by index, and the GPUs that are none of them."""

    cards: tuple[Card, ...]
    refusals: tuple[Refusal, ...] = ()


def take(
    readings: tuple[DeviceReading, ...] | Missing, known: Iterable[Card] = (), *, units_per_device: int = 1
) -> Survey:
    """Read cards; `known` are those of the survey before."""
    before = {card.uuid: card for card in known}
    if isinstance(readings, Missing):
        return Survey(cards=tuple(_unwell(card, _why(readings)) for card in before.values()))
    cards: dict[str, Card] = {}
    refusals: list[Refusal] = []
    for reading in readings:
        read = _parse(reading, before, units_per_device)
        if isinstance(read, Card) and read.uuid in cards:
            message = f"GPU {reading.index}: the driver gives UUID {read.uuid} to another one too; reset the node"
            read = Refusal(index=reading.index, because=RefusedBecause.REPEATED_UUID, message=message, uuid=read.uuid)
        if isinstance(read, Card):
            cards[read.uuid] = read
        else:
            refusals.append(read)
    refused = {refusal.uuid: refusal.message for refusal in refusals}
    gone = [
        _unwell(card, refused.get(uuid, "the driver no longer lists it"))
        for uuid, card in before.items()
        if uuid not in cards
    ]
    ordered = sorted([*cards.values(), *gone], key=lambda card: (card.index, card.uuid))
    return Survey(cards=tuple(ordered), refusals=tuple(refusals))


def with_strikes(survey: Survey, strikes: Iterable[Strike], *, now_s: float, quiet_s: float) -> Survey:
    """Make cards unhealthy for `quiet_s` after a critical error; those without a GPU's name strike all."""
    recent = [strike for strike in strikes if now_s < strike.at_s + quiet_s]
    return replace(survey, cards=tuple(_struck(card, recent) for card in survey.cards))


def with_stale_readings(survey: Survey, *, because: str) -> Survey:
    """Make every card unhealthy, for nobody knows how it is."""
    return replace(survey, cards=tuple(_unwell(card, because) for card in survey.cards))


def _struck(card: Card, recent: Iterable[Strike]) -> Card:
    last = max((strike for strike in recent if strike.uuid in (None, card.uuid)), key=lambda s: s.at_s, default=None)
    if last is None or not card.healthy:
        return card
    return _unwell(card, f"the driver told of XID {last.xid}{'' if last.uuid else ' without saying of which GPU'}")


def _unwell(card: Card, why: str) -> Card:
    return replace(card, unhealthy_because=why)


def _parse(reading: DeviceReading, before: Mapping[str, Card], units_per_device: int) -> Card | Refusal:
    def refuse(because: RefusedBecause, message: str) -> Refusal:
        uuid = "" if isinstance(reading.uuid, Missing) else reading.uuid
        return Refusal(index=reading.index, because=because, message=f"GPU {reading.index}: {message}", uuid=uuid)

    if isinstance(reading.uuid, Missing):
        return refuse(RefusedBecause.NO_UUID, f"no UUID ({_why(reading.uuid)}), so no device can be named after it")
    if len(device_id(reading.uuid, UNITS_PER_GPU)) > LONGEST_ID:
        return refuse(RefusedBecause.LONG_UUID, f"UUID {reading.uuid} leaves no room for a device ID")
    if reading.virtualization_mode is VirtualizationMode.VGPU_HOST:
        return refuse(RefusedBecause.VGPU_HOST, f"{reading.uuid} belongs to the guests of this vGPU host; run there")
    known = before.get(reading.uuid)
    total_mib = reading.memory_total_mib
    if isinstance(total_mib, Missing) or total_mib < 1:
        why = _why(total_mib) if isinstance(total_mib, Missing) else f"the driver says {total_mib} MiB"
        if known is not None:
            return _unwell(known, f"its framebuffer cannot be read, {why}")
        return refuse(
            RefusedBecause.MEMORY_UNKNOWN,
            f"{reading.uuid} is not advertised, its framebuffer is unknown ({why}); mend the driver, it is read again",
        )
    name = known.name if known and isinstance(reading.name, Missing) else reading.name
    card = _card(reading.index, reading.uuid, "unknown" if isinstance(name, Missing) else name, total_mib)
    if card.profile is None and reading.virtualization_mode is VirtualizationMode.VGPU_GUEST:
        return refuse(
            RefusedBecause.UNKNOWN_PROFILE,
            f"{reading.uuid} is a vGPU of type {card.name!r}, of unknown size; add its board to vgpu/core/profile.py",
        )
    if card.units < units_per_device:
        return refuse(
            RefusedBecause.TOO_SMALL,
            f"{reading.uuid} has {card.units} units, less than one device of {units_per_device}; "
            "choose a smaller --units-per-device",
        )
    return card if reading.healthy else _unwell(card, "the driver does not answer for it")


def _card(index: int, uuid: str, name: str, framebuffer_mib: int) -> Card:
    profile = _profile(name)
    doubt = ""
    if profile is not None and not _is_about(framebuffer_mib, profile.framebuffer_mib):
        doubt = f"{name!r} has {profile.framebuffer_mib} MiB and the driver reads {framebuffer_mib} MiB"
    return Card(
        index=index,
        uuid=uuid,
        name=name,
        units=profile.units if profile else UNITS_PER_GPU,
        framebuffer_mib=framebuffer_mib,
        profile=profile,
        label_doubt=doubt,
    )


def _profile(name: str) -> Profile | None:
    """The profile that a vGPU's name carries; None for a physical GPU, and for types not known here."""
    try:
        return parse_profile(name)
    except ProfileError:
        return None


def _is_about(read_mib: int, nominal_mib: int) -> bool:
    return LEAST_READ_PERCENT * nominal_mib <= 100 * read_mib <= 100 * nominal_mib


def _why(missing: Missing) -> str:
    return missing.detail or missing.reason
