"""What a node offers for fractions: its GPUs with the framebuffer of each, CPU and memory. Parsing only.

Three sources, the first that is there: the annotation `vgpu-serve.io/gpus`, which the device plugin writes and which
alone can say that GPUs of one node differ; the label of a vGPU profile; the label of NVIDIA's feature discovery. A node
that says nothing of its GPUs' memory is refused with the reason, for nobody could tell a container how much it may use.

The annotation's value is `v1` and one word per GPU in the order of NVML's indices, `UUID:MIB[:UNITS][:unhealthy]`, with
`-` for a UUID that is not known: `v1 GPU-6f1c:16384 GPU-90aa:32768:unhealthy -:8192:500`. Units default to 1000.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from typing import Any

from vgpu.core import names, quantity
from vgpu.core.fractions.host import MOST_GPUS
from vgpu.core.profile import parse_profile
from vgpu.core.share import UNITS_PER_GPU

Json = Mapping[str, Any]

MIB = 1 << 20
VERSION = "v1"
NO_UNITS = f"it offers no {names.RESOURCE_VGPU}"  # a node that is none of ours
_UNTOLD = 10**6  # CPUs and MiB of a node that tells neither: the scheduler has checked them, so nothing is refused here
_MOST_AMOUNT = 1 << 53  # thousandths of a CPU or MiB; what is above is no machine, and does not fit into an array
_WORD = re.compile(
    r"(?P<uuid>-|[A-Za-z0-9][A-Za-z0-9._-]{0,127}):(?P<mib>[0-9]{1,9})(?::(?P<units>[0-9]{1,4}))?(?P<lost>:unhealthy)?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedGpu:
    """One GPU of a node. `units` is below 1000 where the node has a vGPU of a part of the card."""

    index: int
    uuid: str | None
    framebuffer_mib: int
    units: int = UNITS_PER_GPU
    healthy: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.units <= UNITS_PER_GPU:
            raise ValueError(f"units of GPU {self.index} is {self.units}; 1 to {UNITS_PER_GPU} are expected")
        if self.framebuffer_mib < 1:
            raise ValueError(f"framebuffer_mib of GPU {self.index} is {self.framebuffer_mib}; 1 or more is expected")
        if self.uuid == "":
            raise ValueError(f"uuid of GPU {self.index} is empty; leave it out where it is not known")

    @property
    def key(self) -> str:
        """The card's UUID; its index where that is not known."""
        return gpu_key(self.index, self.uuid)


def gpu_key(index: int, uuid: str | None) -> str:
    """Name a GPU within its node."""
    return uuid or f"#{index}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One node's offer. `refusal` says why nothing is offered; empty when something is."""

    node: str
    gpus: tuple[OfferedGpu, ...] = ()
    model: str = ""
    cpu_milli: int = 0
    memory_mib: int = 0
    refusal: str = ""
    labels: tuple[tuple[str, str], ...] = ()


def parse_offer(node: Json) -> Offer:
    """Read a node. One that offers nothing comes back with its reason, never as an error."""
    name = str(node["metadata"]["name"])
    labels: Mapping[str, str] = node["metadata"].get("labels") or {}
    status: Json = node.get("status") or {}
    amounts = {**(status.get("capacity") or {}), **(status.get("allocatable") or {})}
    shown = tuple((key, labels[key]) for key in (names.LABEL_PROFILE, names.LABEL_GPU_PRODUCT) if key in labels)
    try:
        gpus = _gpus(node, labels, amounts)
        return Offer(
            node=name,
            gpus=gpus,
            model=labels.get(names.LABEL_GPU_PRODUCT, ""),
            cpu_milli=_amount(amounts, "cpu", f"{_UNTOLD}", Fraction(1, 1000)),
            memory_mib=_amount(amounts, "memory", f"{_UNTOLD}Mi", Fraction(MIB)),
            labels=shown,
        )
    except ValueError as fault:
        return Offer(node=name, refusal=str(fault), labels=shown)


def _amount(amounts: Json, resource: str, untold: str, unit: Fraction) -> int:
    amount = floor(quantity.parse_quantity(amounts.get(resource, untold)) / unit)
    if not 0 <= amount <= _MOST_AMOUNT:
        raise ValueError(f"its {resource} is {str(amounts[resource])[:30]!r}; an amount of 0 or more is expected")
    return amount


def _gpus(node: Json, labels: Mapping[str, str], amounts: Json) -> tuple[OfferedGpu, ...]:
    offered = quantity.parse_whole(amounts.get(names.RESOURCE_VGPU, 0))
    if offered < 1:
        raise ValueError(NO_UNITS)
    text = (node["metadata"].get("annotations") or {}).get(names.ANNOTATION_GPUS)
    if text is not None:
        gpus = _parse_annotation(str(text))
    elif text_of_profile := labels.get(names.LABEL_PROFILE) or labels.get(names.LABEL_PROFILE_LEGACY):
        profile = parse_profile(text_of_profile)
        gpus = _alike(offered, profile.units, profile.board_framebuffer_mib)
    elif text_of_memory := labels.get(names.LABEL_GPU_MEMORY_MIB):
        gpus = _alike(offered, UNITS_PER_GPU, quantity.parse_whole(text_of_memory))
    else:
        raise ValueError(
            f"the memory of its GPUs is unknown; annotate it with {names.ANNOTATION_GPUS} (the device plugin does), "
            f"or label it with {names.LABEL_PROFILE} or {names.LABEL_GPU_MEMORY_MIB}"
        )
    healthy_units = sum(gpu.units for gpu in gpus if gpu.healthy)
    if healthy_units > offered:
        # The kubelet knows of a lost GPU before the annotation does; which one it is cannot be told from a sum.
        raise ValueError(f"{healthy_units} units are on its healthy GPUs, the kubelet offers {offered}")
    return gpus


def _alike(offered: int, units: int, framebuffer_mib: int) -> tuple[OfferedGpu, ...]:
    count = _at_most(offered // units)
    return tuple(
        OfferedGpu(index=index, uuid=None, framebuffer_mib=framebuffer_mib, units=units) for index in range(count)
    )


def _at_most(count: int) -> int:
    if count > MOST_GPUS:
        raise ValueError(f"it has {count} GPUs; at most {MOST_GPUS} of one node are given out")
    return count


def _parse_annotation(text: str) -> tuple[OfferedGpu, ...]:
    try:
        version, *words = text.split(" ")
        if version != VERSION:
            raise ValueError(f"it begins with {version[:20]!r}; only {VERSION} is known here")
        _at_most(len(words))
        gpus = tuple(_parse_gpu(index, word) for index, word in enumerate(words))
        keys = [gpu.key for gpu in gpus]
        if len(set(keys)) < len(keys):
            raise ValueError("a UUID stands there twice")
    except ValueError as fault:
        raise ValueError(f"annotation {names.ANNOTATION_GPUS}: {fault}") from None
    return gpus


def _parse_gpu(index: int, word: str) -> OfferedGpu:
    match = _WORD.fullmatch(word)
    if match is None:
        raise ValueError(f"{word[:80]!r} is no GPU; write UUID:MIB, as in GPU-6f1c:16384")
    return OfferedGpu(
        index=index,
        uuid=None if match["uuid"] == "-" else match["uuid"],
        framebuffer_mib=int(match["mib"]),
        units=int(match["units"] or UNITS_PER_GPU),
        healthy=match["lost"] is None,
    )


def render_gpus(gpus: tuple[OfferedGpu, ...]) -> str:
    """Write the annotation's value."""
    words = [
        f"{gpu.uuid or '-'}:{gpu.framebuffer_mib}"
        + ("" if gpu.units == UNITS_PER_GPU else f":{gpu.units}")
        + ("" if gpu.healthy else ":unhealthy")
        for gpu in gpus
    ]
    return " ".join((VERSION, *words))
