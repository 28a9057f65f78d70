"""Which profile label a node of these cards must carry, and whether the one it carries is true. Pure.

Rule: an absent label is derived, a present one is never changed; where it and the devices disagree both are told.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from vgpu.core import names, offer
from vgpu.core.profile import Profile, ProfileError, parse_profile
from vgpu.core.share import UNITS_PER_GPU
from vgpu.deviceplugin.devices import Card, Catalogue


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What to do about a node's label. `is_known` is False while no card has been seen: then nothing is done."""

    is_known: bool
    write: str = ""
    conflict: str = ""


def judge(labels: Mapping[str, str], cards: tuple[Card, ...]) -> Verdict:
    """Compare a node's labels with its cards."""
    if not cards:
        return Verdict(is_known=False)
    if doubt := next((card.label_doubt for card in cards if card.label_doubt), ""):
        return Verdict(is_known=True, conflict=f"device and driver disagree: {doubt}")
    derived = sorted({card.profile for card in cards if card.profile is not None}, key=lambda profile: profile.label)
    carried = {key: labels[key] for key in (names.LABEL_PROFILE, names.LABEL_PROFILE_LEGACY) if labels.get(key)}
    if len(derived) > 1 or (derived and any(card.profile is None for card in cards)):
        devices = ", ".join(sorted({card.name for card in cards}))
        return Verdict(
            is_known=True, conflict=f"one label cannot name devices of several types ({devices}); give one type a node"
        )
    conflict = _conflict(carried, derived[0] if derived else None, cards)
    is_absent = not conflict and bool(derived) and names.LABEL_PROFILE not in carried
    return Verdict(is_known=True, conflict=conflict, write=derived[0].label if is_absent else "")


def render_offer(catalogue: Catalogue) -> str:
    """The cards as the annotation that schedulers read has them; the framebuffer is that of the whole GPU below."""
    return offer.render_gpus(
        tuple(
            offer.OfferedGpu(
                index=index,
                uuid=card.uuid,
                framebuffer_mib=card.framebuffer_mib * UNITS_PER_GPU // card.units,
                units=catalogue.count(card) * catalogue.units_per_device,
                healthy=card.healthy,
            )
            for index, card in enumerate(catalogue.cards)
        )
    )


def _conflict(carried: Mapping[str, str], derived: Profile | None, cards: tuple[Card, ...]) -> str:
    for key, text in carried.items():
        try:
            said = parse_profile(text)
        except ProfileError as fault:
            return f"label {key}: {fault}"
        if derived is None:
            return f"label {key}={text} and device {cards[0].name!r}, which is no vGPU; remove the label"
        if said != derived:
            return f"label {key}={text} and device {cards[0].name!r} disagree; the device is {derived.label}"
    return ""
