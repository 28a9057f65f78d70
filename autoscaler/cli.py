"""`vgpu-serve`: what people type. Data goes to standard output, everything else to standard error.

Exit status: 0 done, 1 failed, 2 used wrongly or refused at start.
"""

import asyncio
import json
import sys
import time
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
import yaml
from rich.console import Console
from rich.live import Live
from rich.table import Table

from autoscaler import config, process
from autoscaler.embedded import addresses, demo, display, fleet, guard, picture
from autoscaler.embedded.installation import STATE_FILE, AlreadyUp, Installation, Plan
from autoscaler.embedded.processes import ProcessFailed
from autoscaler.embedded.timeline import Timeline
from autoscaler.load import client, report, schedule
from vgpu.adapters import kube

app = typer.Typer(add_completion=True, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
DEMO_MODELS = Path(__file__).parent / "embedded" / "demo.yaml"
DEMO_STEPS = "4:20s,28:80s"
FAILED, REFUSED = 1, 2
REFUSALS = (
    config.ConfigError, fleet.FleetError, addresses.PortsInUse, AlreadyUp, kube.Unavailable, schedule.StepError,
)  # fmt: skip


class Output(StrEnum):
    """How data is printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


Models = Annotated[Path, typer.Option(help="The models file.", exists=True, dir_okay=False)]
RunDirectory = Annotated[Path, typer.Option("--run-dir", help="Where the running system keeps its logs and addresses.")]
As = Annotated[Output, typer.Option("-o", "--output", help="table, json or yaml.")]
FleetFile = Annotated[Path | None, typer.Option("--fleet", help="Emulated cards; three V100 of two slots by default.")]


def main() -> None:
    """Run the command line; a refusal is one message and no traceback."""
    try:
        app()
    except REFUSALS as refusal:
        complain(str(refusal))
        sys.exit(REFUSED)
    except (ProcessFailed, httpx.HTTPError) as failure:
        complain(str(failure))
        sys.exit(FAILED)


def console() -> Console:
    """Standard error, for people."""
    return Console(stderr=True, highlight=False)


def complain(text: str) -> None:
    """Say what is wrong, one problem a line."""
    for line in text.splitlines():
        console().print(f"error: {line}", style="red", markup=False, soft_wrap=True)


@app.command()
def up(
    models: Models = DEMO_MODELS,
    run_directory: RunDirectory = Path(".run"),
    fleet_file: FleetFile = None,
    http_port: int = addresses.DEFAULTS["http"],
    api_port: int = addresses.DEFAULTS["api"],
    dashboard_port: int = addresses.DEFAULTS["dashboard"],
    autoscaler_port: int = addresses.DEFAULTS["autoscaler"],
) -> None:
    """Run everything on this machine, on emulated GPUs, until ctrl-C."""
    wanted = {
        "http": http_port, "api": api_port, "dashboard": dashboard_port, "autoscaler": autoscaler_port,
    }  # fmt: skip
    plan = _plan(models, fleet_file, addresses.choose(wanted), run_directory)
    raise typer.Exit(guard.run(lambda: _stay_up(plan)))


def _stay_up(plan: Plan) -> int:
    out = console()
    try:
        with _installation(plan, out) as installation:
            model = plan.spec.models[0].name
            out.print(f"\nclients     {installation.url}")
            out.print(f"Kubernetes  kubectl --kubeconfig {installation.kubeconfig} get nodes -L vgpu.type")
            out.print(f"Ray         {installation.dashboard_url}   autoscaler {installation.autoscaler_url}/v1/state")
            out.print(f"why         vgpu-serve explain {model}   vgpu-serve status")
            out.print(f"try         {_curl(installation.url, model)}\n", soft_wrap=True)
            out.print("GPUs are emulated: their time is modelled, the answers are real. ctrl-C stops everything.")
            while True:
                time.sleep(1)
                installation.check()
    except KeyboardInterrupt:
        out.print("stopped")
        return 0
    except (ProcessFailed, AlreadyUp, kube.Unavailable) as failure:
        complain(str(failure))
        return FAILED


@app.command("demo")
def run_demo(
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the outcome here.")] = None,
    picture_file: Annotated[Path | None, typer.Option("--picture", help="Write one picture (PNG) here.")] = None,
    steps: Annotated[str, typer.Option(help="Load as RATE:DURATION,…; the last step is the overload.")] = DEMO_STEPS,
    models: Models = DEMO_MODELS,
    run_directory: RunDirectory = Path(".run"),
    fleet_file: FleetFile = None,
    seed: int = 1,
) -> None:
    """Overload one replica and watch scale-out to other slots end it. Fails if p95 does not come back."""
    parsed = schedule.parse_steps(steps)
    if len(parsed) < 2:
        raise typer.BadParameter("give at least two steps: a calm one and the overload", param_hint="--steps")
    plan = _plan(models, fleet_file, addresses.choose({}), run_directory)
    raise typer.Exit(guard.run(lambda: _play(plan, parsed, seed, json_file, picture_file)))


def _play(
    plan: Plan, steps: tuple[schedule.Step, ...], seed: int, json_file: Path | None, picture_file: Path | None
) -> int:
    out = console()
    timeline, model = Timeline(), plan.spec.models[0]
    total_s = sum(step.duration_s for step in steps)
    try:
        with (
            _installation(plan, out) as installation,
            Live(console=out, refresh_per_second=2, transient=True) as screen,
        ):

            def show(at_s: float) -> None:
                screen.update(display.live(timeline, at_s, total_s))
                if not out.is_terminal and timeline.scenes and int(at_s) % 10 == 0:
                    out.print(f"{at_s:4.0f} s  {timeline.scenes[-1].model(model.name)['decision']}")

            demo.drive(installation, model=model.name, steps=steps, seed=seed, timeline=timeline, show=show)
            result = demo.outcome(timeline, model=model.name, steps=steps)
            screen.stop()
            out.print("stopping every process")
    except KeyboardInterrupt:
        out.print("stopped")
        return FAILED
    except (ProcessFailed, AlreadyUp, kube.Unavailable) as failure:
        complain(str(failure))
        return FAILED
    display.conclude(out, result)
    if json_file is not None:
        json_file.write_text(json.dumps(result.as_json(), indent=2) + "\n")
    if picture_file is not None:
        picture.draw(picture_file, timeline, model=model.name, objective_ms=result.objective_p95_ms, steps=steps)
        out.print(f"picture: {picture_file}")
    return 0 if result.succeeded else FAILED


@app.command()
def load(
    steps: Annotated[str, typer.Argument(help="RATE:DURATION,… such as 5:60s,40:120s")],
    model: Annotated[str, typer.Option(help="A text model.")] = "minilm",
    url: Annotated[str | None, typer.Option(help="Where clients connect; that of the running `up` by default.")] = None,
    run_directory: RunDirectory = Path(".run"),
    output: As = Output.TABLE,
    seed: int = 1,
) -> None:
    """Send real sentences, each when it is due, whatever the answers do; latency counts from the due time."""
    parsed = schedule.parse_steps(steps)
    target = client.Target(url or _running(run_directory)["url"], model)
    samples: list[client.Sample] = []
    with console().status("") as status:

        def record(sample: client.Sample) -> None:
            samples.append(sample)
            if len(samples) % 20 == 0:
                status.update(f"{len(samples)} answered, {sum(entry.failed for entry in samples)} failed")

        due = schedule.arrivals(parsed, seed=seed)
        asyncio.run(client.drive(target, due, record=record, texts=client.sentences()))
    rows = []
    for index, step in enumerate(parsed):
        summary = report.summarise(sample for sample in samples if sample.step == index)
        rows.append({"rate_per_s": step.rate_per_s, "duration_s": step.duration_s, **asdict(summary)})
    table = Table(box=None, pad_edge=False)
    for heading in ("RATE/S", "DURATION", "REQUESTS", "FAILED", "P50", "P95", "P99"):
        table.add_column(heading, justify="right")
    for row in rows:
        latencies = (display.ms(row[name]) for name in ("p50_ms", "p95_ms", "p99_ms"))
        counts = (str(row["requests"]), str(row["failed"]))
        table.add_row(f"{row['rate_per_s']:g}", f"{row['duration_s']:g} s", *counts, *latencies)
    _print({"model": model, "steps": rows}, output, table)
    raise typer.Exit(FAILED if any(row["failed"] for row in rows) else 0)


@app.command()
def status(run_directory: RunDirectory = Path(".run"), url: str | None = None, output: As = Output.TABLE) -> None:
    """Models against their objectives, slots by node, and the last decisions."""
    state = _ask(url or _running(run_directory)["autoscaler_url"], "/v1/state")
    table = display.models_table(state)
    _print(state, output, table)
    if output is Output.TABLE:
        Console().print(display.nodes_table(state))
        for line in [model["decision"] for model in state["models"]] + state["problems"]:
            Console(highlight=False).print(f"› {line}", markup=False)


@app.command()
def explain(
    model: str, run_directory: RunDirectory = Path(".run"), url: str | None = None, output: As = Output.TABLE
) -> None:
    """Why a model has the replicas it has: the last decision, step by step, with the numbers behind it."""
    answer = _ask(url or _running(run_directory)["autoscaler_url"], f"/v1/models/{model}")
    decision = answer["decision"] or {"recommendations": [], "steps": []}
    table = Table(title=answer["sentence"], title_justify="left", box=None, pad_edge=False)
    for heading in ("STAGE", "BEFORE", "AFTER", "REASON", "NUMBERS"):
        table.add_column(heading, justify="right" if heading in ("BEFORE", "AFTER") else "left")
    for entry in decision["recommendations"]:
        table.add_row("recommended", "", str(entry["count"]), entry["reason"], _numbers(entry["numbers"]))
    for step in decision["steps"]:
        counts = (str(step["before"]), str(step["after"]))
        table.add_row(step["stage"], *counts, step["reason"], _numbers(step["numbers"]))
    _print(answer, output, table)


@app.command()
def run(
    models: Models,
    ray_url: Annotated[str, typer.Option(help="Ray's dashboard, where its REST API answers.")],
    kubeconfig: Annotated[Path | None, typer.Option(help="The pod's own service account by default.")] = None,
    namespace: str = "default",
    ray_token_file: Annotated[Path | None, typer.Option(help="File with Ray's token.")] = None,
    listen: Annotated[str, typer.Option(help="HOST:PORT of /metrics, /v1/state and /healthz.")] = "127.0.0.1:9106",
    interval_s: Annotated[float, typer.Option(min=0.2, max=300)] = 5.0,
    journal: Annotated[Path | None, typer.Option(help="Append every tick to this file.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Decide and record, change nothing.")] = False,
) -> None:
    """The autoscaler itself, against any cluster."""
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal():
        raise typer.BadParameter(f"{listen} is not HOST:PORT", param_hint="--listen")
    settings = process.Settings(
        kubeconfig=kubeconfig,
        namespace=namespace,
        ray_url=ray_url,
        ray_token_file=ray_token_file,
        listen_host=host,
        listen_port=int(port),
        interval_s=interval_s,
        journal=journal,
        dry_run=dry_run,
    )
    process.run(config.load(models), settings)


def _plan(models: Path, fleet_file: Path | None, ports: addresses.Ports, run_directory: Path) -> Plan:
    cards = fleet.default() if fleet_file is None else fleet.load(fleet_file)
    return Plan(models=models, spec=config.load(models), fleet=cards, ports=ports, run_directory=run_directory)


def _installation(plan: Plan, out: Console) -> Installation:
    began_s = time.monotonic()
    return Installation(plan, progress=lambda what: out.print(f"{time.monotonic() - began_s:4.0f} s  {what}"))


def _running(run_directory: Path) -> dict[str, Any]:
    """Addresses of the running `up`."""
    path = run_directory / STATE_FILE
    if not path.exists() or "url" not in (found := json.loads(path.read_text())):
        complain(f"nothing is up in {run_directory}; start it with `vgpu-serve up`, or name a --url")
        raise typer.Exit(REFUSED)
    return dict(found)


def _ask(url: str, path: str) -> dict[str, Any]:
    answer = httpx.get(url + path, timeout=5)
    if answer.status_code != httpx.codes.OK:
        complain(str(answer.json().get("error", answer.text)))
        raise typer.Exit(FAILED)
    return dict(answer.json())


def _print(document: dict[str, Any], output: Output, table: Table) -> None:
    match output:
        case Output.JSON:
            sys.stdout.write(json.dumps(document, indent=2) + "\n")
        case Output.YAML:
            sys.stdout.write(yaml.safe_dump(document, sort_keys=False))
        case Output.TABLE:
            Console().print(table)


def _numbers(numbers: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in numbers.items())


def _curl(url: str, model: str) -> str:
    body = '{"inputs":[{"name":"text","datatype":"BYTES","shape":[1],"data":["Where is my parcel?"]}]}'
    return f"curl -s {url}/v2/models/{model}/infer -d '{body}'"


if __name__ == "__main__":
    main()
