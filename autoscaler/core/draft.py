"""A decision before placement, with the memory it leaves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from autoscaler.core.decision import Recommendation, Step
from autoscaler.core.service import Demand
from autoscaler.core.sharing import Claim
from autoscaler.core.signals import ModelSignals
from autoscaler.core.spanning import SlotOption
from autoscaler.core.spec import ModelSpec
from autoscaler.core.state import ModelState


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What one model would have if there were slots without end."""

    spec: ModelSpec
    current: int
    count: int
    decided: int
    """Decided last, with those that were to stay only until their successors run."""
    state: ModelState
    steps: tuple[Step, ...]
    claim: Claim
    recommendations: tuple[Recommendation, ...] = ()
    signals: ModelSignals | None = None
    placed: Mapping[str, str | None] = field(default_factory=dict)
    """Running replicas that could be read and are on nodes that stay, and their slots."""
    demand: Demand | None = None
    here: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """By card: what each of its replicas there adds, once that is known."""
    types: tuple[SlotOption, ...] = ()
    """Of a model on several slot types: what they are to it."""
    lives: Mapping[str, str] = field(default_factory=dict)
    """Of such a model: its running replicas and their pools."""
    yields_in: frozenset[str] = frozenset()
    """Pools in which others wait for what it gives up."""
    leaving: Mapping[str, str] = field(default_factory=dict)
    """Its running replicas on nodes that will be taken away, in the order in which they should go, and their pools."""
    staying: int = 0
    """Where there are such: its running replicas elsewhere, without those that are to go too."""
