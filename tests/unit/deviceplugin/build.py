"""Cards and readings for the tests of the device plugin."""

from dataclasses import replace

from vgpu.adapters.nvml import DeviceReading, VirtualizationMode
from vgpu.core.profile import parse_profile
from vgpu.core.share import UNITS_PER_GPU
from vgpu.deviceplugin.devices import Card, Catalogue

READING = DeviceReading(
    index=0,
    uuid="GPU-a",
    name="Tesla V100-PCIE-16GB",
    healthy=True,
    memory_total_mib=16384,
    memory_used_mib=0,
    utilization_ratio=0.0,
    virtualization_mode=VirtualizationMode.BARE_METAL,
    processes=(),
)
GUEST_READING = replace(
    READING, name="GRID V100-8Q", memory_total_mib=8192, virtualization_mode=VirtualizationMode.VGPU_GUEST
)


def card(
    uuid: str = "GPU-a", *, index: int = 0, profile: str = "", framebuffer_mib: int = 16384, ill: str = ""
) -> Card:
    """A physical GPU, or a guest's part of one by its profile."""
    parsed = parse_profile(profile) if profile else None
    return Card(
        index=index,
        uuid=uuid,
        name=parsed.name if parsed else "Tesla V100-PCIE-16GB",
        units=parsed.units if parsed else UNITS_PER_GPU,
        framebuffer_mib=parsed.framebuffer_mib if parsed else framebuffer_mib,
        profile=parsed,
        unhealthy_because=ill,
    )


def catalogue(*cards: Card, units_per_device: int = 1) -> Catalogue:
    return Catalogue(cards=cards, units_per_device=units_per_device)
