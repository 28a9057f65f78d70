"""E4: cold starts from 5 s to 120 s, and the one knob between cost and service."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import pairwise

import numpy as np

from autoscaler.core.decision import Action
from autoscaler.sim.compare import OURS
from autoscaler.sim.controller import Ours, View
from autoscaler.sim.demand import Demand, draw
from autoscaler.sim.simulation import run
from autoscaler.sim.world import default_world
from autoscaler.sim.world_file import with_cold_start, with_models
from tests.bench.law.fronts import contest, study_of
from tests.bench.law.ledger import in_order
from tests.bench.law.options import Options, main
from tests.bench.law.report import Cell, Mark, Report, Table, geometric_mean, percent

COLD_STARTS_S = (5.0, 20.0, 40.0, 120.0)
RIVALS = ("ray_serve", "kpa")
LOADS = ("on-off", "spike", "diurnal")
MARGINS = (0.0, 0.25, 0.5, 0.75, 0.9)
# Two means this near are the same: one request in a thousand.
SAME = 0.001


def measure(options: Options) -> Report:
    """Every cold start with every shape, then every margin."""
    loads = [name for name in LOADS if options.asks_for(name, options.loads)]
    studies = {
        f"{cold_s:g}/{load}": study_of(
            with_models(default_world(), lambda model, cold_s=cold_s: with_cold_start(model, cold_s)),
            Demand(source=load, span_s=options.span_s),
            seeds=options.seeds,
        )
        for cold_s in COLD_STARTS_S
        for load in loads
    }
    summaries = {label: one.summary() for label, one in contest(studies, (OURS, *RIVALS), options).items()}
    rows: list[tuple[Cell, ...]] = []
    ratios: dict[float, float] = {}
    for cold_s in COLD_STARTS_S:
        hardest = []
        for load in loads:
            ours, *rivals = summaries[f"{cold_s:g}/{load}"].lines
            both = [line.ours_ratio for line in rivals if line.ours_ratio is not None]
            reached = [ratio.value for ratio in both if ratio.is_reached] or [min(ratio.value for ratio in both)]
            hardest.append(max(reached))
            said = [f"{'' if ratio.is_reached else '< '}{ratio.value:.2f}" for ratio in both]
            rows.append((f"{cold_s:g} s", load, percent(ours.attainment_ratio), ours.slot_hours, *said))
        ratios[cold_s] = geometric_mean(hardest)
    knob = _knob(options)
    return Report(
        name="E4",
        title="cold starts, and the headroom knob",
        setup=(
            f"The default fleet; both rivals tuned; {options.seeds} seeds. Ratio: our slot-hours over theirs at our "
            "attainment. The knob is `attainment_margin_ratio`: the part of the allowed late requests kept in reserve."
        ),
        tables=(
            Table(headings=("cold start", "load", "attained", "slot-hours", *RIVALS), rows=tuple(rows)),
            Table(
                headings=("margin", "attained", "slot-hours"),
                rows=tuple((margin, percent(served), taken) for margin, served, taken in knob),
            ),
        ),
        marks=(*_cold_marks(ratios), _knob_mark(knob)),
        figures={label: [asdict(line) for line in summary.lines] for label, summary in summaries.items()},
    )


def _cold_marks(ratios: dict[float, float]) -> list[Mark]:
    found = ", ".join(f"{cold_s:g} s: {ratio:.2f}" for cold_s, ratio in ratios.items())
    return [
        Mark(
            demanded="the better of the tuned rivals takes more at every cold start",
            found=found,
            passed=all(ratio <= 1.0 for ratio in ratios.values()),
        ),
        Mark(
            demanded="the advantage at 120 s is larger than at 5 s",
            found=found,
            passed=ratios[COLD_STARTS_S[-1]] < ratios[COLD_STARTS_S[0]],
        ),
    ]


class WithMargin:
    """Ours with another margin than the product's."""

    def __init__(self, margin: float) -> None:
        self._ours = Ours()
        self._margin = margin
        self.interval_s = self._ours.interval_s

    def tick(self, view: View) -> Sequence[Action]:
        policy = replace(view.spec.policy, attainment_margin_ratio=self._margin)
        return self._ours.tick(replace(view, spec=replace(view.spec, policy=policy)))

    def reset(self) -> None:
        self._ours.reset()


def _knob(options: Options) -> list[tuple[float, float, float]]:
    """(margin, attainment, slot-hours), means over shapes and seeds."""
    tasks = [(margin, load, seed, options.span_s) for margin in MARGINS for load in LOADS for seed in options.seed_list]
    ended = dict(zip(tasks, in_order(_run_margin, tasks, jobs=options.jobs), strict=True))
    means = []
    for margin in MARGINS:
        own = [result for task, result in ended.items() if task[0] == margin]
        served, taken = (float(np.mean(values)) for values in zip(*own, strict=True))
        means.append((margin, served, taken))
    return means


def _run_margin(task: tuple[float, str, int, float]) -> tuple[float, float]:
    margin, load, seed, span_s = task
    study = study_of(default_world(), Demand(source=load, span_s=span_s), seeds=1)
    times, span_s = draw(study.demand, study.world, study.scales, seed=seed)
    outcome = run(study.world, times, WithMargin(margin), seed=seed, span_s=span_s, warm_up_s=study.counted_from_s)
    return outcome.attainment_ratio, outcome.slot_hours


def _knob_mark(knob: Sequence[tuple[float, float, float]]) -> Mark:
    pairs = list(pairwise(knob))
    return Mark(
        demanded="a larger margin never serves worse and never takes less",
        found=", ".join(f"{margin:g}: {served:.2%} for {taken:.2f}" for margin, served, taken in knob),
        passed=all(after[1] >= before[1] - SAME and after[2] >= before[2] * (1 - SAME) for before, after in pairs),
    )


if __name__ == "__main__":
    main("e4", __doc__, measure)
