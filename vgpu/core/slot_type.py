"""What a worker pool asks for: a vGPU profile, or a fraction of any card in units.

A profile is a size that the driver cuts beforehand, and a node says which one it has. A fraction is cut when a pod is
placed: 500 is half of whatever card has half of its units left. Both are written in one place, a model's `slot`.
"""

import re
from dataclasses import dataclass

from vgpu.core.profile import Profile, ProfileError, parse_profile
from vgpu.core.share import UNITS_PER_GPU

_FRACTION = re.compile(r"fraction[:-](?P<units>[0-9]{1,6})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fraction:
    """So many of the 1000 units of one card. Which card it will be, and so how many MiB, nobody knows beforehand."""

    units: int

    def __post_init__(self) -> None:
        if not 1 <= self.units <= UNITS_PER_GPU:
            raise ProfileError(f"a fraction of {self.units} units; write 1 to {UNITS_PER_GPU}, the whole card")

    @property
    def board(self) -> str:
        """None of its own: it may lie on any."""
        return ""

    @property
    def label(self) -> str:
        """Its name where a label must hold it: fraction-500."""
        return f"fraction-{self.units}"

    @property
    def most_per_gpu(self) -> int:
        """How many of this size one card has room for."""
        return UNITS_PER_GPU // self.units

    def framebuffer_mib_of(self, card_mib: int) -> int:
        """Its part of a card's framebuffer, rounded down, so that shares never add up to more than the card."""
        return card_mib * self.units // UNITS_PER_GPU


SlotType = Profile | Fraction


def parse_slot_type(text: str) -> SlotType:
    """Read fraction:500, or what `parse_profile` reads. Raises `ProfileError`."""
    if match := _FRACTION.fullmatch(text.strip().lower()):
        return Fraction(units=int(match["units"]))
    if text.strip().lower().startswith("fraction"):
        raise ProfileError(f"{text!r} is no fraction; write fraction:500 for half of a card")
    return parse_profile(text)


def parse_slot_types(given: object) -> tuple[SlotType, ...]:
    """Parse one slot type, or a list of several that are all different; raise `ProfileError` naming the entry."""
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list | tuple):
        raise ProfileError(f"{given!r} is no slot type; write one such as v100-8q-8GB, or a list of several")
    if not texts:
        raise ProfileError("the list is empty; name at least one slot type")
    found: dict[SlotType, str] = {}
    for text in texts:
        if not isinstance(text, str):
            raise ProfileError(f"{text!r} in the list is no slot type; write one such as v100-8q-8GB")
        shape = parse_slot_type(text)
        if shape in found:
            raise ProfileError(f"{found[shape]!r} and {text!r} are the same slot type; name it once")
        found[shape] = text
    if sum(isinstance(shape, Fraction) for shape in found) > 1:
        raise ProfileError(f"{', '.join(found.values())}: a model takes one size of fraction; name one")
    return tuple(found)
