"""Finds the running `up` and asks its autoscaler."""

import json
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from autoscaler.cli.terminal import Failed
from autoscaler.refusal import Refused

# `autoscaler.embedded.installation` writes it; importing that for one word would take a second.
STATE_FILE = "up.json"
TIMEOUT_S = 5.0
DEFAULT = Path(".run")

RunDirectory = Annotated[Path, typer.Option("--run-dir", help="Where the running system keeps its logs and addresses.")]
Url = Annotated[str | None, typer.Option(help="The autoscaler's own; that of the running `up` by default.")]


def addresses(run_directory: Path) -> dict[str, Any]:
    """Where the running `up` listens. Raises `Refused` where there is none."""
    try:
        found = json.loads((run_directory / STATE_FILE).read_text())
    except (OSError, ValueError):
        found = {}
    if "url" not in found:  # its first line is written before anything listens
        raise Refused(f"nothing is up in {run_directory}; start it with `vgpu-serve up`, or name a --url")
    return dict(found)


def ask(path: str, *, url: str | None, run_directory: Path) -> dict[str, Any]:
    """Ask the autoscaler. Raises `Failed` with the remedy."""
    base = url or addresses(run_directory)["autoscaler_url"]
    try:
        answer = httpx.get(f"{base}{path}", timeout=TIMEOUT_S, trust_env=False)
        document = dict(answer.json())
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, TypeError) as error:
        raise Failed(f"{base}{path}: {type(error).__name__}: {error}; is this the autoscaler's --url?") from error
    if answer.status_code != httpx.codes.OK:
        raise Failed(str(document.get("error", f"{base}{path} answered {answer.status_code}")))
    return document
