"""The emulated hardware: which cards there are, how each is cut, which guest node holds which slot.

As with NVIDIA vGPU, a node is a guest with one virtual GPU, and the nodes of one card share its engine.
"""

import uuid
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from vgpu.core.profile import Profile, ProfileError, parse_profile
from vgpu.core.share import SchedulerPolicy

STRICT = ConfigDict(extra="forbid", frozen=True)
NAMESPACE = uuid.UUID("5f0c8f9a-51e0-4d3c-9f55-0b8f3f6d7a10")


class FleetError(Exception):
    """The fleet file cannot be used; the message lists every problem."""


class Card(BaseModel):
    """One emulated physical GPU and the guests cut from it."""

    model_config = STRICT

    profile: str
    """Slot type of every guest on the card, as the node label says it: v100-8q-8GB."""
    nodes: tuple[str, ...] = Field(min_length=1)
    """One guest node per slot."""
    policy: SchedulerPolicy = SchedulerPolicy.BEST_EFFORT
    """The hypervisor's time slicing; best effort is NVIDIA's default."""

    @model_validator(mode="after")
    def _fits(self) -> "Card":
        try:
            profile = parse_profile(self.profile)
        except ProfileError as error:
            raise ValueError(str(error)) from error
        if len(self.nodes) > profile.most_per_gpu:
            raise ValueError(f"{len(self.nodes)} nodes on one card; {self.profile} allows {profile.most_per_gpu}")
        return self

    @property
    def shape(self) -> Profile:
        """The parsed slot type."""
        return parse_profile(self.profile)


class Fleet(BaseModel):
    """Every emulated card of one installation."""

    model_config = STRICT

    cards: tuple[Card, ...] = Field(min_length=1)
    cost_ratio: float = Field(8.0, gt=0, le=1000)
    """Emulated GPU's time over the reference engine's. 8 keeps a fully busy card at an eighth of one core here."""

    @model_validator(mode="after")
    def _nodes_are_distinct(self) -> "Fleet":
        nodes = [node for card in self.cards for node in card.nodes]
        twice = sorted({node for node in nodes if nodes.count(node) > 1})
        if twice:
            raise ValueError(f"nodes named twice: {', '.join(twice)}")
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
        return Fleet.model_validate(yaml.safe_load(path.read_text()))
    except OSError as error:
        raise FleetError(f"{path}: {error.strerror}; give a readable fleet file") from error
    except yaml.YAMLError as error:
        raise FleetError(f"{path}: not YAML: {error}") from error
    except ValidationError as error:
        problems = [f"{path}: {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise FleetError("\n".join(problems)) from None


def card_uuid(index: int) -> str:
    """The emulated card's UUID: the same for the same position, so that logs of two runs compare."""
    return f"GPU-{uuid.uuid5(NAMESPACE, f'card-{index}')}"


def slot_uuid(slot_id: str) -> str:
    """The guest's view of its virtual GPU."""
    return f"GPU-{uuid.uuid5(NAMESPACE, slot_id)}"
