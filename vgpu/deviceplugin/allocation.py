"""Which card a container gets for the device IDs that the kubelet chose, and which IDs the kubelet should choose.

Both are functions of the IDs and the catalogue alone: nothing is remembered between calls, so that calls repeated after
a kubelet restart, or made in any order, give the same answers.
Rule: a fraction lies on one card. Only wholly taken physical GPUs may come several at a time.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from vgpu.core import names
from vgpu.core.share import UNITS_PER_GPU, SchedulerPolicy
from vgpu.deviceplugin.devices import Card, Catalogue, device_id, shorten


class RefusalReason(StrEnum):
    """Why an allocation cannot be."""

    NO_DEVICES = "no_devices"
    REPEATED_DEVICE = "repeated_device"
    UNKNOWN_DEVICE = "unknown_device"
    UNHEALTHY_GPU = "unhealthy_gpu"
    SEVERAL_GPUS = "several_gpus"
    NO_ROOM = "no_room"


class AllocationRefused(Exception):
    """Devices that no container can be given together."""

    def __init__(self, reason: RefusalReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """What one container gets: `units` of each card, from `first_unit` on as a name, for units have no places."""

    cards: tuple[Card, ...]
    units: int
    first_unit: int

    @property
    def framebuffer_mib(self) -> int:
        """MiB of each card, in proportion to the units; the least of them where the cards differ."""
        return min(max(1, card.framebuffer_mib * self.units // card.units) for card in self.cards)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotFacts:
    """What every slot of this node has in common. With a CDI kind the runtime is told of GPUs by CDI alone."""

    node: str
    policy: SchedulerPolicy
    device_kind: str
    cdi_kind: str = ""


def check_known(catalogue: Catalogue, device_ids: Sequence[str]) -> dict[str, list[int]]:
    """The first units of the devices, sorted, by the UUID of their card; refuse what this node does not have."""
    if not device_ids:
        raise AllocationRefused(RefusalReason.NO_DEVICES, "the request names no device")
    found = {wanted: catalogue.find(wanted) for wanted in device_ids}
    if len(found) < len(device_ids):
        raise AllocationRefused(RefusalReason.REPEATED_DEVICE, f"a device is named twice among {shorten(device_ids)}")
    if unknown := [wanted for wanted, place in found.items() if place is None]:
        raise AllocationRefused(
            RefusalReason.UNKNOWN_DEVICE,
            f"no such device here: {shorten(unknown)}; this node advertises {_known(catalogue)}",
        )
    firsts: dict[str, list[int]] = {}
    for place in found.values():
        if place is not None:
            firsts.setdefault(place[0].uuid, []).append(place[1])
    return {uuid: sorted(units) for uuid, units in firsts.items()}


def allocate(catalogue: Catalogue, device_ids: Sequence[str]) -> Allocation:
    """Find the card of one container's devices; AllocationRefused where they cannot be had together."""
    firsts = check_known(catalogue, device_ids)
    cards = tuple(card for card in catalogue.cards if card.uuid in firsts)
    for card in cards:
        if not card.healthy:
            raise AllocationRefused(RefusalReason.UNHEALTHY_GPU, f"GPU {card.uuid}: {card.unhealthy_because}")
    if len(cards) > 1 and not all(_is_whole(catalogue, card, len(firsts[card.uuid])) for card in cards):
        parts = ", ".join(f"{len(firsts[card.uuid]) * catalogue.units_per_device} of {card.uuid}" for card in cards)
        raise AllocationRefused(
            RefusalReason.SEVERAL_GPUS,
            f"units of several GPUs for one container ({parts}); a fraction lies on one GPU, and several GPUs come "
            f"whole: ask for at most {UNITS_PER_GPU} units or a multiple of {UNITS_PER_GPU}",
        )
    first = cards[0]
    units = len(firsts[first.uuid]) * catalogue.units_per_device
    return Allocation(cards=cards, units=units, first_unit=firsts[first.uuid][0])


def environment(allocation: Allocation, facts: SlotFacts) -> dict[str, str]:
    """The variables of the slot, as `serving/slot.py` reads them; worker and addresses are the pod's own to say."""
    card, uuids = allocation.cards[0], ",".join(card.uuid for card in allocation.cards)
    is_whole = allocation.units == card.units
    profile, slot_id = f"fraction-{allocation.units}", f"{facts.node}/{card.index}"
    if is_whole and card.profile is not None:
        profile = card.profile.label
    if not is_whole:
        slot_id += f".{allocation.first_unit}"
    is_mig = card.profile is not None and card.profile.mig_slices is not None
    by_variable = {} if facts.cdi_kind else {names.ENV_NVIDIA_VISIBLE_DEVICES: uuids}
    return by_variable | {
        names.ENV_VISIBLE_DEVICES: uuids,
        names.ENV_SLOT_ID: slot_id,
        names.ENV_SLOT_PROFILE: profile,
        names.ENV_SLOT_UNITS: str(allocation.units),
        names.ENV_SLOT_FRAMEBUFFER_MIB: str(allocation.framebuffer_mib),
        names.ENV_SLOT_MOST_PER_GPU: str(_most_per_gpu(card, allocation.units)),
        names.ENV_SLOT_POLICY: str(SchedulerPolicy.FIXED_SHARE if is_mig else facts.policy),
        names.ENV_DEVICE_KIND: facts.device_kind,
    }


def cdi_devices(allocation: Allocation, facts: SlotFacts) -> tuple[str, ...]:
    """The full CDI names of the cards, none without a kind."""
    return tuple(f"{facts.cdi_kind}={card.uuid}" for card in allocation.cards if facts.cdi_kind)


def prefer(catalogue: Catalogue, available: Iterable[str], must_include: Sequence[str], size: int) -> tuple[str, ...]:
    """Choose `size` devices of one card: of those with room the one with the least, lowest units first.

    More than any card has are whole physical GPUs of one size. Devices that this node does not know are passed over,
    except among those that must be included. AllocationRefused where nothing fits.
    """
    must = check_known(catalogue, must_include) if must_include else {}
    if size < max(1, len(must_include)):
        raise AllocationRefused(
            RefusalReason.NO_DEVICES, f"{size} devices are asked for and {len(must_include)} must be included"
        )
    free = _free_units(catalogue, available, must)
    if size > max((catalogue.count(card) for card in catalogue.cards), default=0):
        chosen = _whole_gpus(catalogue, free, must, size)
    else:
        chosen = (_tightest(catalogue, free, must, size),)
    share = size // len(chosen)
    return tuple(
        device_id(card.uuid, first)
        for card in chosen
        for first in sorted(free[card.uuid], key=lambda unit: (unit not in must.get(card.uuid, ()), unit))[:share]
    )


def _free_units(catalogue: Catalogue, available: Iterable[str], must: Mapping[str, list[int]]) -> dict[str, set[int]]:
    free = {card.uuid: set(must.get(card.uuid, ())) for card in catalogue.cards}
    for offered in available:
        if (place := catalogue.find(offered)) is not None and place[0].healthy:
            free[place[0].uuid].add(place[1])
    return free


def _tightest(catalogue: Catalogue, free: Mapping[str, set[int]], must: Mapping[str, list[int]], size: int) -> Card:
    fitting = [
        card for card in catalogue.cards if len(free[card.uuid]) >= size and set(must) <= {card.uuid} and card.healthy
    ]
    if not fitting:
        held = f", {shorten(list(must))} must be part of it" if must else ""
        room = ", ".join(f"{card.uuid} {len(free[card.uuid])}" for card in catalogue.cards) or "none here"
        raise AllocationRefused(
            RefusalReason.NO_ROOM, f"no GPU has {size} free devices of its own{held}; free by GPU: {room}"
        )
    return min(fitting, key=lambda card: (len(free[card.uuid]), card.index, card.uuid))


def _whole_gpus(
    catalogue: Catalogue, free: Mapping[str, set[int]], must: Mapping[str, list[int]], size: int
) -> tuple[Card, ...]:
    per_gpu = UNITS_PER_GPU // catalogue.units_per_device
    count, rest = divmod(size, per_gpu)
    whole = [card for card in catalogue.cards if _is_whole(catalogue, card, len(free[card.uuid])) and card.healthy]
    by_size: dict[int, list[Card]] = {}
    for card in sorted(whole, key=lambda card: (card.uuid not in must, card.index, card.uuid)):
        by_size.setdefault(card.framebuffer_mib, []).append(card)
    for _, alike in sorted(by_size.items()):
        if rest == 0 and len(alike) >= count and set(must) <= {card.uuid for card in alike[:count]}:
            return tuple(sorted(alike[:count], key=lambda card: card.index))
    raise AllocationRefused(
        RefusalReason.NO_ROOM,
        f"{size * catalogue.units_per_device} units are more than one GPU; they must be whole free GPUs of one size, "
        f"multiples of {UNITS_PER_GPU}, and {len(whole)} are free",
    )


def _is_whole(catalogue: Catalogue, card: Card, devices: int) -> bool:
    return card.is_whole_gpu and devices == catalogue.count(card)


def _most_per_gpu(card: Card, units: int) -> int:
    """How many such slots one physical GPU holds, when all have this size."""
    return (card.profile.most_per_gpu if card.profile else 1) * (card.units // units)


def _known(catalogue: Catalogue) -> str:
    return shorten([f"{catalogue.count(card)} of {card.uuid}" for card in catalogue.cards]) or "none yet"
