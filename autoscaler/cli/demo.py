"""`vgpu-serve demo`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live

from autoscaler.cli import running, system, terminal
from autoscaler.embedded import demo as demos
from autoscaler.embedded import display, guard, picture
from autoscaler.embedded.installation import AlreadyUp, Plan
from autoscaler.embedded.outcome import NothingSeen, Outcome, compare
from autoscaler.embedded.processes import ProcessFailed
from autoscaler.embedded.timeline import Timeline
from autoscaler.load import schedule
from vgpu.adapters import kube

STEPS = "4:20s,28:80s"
SAY_EVERY_S = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """What is played, and where its outcome goes."""

    steps: tuple[schedule.Step, ...]
    seed: int
    json_file: Path | None
    picture_file: Path | None


def demo(
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the outcome here.")] = None,
    picture_file: Annotated[Path | None, typer.Option("--picture", help="Write one picture (PNG) here.")] = None,
    steps: Annotated[str, typer.Option(help="Load as RATE:DURATION,…; the last step is the overload.")] = STEPS,
    models: system.Models = system.DEMO_MODELS,
    run_directory: running.RunDirectory = running.DEFAULT,
    fleet_file: system.FleetFile = None,
    slots: system.Slots = None,
    seed: int = 1,
) -> None:
    """Overload one replica and watch scale-out to other slots end it. Fails if p95 does not come back."""
    parsed = schedule.parse_steps(steps)
    if len(parsed) < 2:
        raise typer.BadParameter("give at least two steps: a calm one and the overload", param_hint="--steps")
    plan = system.plan(system.Given(models=models, fleet_file=fleet_file, slots=slots), {}, run_directory)
    play = Play(steps=parsed, seed=seed, json_file=json_file, picture_file=picture_file)
    raise typer.Exit(guard.run(lambda: perform(plan, play)))


def perform(plan: Plan, play: Play) -> int:
    """Start the system, overload it, stop it, and say what came of it; the exit status."""
    out, timeline, model = terminal.console(), Timeline(), plan.spec.models[0].name
    try:
        _run(plan, play, timeline, out)
        outcome = compare(timeline, model=model, steps=play.steps)
    except KeyboardInterrupt:
        out.print("stopped")
        return terminal.FAILED
    except AlreadyUp as refusal:
        terminal.complain(str(refusal))
        return terminal.REFUSED
    except (ProcessFailed, NothingSeen, kube.Unavailable) as failure:
        terminal.complain(str(failure))
        return terminal.FAILED
    display.conclude(out, outcome)
    _keep(play, timeline, outcome, out)
    return 0 if outcome.succeeded else terminal.FAILED


def _run(plan: Plan, play: Play, timeline: Timeline, out: Console) -> None:
    model = plan.spec.models[0].name
    total_s = sum(step.duration_s for step in play.steps)
    said_s = 0.0
    with (
        system.installation(plan, out) as installation,
        Live(console=out, refresh_per_second=2, transient=True) as live,
    ):

        def show(at_s: float) -> None:
            nonlocal said_s
            live.update(display.live(timeline, at_s, total_s))
            if not out.is_terminal and timeline.scenes and at_s - said_s >= SAY_EVERY_S:
                said_s = at_s
                out.print(f"{at_s:4.0f} s  {timeline.scenes[-1].model(model)['decision']}", markup=False)

        demos.drive(installation, model=model, steps=play.steps, seed=play.seed, timeline=timeline, show=show)
        live.stop()
        out.print("stopping every process")


def _keep(play: Play, timeline: Timeline, outcome: Outcome, out: Console) -> None:
    if play.json_file is not None:
        play.json_file.write_text(json.dumps(outcome.as_json(), indent=2) + "\n")
    if play.picture_file is not None:
        objective_ms = outcome.objective_p95_ms
        picture.draw(play.picture_file, timeline, model=outcome.model, objective_ms=objective_ms, steps=play.steps)
        out.print(f"picture: {play.picture_file}")
