"""E1: real loads and shapes; ours with its one setting against every baseline's grid, tuned on the first half.

A ratio is our slot-hours over the baseline's at our attainment, along the front of all its settings in the test half:
that is kinder to the baseline than the setting its training half chooses. Below 1 is better.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from autoscaler.sim.baselines import LAWS
from autoscaler.sim.compare import BOUND, OURS
from autoscaler.sim.report import TITLES, Line, Summary
from tests.bench.law import pictures
from tests.bench.law.fronts import Compared, contest, one_setting, study_of
from tests.bench.law.loads import demands, worlds
from tests.bench.law.options import Options, main
from tests.bench.law.report import Cell, Mark, Report, Table, geometric_mean, percent

RIVALS = tuple(name for name in LAWS if name not in (BOUND, "static"))
INTERFERING_MOST, SEPARATE_MOST = 0.90, 1.02


def measure(options: Options) -> Report:
    """Every world with every load."""
    found = dict(demands(options))
    tables, marks, figures, drawn = [], [], {}, []
    for name, world in worlds(options):
        studies = {f"{name}/{load}": study_of(world, demand, seeds=options.seeds) for load, demand in found.items()}
        compared = contest(studies, (OURS, *LAWS), options)
        summaries = {label: one.summary() for label, one in compared.items()}
        tables += _tables(name, compared, summaries)
        marks += _marks(name, summaries)
        figures[name] = {label: [asdict(line) for line in summary.lines] for label, summary in summaries.items()}
        drawn.append(pictures.fronts(name, compared))
    return Report(
        name="E1",
        title="slot-hours at equal attainment, tuned baselines",
        setup=(
            f"{len(found)} loads, {options.seeds} seeds; the busiest minute of each load needs 80 % of what all slots "
            "can bear. Every baseline tries its grid"
            + (f", one setting in {options.every}" if options.every > 1 else "")
            + "; ours has one setting. Simulated. Ratio: our slot-hours over the baseline's at our attainment, along "
            "the baseline's front in the test half; `<` where it never serves as well."
        ),
        tables=tuple(tables),
        marks=tuple(marks),
        figures=figures,
        pictures=tuple(drawn),
    )


def _tables(world: str, compared: Mapping[str, Compared], summaries: Mapping[str, Summary]) -> list[Table]:
    headings = ("load", "attained", "slot-hours", "best rival", "ratio", "95 %", *RIVALS, "static", BOUND)
    rows = [(label.split("/")[1], *_cells(summary)) for label, summary in summaries.items()]
    means: tuple[Cell, ...] = tuple(geometric_mean(_ratios(summaries, policy)) for policy in (*RIVALS, "static", BOUND))
    best = geometric_mean([_best(summary)[1] for summary in summaries.values()])
    rows.append(("geometric mean", None, None, None, best, None, *means))
    every = [one_setting(list(compared.values()), policy) for policy in (*RIVALS, "static")]
    return [
        Table(title=f"World: {world}", headings=headings, rows=tuple(rows)),
        Table(
            title=f"World: {world}; one setting of each baseline for all loads, the best with hindsight",
            headings=("baseline", "ratio", "serves as well"),
            rows=tuple((TITLES[each.policy], each.ours_ratio, each.is_reached) for each in every),
        ),
    ]


def _cells(summary: Summary) -> tuple[Cell, ...]:
    ours = _line(summary, OURS)
    name, ratio = _best(summary)
    best = _line(summary, name).ours_ratio
    interval = None if best is None or best.low is None else f"{best.low:.2f} to {best.high:.2f}"
    ratios = [_ratio_text(_line(summary, policy)) for policy in (*RIVALS, "static", BOUND)]
    return percent(ours.attainment_ratio), ours.slot_hours, name, ratio, interval, *ratios


def _ratio_text(line: Line) -> str:
    if line.ours_ratio is None:
        return "–"
    return f"{'' if line.ours_ratio.is_reached else '< '}{line.ours_ratio.value:.2f}"


def _line(summary: Summary, policy: str) -> Line:
    found = summary.line(policy)
    if found is None:
        raise ValueError(f"policy {policy} was not run")
    return found


def _value(line: Line) -> float:
    return line.ours_ratio.value if line.ours_ratio is not None else float("nan")


def _best(summary: Summary) -> tuple[str, float]:
    """The rival that is hardest to beat: of those that serve as well the cheapest, else the one that serves best."""
    lines = [_line(summary, policy) for policy in RIVALS]
    reached = [line for line in lines if line.ours_ratio is not None and line.ours_ratio.is_reached]
    hardest = max(reached, key=_value) if reached else max(lines, key=lambda line: line.attainment_ratio)
    return hardest.policy, _value(hardest)


def _ratios(summaries: Mapping[str, Summary], policy: str) -> list[float]:
    return [_value(_line(summary, policy)) for summary in summaries.values()]


def _marks(world: str, summaries: Mapping[str, Summary]) -> Sequence[Mark]:
    best = geometric_mean([_best(summary)[1] for summary in summaries.values()])
    most = INTERFERING_MOST if world == "interfering" else SEPARATE_MOST
    worse = [label.split("/")[1] for label, summary in summaries.items() if not _holds(summary)]
    return (
        Mark(
            demanded=f"{world}: at most {most:g} of the best tuned rival's slot-hours, geometric mean over the loads",
            found=f"{best:.3f}",
            passed=best <= most,
        ),
        Mark(
            demanded=f"{world}: on no load beyond the interval of a rival's front",
            found=f"worse on {', '.join(worse)}" if worse else "on none",
            passed=not worse,
        ),
    )


def _holds(summary: Summary) -> bool:
    """Ours dominates each rival's front or is within the interval (a ratio of 1.02 without one)."""
    for policy in RIVALS:
        ratio = _line(summary, policy).ours_ratio
        if (
            ratio is not None
            and ratio.is_reached
            and (ratio.low if ratio.low is not None else ratio.value) > SEPARATE_MOST
        ):
            return False
    return True


if __name__ == "__main__":
    main("e1", __doc__, measure)
