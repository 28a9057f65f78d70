"""What is there: GPUs, the slots cut from them, the nodes that offer them and the pods that hold them.

A frozen snapshot that checks itself: no inventory exists in which a GPU is promised twice. The order in which nodes
were listed does not matter, because they are kept sorted by name.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from vgpu.core.profile import Profile
from vgpu.core.share import UNITS_PER_GPU, SchedulerPolicy
from vgpu.core.slot_type import Fraction, SlotType


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One physical card. `uuid` is None where nobody wrote down which card lies below: a guest cannot see it."""

    uuid: str | None
    framebuffer_mib: int
    policy: SchedulerPolicy
    index: int | None = None
    """NVML's index of it on its node; None below a guest."""

    def __post_init__(self) -> None:
        if self.uuid == "":
            raise ValueError("uuid is empty; write None for a card that is not known")
        if self.framebuffer_mib < 1:
            raise ValueError(f"framebuffer_mib is {self.framebuffer_mib}; a GPU has at least 1 MiB")


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A share pinned to a Gpu, free or held by one pod (written namespace/name)."""

    node: str
    index: int
    profile: SlotType
    gpu: Gpu
    holder: str | None = None
    name: str | None = None
    """A fraction is called after the pod that holds it, for it is there as long as that is; others by their index."""

    def __post_init__(self) -> None:
        if self.index < 0:
            raise ValueError(f"index is {self.index} on node {self.node!r}; slots are counted from 0")

    @property
    def slot_id(self) -> str:
        return f"{self.node}/{self.index if self.name is None else self.name}"

    @property
    def framebuffer_mib(self) -> int:
        """A profile's own size, or the fraction's part of its card."""
        if isinstance(self.profile, Profile):
            return self.profile.framebuffer_mib
        return self.profile.framebuffer_mib_of(self.gpu.framebuffer_mib)

    @property
    def gpu_key(self) -> str:
        """The card's UUID; where it is unknown, the node stands for the card below it."""
        return self.gpu.uuid or f"below {self.node}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A Kubernetes node and its slots; `labels` keeps only those that this system reads."""

    name: str
    ready: bool
    schedulable: bool
    labels: tuple[tuple[str, str], ...] = ()
    slots: tuple[Slot, ...] = ()
    leaving: bool = field(default=False, metadata={"sparse": True})  # left out of JSON while it is not
    """It will be taken away: its slots take nothing new, and what holds them moves while it can."""

    def __post_init__(self) -> None:
        for index, slot in enumerate(self.slots):
            if (slot.node, slot.index) != (self.name, index):
                raise ValueError(f"slot {slot.slot_id} stands at place {index} of node {self.name!r}")

    @property
    def usable(self) -> bool:
        return self.ready and self.schedulable and not self.leaving

    @property
    def held(self) -> tuple[Slot, ...]:
        return tuple(slot for slot in self.slots if slot.holder is not None)

    @property
    def free(self) -> tuple[Slot, ...]:
        """Slots that nobody holds, whether or not the node accepts pods now."""
        return tuple(slot for slot in self.slots if slot.holder is None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """The slots of one GPU, or of one node whose GPUs nobody knows."""

    gpu: Gpu
    slots: Mapping[str, Slot]
    """By `slot_id`, in the order of nodes; so are `attached` and `mosts`."""
    held: int
    at_once: int
    """How many of its slots can be there at once."""
    attached: tuple[int, ...]
    """Guests on the card, each slot taken for one of them."""
    mosts: tuple[int, ...]
    """How many vGPUs of its profile one card runs."""
    free: Mapping[SlotType, int]
    """By profile: slots that a new worker could get now."""
    has_fractions: bool

    @classmethod
    def of(cls, slots: Mapping[str, Slot], usable: Collection[str]) -> "Card":
        """`usable` are the names of nodes that take workers now."""
        on_card = tuple(slots.values())
        held = sum([slot.holder is not None for slot in on_card])
        return cls(
            gpu=on_card[0].gpu,
            slots=slots,
            held=held,
            at_once=len(at_once(on_card)),
            attached=tuple([held if slot.holder is not None else held + 1 for slot in on_card]),
            mosts=tuple([slot.profile.most_per_gpu for slot in on_card]),
            free=Counter([slot.profile for slot in on_card if slot.holder is None and slot.node in usable]),
            has_fractions=any(isinstance(slot.profile, Fraction) for slot in on_card),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CardTable:
    """All cards of one scheduler policy that have the same number of slots: a row each, a column for each slot.

    So that what slots of one card do to each other can be worked out for thousands of cards at once.
    """

    policy: SchedulerPolicy
    gpus: tuple[str, ...]
    """By row: the `gpu_key`."""
    slots: tuple[str, ...]
    """Row after row: the `slot_id`; so are `holders`, `attached` and `mosts`, see `Card`."""
    holders: tuple[str | None, ...]
    attached: tuple[int, ...]
    mosts: tuple[int, ...]

    @classmethod
    def all_of(cls, cards: Mapping[str, Card]) -> "tuple[CardTable, ...]":
        """Every card is in one table."""
        alike: dict[tuple[SchedulerPolicy, int], list[str]] = {}
        for gpu, card in cards.items():
            alike.setdefault((card.gpu.policy, len(card.slots)), []).append(gpu)
        return tuple(
            cls(
                policy=policy,
                gpus=tuple(gpus),
                slots=tuple([slot_id for gpu in gpus for slot_id in cards[gpu].slots]),
                holders=tuple([slot.holder for gpu in gpus for slot in cards[gpu].slots.values()]),
                attached=tuple([guests for gpu in gpus for guests in cards[gpu].attached]),
                mosts=tuple([most for gpu in gpus for most in cards[gpu].mosts]),
            )
            for (policy, _), gpus in alike.items()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """Every card and every slot of an inventory by name, in the order of nodes."""

    cards: Mapping[str, Card]
    """By `gpu_key`."""
    slots: Mapping[str, Slot]
    """By `slot_id`."""
    card_of: Mapping[str, str]
    """By `slot_id`: the `gpu_key` of the card it is on."""
    tables: tuple[CardTable, ...]
    """The same cards, those that are alike together."""

    @classmethod
    def of(cls, nodes: Sequence[Node]) -> "Directory":
        by_gpu: dict[str, dict[str, Slot]] = {}
        slots: dict[str, Slot] = {}
        card_of: dict[str, str] = {}
        for node in nodes:
            for slot in node.slots:
                slot_id, gpu = slot.slot_id, slot.gpu_key
                slots[slot_id], card_of[slot_id] = slot, gpu
                by_gpu.setdefault(gpu, {})[slot_id] = slot
        usable = {node.name for node in nodes if node.usable}
        cards = {gpu: Card.of(mine, usable) for gpu, mine in by_gpu.items()}
        return cls(cards=cards, slots=slots, card_of=card_of, tables=CardTable.all_of(cards))


class _Kept:
    """Room for the directory beside an inventory's fields: it is no part of what that is equal to or written as."""

    __slots__ = ("_directory",)
    _directory: Directory


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory(_Kept):
    """All nodes at one moment."""

    nodes: tuple[Node, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "nodes", tuple(sorted(self.nodes, key=lambda node: node.name)))
        for before, after in pairwise(self.nodes):
            if before.name == after.name:
                raise ValueError(f"node {before.name!r} is listed twice")
        for slots in self.slots_by_gpu().values():
            if problem := overfull(slots):
                raise ValueError(problem)

    @property
    def slots(self) -> tuple[Slot, ...]:
        return tuple(slot for node in self.nodes for slot in node.slots)

    @property
    def free_slots(self) -> tuple[Slot, ...]:
        """Slots a new worker could get now: nobody holds them, and their node is ready, not cordoned and stays."""
        return tuple(slot for node in self.nodes if node.usable for slot in node.free)

    @property
    def directory(self) -> Directory:
        """Made when first asked for and kept: most ticks see the inventory of the tick before, and it takes 10 ms for
        8,000 slots."""
        try:
            return self._directory
        except AttributeError:
            object.__setattr__(self, "_directory", Directory.of(self.nodes))
            return self._directory

    def slots_by_id(self) -> dict[str, Slot]:
        return {slot.slot_id: slot for slot in self.slots}

    def slots_by_gpu(self) -> dict[str, tuple[Slot, ...]]:
        """Slots grouped by `gpu_key`, in the order of nodes."""
        grouped: dict[str, list[Slot]] = {}
        for slot in self.slots:
            grouped.setdefault(slot.gpu_key, []).append(slot)
        return {key: tuple(slots) for key, slots in grouped.items()}

    def with_holders(self, holders: Mapping[str, str | None]) -> "Inventory":
        """Give each named slot its new holder, None to free it; a slot that is held must be freed first."""
        known = self.slots_by_id()
        for slot_id, pod in holders.items():
            if slot_id not in known:
                raise ValueError(f"slot {slot_id!r} is not in the inventory")
            if pod is not None and known[slot_id].holder is not None:
                raise ValueError(f"slot {slot_id} is held by {known[slot_id].holder!r}; {pod!r} cannot hold it too")
        touched = {known[slot_id].node for slot_id in holders}
        return Inventory(
            nodes=tuple(_with_holders(node, holders) if node.name in touched else node for node in self.nodes)
        )


def _with_holders(node: Node, holders: Mapping[str, str | None]) -> Node:
    slots = tuple(replace(slot, holder=holders.get(slot.slot_id, slot.holder)) for slot in node.slots)
    return replace(node, slots=slots)


def overfull(slots: tuple[Slot, ...]) -> str | None:
    """Say why these slots of one card cannot all be cut from it, or None when they can."""
    card = slots[0].gpu
    if any(slot.gpu != card for slot in slots):
        return f"GPU {slots[0].gpu_key}: its slots disagree on framebuffer or scheduler policy"
    if card.uuid is None:
        return None  # a node may sit on several unknown cards, so nothing can be said about their sum
    cut = at_once(slots)
    units = sum(slot.profile.units for slot in cut)
    if units > UNITS_PER_GPU:
        return f"GPU {card.uuid}: its slots add up to {units} units; a GPU has {UNITS_PER_GPU}"
    framebuffer_mib = sum(slot.framebuffer_mib for slot in cut)
    if framebuffer_mib > card.framebuffer_mib:
        return f"GPU {card.uuid}: its slots add up to {framebuffer_mib} MiB; it has {card.framebuffer_mib} MiB"
    for profile in {slot.profile for slot in slots}:
        count = sum(slot.profile == profile for slot in slots)
        if count > profile.most_per_gpu:
            return f"GPU {card.uuid}: {count} slots of {profile.label}; one GPU runs at most {profile.most_per_gpu}"
    return None


def at_once(slots: tuple[Slot, ...]) -> tuple[Slot, ...]:
    """Those of a card's slots that can be there at once.

    What is free of a card shared by units is listed once in every size that is asked for: the largest sum counts.
    """
    free = [slot for slot in slots if slot.holder is None and isinstance(slot.profile, Fraction)]
    if not free:
        return slots
    sums = Counter[SlotType]()
    for slot in free:
        sums[slot.profile] += slot.profile.units
    ((largest, _),) = sums.most_common(1)
    return tuple(slot for slot in slots if slot not in free or slot.profile == largest)
