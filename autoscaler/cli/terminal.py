"""How the command line speaks: data on standard output in the form asked for, all else on standard error."""

import json
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.table import Table

FAILED, REFUSED = 1, 2


class Failed(Exception):
    """It was tried and did not work; the message says what and what to do."""


class Output(StrEnum):
    """How data is printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


As = Annotated[Output, typer.Option("-o", "--output", help="table, json or yaml.")]


def console() -> Console:
    """Standard error, for people."""
    return Console(stderr=True, highlight=False)


def complain(text: str) -> None:
    """Say what is wrong, one problem a line."""
    for line in text.splitlines():
        console().print(f"error: {line}", style="red", markup=False, soft_wrap=True)


def show(document: dict[str, Any], output: Output, tables: Iterable[Table], remarks: Sequence[str] = ()) -> None:
    """Print a document; as a table it becomes one or several, with remarks below."""
    match output:
        case Output.JSON:
            sys.stdout.write(json.dumps(document, indent=2) + "\n")
        case Output.YAML:
            sys.stdout.write(yaml.safe_dump(document, sort_keys=False))
        case Output.TABLE:
            out = Console(highlight=False)
            for table in tables:
                out.print(table)
            for remark in remarks:
                out.print(f"› {remark}", markup=False)
