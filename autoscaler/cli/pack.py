"""`vgpu-serve pack`."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from autoscaler.cli import terminal
from autoscaler.refusal import Refused
from vgpu.core.fractions.policies import POLICIES
from vgpu.study import experiment, picture, published, report, sweep
from vgpu.study.experiment import Lists, Run, TieBreak
from vgpu.study.lists import ListRefused, read_nodes, read_pods
from vgpu.study.report import Line

BOTH = "both"
MOST_SEED = 2**32 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Where the result goes."""

    output: terminal.Output
    picture_file: Path | None


def pack(
    nodes: Annotated[Path, typer.Option(help="Nodes, a CSV: sn, cpu_milli, memory_mib, gpu, model.")],
    pods: Annotated[Path, typer.Option(help="Pods, a CSV: name, cpu_milli, memory_mib, num_gpu, gpu_milli, gpu_spec.")],
    policy: Annotated[list[str] | None, typer.Option(help="A policy; repeat. Default: all of them.")] = None,
    seeds: Annotated[str, typer.Option(help="Seeds, with commas between them.")] = "42,43",
    tie_break: Annotated[str, typer.Option(help="fixed, random or both: who gets a pod among equals.")] = BOTH,
    is_json: Annotated[bool, typer.Option("--json", help="The same as -o json.")] = False,
    output: terminal.As = terminal.Output.TABLE,
    picture_file: Annotated[Path | None, typer.Option("--picture", help="Write one picture (PNG) here.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Runs at a time; one a core by default.")] = None,
) -> None:
    """Let a list of pods arrive at a list of nodes under each packing policy, against published figures."""
    chosen, given = _policies(policy or list(POLICIES)), _seeds(seeds)
    if picture_file is not None and not picture_file.resolve().parent.is_dir():
        raise Refused(f"--picture {picture_file}: there is no such folder; name a file in one that exists")
    try:
        lists = Lists(nodes=read_nodes(nodes), pods=read_pods(pods))
    except ListRefused as refusal:
        raise Refused(str(refusal)) from refusal
    runs = _run(lists, chosen, _tie_breaks(tie_break), given, jobs or os.cpu_count() or 1)
    told = Told(output=terminal.Output.JSON if is_json else output, picture_file=picture_file)
    _tell(told, lists, runs, published.list_name(pods.name))


def _policies(names: Sequence[str]) -> tuple[str, ...]:
    unknown = [name for name in names if name not in POLICIES]
    if unknown:
        raise Refused(f"no policy {', '.join(unknown)}; there are {', '.join(POLICIES)}")
    return tuple(dict.fromkeys(names))


def _seeds(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) < 11 and int(part) <= MOST_SEED for part in parts):
        raise Refused(f"--seeds {text!r}: give whole numbers from 0 to {MOST_SEED} with commas between them, as 42,43")
    return tuple(dict.fromkeys(int(part) for part in parts))


def _tie_breaks(text: str) -> tuple[TieBreak, ...]:
    if text == BOTH:
        return tuple(TieBreak)
    try:
        return (TieBreak(text),)
    except ValueError:
        raise Refused(f"--tie-break {text!r}: give {', '.join(TieBreak)} or {BOTH}") from None


def _run(
    lists: Lists, policies: Sequence[str], tie_breaks: Sequence[TieBreak], seeds: Sequence[int], jobs: int
) -> tuple[Run, ...]:
    """All runs, with a bar on standard error where that is a terminal."""
    out = terminal.console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as progress:
        task = progress.add_task("packing", total=len(policies) * len(tie_breaks) * len(seeds))

        def say(done: int, _total: int) -> None:
            progress.update(task, completed=done)

        return sweep.sweep(lists, policies, tie_breaks, seeds, jobs=jobs, say=say)


def _tell(told: Told, lists: Lists, runs: Sequence[Run], list_name: str) -> None:
    """Print and write."""
    document = report.rows(runs)
    if told.output is terminal.Output.JSON:
        sys.stdout.write(json.dumps(document, indent=2, allow_nan=False) + "\n")
    if told.output is terminal.Output.JSON and told.picture_file is None:
        return  # the bound is for people
    bound_ratio = experiment.bound_ratio(lists)
    lines = report.summarise(runs, list_name=list_name, gpus=lists.gpus, bound_ratio=bound_ratio)
    if told.output is not terminal.Output.JSON:
        terminal.show(document, told.output, [_table(lines)], _remarks(lists, runs, lines, list_name, bound_ratio))
    if told.picture_file is None:
        return
    try:
        picture.draw(told.picture_file, runs, lines, title=list_name, bound_ratio=bound_ratio)
    except (OSError, ValueError) as error:  # a picture's form that matplotlib does not know is a ValueError
        raise Refused(f"the picture could not be written: {error}; name a file in a folder that exists") from error
    terminal.console().print(f"picture: {told.picture_file}", markup=False)


def _table(lines: Sequence[Line]) -> Table:
    """A line for each policy and rule for ties."""
    table = Table(box=None, pad_edge=False)
    for heading in ("POLICY", "TIES"):
        table.add_column(heading, no_wrap=True)
    # Eighty columns hold these: a figure that is cut off is none.
    for heading in ("PLACED", "PUBLISHED", "DIFF", "GAP", "FRAGMENTED", "RUN"):
        table.add_column(heading, justify="right", no_wrap=True)
    for line in lines:
        difference = None if line.published_ratio is None else line.allocated_ratio_at_100 - line.published_ratio
        table.add_row(
            f"{line.policy} *" if line.is_default else line.policy,
            line.tie_break.value,
            f"{line.allocated_ratio_at_100:.2%}",
            "–" if line.published_ratio is None else f"{line.published_ratio:.2%}",
            "–" if difference is None else f"{100 * difference:+.2f}",
            "–" if line.gap_closed_ratio is None else f"{line.gap_closed_ratio:.0%}",
            f"{line.fragmentation_ratio_at_100:.2%}",
            f"{line.seconds:.1f} s",
        )
    return table


def _remarks(lists: Lists, runs: Sequence[Run], lines: Sequence[Line], list_name: str, bound_ratio: float) -> list[str]:
    """What the figures are of."""
    seeds = len({run.seed for run in runs})
    remarks = [
        f"{list_name}: {len(lists.pods)} pods in the list, {len(lists.nodes)} nodes with {lists.gpus} GPUs; "
        f"{seeds} seed{'s' * (seeds > 1)}",
        "placed and fragmented: part of all GPUs when the pods that arrived asked for 100 % of them; *: the default",
        f"bound: no policy allocates more than {bound_ratio:.2%} of this mix, by GPUs alone; "
        "gap: the part of the way from fgd to it that is closed",
        "ties fixed: the first host of an order that the seed gives; random: any of the best; least-stranding orders "
        "hosts by a checksum of the name under both, and so leaves no ties",
    ]
    if any(line.published_ratio is not None for line in lines):
        remarks.append("published: FGD's authors, fixed ties, mean of seeds 42 to 51 (USENIX ATC 2023)")
    return remarks
