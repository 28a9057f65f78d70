"""What `up` and `demo` share: their options, and a plan that is refused as a whole or not at all."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console

from autoscaler import config
from autoscaler.cli import terminal
from autoscaler.embedded import addresses, fleet, preflight
from autoscaler.embedded.installation import Installation, Plan
from autoscaler.refusal import Refused

Part = TypeVar("Part")

DEMO_MODELS = Path(fleet.__file__).with_name("demo.yaml")
Models = Annotated[Path, typer.Option(help="The models file.", exists=True, dir_okay=False)]
FleetFile = Annotated[Path | None, typer.Option("--fleet", help="Emulated cards; three V100 of two slots by default.")]


def plan(models: Path, fleet_file: Path | None, wanted_ports: dict[str, int], run_directory: Path) -> Plan:
    """Check everything that can be checked before anything starts. Raises `Refused` with all that is wrong."""
    problems: list[str] = []

    def attempt(check: Callable[[], Part]) -> Part | None:
        try:
            return check()
        except Refused as refusal:
            problems.extend(str(refusal).splitlines())
            return None

    with terminal.console().status("checking the models"):
        ports = attempt(lambda: addresses.choose(wanted_ports))
        cards = attempt(lambda: fleet.default() if fleet_file is None else fleet.load(fleet_file))
        spec = attempt(lambda: config.load(models))
        cost_ratio = 1.0 if cards is None else cards.cost_ratio
        attempt(lambda: preflight.check(models, cost_ratio=cost_ratio))
    if ports is None or cards is None or spec is None or problems:
        raise Refused("\n".join(dict.fromkeys(problems)))
    return Plan(models=models, spec=spec, fleet=cards, ports=ports, run_directory=run_directory)


def installation(plan: Plan, out: Console) -> Installation:
    """The planned system; entering it starts it, and says how far it is."""
    # All of it is on this machine: a proxy that the user needs for the outside must not be asked for it.
    here = ",".join(filter(None, [os.environ.get("NO_PROXY"), addresses.HOST, addresses.RAY_HOST, "localhost"]))
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = here
    began_s = time.monotonic()
    return Installation(plan, progress=lambda what: out.print(f"{time.monotonic() - began_s:4.0f} s  {what}"))
