"""One picture of a demo: offered load, running replicas and what clients felt, over the same time."""

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")  # before pyplot: there may be no screen
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from autoscaler.embedded.timeline import Timeline, replicas_over_time
from autoscaler.load.schedule import Step

WIDTH_S = 2.0
LOAD, REPLICAS, P50, P95, OBJECTIVE = "#4c72b0", "#55a868", "#8c8c8c", "#c44e52", "#222222"


def draw(path: Path, timeline: Timeline, *, model: str, objective_ms: float, steps: tuple[Step, ...]) -> None:
    """Write a PNG."""
    windows = timeline.windows(WIDTH_S)
    times_s = [at_s for at_s, _ in windows]
    figure, (load, replicas, latency) = plt.subplots(
        3, 1, figsize=(10, 7.5), sharex=True, height_ratios=(1, 1, 2), layout="constrained"
    )
    figure.suptitle(f"{model}: overload, and scale-out to other slots (emulated GPUs, real inference)")
    load.step(times_s, [summary.requests / WIDTH_S for _, summary in windows], where="mid", color=LOAD)
    load.set_ylabel("requests/s")
    counts = replicas_over_time(timeline.scenes, model)
    replicas.step([at_s for at_s, _ in counts], [count for _, count in counts], where="post", color=REPLICAS)
    replicas.set_ylabel("replicas running")
    replicas.set_ylim(0, max((count for _, count in counts), default=1) + 0.5)
    replicas.yaxis.get_major_locator().set_params(integer=True)
    for quantile, colour in (("p50", P50), ("p95", P95)):
        values = [getattr(summary, f"{quantile}_ms") for _, summary in windows]
        latency.plot(times_s, [float("nan") if v is None else v for v in values], label=quantile, color=colour)
    latency.axhline(objective_ms, color=OBJECTIVE, linestyle="--", linewidth=1, label=f"objective {objective_ms:g} ms")
    latency.set_yscale("log")
    latency.set_ylabel("latency, ms (log)")
    latency.set_xlabel("seconds since the load began")
    latency.legend(loc="upper right", frameon=False)
    _mark_steps((load, replicas, latency), steps)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _mark_steps(panels: tuple[Axes, ...], steps: tuple[Step, ...]) -> None:
    began_s = 0.0
    for step in steps[:-1]:
        began_s += step.duration_s
        for panel in panels:
            panel.axvline(began_s, color="#bbbbbb", linewidth=0.8)
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(axis="y", alpha=0.25)
