"""A fixed number of replicas: what scaling is worth is measured against it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoscaler.sim.controller import View
from autoscaler.sim.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticSettings:
    """The count of every model."""

    replicas: int = 24
    interval_s: float = 60.0

    def law(self, world: World, arrivals: Mapping[str, NDArray[np.float64]]) -> "Static":
        return Static(self)


class Static:
    """The law: the same count for ever, within the bounds of each model."""

    def __init__(self, settings: StaticSettings | None = None) -> None:
        self.settings = settings or StaticSettings()
        self.interval_s = self.settings.interval_s

    def want(self, view: View) -> Mapping[str, int]:
        """Wanted replicas by model."""
        return {
            spec.name: min(max(self.settings.replicas, spec.min_replicas), spec.max_replicas)
            for spec in view.spec.models
        }
