"""One picture of `demo-profiles`: what clients felt, who had the slots, and the load, with the switches as bands."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")  # before pyplot: there may be no screen
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.ticker import MaxNLocator

from autoscaler.embedded import switch_timeline
from autoscaler.embedded.picture import LOAD, OBJECTIVE, P50, P95, REPLICAS, WIDTH_S
from autoscaler.embedded.switch_timeline import SwitchSeen, Use
from autoscaler.embedded.timeline import Scene, Timeline

TYPE_COLOURS = (REPLICAS, LOAD, "#8172b3", "#ccb974", "#64b5cd")
USE_STRENGTH = {Use.SERVING: 1.0, Use.TRAINING: 1.0, Use.FREE: 0.4, Use.ASLEEP: 0.12}
TRAINING_HATCH = "///"
ANNOUNCED_COLOUR = "#fdf8f0"
STEP_COLOURS = ("#f2d9b3", "#f9ecd9")
NARROWEST_S = 1.5  # a band this wide has room for its name


def draw(
    path: Path,
    timeline: Timeline,
    *,
    objective_ms: float,
    switches: Sequence[SwitchSeen],
    slot_types: Mapping[str, str],
    training: str,
) -> None:
    """Write a PNG. `slot_types` gives each node's slot type, `training` the name of the training's pods."""
    figure, (latency, slots, load) = plt.subplots(
        3, 1, figsize=(11, 8.5), sharex=True, height_ratios=(2, 2, 1), layout="constrained"
    )
    figure.suptitle("One card cut two ways: small slots serve by day, one large slot trains by night (emulated GPUs)")
    _draw_latency(latency, timeline, objective_ms)
    _draw_slots(slots, timeline.scenes, slot_types, training)
    windows = timeline.windows(WIDTH_S)
    load.step([at_s for at_s, _ in windows], [each.requests / WIDTH_S for _, each in windows], where="mid", color=LOAD)
    load.set_ylabel("requests/s")
    load.set_xlabel("seconds since the load began")
    panels = (latency, slots, load)
    for switch in switches:
        _mark(panels, switch, switch_timeline.announced_s(timeline.scenes, switch))
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(axis="y", alpha=0.25)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_latency(panel: Axes, timeline: Timeline, objective_ms: float) -> None:
    windows = timeline.windows(WIDTH_S)
    times_s = [at_s for at_s, _ in windows]
    panel.set_yscale("log")
    for quantile, colour in (("p50", P50), ("p95", P95)):
        values = [getattr(summary, f"{quantile}_ms") for _, summary in windows]
        panel.plot(times_s, [float("nan") if v is None else v for v in values], label=quantile, color=colour)
    panel.axhline(objective_ms, color=OBJECTIVE, linestyle="--", linewidth=1, label=f"objective {objective_ms:g} ms")
    panel.set_ylabel("latency, ms (log)")
    panel.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)


def _draw_slots(panel: Axes, scenes: Sequence[Scene], slot_types: Mapping[str, str], training: str) -> None:
    """Slots stacked by type and use: a type has its colour, serving is solid, training hatched, the rest pale."""
    counts = [switch_timeline.uses(scene, slot_types, training=training) for scene in scenes]
    bands = bands_of(counts, list(dict.fromkeys(slot_types.values())))
    if bands:
        stacked = panel.stackplot(
            [scene.at_s for scene in scenes],
            [heights for _, _, heights in bands],
            labels=[f"{slot_type} {use}" for slot_type, use, _ in bands],
            colors=[_colour(slot_type, use, slot_types) for slot_type, use, _ in bands],
            step="post",
        )
        for layer, (_, use, _) in zip(stacked, bands, strict=True):
            if use is Use.TRAINING:
                layer.set_hatch(TRAINING_HATCH)
        panel.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, reverse=True)
    panel.set_ylabel("slots")
    panel.yaxis.set_major_locator(MaxNLocator(integer=True))


def bands_of(counts: Sequence[Counter[tuple[str, Use]]], slot_types: Sequence[str]) -> list[tuple[str, Use, list[int]]]:
    """What is stacked, from below: by type and use, with its height at each look; what never occurs is left out."""
    found = [(name, use, [count[name, use] for count in counts]) for name in slot_types for use in Use]
    return [(name, use, heights) for name, use, heights in found if any(heights)]


def _colour(slot_type: str, use: Use, slot_types: Mapping[str, str]) -> tuple[float, float, float]:
    """The type's colour, paler the less is done; on white, so that no band shines through."""
    place = list(dict.fromkeys(slot_types.values())).index(slot_type)
    red, green, blue = to_rgb(TYPE_COLOURS[place % len(TYPE_COLOURS)])
    strength = USE_STRENGTH[use]
    return (1 - strength * (1 - red), 1 - strength * (1 - green), 1 - strength * (1 - blue))


def _mark(panels: Sequence[Axes], switch: SwitchSeen, announced_s: float | None) -> None:
    """A switch as bands: its announcement, and one for each step, named where there is room."""
    top = panels[0]
    announced = () if announced_s is None else (("announced", announced_s, switch.began_s),)
    for place, (step, from_s, to_s) in enumerate((*announced, *switch.bands), start=1 - len(announced)):
        colour = STEP_COLOURS[place % len(STEP_COLOURS)] if place else ANNOUNCED_COLOUR
        for panel in panels:
            panel.axvspan(from_s, to_s, color=colour, zorder=0, linewidth=0)
        if to_s - from_s >= NARROWEST_S:
            middle_s = (from_s + to_s) / 2
            top.text(
                middle_s, 0.98, step.replace("_", " "), rotation=90, ha="center", va="top", fontsize=7,
                color="#7a5c2e", transform=top.get_xaxis_transform(),
            )  # fmt: skip
    top.text(
        switch.began_s, 1.01, f"to {switch.target}, {switch.seconds:.0f} s: {switch.result or 'under way'}",
        fontsize=8, color="#7a5c2e", transform=top.get_xaxis_transform(),
    )  # fmt: skip
