"""The laws that ours is compared with, each rebuilt from its own source, and the settings to try them with.

    LAWS["kpa"].default.make(world, arrivals)           one law, as its source ships it
    [setting.make(world, arrivals) for setting in LAWS["kpa"].grid]

A law is a pure step: `want(view)` gives each model's wanted replicas, from what the view shows and what the law kept
for itself; call it every `interval_s`. It is never reset: make a new one for a new run. A model that was never seen
is left out.
"""

from dataclasses import dataclass

from autoscaler.sim.baselines import grid
from autoscaler.sim.baselines.grid import Setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """A law by name: what it is, and the settings to try."""

    title: str
    grid: tuple[Setting, ...]
    """The first is the default."""

    @property
    def default(self) -> Setting:
        return self.grid[0]


LAWS: dict[str, Baseline] = {
    "ray_serve": Baseline(title="Ray Serve 2.60", grid=grid.ray_serve_grid()),
    "hpa_device": Baseline(title="HPA v2 on device utilization", grid=grid.hpa_device_grid()),
    "hpa_in_flight": Baseline(title="HPA v2 on requests in flight", grid=grid.hpa_in_flight_grid()),
    "kpa": Baseline(title="Knative KPA", grid=grid.kpa_grid()),
    "dynamo": Baseline(title="planner of the form of Dynamo's", grid=grid.dynamo_grid()),
    "erlang": Baseline(title="Erlang-C planner, no interference, no places", grid=grid.erlang_grid()),
    "static": Baseline(title="fixed count", grid=grid.static_grid()),
    "clairvoyant": Baseline(title="clairvoyant bound", grid=grid.clairvoyant_grid()),
}
