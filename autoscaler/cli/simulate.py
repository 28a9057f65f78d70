"""`vgpu-serve simulate`."""

import json
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from autoscaler.cli import modelled, terminal
from autoscaler.embedded import display
from autoscaler.refusal import Refused
from autoscaler.sim import compare, picture, report
from autoscaler.sim.baselines import LAWS
from autoscaler.sim.compare import OURS, Row, Study, Sweep
from autoscaler.sim.report import Line, Summary

STANDARD_OUTPUT = "-"
SAY_EVERY = 50
MEASURED = ("ATTAINED", "VIOLATED", "RECOVERY", "P95", "SLOT-H", "CHANGES/H")


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Where the result goes."""

    output: terminal.Output
    json_file: str | None
    picture_file: Path | None


def simulate(
    trace_file: modelled.TraceFile = None,
    shape: modelled.Shape = None,
    from_text: modelled.From = None,
    to_text: modelled.To = None,
    span_s: modelled.SpanS = 3600.0,
    scale: modelled.Scale = modelled.AUTO,
    policy: Annotated[list[str] | None, typer.Option(help="ours or a baseline; repeat. Default: ours.")] = None,
    is_compared: Annotated[bool, typer.Option("--compare", help="All policies, tuned on the first half.")] = False,
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="Runs of each setting; 10 for figures.")] = 3,
    scheduler: modelled.Scheduler = None,
    no_interference: modelled.NoInterference = False,
    cards: modelled.Cards = None,
    slots: modelled.Slots = None,
    cold_start: modelled.ColdStartS = None,
    objective_ms: modelled.ObjectiveMs = None,
    service_ms: modelled.ServiceMs = None,
    engine_ratio: modelled.EngineRatio = None,
    world: modelled.WorldFile = None,
    output: terminal.As = terminal.Output.TABLE,
    json_file: Annotated[str | None, typer.Option("--json", help="All rows to this file; - or none: here.")] = None,
    picture_file: Annotated[Path | None, typer.Option("--picture", help="Write one picture (PNG) here.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Runs at a time; one a core by default.")] = None,
) -> None:
    """Run a control law against a load on a modelled fleet, or --compare all laws at their best settings."""
    fleet = modelled.Fleet(
        world_file=world, cards=cards, slots=slots, scheduler=scheduler, is_alone=no_interference,
        cold_start_s=cold_start, objective_ms=objective_ms, service_ms=service_ms, engine_ratio=engine_ratio,
    )  # fmt: skip
    found, described = modelled.demand(trace_file, shape, span_s, from_text, to_text), fleet.world()
    policies = policy or [OURS, *(LAWS if is_compared else ())]
    modelled.check_types(described, scale, are_others=is_compared or set(policies) != {OURS})
    scales = modelled.scales(scale, found, described)
    chosen = compare.candidates([OURS, *policies] if is_compared else policies, is_tuned=is_compared)
    study = compare.prepare(described, found, scales, seeds=seeds, is_tuned=is_compared)
    sweeps = _run(study, chosen, jobs or os.cpu_count() or 1)
    summary = report.summarise(sweeps) if is_compared else None
    _tell(Told(output=output, json_file=json_file, picture_file=picture_file), study, sweeps, summary)


def _run(study: Study, chosen: Sequence[compare.Candidate], jobs: int) -> tuple[Sweep, ...]:
    """All runs, with a bar on standard error; where that is no terminal, a line now and then in a long study."""
    out = terminal.console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as progress:
        task = progress.add_task("simulating", total=len(chosen) * len(study.seeds))

        def say(done: int, total: int) -> None:
            progress.update(task, completed=done)
            if not out.is_terminal and done % SAY_EVERY == 0 and done < total:
                out.print(f"{done} of {total} runs")

        return compare.sweep(study, chosen, jobs=jobs, say=say)


def _tell(told: Told, study: Study, sweeps: Sequence[Sweep], summary: Summary | None) -> None:
    """Print and write; with JSON on standard output nothing else goes there."""
    document = report.document(study, sweeps, summary)
    tables = [_summary(summary)] if summary else [_runs(sweeps)]
    remarks = _remarks(study, sweeps, summary)
    if told.json_file == STANDARD_OUTPUT:
        sys.stdout.write(json.dumps(document, indent=2, allow_nan=False) + "\n")
    else:
        terminal.show(document, told.output, tables, remarks)
    try:
        if told.json_file not in (None, STANDARD_OUTPUT):
            Path(str(told.json_file)).write_text(json.dumps(document, indent=2, allow_nan=False) + "\n")
        if told.picture_file is not None:
            picture.draw(told.picture_file, study, sweeps, summary)
            terminal.console().print(f"picture: {told.picture_file}", markup=False)
    except (OSError, ValueError) as error:  # a picture's form that matplotlib does not know is a ValueError
        raise Refused(f"the result could not be written: {error}; name a file in a folder that exists") from error


def _runs(sweeps: Sequence[Sweep]) -> Table:
    """A line for each run, and the mean of several."""
    table = _table("POLICY", "SEED", *MEASURED, "REFUSED")
    for each in sweeps:
        for row in each.rows:
            table.add_row(each.candidate.name, str(row.seed), *_measured(row), str(row.refused))
        if len(each.rows) > 1:
            means: dict[str, Any] = {name: each.mean(name) for name in report.MEASURES}
            refused = f"{each.mean('refused'):.0f}"
            table.add_row(each.candidate.name, "mean", *_measured(replace(each.rows[0], **means)), refused)
    return table


def _summary(summary: Summary) -> Table:
    """A line for each policy at its tuned setting, and what it takes where it serves as well as ours."""
    table = _table("POLICY", *MEASURED, "AT OURS", "OURS / IT", "95 %")
    for line in summary.lines:
        table.add_row(line.policy, *_measured(line), *_at_ours(line))
    return table


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "POLICY" else "right", no_wrap=heading != "POLICY")
    return table


def _measured(entry: Row | Line) -> tuple[str, ...]:
    """The cells below `MEASURED`."""
    return (
        f"{entry.attainment_ratio:.2%}" if math.isfinite(entry.attainment_ratio) else "–",
        _seconds(entry.violation_s),
        _seconds(entry.recover_s),
        _ms(entry.p95_ms),
        f"{entry.slot_hours:.2f}",
        f"{entry.changes_per_hour:.0f}",
    )


def _at_ours(line: Line) -> tuple[str, str, str]:
    """Slot-hours at our attainment, and ours as a part of them with its interval."""
    if line.at_ours is None:
        return "–", "–", "–"
    hours = f"{line.at_ours.slot_hours:.2f}" if line.at_ours.is_reached else f"> {line.at_ours.slot_hours:.2f}"
    ratio = line.ours_ratio
    if ratio is None:
        return hours, "1", ""
    interval = "" if ratio.low is None or ratio.high is None else f"{ratio.low:.2f} to {ratio.high:.2f}"
    return hours, f"{ratio.value:.2f}" if ratio.is_reached else f"< {ratio.value:.2f}", interval


def _remarks(study: Study, sweeps: Sequence[Sweep], summary: Summary | None) -> list[str]:
    """What the figures are of."""
    world = study.world
    runs, seeds = sum(len(each.rows) for each in sweeps), len(study.seeds)
    scale = ", ".join(f"{value:.3g}" for value in dict.fromkeys(study.scales.values()))
    remarks = [
        f"{study.demand.name} at scale {scale} on {len(world.own_slots)} slots of {world.card_count} cards "
        f"({world.policy}, {len(world.foreign)} foreign tenants): modelled, not measured",
        f"{runs} run{'s' * (runs > 1)} over {seeds} seed{'s' * (seeds > 1)}; "
        f"counted from {study.counted_from_s:g} s to {study.span_s:g} s",
    ]
    if summary is None:
        return remarks
    return [
        *(f"{line.policy}: best of {line.settings_tried}: {line.setting_name}" for line in summary.lines[1:]),
        *remarks,
        f"tuned on {study.trained_from_s:g} s to {study.counted_from_s:g} s: the fewest slot-hours that attain "
        f"{summary.goal_ratio:.2%} there, or else the nearest to it; ours has one setting",
        "at ours: slot-hours for the attainment of ours along a policy's front over all its settings, > where it is "
        "not reached; 95 %: paired bootstrap over seeds; every run is in --json",
    ]


def _ms(value: float) -> str:
    return "> 600 s" if value == math.inf else display.ms(None if math.isnan(value) else value)


def _seconds(value: float) -> str:
    return f"{value:.0f} s" if math.isfinite(value) else "–"
