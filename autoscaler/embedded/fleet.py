"""The emulated hardware: which cards there are, how each is cut, which guest node holds which slot.

As with NVIDIA vGPU, a node is a guest with one virtual GPU, and the nodes of one card share its engine.
"""

import re
import uuid
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from autoscaler.config import lines_of
from autoscaler.refusal import Refused
from vgpu.core.profile import Profile, ProfileError, parse_profile
from vgpu.core.share import SchedulerPolicy

STRICT = ConfigDict(extra="forbid", frozen=True)
NAMESPACE = uuid.UUID("5f0c8f9a-51e0-4d3c-9f55-0b8f3f6d7a10")
# Each node has the second byte of 127/8 to itself: see `pods.address`.
MOST_NODES = 250
# One label of a DNS name.
NODE_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class FleetError(Refused):
    """The fleet file cannot be used; the message lists every problem."""


class Card(BaseModel):
    """One emulated physical GPU and the guests cut from it."""

    model_config = STRICT

    profile: str
    """Slot type of every guest on the card, as the node label says it: v100-8q-8GB."""
    nodes: tuple[str, ...]
    """One guest node per slot."""
    policy: SchedulerPolicy = SchedulerPolicy.BEST_EFFORT
    """The hypervisor's time slicing; best effort is NVIDIA's default."""

    @field_validator("profile")
    @classmethod
    def _profile_can_exist(cls, label: str) -> str:
        try:
            parse_profile(label)
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

    @model_validator(mode="after")
    def _fits(self) -> "Card":
        if len(self.nodes) > self.shape.most_per_gpu:
            raise ValueError(f"{len(self.nodes)} nodes on one card; {self.profile} allows {self.shape.most_per_gpu}")
        return self

    @property
    def shape(self) -> Profile:
        """The parsed slot type."""
        return parse_profile(self.profile)


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


def default() -> Fleet:
    """Three V100 of 16 GB, each cut into two v100-8q guests, best effort."""
    return Fleet(
        cards=tuple(
            Card(profile="v100-8q-8GB", nodes=(f"node-{2 * card + 1}", f"node-{2 * card + 2}")) for card in range(3)
        )
    )


def load(path: Path) -> Fleet:
    """Read a fleet file. Raises `FleetError` listing every problem."""
    try:
        return Fleet.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise FleetError(f"{path}: {error.strerror}; give a readable fleet file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise FleetError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        raise FleetError("\n".join(f"{path}: {line}" for line in lines_of(error))) from None


def card_uuid(index: int) -> str:
    """The emulated card's UUID: the same for the same position, so that logs of two runs compare."""
    return f"GPU-{uuid.uuid5(NAMESPACE, f'card-{index}')}"


def slot_uuid(slot_id: str) -> str:
    """The guest's view of its virtual GPU."""
    return f"GPU-{uuid.uuid5(NAMESPACE, slot_id)}"
