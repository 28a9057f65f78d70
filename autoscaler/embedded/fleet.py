"""The emulated hardware: which cards there are, how each is cut, which guest node holds which slot.

As with NVIDIA vGPU, a node is a guest with one virtual GPU, and the nodes of one card share its engine. A card of a
fraction lies in one node, which has it to itself and shares it by units between its pods.

Entries with the same `gpu` are one physical card cut different ways. Each *cut* is played by an emulator of its own,
for the hypervisor stand-in lets the guests of one cut of a card run at a time.
"""

import re
import uuid
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from autoscaler.config import lines_of
from autoscaler.core.spec import FleetSpec
from autoscaler.refusal import Refused
from vgpu import yaml_document
from vgpu.core.offer import OfferedGpu, render_gpus
from vgpu.core.profile import Profile, ProfileError
from vgpu.core.share import UNITS_PER_GPU, SchedulerPolicy
from vgpu.core.slot_type import Fraction, SlotType, parse_slot_type
from vgpu.yaml_document import NotYaml

STRICT = ConfigDict(extra="forbid", frozen=True)
NAMESPACE = uuid.UUID("5f0c8f9a-51e0-4d3c-9f55-0b8f3f6d7a10")
# Each node has the second byte of 127/8 to itself: see `pods.address`.
MOST_NODES = 250
# NVIDIA's drivers run at most so many vGPUs on one GPU, and so does the emulated one.
MOST_SLOTS = 32
# One label of a DNS name.
NODE_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class FleetError(Refused):
    """The fleet file cannot be used; the message lists every problem."""


class Card(BaseModel):
    """One emulated physical GPU, and the guests cut from it or the node that shares it."""

    model_config = STRICT

    profile: str
    """Slot type of every guest on the card, as the node label says it: v100-8q-8GB. Or fraction:500, the one size in
    which the emulated card is shared."""
    nodes: tuple[str, ...]
    """One guest node per slot; of a fraction, the node that has the card."""
    board: str = "v100"
    """Which card a fraction is cut from; a profile names its own."""
    policy: SchedulerPolicy = SchedulerPolicy.BEST_EFFORT
    """The hypervisor's time slicing; best effort is NVIDIA's default."""
    gpu: str | None = None
    """The physical card's name, where it can be cut in several ways: one entry for each."""
    powered: bool = True
    """Whether the guests run when the installation starts."""

    @field_validator("profile")
    @classmethod
    def _profile_can_exist(cls, label: str) -> str:
        try:
            parse_slot_type(label)
        except ProfileError as error:
            raise ValueError(str(error)) from error
        return label

    @field_validator("nodes")
    @classmethod
    def _nodes_can_be_named_so(cls, nodes: tuple[str, ...]) -> tuple[str, ...]:
        if not nodes:
            raise ValueError("empty; name one guest for each slot")
        if odd := [node for node in nodes if not NODE_NAME.fullmatch(node)]:
            raise ValueError(f"{', '.join(map(repr, odd))}; use lower-case letters, digits and hyphens")
        return nodes

    @field_validator("gpu")
    @classmethod
    def _gpu_can_be_named_so(cls, gpu: str | None) -> str | None:
        if gpu is not None and not NODE_NAME.fullmatch(gpu):
            raise ValueError(f"{gpu!r}; use lower-case letters, digits and hyphens")
        return gpu

    @field_validator("board")
    @classmethod
    def _board_is_known(cls, board: str) -> str:
        try:
            return Profile(board=board, gigabytes=0, series="q").board
        except ProfileError as error:
            raise ValueError(str(error)) from error

    @model_validator(mode="after")
    def _fits(self) -> "Card":
        most = 1 if self.is_shared else self.shape.most_per_gpu
        if len(self.nodes) > most:
            raise ValueError(f"{len(self.nodes)} nodes on one card; {self.profile} allows {most}")
        if self.shape.most_per_gpu > MOST_SLOTS:
            least = -(-UNITS_PER_GPU // MOST_SLOTS)
            raise ValueError(f"{self.profile} is too small: an emulated card has {MOST_SLOTS} slots, of {least} units")
        return self

    @model_validator(mode="after")
    def _only_guests_can_sleep(self) -> "Card":
        if self.is_shared and (self.gpu is not None or not self.powered):
            raise ValueError(f"{self.profile} is shared by units in one node, always; leave out gpu and powered")
        return self

    @property
    def shape(self) -> SlotType:
        """The parsed slot type."""
        return parse_slot_type(self.profile)

    @property
    def is_shared(self) -> bool:
        """One node has the card and shares it by units."""
        return isinstance(self.shape, Fraction)

    @property
    def board_name(self) -> str:
        """Which card it is, as a profile names it."""
        return self.board if isinstance(self.shape, Fraction) else self.shape.board

    @property
    def framebuffer_mib(self) -> int:
        """Of the whole card."""
        return Profile(board=self.board_name, gigabytes=0, series="q").board_framebuffer_mib

    @property
    def name(self) -> str:
        """What NVML and a node's label call the card."""
        return f"Emulated {self.board_name.upper()}"

    @property
    def slot_name(self) -> str:
        """What NVML calls a slot."""
        return self.shape.label if isinstance(self.shape, Fraction) else self.shape.name

    @property
    def slot_framebuffer_mib(self) -> int:
        shape = self.shape
        return shape.framebuffer_mib_of(self.framebuffer_mib) if isinstance(shape, Fraction) else shape.framebuffer_mib

    @property
    def slots(self) -> tuple[str, ...]:
        """What is cut from the card: a slot for each guest, or the parts that a shared card has room for."""
        if self.is_shared:
            return tuple(f"{self.nodes[0]}/part-{part}" for part in range(self.shape.most_per_gpu))
        return tuple(f"{node}/0" for node in self.nodes)

    def offer(self, uuid: str) -> str:
        """What the node of a shared card says of it, as the device plugin of a real node would."""
        return render_gpus((OfferedGpu(index=0, uuid=uuid, framebuffer_mib=self.framebuffer_mib),))


class Fleet(BaseModel):
    """Every emulated card of one installation."""

    model_config = STRICT

    cards: tuple[Card, ...]
    cost_ratio: float = Field(default=8.0, gt=0, le=1000)
    """Emulated GPU's time over the reference engine's. 8 keeps a fully busy card at an eighth of one core here."""

    @property
    def nodes(self) -> tuple[str, ...]:
        """Every guest, in the order of the cards; a node's place in it decides its address."""
        return tuple(node for card in self.cards for node in card.nodes)

    @property
    def is_shared(self) -> bool:
        """Some card is shared by units, so pods for it are placed by the extender."""
        return any(card.is_shared for card in self.cards)

    @property
    def is_switchable(self) -> bool:
        """Some card is named, so its guests can be exchanged for others."""
        return any(card.gpu is not None for card in self.cards)

    @model_validator(mode="after")
    def _nodes_are_distinct_and_few(self) -> "Fleet":
        if not self.cards:
            raise ValueError("no cards; describe at least one")
        twice = sorted({node for node in self.nodes if self.nodes.count(node) > 1})
        if twice:
            raise ValueError(f"nodes named twice: {', '.join(twice)}")
        if len(self.nodes) > MOST_NODES:
            raise ValueError(f"{len(self.nodes)} nodes; at most {MOST_NODES} have an address here")
        return self

    @model_validator(mode="after")
    def _cuts_of_a_card_agree(self) -> "Fleet":
        names = sorted({card.gpu for card in self.cards if card.gpu is not None})
        problems = [problem for name in names for problem in _contradictions(name, self.cuts(name))]
        if not any(card.powered for card in self.cards):
            problems.append("every card is off; leave out powered: false where guests run at the start")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def cuts(self, gpu: str) -> tuple[Card, ...]:
        """The ways in which the physical card of this name can be cut."""
        return tuple(card for card in self.cards if card.gpu == gpu)

    def card_uuid(self, index: int) -> str:
        """The physical card's UUID, the same for all its cuts; else for the same position."""
        gpu = self.cards[index].gpu
        return card_uuid(index) if gpu is None else f"GPU-{uuid.uuid5(NAMESPACE, f'gpu-{gpu}')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """One emulated node: its place among all, and the card below it."""

    index: int
    card_index: int
    card: Card
    card_uuid: str


def guests(fleet: Fleet) -> dict[str, Guest]:
    """Every emulated node, by its name."""
    placed = [(index, card, node) for index, card in enumerate(fleet.cards) for node in card.nodes]
    return {
        node: Guest(index=place, card_index=index, card=card, card_uuid=fleet.card_uuid(index))
        for place, (index, card, node) in enumerate(placed)
    }


def _contradictions(gpu: str, cuts: tuple[Card, ...]) -> list[str]:
    """Why these cannot be ways to cut one card, or not all run at the start."""
    problems = []
    boards = sorted({cut.board_name for cut in cuts})
    if len(boards) > 1:
        problems.append(f"gpu {gpu} is {' and '.join(boards)}; a card has one board, so give other cards other names")
    policies = sorted({str(cut.policy) for cut in cuts})
    if len(policies) > 1:
        problems.append(f"gpu {gpu} has the policies {' and '.join(policies)}; the policy is the card's, give one")
    powered = [cut for cut in cuts if cut.powered]
    if len(powered) > 1 and len(boards) == 1:
        problems.append(f"gpu {gpu}: {_why_not_together(powered)}; set powered: false on all but one entry")
    return problems


def _why_not_together(powered: list[Card]) -> str:
    size_mib = powered[0].framebuffer_mib
    asked_mib = sum(len(cut.nodes) * cut.slot_framebuffer_mib for cut in powered)
    profiles = sorted({cut.profile for cut in powered})
    if asked_mib > size_mib:
        return f"its guests that run at the start ask for {asked_mib} of {size_mib} MiB"
    if len(profiles) > 1:
        return f"{' and '.join(profiles)} at the same time are of mixed sizes"
    return "two entries of one size run at the start, where one entry could name all of their nodes"


DEFAULT_SLOTS = "v100-8q-8GB"
DEFAULT_CARDS = 3


def default(slots: str = DEFAULT_SLOTS) -> Fleet:
    """Three cards, each cut into as many slots of one type as it has room for; V100 of 16 GB for a fraction.

    Raises `FleetError` where no card can be cut so.
    """
    try:
        shape = parse_slot_type(slots)
        each = 1 if isinstance(shape, Fraction) else shape.most_per_gpu
        nodes = [f"node-{number}" for number in range(1, DEFAULT_CARDS * each + 1)]
        return Fleet(
            cards=tuple(
                Card(profile=slots, nodes=tuple(nodes[card * each : (card + 1) * each]))
                for card in range(DEFAULT_CARDS)
            )
        )
    except ProfileError as error:
        raise FleetError(f"--slots {slots}: {error}") from error
    except ValidationError as error:
        raise FleetError("\n".join(f"--slots {slots}: {line}" for line in lines_of(error))) from None


def load(path: Path) -> Fleet:
    """Read a fleet file. Raises `FleetError` listing every problem."""
    try:
        return Fleet.model_validate(yaml_document.load(path.read_bytes()))
    except OSError as error:
        raise FleetError(f"{path}: {error.strerror}; give a readable fleet file") from error
    except NotYaml as error:
        raise FleetError(f"{path}: {error}") from error
    except ValidationError as error:
        raise FleetError("\n".join(f"{path}: {line}" for line in lines_of(error))) from None


def first_workers(fleet: Fleet, spec: FleetSpec) -> dict[str, int]:
    """By pool: the workers that are there before the autoscaler begins, one for every replica the models must have.

    A model on several slot types begins in the first of its pools that has room, those without a choice before it.
    """
    free = {
        pool.name: sum(len(card.slots) for card in fleet.cards if card.powered and card.shape == pool.profile)
        for pool in spec.pools
    }
    workers = dict.fromkeys(free, 0)
    for model in sorted(spec.models, key=lambda model: len(model.pools)):
        for _ in range(model.min_replicas):
            pool = next((pool for pool in model.pools if workers[pool] < free[pool]), model.pool)
            workers[pool] += 1
    return workers


def card_uuid(index: int) -> str:
    """The emulated card's UUID: the same for the same position, so that logs of two runs compare."""
    return f"GPU-{uuid.uuid5(NAMESPACE, f'card-{index}')}"


def slot_uuid(slot_id: str) -> str:
    """The guest's view of its virtual GPU."""
    return f"GPU-{uuid.uuid5(NAMESPACE, slot_id)}"
