"""`vgpu-serve replay JOURNAL`."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from autoscaler import config
from autoscaler.cli import terminal
from autoscaler.sim import journal_reader
from autoscaler.sim import replay as replays
from autoscaler.sim.replay import Difference, Replay

MOST_ROWS = 40
Changes = Annotated[
    list[str] | None, typer.Option("--set", help="policy.window_s=20, guardrails.FIELD=…, models.NAME.FIELD=…; repeat.")
]


def replay(
    journal: Annotated[Path, typer.Argument(help="What `run --journal` wrote; `up` keeps .run/journal.jsonl.")],
    changes: Changes = None,
    models: Annotated[
        Path | None,
        typer.Option(help="The models file; what the journal names by default.", exists=True, dir_okay=False),
    ] = None,
    output: terminal.As = terminal.Output.TABLE,
) -> None:
    """Decide a journal's ticks again under other settings, and show those that come out differently."""
    given = None if models is None else config.load(models)
    parsed = replays.parse_changes(changes or [])
    with terminal.console().status(f"deciding {journal} again"):
        found = replays.replay(journal_reader.read(journal), given=given, changes=parsed)
    document = {
        "journal": str(journal),
        "changes": parsed,
        "ticks": found.ticks,
        "decisions": found.decisions,
        "counts_changed": found.counts_changed,
        "unexplained": found.unexplained,
        "differences": [asdict(difference) for difference in found.differences],
    }
    terminal.show(document, output, [_table(found.differences)] if found.differences else [], _remarks(found))


def _table(differences: Sequence[Difference]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("TIME", "TICK", "MODEL", "BEFORE", "AFTER", "REASON", "SENTENCE"):
        table.add_column(heading, justify="right" if heading in ("TICK", "BEFORE", "AFTER") else "left")
    for entry in differences[:MOST_ROWS]:
        reasons = f"{entry.reason_before}\n{entry.reason_after}"
        sentences = f"{entry.sentence_before}\n{entry.sentence_after}"
        counts = (str(entry.count_before), str(entry.count_after))
        table.add_row(_time(entry.wall), str(entry.tick), entry.model, *counts, reasons, sentences)
    return table


def _time(wall: str) -> str:
    try:
        return f"{datetime.fromisoformat(wall):%H:%M:%S}"
    except ValueError:
        return wall


def _remarks(found: Replay) -> list[str]:
    """The summary; first what is not in the table."""
    remarks = []
    if len(found.differences) > MOST_ROWS:
        remarks.append(f"{len(found.differences) - MOST_ROWS} more; all of them with -o json")
    if found.unexplained:
        remarks.append(
            f"{found.unexplained} decisions come out differently with unchanged settings too and are left out: "
            "what was remembered before the journal begins is not in it, or another version wrote it"
        )
    reasons = len(found.differences) - found.counts_changed
    remarks.append(
        f"{found.decisions} decisions in {found.ticks} ticks: {found.counts_changed} counts differ, "
        f"{reasons} keep their count for another reason"
    )
    return remarks
