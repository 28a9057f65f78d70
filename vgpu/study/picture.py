"""One picture of a sweep: units left unallocated as demand grows, and what each policy leaves when it is 100 %."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")  # before pyplot: there may be no screen
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from vgpu.core.fractions.policies import DEFAULT_POLICY
from vgpu.study import report
from vgpu.study.experiment import FULL, Run
from vgpu.study.report import Line

DEFAULT_COLOUR, BOUND_COLOUR, PUBLISHED_COLOUR = "#c44e52", "#222222", "#222222"
COLOURS = ("#4c72b0", "#55a868", "#8172b3", "#ccb974", "#64b5cd", "#da8bc3", "#937860", "#8c8c8c")
SHOWN_FROM_PERCENT = 75


def draw(path: Path, runs: Sequence[Run], lines: Sequence[Line], *, title: str, bound_ratio: float) -> None:
    """Write a PNG.

    Raises:
        OSError, ValueError: the file cannot be written, or not in the form of its ending.
    """
    tie_breaks = list(dict.fromkeys(line.tie_break for line in lines))
    figure, panels = plt.subplots(
        2, len(tie_breaks), figsize=(6.5 * len(tie_breaks), 8), squeeze=False, sharey="row", layout="constrained"
    )
    seeds = len({run.seed for run in runs})
    figure.suptitle(f"{title}: units that stay unallocated, mean of {seeds} seed{'s' * (seeds > 1)}")
    colours = _colours(lines)
    for column, tie_break in enumerate(tie_breaks):
        own = [line for line in lines if line.tie_break is tie_break]
        _growth(panels[0, column], runs, own, colours)
        _bars(panels[1, column], own, colours)
        panels[0, column].set_title(f"ties: {tie_break.value}")
        panels[1, column].axhline(100 * (1 - bound_ratio), color=BOUND_COLOUR, linestyle="--", linewidth=1)
        panels[1, column].set_xlabel("dashed: the least that any policy can leave; dots: published")
    panels[0, 0].set_ylabel("unallocated, % of all GPUs")
    panels[1, 0].set_ylabel("unallocated at 100 % demand, %")
    for panel in panels.ravel():
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(alpha=0.25)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _colours(lines: Sequence[Line]) -> dict[str, str]:
    others = [name for name in dict.fromkeys(line.policy for line in lines) if name != DEFAULT_POLICY]
    found = {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(others)}
    return {**found, DEFAULT_POLICY: DEFAULT_COLOUR}


def _growth(panel: Axes, runs: Sequence[Run], lines: Sequence[Line], colours: dict[str, str]) -> None:
    for line in lines:
        curve = report.curve(runs, line.policy, line.tie_break)
        shown = [percent for percent in curve if percent >= SHOWN_FROM_PERCENT]
        left = [100 * (1 - curve[percent][0]) for percent in shown]
        width = 2.5 if line.is_default else 1.2
        panel.plot(shown, left, color=colours[line.policy], linewidth=width, label=line.policy)
    panel.axvline(FULL, color=BOUND_COLOUR, linewidth=0.6)
    panel.set_xlabel("demand of all pods that arrived, % of all GPUs")
    panel.legend(fontsize="small", ncols=2)


def _bars(panel: Axes, lines: Sequence[Line], colours: dict[str, str]) -> None:
    ordered = sorted(lines, key=lambda line: line.allocated_ratio_at_100)
    for place, line in enumerate(ordered):
        left = 100 * (1 - line.allocated_ratio_at_100)
        panel.bar(place, left, color=colours[line.policy], yerr=100 * (line.deviation_ratio or 0.0), capsize=3)
        if line.published_ratio is not None:
            panel.plot(place, 100 * (1 - line.published_ratio), "o", color=PUBLISHED_COLOUR, markersize=5)
    panel.set_xticks(range(len(ordered)), [line.policy for line in ordered], rotation=30, ha="right")
