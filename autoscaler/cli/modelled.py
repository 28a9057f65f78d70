"""The options of `simulate` that describe a modelled fleet and the load on it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from autoscaler.cli import terminal
from autoscaler.refusal import Refused
from autoscaler.sim import trace as traces
from autoscaler.sim import world_file
from autoscaler.sim.demand import Demand, fitting_scales
from autoscaler.sim.shapes import names
from autoscaler.sim.world import World
from vgpu.core.share import SchedulerPolicy

AUTO = "auto"

TraceFile = Annotated[
    Path | None, typer.Option("--trace", help="CSV (.gz too): arrival_s, or second,requests.", dir_okay=False)
]
Shape = Annotated[str | None, typer.Option(help=f"Instead of a trace: {', '.join(names())}.")]
SpanS = Annotated[float, typer.Option(help="How long a shape is.")]
From = Annotated[str | None, typer.Option("--from", help="Begin here: seconds, 12h, 40d or a date.")]
To = Annotated[str | None, typer.Option("--to", help="End here.")]
Scale = Annotated[
    str, typer.Option(help="Multiply the load; auto: the busiest minute needs 80 % of what all slots can bear.")
]
WorldFile = Annotated[
    Path | None, typer.Option("--world", help="The fleet, YAML with the fields of sim.world.World.", dir_okay=False)
]
Cards = Annotated[int | None, typer.Option(min=1, max=1000)]
Slots = Annotated[int | None, typer.Option(min=1, max=32, help="Of a card.")]
Scheduler = Annotated[SchedulerPolicy | None, typer.Option(help="How the hypervisor divides a card.")]
NoInterference = Annotated[bool, typer.Option("--no-interference", help="Every slot of ours on a card of its own.")]
ColdStartS = Annotated[float | None, typer.Option("--cold-start", min=0, help="Seconds, worker and model load.")]
ObjectiveMs = Annotated[int | None, typer.Option(min=1, help="95 of 100 requests within this.")]
ServiceMs = Annotated[float | None, typer.Option(min=0.1, help="A lone request on an idle card.")]
EngineRatio = Annotated[float | None, typer.Option(min=0, max=1, help="The part of it on the engine.")]


def check_types(world: World, scale: str, *, are_others: bool) -> None:
    """Raise `Refused` where a fleet of several slot types meets what knows only one."""
    if world.further and (are_others or scale == AUTO):
        raise Refused(
            "a fleet of several slot types takes the policy ours alone and a --scale that is a number: "
            "the other laws and the automatic scale know one slot type"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """What was said about the fleet; None is what the file or the default fleet says."""

    world_file: Path | None
    cards: int | None
    slots: int | None
    scheduler: SchedulerPolicy | None
    is_alone: bool
    cold_start_s: float | None
    objective_ms: int | None
    service_ms: float | None
    engine_ratio: float | None

    def world(self) -> World:
        """The fleet. Raises `Refused`."""
        world = world_file.possible(self._scheduled)
        if self.cold_start_s is not None:
            cold_start_s = self.cold_start_s
            world = world_file.with_models(world, lambda model: world_file.with_cold_start(model, cold_start_s))
        if self.objective_ms is not None:
            objective_ms = self.objective_ms
            world = world_file.with_models(world, lambda model: replace(model, objective_p95_ms=objective_ms))
        solo_ms, engine_ratio = self.service_ms, self.engine_ratio
        if solo_ms is not None or engine_ratio is not None:
            world = world_file.with_models(
                world, lambda model: world_file.with_service(model, solo_ms=solo_ms, engine_ratio=engine_ratio)
            )
        return world

    def _scheduled(self) -> World:
        world = self._sized()
        if self.scheduler is not None:
            world = replace(world, policy=self.scheduler)
        return world_file.without_interference(world) if self.is_alone else world

    def _sized(self) -> World:
        if self.world_file is None:
            return world_file.sized(cards=self.cards or 8, slots_per_card=self.slots or 4)
        world = world_file.load(self.world_file)
        return replace(world, cards=self.cards or world.cards, slots_per_card=self.slots or world.slots_per_card)


def demand(
    trace_file: Path | None, shape: str | None, span_s: float, from_text: str | None, to_text: str | None
) -> Demand:
    """The load. Raises `Refused`."""
    if (trace_file is None) == (shape is None):
        raise Refused(f"give one load: --trace FILE, or --shape with one of {', '.join(names())}")
    if trace_file is not None:
        found = Demand(source=traces.read(trace_file), from_text=from_text, to_text=to_text)
    else:
        found = Demand(source=str(shape), span_s=span_s, from_text=from_text, to_text=to_text)
    trace = found.trace(1)  # refuses an unknown shape and a part that is not there, before anything runs
    for repair in trace.repairs:
        terminal.console().print(f"repaired: {repair}", markup=False)
    return found


def scales(text: str, found: Demand, world: World) -> Mapping[str, float]:
    """The scale of each model. Raises `Refused`."""
    if text == AUTO:
        return fitting_scales(found, world, seed=1)
    try:
        scale = float(text)
    except ValueError:
        raise Refused(f"--scale {text}: neither a number nor {AUTO}") from None
    return {model.name: scale for model in world.models}
