"""What `up` and `demo` share: their options, and a plan that is refused as a whole or not at all."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console

from autoscaler import config
from autoscaler.cli import terminal
from autoscaler.embedded import addresses, fleet, preflight, switches
from autoscaler.embedded.installation import Installation, Plan
from autoscaler.refusal import Refused
from vgpu import yaml_document

Part = TypeVar("Part")

DEMO_MODELS = Path(fleet.__file__).with_name("demo.yaml")
Models = Annotated[Path, typer.Option(help="The models file.", exists=True, dir_okay=False)]
FleetFile = Annotated[Path | None, typer.Option("--fleet", help="Emulated cards; three V100 of two slots by default.")]
Slots = Annotated[
    str | None,
    typer.Option(
        "--slots", help="Cut three cards into this instead, for every model of the file: v100-4q-4GB, fraction:500."
    ),
]
Switches = Annotated[
    Path | None, typer.Option("--switches", help="The switcher's file: how cards are cut, and when otherwise.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What the user names: the models, the emulated hardware by a file or by one slot type, and how it is switched."""

    models: Path
    fleet_file: Path | None = None
    slots: str | None = None
    switches: Path | None = None


def plan(given: Given, wanted_ports: dict[str, int], run_directory: Path) -> Plan:
    """Check everything that can be checked before anything starts. Raises `Refused` with all that is wrong."""
    if given.slots is not None and given.fleet_file is not None:
        raise Refused("--slots and --fleet both say how the cards are cut; give one of them")
    problems: list[str] = []

    def attempt(check: Callable[[], Part]) -> Part | None:
        try:
            return check()
        except Refused as refusal:
            problems.extend(str(refusal).splitlines())
            return None

    with terminal.console().status("checking the models"):
        ports = attempt(lambda: addresses.choose(wanted_ports))
        cards = attempt(lambda: _fleet(given))
        if cards is not None and given.switches is not None:
            layouts, of_fleet = given.switches, cards
            attempt(lambda: switches.check(layouts, of_fleet))
        spec, models = attempt(lambda: config.load(given.models)), given.models
        if spec is not None and cards is not None and given.slots is not None:
            models = on_slots(given.models, given.slots, run_directory)
            spec = attempt(lambda: config.load(models))
        cost_ratio = 1.0 if cards is None else cards.cost_ratio
        attempt(lambda: preflight.check(models, cost_ratio=cost_ratio))
    if ports is None or cards is None or spec is None or problems:
        raise Refused("\n".join(dict.fromkeys(problems)))
    return Plan(
        models=models, spec=spec, fleet=cards, ports=ports, run_directory=run_directory, switches=given.switches
    )


def _fleet(given: Given) -> fleet.Fleet:
    if given.fleet_file is not None:
        return fleet.load(given.fleet_file)
    return fleet.default() if given.slots is None else fleet.default(given.slots)


def on_slots(models: Path, slots: str, run_directory: Path) -> Path:
    """Copy a models file that has been checked, with every model on the given slot type."""
    document = yaml_document.load(models.read_bytes())
    for section in document["models"].values():
        section["slot"] = slots
    run_directory.mkdir(parents=True, exist_ok=True)
    copy = run_directory / "models.yaml"
    copy.write_text(yaml_document.dump(document))
    return copy


def installation(plan: Plan, out: Console) -> Installation:
    """The planned system; entering it starts it, and says how far it is."""
    # All of it is on this machine: a proxy that the user needs for the outside must not be asked for it.
    here = ",".join(filter(None, [os.environ.get("NO_PROXY"), addresses.HOST, addresses.RAY_HOST, "localhost"]))
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = here
    began_s = time.monotonic()
    return Installation(plan, progress=lambda what: out.print(f"{time.monotonic() - began_s:4.0f} s  {what}"))
