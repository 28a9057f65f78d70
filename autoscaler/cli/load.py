"""`vgpu-serve load`."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import httpx
import typer
from rich.table import Table

from autoscaler.cli import running, terminal
from autoscaler.embedded import display
from autoscaler.load import client, report, schedule
from autoscaler.refusal import Refused

SAY_EVERY = 20


def load(
    steps: Annotated[str, typer.Argument(help="RATE:DURATION,… such as 5:60s,40:120s")],
    model: Annotated[str, typer.Option(help="A text model.")] = "minilm",
    url: Annotated[str | None, typer.Option(help="Where clients connect; that of the running `up` by default.")] = None,
    run_directory: running.RunDirectory = running.DEFAULT,
    output: terminal.As = terminal.Output.TABLE,
    seed: int = 1,
) -> None:
    """Send real sentences, each when it is due, whatever the answers do; latency counts from the due time."""
    parsed = schedule.parse_steps(steps)
    samples = _send(client.Target(url or running.addresses(run_directory)["url"], model), parsed, seed)
    rows = []
    for index, step in enumerate(parsed):
        summary = report.summarise(sample for sample in samples if sample.step == index)
        rows.append({"rate_per_s": step.rate_per_s, "duration_s": step.duration_s, **asdict(summary)})
    terminal.show({"model": model, "steps": rows}, output, [_table(rows)])
    if any(row["failed"] for row in rows):
        raise typer.Exit(terminal.FAILED)


def _send(target: client.Target, steps: tuple[schedule.Step, ...], seed: int) -> list[client.Sample]:
    """Send all of it and say on the way how far it is."""
    samples: list[client.Sample] = []
    with terminal.console().status("") as status:

        def record(sample: client.Sample) -> None:
            samples.append(sample)
            if len(samples) % SAY_EVERY == 0:
                status.update(f"{len(samples)} answered, {sum(entry.failed for entry in samples)} failed")

        due = schedule.arrivals(steps, seed=seed)
        try:
            asyncio.run(client.drive(target, due, record=record, texts=client.sentences()))
        except httpx.InvalidURL as error:
            raise Refused(f"--url {target.url}: {error}") from error
    return samples


def _table(rows: Sequence[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("RATE/S", "DURATION", "REQUESTS", "FAILED", "P50", "P95", "P99"):
        table.add_column(heading, justify="right")
    for row in rows:
        latencies = (display.ms(row[name]) for name in ("p50_ms", "p95_ms", "p99_ms"))
        counts = (str(row["requests"]), str(row["failed"]))
        table.add_row(f"{row['rate_per_s']:g}", f"{row['duration_s']:g} s", *counts, *latencies)
    return table
