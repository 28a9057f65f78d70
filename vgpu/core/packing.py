"""Which free slots new workers get: one greedy loop, and orderings as a table of key functions.

The autoscaler plans with the same loop that places pods, so a plan never disagrees with the placement. Ties fall to
node name, then slot index: the answer depends on the inventory alone, never on the order in which it was listed.
`Packer` gives the answers of `place` for many needs in turn without looking at every slot for each of them.
"""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from vgpu.core.inventory import Inventory, Node, Slot
from vgpu.core.share import Share
from vgpu.core.slot_type import Fraction, SlotType

Need = SlotType | Share
"""What one worker asks for: slots of exactly this type, or any slot at least this large."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A slot that fits, with what an ordering may look at."""

    slot: Slot
    leftover_units: int
    held_on_gpu: int
    """Slots of its card that are held, those chosen earlier in this placement included."""
    free_on_gpu: int
    """Slots of its card that this placement could still use, this one included."""


Ordering = Callable[[Candidate], tuple[float, ...]]
"""Smaller is better. An ordering chooses among slots that fit; it never decides whether one fits."""


class Blocked(StrEnum):
    """Why a node takes no (further) worker."""

    NOT_READY = "not_ready"
    CORDONED = "cordoned"
    LEAVING = "leaving"
    NO_SLOTS_OF_TYPE = "no_slots_of_type"
    ALL_SLOTS_HELD = "all_slots_held"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """`slots` in the order in which they were chosen; `blocked` says per node why `unplaced` workers found none."""

    slots: tuple[Slot, ...]
    unplaced: int
    blocked: tuple[tuple[str, Blocked], ...] = ()


def best_fit(candidate: Candidate) -> tuple[float, ...]:
    """Waste least of the slot, then fill cards already in use, then those with least room left."""
    return (candidate.leftover_units, candidate.held_on_gpu == 0, candidate.free_on_gpu)


ORDERINGS: dict[str, Ordering] = {
    "best-fit": best_fit,
}


def fits(slot: Slot, need: Need) -> bool:
    """Say whether the slot, free or not, is what the need asks for."""
    if isinstance(need, Share):
        return slot.profile.units >= need.units and slot.framebuffer_mib >= need.framebuffer_mib
    return slot.profile == need


def accept_all(_slot: Slot) -> bool:
    return True


def place(
    inventory: Inventory,
    need: Need,
    count: int,
    *,
    ordering: Ordering = best_fit,
    accept: Callable[[Slot], bool] = accept_all,
) -> Placement:
    """Choose up to `count` free slots for equal needs, best first; `accept` may refuse slots that would fit."""
    if count < 0:
        raise ValueError(f"count is {count}; place 0 or more")
    free = [slot for slot in inventory.free_slots if fits(slot, need) and accept(slot)]
    held_on_gpu = Counter(slot.gpu_key for slot in inventory.slots if slot.holder is not None)
    free_on_gpu = Counter(slot.gpu_key for slot in free)

    def key(slot: Slot) -> tuple[float, ...]:
        return ordering(
            Candidate(
                slot=slot,
                leftover_units=slot.profile.units - need.units,
                held_on_gpu=held_on_gpu[slot.gpu_key],
                free_on_gpu=free_on_gpu[slot.gpu_key],
            )
        )

    keys = [key(slot) for slot in free]
    chosen: list[Slot] = []
    while free and len(chosen) < count:
        # index finds the first of equals, and an inventory lists nodes by name and slots by number.
        best = keys.index(min(keys))
        slot = free.pop(best)
        del keys[best]
        chosen.append(slot)
        held_on_gpu[slot.gpu_key] += 1
        free_on_gpu[slot.gpu_key] -= 1
        # Only the keys of this card's other slots have changed.
        keys = [key(other) if other.gpu_key == slot.gpu_key else old for other, old in zip(free, keys, strict=True)]
    unplaced = count - len(chosen)
    blocked = tuple((node.name, _why_blocked(node, need, accept)) for node in inventory.nodes) if unplaced else ()
    return Placement(slots=tuple(chosen), unplaced=unplaced, blocked=blocked)


def _why_blocked(node: Node, need: Need, accept: Callable[[Slot], bool]) -> Blocked:
    if not node.usable:
        return Blocked.NOT_READY if not node.ready else Blocked.LEAVING if node.leaving else Blocked.CORDONED
    fitting = [slot for slot in node.slots if fits(slot, need)]
    if not fitting:
        return Blocked.NO_SLOTS_OF_TYPE
    refused = any(slot.holder is None and not accept(slot) for slot in fitting)
    return Blocked.REFUSED if refused else Blocked.ALL_SLOTS_HELD


Grade = tuple[float, ...]
"""What a card is worth to a newcomer, whoever asks; cards of one grade have one price."""
Rank = tuple[bool, int, int, str]
"""Among cards of one grade: in use before unused, then least room, then the inventory's order; last the card."""


@dataclass(slots=True, kw_only=True)
class _Shelf:
    """The free slots of one profile on usable nodes, by card, and the cards of each grade in their order."""

    slots: dict[str, list[tuple[int, Slot]]] = field(default_factory=dict)
    """By card: place in the inventory and slot, the next one last."""
    ranks: dict[Grade, list[Rank]] = field(default_factory=dict)
    left_on: Counter[str] = field(default_factory=Counter)
    """By node: free slots."""
    blocked: list[tuple[str, Blocked]]
    """Why a node takes no further worker when no card is accepted any more."""
    places: dict[str, int]
    """By node: its place in `blocked`."""

    def rank(self, gpu: str, held: int) -> Rank:
        slots = self.slots[gpu]
        return (held == 0, len(slots), slots[-1][0], gpu)

    def pop(self, gpu: str, place: int = -1) -> Slot:
        """Take the card's next slot, or with 0 its last."""
        _, slot = self.slots[gpu].pop(place)
        self.left_on[slot.node] -= 1
        if not self.left_on[slot.node]:
            self.blocked[self.places[slot.node]] = (slot.node, Blocked.ALL_SLOTS_HELD)
        return slot


class Packer:
    """Serves many needs from one inventory, one after another; what one got is held for the next.

    On a card that is shared by units the free slots of one size are alternatives to those of another: what is taken in
    one size is gone from all.
    `grade(gpu_key, held)` says what a card with so many held slots is worth; `place` below then answers as the function
    `place` would with the ordering (price of the card's grade, best fit) and an `accept` that looks at the card alone.
    A slot costs as much as there are grades, and not as there are slots.
    """

    def __init__(self, inventory: Inventory, grade: Callable[[str, int], Grade]) -> None:
        self._inventory = inventory
        self._grade = grade
        self._held = Counter({gpu: card.held for gpu, card in inventory.directory.cards.items()})
        self._shelves: dict[SlotType, _Shelf] = {}
        self._left_units = _left_units(inventory)

    def free_count(self, profile: SlotType) -> int:
        """Slots of the profile that are free still, on nodes that take workers."""
        return sum(map(len, self._shelf(profile).slots.values()))

    def place(
        self, profile: SlotType, count: int, *, price: Callable[[Grade], float], accept: Callable[[str], bool]
    ) -> Placement:
        """Take up to `count` slots, cheapest grade first; `accept` may refuse cards by their `gpu_key`."""
        shelf = self._shelf(profile)
        prices = {grade: price(grade) for grade in shelf.ranks}
        accepted: dict[str, bool] = {}
        starts: dict[Grade, int] = {}
        chosen: list[Slot] = []
        while len(chosen) < count:
            best: tuple[float, Rank] | None = None
            for grade in sorted(shelf.ranks, key=prices.__getitem__):
                if best is not None and prices[grade] > best[0]:
                    break
                ranks, start = shelf.ranks[grade], starts.get(grade, 0)
                while start < len(ranks):
                    gpu = ranks[start][3]
                    if gpu not in accepted:
                        accepted[gpu] = accept(gpu)
                    if accepted[gpu]:
                        break
                    start += 1
                starts[grade] = start
                if start < len(ranks) and (best is None or (prices[grade], ranks[start]) < best):
                    best = (prices[grade], ranks[start])
            if best is None:
                break
            chosen.append(self._take(shelf, best[1][3]))
            for grade in shelf.ranks.keys() - prices.keys():
                prices[grade] = price(grade)
            starts.clear()  # the card has moved to another grade, perhaps before those refused there
        unplaced = count - len(chosen)
        return Placement(slots=tuple(chosen), unplaced=unplaced, blocked=tuple(shelf.blocked) if unplaced else ())

    def best(self, profile: SlotType, *, price: Callable[[Grade], float], accept: Callable[[str], bool]) -> str | None:
        """The card (`gpu_key`) of the slot that `place` would take first; None where it would find none."""
        ranks = self._shelf(profile).ranks
        prices = {grade: price(grade) for grade in ranks}
        found: tuple[float, Rank] | None = None
        for grade in sorted(ranks, key=prices.__getitem__):
            if found is not None and prices[grade] > found[0]:
                break
            rank = next((rank for rank in ranks[grade] if accept(rank[3])), None)
            if rank is not None and (found is None or (prices[grade], rank) < found):
                found = (prices[grade], rank)
        return None if found is None else found[1][3]

    def blocked(self, profile: SlotType) -> tuple[tuple[str, Blocked], ...]:
        """Why each node takes no further worker on this profile, when no card of it is accepted any more."""
        return tuple(self._shelf(profile).blocked)

    def _shelf(self, profile: SlotType) -> _Shelf:
        """Made when first asked for: a fleet has many profiles on its cards and few in its pools."""
        if profile in self._shelves:
            return self._shelves[profile]
        nodes = self._inventory.nodes
        shelf = self._shelves[profile] = _Shelf(
            blocked=[(node.name, _why_blocked(node, profile, lambda _slot: False)) for node in nodes],
            places={node.name: place for place, node in enumerate(nodes)},
        )
        free = [slot for slot in self._inventory.free_slots if fits(slot, profile)]
        for place, slot in reversed(list(enumerate(free))):
            shelf.slots.setdefault(slot.gpu_key, []).append((place, slot))
            shelf.left_on[slot.node] += 1
        for gpu in shelf.slots:
            self._trim(shelf, gpu)
        shelf.slots = {gpu: slots for gpu, slots in shelf.slots.items() if slots}
        for gpu in shelf.slots:
            held = self._held[gpu]
            shelf.ranks.setdefault(self._grade(gpu, held), []).append(shelf.rank(gpu, held))
        for ranks in shelf.ranks.values():
            ranks.sort()
        return shelf

    def _take(self, shelf: _Shelf, gpu: str) -> Slot:
        """Hold the card's next slot; the card changes its place on every shelf that it has slots on."""
        before, after = self._held[gpu], self._held[gpu] + 1
        sharing = [other for other in self._shelves.values() if other.slots.get(gpu)]
        for other in sharing:
            ranks = other.ranks[self._grade(gpu, before)]
            del ranks[bisect_left(ranks, other.rank(gpu, before))]
            if not ranks:
                del other.ranks[self._grade(gpu, before)]
        slot = shelf.pop(gpu)
        self._held[gpu] = after
        if isinstance(slot.profile, Fraction):
            self._left_units[gpu] -= slot.profile.units
            for other in sharing:
                self._trim(other, gpu)
        for other in sharing:
            if other.slots[gpu]:
                insort(other.ranks.setdefault(self._grade(gpu, after), []), other.rank(gpu, after))
        return slot

    def _trim(self, shelf: _Shelf, gpu: str) -> None:
        """Drop the slots of a fraction for which the card has no units left."""
        slots = shelf.slots[gpu]
        while slots and isinstance(size := slots[-1][1].profile, Fraction):
            if len(slots) * size.units <= self._left_units[gpu]:
                return
            shelf.pop(gpu, 0)


def _left_units(inventory: Inventory) -> dict[str, int]:
    """By card that is shared by units: what nobody holds, which is the most that its free slots of one size add up to.

    A remainder too small for the size that adds up to most is left out: a smaller size may find room there that is not
    planned with before the next look at the card.
    """
    left: dict[str, int] = {}
    for gpu, card in inventory.directory.cards.items():
        if card.has_fractions:
            sums = [size.units * count for size, count in card.free.items() if isinstance(size, Fraction)]
            left[gpu] = max(sums, default=0)
    return left
