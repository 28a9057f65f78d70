"""`vgpu-serve defragment`."""

from typing import Annotated

import typer
from rich.table import Table

from autoscaler.cli import running, terminal

Goal = Annotated[str, typer.Option(help="What shall become free: gpu, for pods that ask for whole ones, or host.")]
MostMoves = Annotated[int | None, typer.Option(min=1, help="Pods that may move; as many as help by default.")]
Url = Annotated[str | None, typer.Option(help="The scheduler extender's; that of the running `up` by default.")]


def defragment(
    goal: Goal = "gpu",
    most_moves: MostMoves = None,
    run_directory: running.RunDirectory = running.DEFAULT,
    url: Url = None,
    output: terminal.As = terminal.Output.TABLE,
) -> None:
    """Which pods could move where, so that whole GPUs or nodes become free. Moves nothing."""
    if url is None:
        url = f"http://127.0.0.1:{running.addresses(run_directory)['ports']['extender']}"
    asked = f"/defragmentation?goal={goal}" + (f"&most_moves={most_moves}" if most_moves else "")
    found = running.ask(asked, url=url, run_directory=run_directory)
    table = Table("free", "units", "fragments", "move", "units", "to", box=None)
    for step in found["steps"]:
        what = step["node"] if step["gpu"] is None else f"{step['node']} GPU {step['gpu']}"
        for number, move in enumerate(step["moves"]):
            first = (what, str(step["freed_units"]), str(step["fragment_units"])) if not number else ("", "", "")
            to = f"{move['to']['node']} GPU {', '.join(map(str, move['to']['gpus']))}"
            table.add_row(*first, move["pod"], str(move["units"]), to)
    terminal.show(found, output, [table] if found["steps"] else [], [found["report"][0]])
