"""`vgpu-serve check FILE`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from autoscaler import config
from autoscaler.cli import terminal
from autoscaler.config import ModelsFile


def check(
    models: Annotated[Path, typer.Argument(help="The models file.", exists=True, dir_okay=False)],
    output: terminal.As = terminal.Output.TABLE,
) -> None:
    """Whether the autoscaler can follow a models file: every problem with its remedy, and nothing changed.

    Exit status: 0 it can, 1 it cannot, 2 used wrongly.
    """
    problems, rows = list[str](), list[dict[str, Any]]()
    try:
        rows = _rows(config.load_file(models))
    except config.ConfigError as refusal:
        problems = str(refusal).splitlines()
    document = {"file": str(models), "problems": problems, "models": rows}
    if problems and output is terminal.Output.TABLE:
        raise terminal.Failed("\n".join(problems))
    terminal.show(document, output, [_table(rows)])
    if problems:
        raise typer.Exit(terminal.FAILED)


def _rows(file: ModelsFile) -> list[dict[str, Any]]:
    """Each model as it would be followed."""
    about = {entry.name: entry for entry in file.about}
    return [
        {
            "name": model.name,
            "source": about[model.name].source,
            "tenant": about[model.name].tenant,
            "pools": list(model.pools),
            "objective_p95_ms": model.objective_p95_ms,
            "min_replicas": model.min_replicas,
            "max_replicas": model.max_replicas,
            "priority": model.priority,
        }
        for model in file.spec.models
    ]


def _table(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("MODEL", "SOURCE", "TENANT", "POOLS", "P95 OBJECTIVE", "REPLICAS"):
        table.add_column(heading)
    for row in rows:
        pools, bounds = ", ".join(row["pools"]), f"{row['min_replicas']} to {row['max_replicas']}"
        table.add_row(row["name"], row["source"], row["tenant"], pools, f"{row['objective_p95_ms']} ms", bounds)
    return table
