"""`vgpu-serve status`."""

from autoscaler.cli import running, terminal
from autoscaler.embedded import display


def status(
    run_directory: running.RunDirectory = running.DEFAULT,
    url: running.Url = None,
    output: terminal.As = terminal.Output.TABLE,
) -> None:
    """Models against their objectives, slots by node, and the last decisions."""
    state = running.ask("/v1/state", url=url, run_directory=run_directory)
    tables = [display.models_table(state), display.nodes_table(state)]
    terminal.show(state, output, tables, [*(model["decision"] for model in state["models"]), *state["problems"]])
