"""Cards as this node advertises them, and the devices that the kubelet counts: pure arithmetic over names and units.

A device's ID is `<uuid>-<first unit>`, so the same card gives the same IDs for as long as it has the same size.
Rule: a device lies on one card and stands for `units_per_device` units; what a card has beyond whole devices is left.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from vgpu.core.profile import Profile
from vgpu.core.share import UNITS_PER_GPU

LONGEST_ID = 63  # characters, says the protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What NVML shows under one UUID: a physical GPU, or a guest's vGPU, which is `units` of the GPU below it."""

    index: int
    uuid: str
    name: str
    units: int
    framebuffer_mib: int
    profile: Profile | None = None
    unhealthy_because: str = ""
    label_doubt: str = ""
    """Why no profile label can be derived although the name is that of a vGPU."""

    @property
    def healthy(self) -> bool:
        return not self.unhealthy_because

    @property
    def is_whole_gpu(self) -> bool:
        return self.units == UNITS_PER_GPU


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """All devices of this node at one moment, cards in NVML's order."""

    cards: tuple[Card, ...]
    units_per_device: int

    def count(self, card: Card) -> int:
        """How many devices a card gives."""
        return card.units // self.units_per_device

    def ids(self, card: Card) -> tuple[str, ...]:
        """The IDs of a card's devices, by first unit."""
        return tuple(device_id(card.uuid, step * self.units_per_device) for step in range(self.count(card)))

    def find(self, wanted: str) -> tuple[Card, int] | None:
        """The card and the first unit of a device; None when no card has that device."""
        uuid, _, digits = wanted.rpartition("-")
        card = next((card for card in self.cards if card.uuid == uuid), None)
        if card is None or not (digits.isascii() and digits.isdecimal()) or str(int(digits)) != digits:
            return None
        step, rest = divmod(int(digits), self.units_per_device)
        return (card, int(digits)) if rest == 0 and step < self.count(card) else None

    def healthy_count(self) -> int:
        """How many devices can be had."""
        return sum(self.count(card) for card in self.cards if card.healthy)


def device_id(uuid: str, first_unit: int) -> str:
    """Name the device that begins at a unit of a card."""
    return f"{uuid}-{first_unit}"


def shorten(device_ids: Sequence[str], most: int = 3) -> str:
    """Write out the first few of a list that may hold a thousand."""
    shown = ", ".join(device_ids[:most])
    return shown if len(device_ids) <= most else f"{shown} and {len(device_ids) - most} more"
