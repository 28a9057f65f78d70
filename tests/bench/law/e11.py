"""E11: the world is not what ours takes it for; it must not do worse than a tuned KPA at equal attainment."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace

from autoscaler.sim.compare import OURS
from autoscaler.sim.demand import Demand
from autoscaler.sim.world import ServiceTime, World, default_world
from tests.bench.law.direct import the_model
from tests.bench.law.fronts import contest, study_of
from tests.bench.law.options import Options, main
from tests.bench.law.report import Cell, Mark, Report, Table, percent
from vgpu.core.share import SchedulerPolicy

RIVAL = "kpa"
LOADS = ("on-off", "diurnal")
MOST = 1.0


def _serving(**changes: object) -> World:
    world = default_world()
    model = the_model(world)
    service: ServiceTime = replace(model.service, **changes)  # type: ignore[arg-type]  # checked by ServiceTime
    return replace(world, models=(replace(model, service=service),))


MISFITS: Mapping[str, Callable[[], World]] = {
    "switching costs 20 % a tenant": lambda: replace(default_world(), switch_cost_ratio=0.2),
    "service times spread 1.0 (heavy tail)": lambda: _serving(spread_ratio=1.0),
    "batches of 4, 12 ms an item": lambda: _serving(max_batch=4, engine_per_item_ms=12.0),
    "nine tenths on the engine": lambda: _serving(host_ms=6.0, engine_ms=54.0),
    "equal share": lambda: replace(default_world(), policy=SchedulerPolicy.EQUAL_SHARE),
    "metrics 5 s old": lambda: replace(default_world(), metric_age_s=4.9),
}


def measure(options: Options) -> Report:
    """Every misfit with every shape."""
    loads = [name for name in LOADS if options.asks_for(name, options.loads)]
    studies = {
        f"{misfit}/{load}": study_of(make(), Demand(source=load, span_s=options.span_s), seeds=options.seeds)
        for misfit, make in MISFITS.items()
        for load in loads
    }
    summaries = {label: one.summary() for label, one in contest(studies, (OURS, RIVAL), options).items()}
    rows: list[tuple[Cell, ...]] = []
    marks = []
    for label, summary in summaries.items():
        misfit, load = label.split("/")
        ours, rival = summary.lines
        ratio = rival.ours_ratio
        assert ratio is not None
        said = f"{'' if ratio.is_reached else '< '}{ratio.value:.2f}"
        interval = None if ratio.low is None else f"{ratio.low:.2f} to {ratio.high:.2f}"
        rows.append((misfit, load, percent(ours.attainment_ratio), ours.slot_hours, said, interval))
        least = ratio.value if ratio.low is None else ratio.low
        marks.append(
            Mark(
                demanded=f"{misfit}, {load}: at most KPA's slot-hours, or within the interval",
                found=f"{said}{f' ({interval})' if interval else ''}",
                passed=not ratio.is_reached or least <= MOST,
            )
        )
    return Report(
        name="E11",
        title="worlds that are not as modelled",
        setup=f"The default fleet but for one thing; KPA tuned; {options.seeds} seeds.",
        tables=(
            Table(headings=("misfit", "load", "attained", "slot-hours", "ratio to KPA", "95 %"), rows=tuple(rows)),
        ),
        marks=tuple(marks),
        figures={label: [asdict(line) for line in summary.lines] for label, summary in summaries.items()},
    )


if __name__ == "__main__":
    main("e11", __doc__, measure)
