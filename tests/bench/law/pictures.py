"""The pictures beside the README's tables."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")  # before pyplot: there may be no screen
import matplotlib.pyplot as plt
import numpy as np

from autoscaler.sim.compare import BOUND, OURS
from autoscaler.sim.frontier import Floats, pareto
from autoscaler.sim.report import TITLES
from tests.bench.law.fronts import Compared

FOLDER = Path(__file__).parent.parent / "pictures"
OURS_COLOUR, BOUND_COLOUR = "#c44e52", "#222222"
COLOURS = ("#4c72b0", "#55a868", "#8172b3", "#ccb974", "#64b5cd", "#da8bc3", "#937860")
LEAST_LATE_RATIO = 1e-4
DPI = 70
COLUMNS = 4


def _save(figure: plt.Figure, name: str) -> str:
    FOLDER.mkdir(exist_ok=True)
    figure.savefig(FOLDER / name, dpi=DPI)
    plt.close(figure)
    return f"{FOLDER.name}/{name}"


def fronts(world: str, compared: Mapping[str, Compared]) -> str:
    """Late requests against slot-hours, a panel for each load; left and down is better."""
    columns = min(COLUMNS, len(compared))
    lines = math.ceil(len(compared) / columns)
    figure, panels = plt.subplots(
        lines, columns, figsize=(3.4 * columns, 2.8 * lines + 0.6), layout="constrained", squeeze=False
    )
    for panel in panels.ravel()[len(compared) :]:
        panel.set_axis_off()
    for panel, (label, one) in zip(panels.ravel(), compared.items(), strict=False):
        others = [p for p in dict.fromkeys(each.candidate.policy for each in one.sweeps) if p not in (OURS, BOUND)]
        colours = {BOUND: BOUND_COLOUR, **dict(zip(others, COLOURS, strict=False))}
        for policy, colour in colours.items():
            own = one.of(policy)
            served = np.array([each.mean("attainment_ratio") for each in own])
            taken = np.array([each.mean("slot_hours") for each in own])
            front = pareto(served, taken)
            late = np.maximum(1 - served[front], LEAST_LATE_RATIO)
            panel.plot(taken[front], late, ".-", color=colour, label=TITLES[policy], linewidth=1, markersize=4)
        late_ratio = max(1 - one.ours.mean("attainment_ratio"), LEAST_LATE_RATIO)
        panel.plot(one.ours.mean("slot_hours"), late_ratio, "*", color=OURS_COLOUR, markersize=12, label="ours")
        panel.set_yscale("log")
        panel.set_ylim(LEAST_LATE_RATIO / 1.5, 1)
        panel.set_title(label.split("/")[-1], fontsize="small")
    for panel in panels[:, 0]:
        panel.set_ylabel("late, part of all")
    for panel in panels[-1]:
        panel.set_xlabel("slot-hours")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False, fontsize="small")
    return _save(figure, f"e1-{world}.png")


def reliability(predicted: Sequence[float], measured: Sequence[float], weights: Sequence[float]) -> str:
    """Predicted against measured parts of late requests; on the line is right."""
    figure, panel = plt.subplots(figsize=(4.6, 4.2), layout="constrained")
    sizes = [20 + 180 * weight / max(weights) for weight in weights]
    panel.plot([1e-3, 1], [1e-3, 1], color="#bbbbbb", linewidth=1)
    panel.scatter([max(p, 1e-3) for p in predicted], [max(m, 1e-3) for m in measured], s=sizes, color=OURS_COLOUR)
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_xlabel("predicted part of late requests")
    panel.set_ylabel("measured")
    return _save(figure, "e10-reliability.png")


def attainment(name: str, title: str, lines: Mapping[str, tuple[Floats, Floats]], spans: Sequence[float]) -> str:
    """Attainment over time of several policies; `spans` are the ends of what is shaded."""
    figure, panel = plt.subplots(figsize=(8, 3), layout="constrained")
    for (label, (time_s, attained)), colour in zip(lines.items(), (OURS_COLOUR, *COLOURS), strict=False):
        panel.plot(time_s, attained, color=colour, label=label, linewidth=1.2)
    panel.axvspan(spans[0], spans[1], color="#dddddd", alpha=0.5)
    panel.axhline(0.95, color=BOUND_COLOUR, linestyle="--", linewidth=0.8)
    panel.set_ylabel("attained")
    panel.set_xlabel("seconds")
    panel.set_title(title, fontsize="small")
    panel.legend(loc="lower right", frameon=False, fontsize="small")
    return _save(figure, name)
