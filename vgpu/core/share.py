"""What a fraction of a GPU is: whole units and whole MiB, never floats.

1000 units are one physical GPU. No float decides whether something fits.
"""

from dataclasses import dataclass
from enum import StrEnum

UNITS_PER_GPU = 1000


class SchedulerPolicy(StrEnum):
    """How the hypervisor's time slicing divides one GPU between its vGPUs (NVIDIA vGPU guide, chapter 7)."""

    BEST_EFFORT = "best-effort"
    EQUAL_SHARE = "equal-share"
    FIXED_SHARE = "fixed-share"


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """An amount of one GPU: `units` of 1/1000 of the engine and `framebuffer_mib` of its memory."""

    units: int
    framebuffer_mib: int

    def __post_init__(self) -> None:
        if not 1 <= self.units <= UNITS_PER_GPU:
            raise ValueError(f"units is {self.units}; a share is 1 to {UNITS_PER_GPU} units of one GPU")
        if self.framebuffer_mib < 1:
            raise ValueError(f"framebuffer_mib is {self.framebuffer_mib}; a share has at least 1 MiB")


def entitled_ratio(policy: SchedulerPolicy, *, running: int, busy: int, most_per_gpu: int) -> float:
    """The part of the physical engine one vGPU can count on, 0 to 1.

    `running` vGPUs exist on the GPU, `busy` of them have work, the profile allows `most_per_gpu`.
    Best effort divides by the busy ones, equal share by the running ones, fixed share by the most there could be.
    """
    if not 1 <= running <= most_per_gpu:
        raise ValueError(f"running is {running}; a GPU of this profile runs 1 to {most_per_gpu} vGPUs")
    if not 0 <= busy <= running:
        raise ValueError(f"busy is {busy}; between 0 and the {running} running vGPUs")
    match policy:
        case SchedulerPolicy.BEST_EFFORT:
            return 1 / max(busy, 1)
        case SchedulerPolicy.EQUAL_SHARE:
            return 1 / running
        case SchedulerPolicy.FIXED_SHARE:
            return 1 / most_per_gpu
