"""The slot of a pod on an emulated node, and what its container is told of it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from autoscaler.embedded import downward
from autoscaler.embedded.downward import Json
from autoscaler.embedded.fleet import Card, slot_uuid
from vgpu.core import names
from vgpu.core.slot_environment import slot_environment


class Unfit(ValueError):
    """The embedded kubelet cannot run this pod; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSlot:
    """What a pod got: the slot of the emulated card that plays it, and its container's environment."""

    part: str
    environment: Mapping[str, str]


def slot(pod: Json, card: Card, card_uuid: str, taken: Collection[str]) -> PodSlot | None:
    """The pod's slot; None while all of a shared card's parts are `taken`. Raises `Unfit`."""
    if card.is_shared:
        return _part(pod, card, card_uuid, taken)
    slot_id = (pod["metadata"].get("annotations") or {}).get(names.ANNOTATION_SLOT, card.slots[0])
    given = _told(card, slot_id, card.slot_framebuffer_mib)
    return PodSlot(part=slot_id, environment=given | {names.ENV_VISIBLE_DEVICES: slot_uuid(slot_id)})


def _part(pod: Json, card: Card, card_uuid: str, taken: Collection[str]) -> PodSlot | None:
    """A fraction as the pod's annotations say it, played by a part of the same size."""
    try:
        said = downward.environment(pod)
    except downward.Unresolved as error:
        raise Unfit(str(error)) from error
    units, devices = said.get(names.ENV_SLOT_UNITS), said.get(names.ENV_NVIDIA_VISIBLE_DEVICES)
    if units != str(card.shape.units) or devices != card_uuid:
        raise Unfit(
            f"the pod was given {units or 'no'} units of {devices or 'no card'}; this emulated card is {card_uuid}, "
            f"shared in parts of {card.shape.units}"
        )
    part = next((part for part in card.slots if part not in taken), None)
    if part is None:
        return None
    given = _told(card, said[names.ENV_SLOT_ID], int(said[names.ENV_SLOT_FRAMEBUFFER_MIB]))
    here = {names.ENV_VISIBLE_DEVICES: card_uuid, names.ENV_EMULATOR_SLOT: part}
    return PodSlot(part=part, environment=given | here)


def _told(card: Card, slot_id: str, framebuffer_mib: int) -> dict[str, str]:
    return slot_environment(card.shape, slot_id=slot_id, framebuffer_mib=framebuffer_mib, policy=str(card.policy))
