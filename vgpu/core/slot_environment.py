"""What a worker is told of its slot, as environment: by its own start in a pod, and by the embedded kubelet."""

from vgpu.core import names
from vgpu.core.slot_type import SlotType


def slot_environment(shape: SlotType, *, slot_id: str, framebuffer_mib: int, policy: str) -> dict[str, str]:
    """The variables of one slot of this type.

    `framebuffer_mib` is a profile's own; a fraction's follows from the card it was cut from, so whoever cut it says it.
    """
    return {
        names.ENV_SLOT_ID: slot_id,
        names.ENV_SLOT_PROFILE: shape.label,
        names.ENV_SLOT_UNITS: str(shape.units),
        names.ENV_SLOT_FRAMEBUFFER_MIB: str(framebuffer_mib),
        names.ENV_SLOT_MOST_PER_GPU: str(shape.most_per_gpu),
        names.ENV_SLOT_POLICY: policy,
    }
