"""`vgpu-serve explain MODEL`."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from autoscaler.cli import running, terminal


def explain(
    model: str,
    run_directory: running.RunDirectory = running.DEFAULT,
    url: running.Url = None,
    output: terminal.As = terminal.Output.TABLE,
) -> None:
    """Why a model has the replicas it has: the last decision, step by step, with the numbers behind it."""
    answer = running.ask(f"/v1/models/{model}", url=url, run_directory=run_directory)
    terminal.show(answer, output, [_table(answer)], answer["problems"])


def _table(answer: Mapping[str, Any]) -> Table:
    decision = answer["decision"] or {"recommendations": [], "steps": []}
    said = [answer["sentence"], *filter(None, [answer.get("outlook")])]
    table = Table(title="\n".join(said), title_justify="left", box=None, pad_edge=False)
    for heading in ("STAGE", "BEFORE", "AFTER", "REASON", "NUMBERS"):
        table.add_column(heading, justify="right" if heading in ("BEFORE", "AFTER") else "left")
    for entry in decision["recommendations"]:
        table.add_row("recommended", "", str(entry["count"]), entry["reason"], _numbers(entry["numbers"]))
    for step in decision["steps"]:
        counts = (str(step["before"]), str(step["after"]))
        table.add_row(step["stage"], *counts, step["reason"], _numbers(step["numbers"]))
    return table


def _numbers(numbers: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in numbers.items())
