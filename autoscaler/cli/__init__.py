"""`vgpu-serve`: what people type. Data goes to standard output, everything else to standard error.

Exit status: 0 done, 1 failed, 2 used wrongly or refused at start.
"""

import importlib
import sys
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from autoscaler.cli import terminal
from autoscaler.refusal import Refused

# A command is the function of that name in the module of that name; the text is the first line of what it says itself.
COMMANDS = {
    "up": "Run everything on this machine, on emulated GPUs, until ctrl-C.",
    "demo": "Overload one replica and watch scale-out to other slots end it. Fails if p95 does not come back.",
    "demo-profiles": "Serve by day on small slots, train by night on the whole card. Fails if a request does.",
    "load": "Send real sentences, each when it is due, whatever the answers do; latency counts from the due time.",
    "status": "Models against their objectives, slots by node, and the last decisions.",
    "explain": "Why a model has the replicas it has: the last decision, step by step, with the numbers behind it.",
    "run": "The autoscaler itself, against any cluster.",
    "check": "Whether the autoscaler can follow a models file: every problem with its remedy, and nothing changed.",
    "simulate": "Run a control law against a load on a modelled fleet, or --compare all laws at their best settings.",
    "pack": "Let a list of pods arrive at a list of nodes under each packing policy, against published figures.",
    "switch": "Switch physical GPUs to a layout, safely; without one, how they stand.",
    "defragment": "Which pods could move where, so that whole GPUs or nodes become free. Moves nothing.",
    "replay": "Decide a journal's ticks again under other settings, and show those that come out differently.",
}


class LateCommand(TyperCommand):
    """A command whose module is imported when it is used, not to list it: all of them together take two seconds."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401  # typer keeps click's types private
        function = str(self.name).replace("-", "_")
        module = importlib.import_module(f"autoscaler.cli.{function}")
        only = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        only.command(self.name)(getattr(module, function))
        name, given, *rest = arguments
        if self.name == "simulate":
            given = with_dash(given, "--json")
        return typer.main.get_command(only).make_context(name, given, *rest, **options)


def with_dash(given: Sequence[str], option: str) -> list[str]:
    """The arguments with `-` (standard output) after an option that came without a value: typer has no such option."""
    named = []
    for argument, following in zip_longest(given, given[1:]):
        named.append(argument)
        if argument == option and (following is None or (following.startswith("-") and following != "-")):
            named.append("-")
    return named


class LateCommands(TyperGroup):
    """All commands, by name."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401  # passed through
        super().__init__(**options)
        for name, text in COMMANDS.items():
            self.add_command(LateCommand(name, help=text))


app = typer.Typer(cls=LateCommands, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback(help=__doc__)
def _root() -> None:
    """Nothing happens before a command."""


def main() -> None:
    """Run the command line; what is refused or failed is one message and no traceback."""
    try:
        app(prog_name="vgpu-serve")
    except Refused as refusal:
        terminal.complain(str(refusal))
        sys.exit(terminal.REFUSED)
    except terminal.Failed as failure:
        terminal.complain(str(failure))
        sys.exit(terminal.FAILED)
