"""E8: 4, 8 and 12 models want more slots than there are; how the worst of them fares, with and without priorities."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from autoscaler.sim import shapes
from autoscaler.sim.arrivals import arrivals, fitting_scale
from autoscaler.sim.compare import OURS, Candidate, trained
from autoscaler.sim.controller import Controller, Ours
from autoscaler.sim.demand import STREAMS, capacity_per_s
from autoscaler.sim.simulation import run
from autoscaler.sim.world import SimModel, World, default_world
from tests.bench.law.direct import Floats, the_model
from tests.bench.law.fronts import thinned
from tests.bench.law.ledger import in_order
from tests.bench.law.options import Options, main
from tests.bench.law.report import Cell, Mark, Report, Table, percent

COUNTS = (4, 8, 12)
RIVALS = ("kpa", "erlang")
SHAPES = ("diurnal", "on-off", "ramp", "step")
DEMANDED_RATIO = 1.2
"""The sum of the models' busiest minutes as a part of what all slots can bear."""
Task = tuple[int, bool, Candidate, int, float]
Result = dict[str, float]


def measure(options: Options) -> Report:
    """Rivals are tuned for their worst model on the first half of the first seed; then all seeds, second half."""
    rows: list[tuple[Cell, ...]] = []
    marks = []
    for count in COUNTS:
        for is_ranked in (False, True):
            found = _contest(count, is_ranked, options)
            label = f"{count} models{', a quarter of them first' if is_ranked else ''}"
            for name, each in found.items():
                rows.append(
                    (label, name, *(percent(each[key]) for key in ("worst", "mean", "first")), each["slot_hours"])
                )
            marks += [_mark(label, found, key) for key in (("worst", "first") if is_ranked else ("worst",))]
    return Report(
        name="E8",
        title="many models, too few slots",
        setup=(
            f"The default fleet, {', '.join(SHAPES)} in turn; the models' busiest minutes together need "
            f"{DEMANDED_RATIO:.0%} of what all slots can bear. Rivals scale each model by itself, tuned for the worst "
            f"model. {options.seeds} seeds, means; first: the models of higher priority."
        ),
        tables=(
            Table(
                headings=("fleet", "policy", "worst model", "mean of models", "first models", "slot-hours"),
                rows=tuple(rows),
            ),
        ),
        marks=tuple(marks),
    )


def _mark(label: str, found: Mapping[str, Result], key: str) -> Mark:
    """Whether the worst model, or those that go first, fare better than under the better of the scalers."""
    best = max((each[key], name) for name, each in found.items() if name != OURS)
    who = {"worst": "the worst model fares", "first": "the first models fare"}[key]
    return Mark(
        demanded=f"{label}: {who} better than under independent scalers",
        found=f"{found[OURS][key]:.2%} against {best[0]:.2%} ({best[1]})",
        passed=found[OURS][key] >= best[0],
    )


def _contest(count: int, is_ranked: bool, options: Options) -> dict[str, Result]:
    grid = [each for policy in (OURS, *RIVALS) for each in thinned(policy, options.every)]

    def runs(candidates: Sequence[Candidate], seeds: Sequence[int]) -> dict[Task, Result]:
        tasks = [(count, is_ranked, each, seed, options.span_s) for each in candidates for seed in seeds]
        return dict(zip(tasks, in_order(_run, tasks, jobs=options.jobs), strict=True))

    first = runs(grid, options.seed_list[:1])
    chosen = [grid[0]]
    for policy in RIVALS:
        own = {task[2]: result for task, result in first.items() if task[2].policy == policy}
        chosen.append(max(own, key=lambda each, own=own: own[each]["trained"]))
    ended = first | runs(chosen, options.seed_list[1:]) if options.seeds > 1 else first
    return {
        each.name: {
            key: float(np.mean([result[key] for task, result in ended.items() if task[2] == each]))
            for key in ("worst", "mean", "first", "slot_hours")
        }
        for each in chosen
    }


def world_of(count: int, *, is_ranked: bool) -> World:
    """So many models, alike but for their service times (45 to 75 ms) and, ranked, for a quarter that goes first."""
    world = default_world()
    usual = the_model(world)
    models = tuple(_model(usual, number, is_first=is_ranked and number % 4 == 0) for number in range(count))
    return replace(world, models=models)


def _model(usual: SimModel, number: int, *, is_first: bool) -> SimModel:
    factor = (0.75, 1.0, 1.25)[number % 3]
    service = replace(usual.service, host_ms=usual.service.host_ms * factor, engine_ms=usual.service.engine_ms * factor)
    return replace(usual, name=f"m{number:02d}", service=service, priority=int(is_first))


def arrivals_of(world: World, seed: int, span_s: float) -> Mapping[str, Floats]:
    """Every model its own shape and its own draw of it."""
    times = {}
    for number, (name, capacity) in enumerate(capacity_per_s(world, span_s).items()):
        own_seed = STREAMS * seed + number
        trace = shapes.shape(SHAPES[number % len(SHAPES)], seed=own_seed, span_s=span_s)
        scale = fitting_scale(trace, capacity / len(world.models), peak_ratio=DEMANDED_RATIO)
        times[name] = arrivals(trace, scale=scale, seed=own_seed)
    return times


def _run(task: Task) -> Result:
    count, is_ranked, candidate, seed, span_s = task
    world = world_of(count, is_ranked=is_ranked)
    times = arrivals_of(world, seed, span_s)
    controller: Controller = Ours() if candidate.setting is None else candidate.setting.controller(world, times)
    middle_s = span_s / 2
    outcome = run(world, times, controller, seed=seed, span_s=span_s, warm_up_s=middle_s)
    served = {name: model.attainment_ratio for name, model in outcome.models.items()}
    first = [served[model.name] for model in world.models if model.priority]
    before = [trained(model.timeline, 300.0, middle_s)[0] for model in outcome.models.values()]
    return {
        "worst": min(served.values()),
        "mean": float(np.mean(list(served.values()))),
        "first": float(np.mean(first)) if first else float("nan"),
        "slot_hours": outcome.slot_hours,
        "trained": min(before),
    }


if __name__ == "__main__":
    main("e8", __doc__, measure)
