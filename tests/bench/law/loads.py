"""The loads and the worlds of the comparison, by name."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from autoscaler.sim import trace as sim_trace
from autoscaler.sim.demand import Demand
from autoscaler.sim.shapes import names
from autoscaler.sim.world import World, default_world
from autoscaler.sim.world_file import without_interference
from tests.bench.law.options import Options
from vgpu.core.share import SchedulerPolicy

TRACES: Mapping[str, str] = {
    "azure-code": "azure-llm-2023/code_requests.csv.gz",
    "azure-conv": "azure-llm-2023/conv_requests.csv.gz",
    "auto-diurnal": "autothrottle/diurnal_per_second.csv.gz",
    "auto-diurnal-2": "autothrottle/diurnal-2_per_second.csv.gz",
    "auto-noisy": "autothrottle/noisy_per_second.csv.gz",
    "auto-bursty": "autothrottle/bursty_per_second.csv.gz",
}
DAYS: Mapping[str, tuple[str, str, float]] = {
    # The hour from which the busy part of the day begins (UTC), so that a few hours hold the climb and the match.
    "cup-06-10": ("worldcup98/per_minute.csv.gz", "1998-06-10", 12.0),
    "cup-06-20": ("worldcup98/per_minute.csv.gz", "1998-06-20", 12.0),
}
DAY_HOURS = 24.0


def demands(options: Options) -> Iterator[tuple[str, Demand]]:
    """Every load that is asked for and can be had."""
    for name in names():
        if options.asks_for(name, options.loads):
            yield name, Demand(source=name, span_s=options.span_s)
    if options.traces is None:
        return
    for name, file in TRACES.items():
        if options.asks_for(name, options.loads):
            yield name, _limited(options.traces / file, options)
    for name, (file, day, begin_hour) in DAYS.items():
        if options.asks_for(name, options.loads):
            yield name, Demand(source=_part(options.traces / file, day, begin_hour, options.hours))


def _limited(path: Path, options: Options) -> Demand:
    """A trace of an hour, or its beginning in a quick run."""
    whole = sim_trace.read(path)
    return Demand(source=whole if options.span_s >= whole.span_s else whole.cut(0.0, options.span_s))


def _part(path: Path, day: str, begin_hour: float, hours: float) -> sim_trace.Trace:
    whole = sim_trace.read(path)
    begin_hour = min(begin_hour, DAY_HOURS - min(hours, DAY_HOURS))
    from_s = whole.offset_s(day) + begin_hour * 3600
    return whole.cut(from_s, min(whole.span_s, from_s + hours * 3600))


def worlds(options: Options) -> Iterator[tuple[str, World]]:
    """The default fleet; the same without any neighbour; the same with a fixed share for every slot."""
    usual = default_world()
    every = {
        "interfering": usual,
        "separate": without_interference(usual),
        "fixed-share": replace(usual, policy=SchedulerPolicy.FIXED_SHARE),
    }
    yield from ((name, world) for name, world in every.items() if options.asks_for(name, options.worlds))
