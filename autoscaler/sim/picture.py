"""One picture of a comparison: what service costs under each policy, and how ours and the best rival followed load."""

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")  # before pyplot: there may be no screen
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from autoscaler.sim.compare import BOUND, OURS, Study, Sweep
from autoscaler.sim.frontier import pareto
from autoscaler.sim.report import TITLES, Summary

OURS_COLOUR, BOUND_COLOUR, LOAD_COLOUR = "#c44e52", "#222222", "#8c8c8c"
COLOURS = ("#4c72b0", "#55a868", "#8172b3", "#ccb974", "#64b5cd", "#da8bc3", "#937860")
MARKERS = "osv^DPX"
# Late requests are drawn on a log scale, where none at all has no place.
LEAST_LATE_RATIO = 1e-4


def draw(path: Path, study: Study, sweeps: Sequence[Sweep], summary: Summary | None) -> None:
    """Write a PNG: the trade between service and slots where policies were tuned, and the first seed's timeline."""
    rows = 2 if summary is None else 3
    heights = (1, 1) if summary is None else (2, 1, 1)
    figure, panels = plt.subplots(
        rows, 1, figsize=(10, 3.2 * sum(heights)), height_ratios=heights, layout="constrained"
    )
    figure.suptitle(f"{study.demand.name}: simulated, {len(study.seeds)} seeds")
    if summary is not None:
        _trade(panels[0], sweeps)
    _timeline(panels[-2], panels[-1], study, _shown(sweeps, summary))
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(alpha=0.25)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _trade(panel: Axes, sweeps: Sequence[Sweep]) -> None:
    """Late requests against slot-hours: down and left is better."""
    styles = zip(cycle(COLOURS), cycle(MARKERS))
    for policy in dict.fromkeys(each.candidate.policy for each in sweeps):
        own = [each for each in sweeps if each.candidate.policy == policy]
        served = np.array([each.mean("attainment_ratio") for each in own])
        taken = np.array([each.mean("slot_hours") for each in own])
        late = np.maximum(1 - served, LEAST_LATE_RATIO)
        if policy == OURS:
            panel.plot(taken, late, "*", markersize=18, color=OURS_COLOUR, label=TITLES[policy], zorder=3)
            continue
        colour, marker = (BOUND_COLOUR, ".") if policy == BOUND else next(styles)
        front = pareto(served, taken)
        panel.plot(taken, late, marker, color=colour, alpha=0.25, markersize=5)
        dashed = "--" if policy == BOUND else "-"
        panel.plot(taken[front], late[front], dashed + marker, color=colour, label=TITLES[policy], markersize=5)
    panel.set_yscale("log")
    panel.set_ylabel("requests beyond the objective, part of all (log)")
    panel.set_xlabel("slot-hours in the test span")
    panel.legend(loc="upper right", frameon=False, fontsize="small")


def _shown(sweeps: Sequence[Sweep], summary: Summary | None) -> list[tuple[Sweep, str]]:
    """Ours and the best rival at its tuned setting; without a summary the first policies there are."""
    if summary is None or summary.best_baseline is None:
        return [(each, colour) for each, colour in zip(sweeps, (OURS_COLOUR, *COLOURS), strict=False)]
    wanted = {OURS: OURS_COLOUR, summary.best_baseline.setting_name: COLOURS[0]}
    return [(each, wanted[each.candidate.name]) for each in sweeps if each.candidate.name in wanted]


def _timeline(load: Axes, slots: Axes, study: Study, shown: Sequence[tuple[Sweep, str]]) -> None:
    """Offered load and p95 above, slots below."""
    models = study.world.models
    for index, (each, colour) in enumerate(shown):
        line = each.timeline
        if index == 0:
            load.fill_between(line.time_s, line.offered_per_s, step="post", color=LOAD_COLOUR, alpha=0.3, linewidth=0)
        slots.step(line.time_s, line.slots, where="post", color=colour, label=TITLES[each.candidate.policy])
    load.set_ylabel("requests/s")
    load.set_ylim(bottom=0)
    latency = load.twinx()
    for each, colour in shown:
        latency.plot(each.timeline.time_s, each.timeline.p95_ms, color=colour, linewidth=1)
    if len(models) == 1:
        latency.axhline(models[0].objective_p95_ms, color=BOUND_COLOUR, linestyle="--", linewidth=1)
    latency.set_yscale("log")
    latency.set_ylabel("p95, ms (log)")
    slots.set_ylabel("slots held")
    slots.set_ylim(bottom=0)
    slots.yaxis.set_major_locator(MaxNLocator(integer=True))
    slots.set_xlabel("seconds")
    slots.legend(loc="upper left", frameon=False, fontsize="small")
    for panel in (load, slots):
        panel.axvline(study.counted_from_s, color="#bbbbbb", linewidth=0.8)
