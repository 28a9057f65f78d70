"""Nodes whose cards are shared by units -> slots: one for each part that a pod keeps, and what could still be cut.

The books are the extender's own (`ledger`), so that what is planned here is what it would grant. A part that is held is
called after its pod, and is there as long as that is. What is free of a card is listed once in each size that is asked
for: alternatives, of which taking one takes from all (`packing.Packer`).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Any

from vgpu.core import names
from vgpu.core.hold import hold_of
from vgpu.core.inventory import Gpu, Node, Slot
from vgpu.core.ledger import Ledger
from vgpu.core.offer import Offer, OfferedGpu, parse_offer
from vgpu.core.share import SchedulerPolicy
from vgpu.core.slot_type import Fraction

Json = Mapping[str, Any]
Held = tuple[str, Mapping[str, int]]
"""A pod (namespace/name), and its units by GPU key."""
Problems = list[tuple[str, str, str]]
"""Kind, name, and what is wrong with it."""


def shares_by_units(node: Json) -> bool:
    """Whether the node's cards are shared by units. A guest that offers its vGPU whole is not, whatever else it offers:
    beside NVIDIA's own plugin units are only bookkeeping."""
    status, labels = node.get("status") or {}, node["metadata"].get("labels") or {}
    amounts = {**(status.get("capacity") or {}), **(status.get("allocatable") or {})}
    is_whole = str(amounts.get(names.RESOURCE_GPU, "0")) != "0" and (
        names.LABEL_PROFILE in labels or names.LABEL_PROFILE_LEGACY in labels
    )
    return str(amounts.get(names.RESOURCE_VGPU, "0")) != "0" and not is_whole


def cut(
    nodes: Sequence[tuple[Node, SchedulerPolicy, Json]], pods: Iterable[Json], sizes: Collection[Fraction]
) -> tuple[list[Node], Problems]:
    """Give nodes without slots theirs. Of a node that offers nothing, or of which not all is known, nothing is free."""
    ledger, problems = Ledger(), Problems()
    for node, _, manifest in nodes:
        offer = parse_offer(manifest)
        if offer.refusal:
            problems.append(("Node", node.name, offer.refusal))
        ledger.offer(offer)
    for pod in pods:
        hold = hold_of(pod)
        if hold is not None and hold.node in ledger.offers and (doubt := ledger.observe(hold, now_s=0.0)):
            problems.append(("Pod", hold.pod, doubt))
    holds: dict[str, list[Held]] = {}
    for entry in ledger.entries.values():  # as the books have them: a claim that cannot be is none
        holds.setdefault(entry.hold.node, []).append((entry.hold.pod, ledger.units_of(entry.hold)))
    found = []
    for node, policy, _ in nodes:
        offer = ledger.offers[node.name]
        free = ledger.free_units(node.name) if not ledger.refusal(node.name) else (0,) * len(offer.gpus)
        slots = _slots(offer, policy, sorted(holds.get(node.name, ()), key=itemgetter(0)), free, sizes)
        found.append(replace(node, slots=slots))
    return found, problems


def _slots(
    offer: Offer, policy: SchedulerPolicy, holds: Sequence[Held], free_units: Sequence[int], sizes: Collection[Fraction]
) -> tuple[Slot, ...]:
    slots: list[Slot] = []
    keys = [gpu.key for gpu in offer.gpus]

    def add(card: Gpu, size: Fraction, name: str, holder: str | None) -> None:
        slots.append(Slot(node=offer.node, index=len(slots), profile=size, gpu=card, name=name, holder=holder))

    for gpu, left_units in zip(offer.gpus, free_units, strict=True):
        card = _card(offer.node, gpu, policy)
        for pod, units in holds:
            if gpu.key in units:
                name = pod.replace("/", ".")  # a namespace has no dot, so no two pods are called alike
                # A pod on several cards has a part of each; the first carries its name alone, as its process says it.
                is_first = min(units, key=keys.index) == gpu.key
                add(card, Fraction(units=units[gpu.key]), name if is_first else f"{name}+gpu{gpu.index}", pod)
        for size in sorted(sizes, key=lambda size: size.units):
            for place in range(left_units // size.units):
                add(card, size, f"gpu{gpu.index}+{size.units}+{place}", None)
    return tuple(slots)


def _card(node: str, gpu: OfferedGpu, policy: SchedulerPolicy) -> Gpu:
    """A card whose UUID nobody knows is told from its neighbours by its place."""
    return Gpu(
        uuid=gpu.uuid or f"{node}#{gpu.index}", framebuffer_mib=gpu.framebuffer_mib, policy=policy, index=gpu.index
    )
