"""The ways to cut one physical GPU: its guests by layout, what a GPU can hold, and the plan from one to another.

A guest is a node, the slots it offers and the machine it is. A layout names the guests of each GPU. Between two layouts
a GPU's guests leave, come or stay; while they change, the fleet has neither those that leave nor those that come.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from vgpu.core.profile import Profile
from vgpu.core.share import UNITS_PER_GPU, SchedulerPolicy
from vgpu.core.slot_type import Fraction, SlotType, parse_slot_type
from vgpu.core.switching.record import Step

Capacity = Mapping[str, int]
"""Slots by the label of their type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """One node cut from a GPU. `machine` is empty where the machine has the node's name.

    `config` names the configuration of vgpu-device-manager or MIG that makes these slots on a node cut in place.
    """

    node: str
    profile: SlotType
    machine: str = ""
    slots: int = 1
    config: str = ""

    @property
    def vm(self) -> str:
        """The machine's name at its provider."""
        return self.machine or self.node


@dataclass(frozen=True, slots=True, kw_only=True)
class PhysicalGpu:
    """What may be cut from. `cards` physical cards of one board are cut together, such as a node's eight under MIG.

    `allowed` lists the slot types that may be cut, empty for any. `recuts_in_place`: its nodes keep running and are
    given another configuration.
    """

    name: str
    board: str
    policy: SchedulerPolicy = SchedulerPolicy.BEST_EFFORT
    mixed_size: bool = False
    allowed: tuple[SlotType, ...] = ()
    cards: int = 1
    recuts_in_place: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The guests of each GPU, by the GPU's name."""

    name: str
    guests: Mapping[str, tuple[Guest, ...]] = field(default_factory=dict)

    def of(self, gpu: str) -> tuple[Guest, ...]:
        """The guests of one GPU; none where the layout does not name it."""
        return tuple(self.guests.get(gpu, ()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What becomes of guests between two layouts; a node may leave as one guest and come as another."""

    leaving: tuple[Guest, ...]
    coming: tuple[Guest, ...]
    staying: tuple[Guest, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStep:
    """One step, the nodes it touches, and what the whole fleet offers after it."""

    step: Step
    guests: tuple[str, ...]
    capacity: Capacity
    units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchPlan:
    """The steps of one GPU from a layout to another, and the least that the fleet offers on the way."""

    gpu: str
    origin: str
    target: str
    steps: tuple[PlannedStep, ...]
    lowest: Capacity
    lowest_units: int


def problems(gpu: PhysicalGpu, guests: Sequence[Guest]) -> tuple[str, ...]:
    """Say everything that keeps these guests from being cut from the GPU at once, each with the remedy."""
    found = [problem for guest in guests for problem in _of_one(gpu, guest)]
    for what, names in (("node", [guest.node for guest in guests]), ("machine", [guest.vm for guest in guests])):
        found += [
            f"{what} {name} is {count} guests of GPU {gpu.name} at once; name each {what} once in a layout"
            for name, count in Counter(names).items()
            if count > 1
        ]
    if not found:
        cut = Counter[Profile]()
        for guest in guests:
            assert isinstance(guest.profile, Profile)
            cut[guest.profile] += guest.slots
        found += sizes_problems(gpu, cut)
    return tuple(found)


def _of_one(gpu: PhysicalGpu, guest: Guest) -> list[str]:
    of, profile, found = f"guest {guest.node} of GPU {gpu.name}", guest.profile, []
    if isinstance(profile, Fraction):
        return [f"{of}: {profile.label} is cut when a pod is placed; name a profile such as v100-8q-8GB"]
    if profile.board != gpu.board.lower():
        found.append(f"{of}: {profile.label} is cut from board {profile.board} and the GPU is a {gpu.board.lower()}")
        found[-1] += "; name a profile of that board, or correct the GPU's board"
    elif gpu.allowed and profile not in gpu.allowed:
        labels = ", ".join(shape.label for shape in gpu.allowed)
        found.append(f"{of}: {profile.label} is not allowed there; use one of {labels}, or add it to allowed")
    if guest.slots < 1:
        found.append(f"{of}: {guest.slots} slots; write 1 or more, or leave the guest out")
    if gpu.recuts_in_place and not guest.config:
        found.append(f"{of}: no config, and the GPU is cut again in place; name the configuration that makes its slots")
    if gpu.recuts_in_place and guest.vm != guest.node:
        found.append(f"{of}: machine {guest.vm} would be cut again and not the node; leave machine out")
    if guest.config and not gpu.recuts_in_place:
        found.append(f"{of}: config {guest.config!r} would never be applied, for its provider starts and stops")
        found[-1] += " machines; remove it, or name a provider of kind vgpu_device_manager or mig"
    return found


def sizes_problems(gpu: PhysicalGpu, cut: Mapping[Profile, int]) -> list[str]:
    """Say why so many slots of each profile cannot be cut from the cards of a GPU at once; nothing where they can.

    A card runs vGPUs of one size ("Virtual GPU types" in NVIDIA's vGPU guide). Where sizes may be mixed on one card it
    runs at most the next lower power of two of each (same guide, the tables' column "mixed size"). Under fixed share
    sizes are never mixed; MIG instances always may, for they are not time-sliced.
    """
    needed = sum(-(-count // profile.most_per_gpu) for profile, count in cut.items())
    if needed <= gpu.cards:
        return []
    cards = "1 card" if gpu.cards == 1 else f"{gpu.cards} cards"
    taken = ", ".join(f"{count} x {profile.label}" for profile, count in cut.items())
    of = f"GPU {gpu.name} ({cards} of board {gpu.board.lower()}) cannot be {taken} at once"
    has_mib = gpu.cards * next(iter(cut)).board_framebuffer_mib
    takes_mib = sum(count * profile.framebuffer_mib for profile, count in cut.items())
    if takes_mib > has_mib:
        return [f"{of}: that is {takes_mib} MiB of framebuffer and there are {has_mib}; take away some guests"]
    if len(cut) == 1:
        ((profile, _),) = cut.items()
        return [f"{of}: a card runs at most {profile.most_per_gpu} of that profile; take away some guests"]
    if all(profile.mig_slices is not None for profile in cut):
        return [] if _fit_mixed(cut, gpu.cards) else [f"{of}: a card has too few MIG slices; take away some guests"]
    if gpu.policy is SchedulerPolicy.FIXED_SHARE:
        return [f"{of}: under fixed share a card runs one size; use one size a card, or another scheduler policy"]
    if not gpu.mixed_size:
        return [f"{of}: a card runs one size; use one size a card, or set mixed_size where the board can do it"]
    return [] if _fit_mixed(cut, gpu.cards) else [f"{of}: with sizes mixed a card runs fewer; take away some guests"]


@dataclass(slots=True)
class _Card:
    """What is cut from one card so far."""

    framebuffer_mib: int = 0
    mig_slices: int = 0
    cut: Counter[Profile] = field(default_factory=Counter)

    def take(self, profile: Profile) -> bool:
        """Cut one more, unless there is no room for it."""
        slices = (self.mig_slices + (profile.mig_slices or 0), profile.board_mig_slices or 0)
        units = sum(other.units * count for other, count in self.cut.items()) + profile.units
        mib = self.framebuffer_mib + profile.framebuffer_mib
        most = profile.most_per_gpu if slices[1] else 1 << (profile.most_per_gpu.bit_length() - 1)
        if slices[0] > slices[1] or self.cut[profile] >= most or units > UNITS_PER_GPU:
            return False
        if mib > profile.board_framebuffer_mib:
            return False
        self.framebuffer_mib, self.mig_slices = mib, slices[0]
        self.cut[profile] += 1
        return True


def _fit_mixed(cut: Mapping[Profile, int], count: int) -> bool:
    """Largest first, each on the first card that takes it: exact for one card, nearly so for several."""
    cards = [_Card() for _ in range(count)]
    sizes = sorted(cut, key=lambda profile: (-profile.framebuffer_mib, profile.label))
    return all(any(card.take(profile) for card in cards) for profile in sizes for _ in range(cut[profile]))


def difference(before: Sequence[Guest], after: Sequence[Guest]) -> Difference:
    """Compare two cuts of one GPU: a guest that is the same in every respect stays."""
    old, new = ([replace(guest, machine=guest.vm) for guest in guests] for guests in (before, after))
    return Difference(
        leaving=tuple(guest for guest in old if guest not in new),
        coming=tuple(guest for guest in new if guest not in old),
        staying=tuple(guest for guest in new if guest in old),
    )


def offered(guests: Sequence[Guest]) -> Capacity:
    """The slots of some guests by the label of their type."""
    found = Counter[str]()
    for guest in guests:
        found[guest.profile.label] += guest.slots
    return dict(sorted(found.items()))


def units_of(capacity: Capacity) -> int:
    """Units of 1/1000 GPU of some slots."""
    return sum(parse_slot_type(label).units * count for label, count in capacity.items())


def plan(gpu: str, origin: Layout, target: Layout, beside: Capacity) -> SwitchPlan:
    """Plan the way from one layout to another. `beside` is what the rest of the fleet offers, without this GPU.

    A slot counts as long as its node takes pods: from the cordon on those that leave do not, and those that come do
    from the end on. A type of either layout is listed also where it has no slot; steps with no node are left out.
    """
    change = difference(origin.of(gpu), target.of(gpu))
    leaving, coming = ([guest.node for guest in guests] for guests in (change.leaving, change.coming))
    labels = {*beside, *offered(origin.of(gpu)), *offered(target.of(gpu))}

    def fleet(guests: Sequence[Guest]) -> Capacity:
        ours = offered(guests)
        return {label: beside.get(label, 0) + ours.get(label, 0) for label in sorted(labels)}

    before, between, after = (fleet(guests) for guests in (origin.of(gpu), change.staying, target.of(gpu)))
    nodes = {
        Step.CHECK: sorted({*leaving, *coming}),
        **dict.fromkeys((Step.CORDON, Step.MAKE_ROOM, Step.DRAIN, Step.STOP), sorted(leaving)),
        **dict.fromkeys((Step.START, Step.READY), sorted(coming)),
        Step.UNCORDON: sorted({*leaving, *coming}),
    }
    capacities = dict.fromkeys(Step, between) | {Step.CHECK: before, Step.UNCORDON: after}
    steps = tuple(
        PlannedStep(step=step, guests=tuple(nodes[step]), capacity=capacity, units=units_of(capacity))
        for step, capacity in capacities.items()
        if nodes[step]
    )
    lowest = between if steps else before
    return SwitchPlan(
        gpu=gpu,
        origin=origin.name,
        target=target.name,
        steps=steps,
        lowest=lowest,
        lowest_units=units_of(lowest),
    )
