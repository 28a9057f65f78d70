"""The settings each law is tried with, so that it is compared at its best and not only at its defaults.

A grid varies what a law's users vary, over the range where a fleet with 60 ms requests and a 40 s cold start has its
front: from settings that miss the objective of one request in five to settings that waste half the slots. The first
setting of each grid is the law as its source ships it, with a target of one request in flight where it ships none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from autoscaler.sim.baselines.clairvoyant import Clairvoyant, ClairvoyantSettings
from autoscaler.sim.baselines.dynamo import DynamoSettings
from autoscaler.sim.baselines.erlang import ErlangSettings
from autoscaler.sim.baselines.hpa import HpaSettings
from autoscaler.sim.baselines.kpa import KpaSettings
from autoscaler.sim.baselines.placed import Placed
from autoscaler.sim.baselines.ray_serve import RayServeSettings
from autoscaler.sim.baselines.static import StaticSettings
from autoscaler.sim.controller import Controller, Law, Plain
from autoscaler.sim.world import World

Settings = (
    ClairvoyantSettings
    | DynamoSettings
    | ErlangSettings
    | HpaSettings
    | KpaSettings
    | RayServeSettings
    | StaticSettings
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A law with all its numbers."""

    law: str
    """The law's name in `LAWS`."""
    settings: Settings

    @property
    def name(self) -> str:
        """The law, and the numbers that differ from its defaults: `kpa scale_down_delay_s=300 target_in_flight=0.5`."""
        usual = asdict(type(self.settings)())
        changed = [f"{key}={_plain(value)}" for key, value in sorted(self.numbers.items()) if value != usual[key]]
        return " ".join([self.law, *changed])

    @property
    def numbers(self) -> dict[str, float | str]:
        """All settings by name."""
        return asdict(self.settings)

    def make(self, world: World, arrivals: Mapping[str, NDArray[np.float64]]) -> Law:
        """A new law with no memory; only the clairvoyant one looks at `arrivals` (model name to sorted times, s)."""
        return self.settings.law(world, arrivals)

    def controller(self, world: World, arrivals: Mapping[str, NDArray[np.float64]]) -> Controller:
        """The law behind the usual plumbing, restartable; the clairvoyant one also knows the best places."""
        law = self.make(world, arrivals)
        if isinstance(law, Clairvoyant):
            return Placed(law, world, span_s=law.span_s)
        return Plain(law, remake=lambda: self.make(world, arrivals))


def _plain(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _settings(law: str, *records: Settings) -> tuple[Setting, ...]:
    """The records in order, each once."""
    return tuple(Setting(law=law, settings=record) for record in dict.fromkeys(records))


def ray_serve_grid() -> tuple[Setting, ...]:
    return _settings(
        "ray_serve",
        RayServeSettings(),
        *(
            RayServeSettings(target_ongoing=target, look_back_s=10.0, up_delay_s=0.0, down_delay_s=down_s)
            for target, down_s in product((0.4, 0.5, 0.7, 0.9), (60.0, 150.0, 300.0))
        ),
        *(
            RayServeSettings(target_ongoing=target, up_delay_s=up_s, down_delay_s=down_s)
            for target, up_s, down_s in product((0.5, 0.7), (10.0, 30.0), (300.0, 600.0))
        ),
    )


def hpa_device_grid() -> tuple[Setting, ...]:
    return _settings(
        "hpa_device",
        HpaSettings(),
        *(
            HpaSettings(target=target, down_window_s=down_s)
            for target, down_s in product((0.45, 0.5, 0.55, 0.6, 0.65), (60.0, 150.0, 300.0))
        ),
    )


def hpa_in_flight_grid() -> tuple[Setting, ...]:
    return _settings(
        "hpa_in_flight",
        HpaSettings(metric="in_flight", target=1.0),
        *(
            HpaSettings(metric="in_flight", target=target, down_window_s=down_s)
            for target, down_s in product((0.4, 0.5, 0.6, 0.8, 1.0), (60.0, 150.0, 300.0))
        ),
    )


def kpa_grid() -> tuple[Setting, ...]:
    return _settings(
        "kpa",
        KpaSettings(),
        *(
            KpaSettings(target_in_flight=target, target_ratio=1.0, scale_down_delay_s=delay_s)
            for target, delay_s in product((0.4, 0.5, 0.6, 0.8, 1.0), (0.0, 60.0, 300.0, 600.0))
        ),
    )


def dynamo_grid() -> tuple[Setting, ...]:
    return _settings(
        "dynamo",
        DynamoSettings(),
        *(
            DynamoSettings(sla_ratio=sla, capacity_ratio=capacity, slow_interval_s=slow_s)
            for sla, capacity, slow_s in product((0.4, 0.6, 0.8), (0.4, 0.55, 0.75), (60.0, 180.0))
        ),
    )


def erlang_grid() -> tuple[Setting, ...]:
    return _settings(
        "erlang",
        ErlangSettings(),
        *(
            ErlangSettings(headroom_ratio=headroom, hold_s=hold_s)
            for headroom, hold_s in product((1.5, 1.8, 2.1, 2.5, 3.0), (150.0, 300.0, 600.0))
        ),
    )


def static_grid(counts: Sequence[int] = tuple(range(24, 0, -2))) -> tuple[Setting, ...]:
    return _settings("static", *(StaticSettings(replicas=count) for count in counts))


def clairvoyant_grid() -> tuple[Setting, ...]:
    return _settings(
        "clairvoyant",
        ClairvoyantSettings(),
        *(
            ClairvoyantSettings(headroom_ratio=ratio)
            for ratio in (0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1.05, 1.1, 1.2, 1.3, 1.45, 1.6, 1.8, 2.1)
        ),
    )
