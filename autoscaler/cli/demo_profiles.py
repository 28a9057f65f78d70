"""`vgpu-serve demo-profiles`."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from autoscaler.cli import running, system, terminal
from autoscaler.embedded import day_night, display, guard, profiles_demo, profiles_outcome, profiles_picture
from autoscaler.embedded.installation import AlreadyUp, Plan
from autoscaler.embedded.outcome import NothingSeen
from autoscaler.embedded.processes import ProcessFailed
from autoscaler.embedded.profiles_demo import Play, Watch
from autoscaler.embedded.profiles_outcome import ProfilesOutcome
from vgpu.adapters import kube

SAY_EVERY_S = 10
SWITCHER_FILE = "profiles.yaml"


def demo_profiles(
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the outcome here.")] = None,
    picture_file: Annotated[Path | None, typer.Option("--picture", help="Write one picture (PNG) here.")] = None,
    run_directory: running.RunDirectory = running.DEFAULT,
    seed: int = 1,
) -> None:
    """Serve by day on small slots, train by night on the whole card. Fails if a request does."""
    run_directory.mkdir(parents=True, exist_ok=True)
    switcher_file = run_directory / SWITCHER_FILE
    switcher_file.write_text(day_night.SWITCHER.read_text(encoding="utf-8"), encoding="utf-8")
    given = system.Given(models=day_night.MODELS, fleet_file=day_night.FLEET, switches=switcher_file)
    plan = system.plan(given, {}, run_directory)
    play = Play(script=day_night.SCRIPT, seed=seed, model=plan.spec.models[0].name, switcher_file=switcher_file)
    raise typer.Exit(guard.run(lambda: perform(plan, play, json_file, picture_file)))


def perform(plan: Plan, play: Play, json_file: Path | None, picture_file: Path | None) -> int:
    """Start the system, play the script, stop it, and say what came of it; the exit status."""
    out, watch = terminal.console(), Watch()
    slot_types = {node: card.profile for card in plan.fleet.cards for node in card.nodes}
    try:
        logs = _run(plan, play, watch, out)
        outcome = profiles_outcome.conclude(
            watch.timeline,
            model=play.model,
            phases=play.script.phases,
            switches=watch.switches,
            slot_types=slot_types,
            training=profiles_demo.training_seen(logs),
        )
    except KeyboardInterrupt:
        out.print("stopped")
        return terminal.FAILED
    except AlreadyUp as refusal:
        terminal.complain(str(refusal))
        return terminal.REFUSED
    except (ProcessFailed, NothingSeen, kube.Unavailable) as failure:
        terminal.complain(str(failure))
        return terminal.FAILED
    conclude(out, outcome)
    if json_file is not None:
        json_file.write_text(json.dumps(outcome.as_json(), indent=2) + "\n")
    if picture_file is not None:
        profiles_picture.draw(
            picture_file,
            watch.timeline,
            objective_ms=outcome.objective_p95_ms,
            switches=outcome.switches,
            slot_types=slot_types,
            training=day_night.TRAINING,
        )
        out.print(f"picture: {picture_file}")
    return 0 if outcome.succeeded else terminal.FAILED


def _run(plan: Plan, play: Play, watch: Watch, out: Console) -> Path:
    """Play it; where the logs are."""
    said_s = 0.0
    with (
        system.installation(plan, out) as installation,
        Live(console=out, refresh_per_second=2, transient=True) as live,
    ):

        def show(at_s: float) -> None:
            nonlocal said_s
            live.update(display.live(watch.timeline, at_s, play.script.duration_s))
            if not out.is_terminal and watch.timeline.scenes and at_s - said_s >= SAY_EVERY_S:
                said_s = at_s
                decision = watch.timeline.scenes[-1].model(play.model)["decision"]
                out.print(f"{at_s:4.0f} s  {decision}{_under_way(watch)}", markup=False)

        profiles_demo.drive(installation, play, watch, show)
        live.stop()
        out.print("stopping every process")
    return installation.logs


def _under_way(watch: Watch) -> str:
    going = [switch for switch in watch.switches if switch.result is None]
    return "".join(f"; switching {switch.gpu} to {switch.target}" for switch in going)


def conclude(out: Console, outcome: ProfilesOutcome) -> None:
    """Say how it went."""
    table = Table(
        title=f"{outcome.model}: objective p95 ≤ {display.ms(outcome.objective_p95_ms)}", title_justify="left"
    )
    for heading in ("PHASE", "P95", "SLOTS THAT SERVE"):
        table.add_column(heading)
    for phase in outcome.phases:
        slots = ", ".join(f"{count} × {name}" for name, count in outcome.slots[phase.name].items())
        table.add_row(phase.name, display.ms(outcome.p95_ms[phase.name]), slots or "–")
    out.print(table)
    for switch in outcome.switches:
        steps = ", ".join(f"{step} {seconds:.1f}" for step, seconds in switch.steps)
        out.print(
            f"to {switch.target}: {switch.result or 'not over'} in {switch.seconds:.0f} s ({steps})", markup=False
        )
    training = outcome.training
    if training.loss_first is not None and training.loss_last is not None:
        losses = f"loss {training.loss_first:.2f} to {training.loss_last:.2f}"
        out.print(f"training: {training.steps} steps, {losses}, checkpoint kept {training.stops} times")
    out.print(f"{outcome.requests_ok + outcome.requests_failed} requests, {outcome.requests_failed} failed")
    for problem in outcome.problems:
        out.print(f"[red]{problem}[/]")
