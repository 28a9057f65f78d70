"""The demo on a terminal: a live table while it runs, the comparison at the end."""

from typing import Any

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from autoscaler.embedded.outcome import Outcome
from autoscaler.embedded.timeline import Timeline

RECENT_S = 6.0
SETTLED_S = 1.0


def live(timeline: Timeline, at_s: float, total_s: float) -> RenderableType:
    """The state as of the last look."""
    scenes = timeline.scenes
    if not scenes:
        return Text("waiting for the autoscaler's first answer …")
    state = scenes[-1].state
    felt = timeline.between(at_s - RECENT_S, at_s - SETTLED_S)
    title = f"{at_s:.0f} of {total_s:.0f} s · clients felt p50 {ms(felt.p50_ms)}, p95 {ms(felt.p95_ms)} just now"
    decisions = [Text(f"› {model['decision']}") for model in state["models"]]
    problems = [Text(f"! {problem}", style="yellow") for problem in state["problems"][:3]]
    return Panel(Group(models_table(state), nodes_table(state), *decisions, *problems), title=title, title_align="left")


def models_table(state: dict[str, Any]) -> Table:
    """One line per model."""
    table = Table(box=None, pad_edge=False)
    for heading in ("MODEL", "REPLICAS", "TARGET", "P50", "P95", "OBJECTIVE", "IN FLIGHT", "UTILIZATION", "REASON"):
        table.add_column(heading, justify="left" if heading in ("MODEL", "REASON") else "right")
    for model in state["models"]:
        late = model["p95_ms"] is not None and model["p95_ms"] > model["objective_p95_ms"]
        table.add_row(
            model["name"],
            _count(model["replicas_running"]),
            _count(model["replicas_target"]),
            ms(model["p50_ms"]),
            Text(ms(model["p95_ms"]), style="red" if late else "green"),
            ms(model["objective_p95_ms"]),
            "–" if model["in_flight"] is None else f"{model['in_flight']:.1f}",
            ratio(model["utilization_ratio"]),
            model["reason"] or "–",
        )
    return table


def nodes_table(state: dict[str, Any]) -> Table:
    """One line per slot: who holds it, and how busy its share of the card is."""
    table = Table(box=None, pad_edge=False)
    for heading in ("NODE", "SLOT TYPE", "GPU", "HELD BY", "SERVES", "ENGINE BUSY"):
        table.add_column(heading, justify="right" if heading == "ENGINE BUSY" else "left")
    for node in state["nodes"]:
        for slot in node["slots"]:
            table.add_row(
                f"{node['name']} (leaving)" if node["leaving"] else node["name"],
                slot["profile"],
                f"{slot['gpu'][:12]}{' (emulated)' if node['device_kind'] == 'emulated' else ''}",
                (slot["worker"] or "free").rpartition("/")[2],
                slot["model"] or "–",
                ratio(slot["engine_busy_ratio"]),
            )
    return table


def comparison(outcome: Outcome) -> Table:
    """Before the overload, at its worst, and after scale-out under the same overload."""
    first, last = outcome.steps[0].rate_per_s, outcome.steps[-1].rate_per_s
    table = Table(title=f"{outcome.model}: objective p95 ≤ {ms(outcome.objective_p95_ms)}", title_justify="left")
    for heading in ("", "BEFORE", "AT ITS WORST", "AFTER SCALE-OUT"):
        table.add_column(heading, justify="right" if heading else "left")
    colour = "green" if outcome.succeeded else "red"
    table.add_row("load", f"{first:g}/s", f"{last:g}/s", f"{last:g}/s")
    table.add_row(
        "p95", ms(outcome.p95_before_ms), ms(outcome.p95_peak_ms), Text(ms(outcome.p95_after_ms), style=colour)
    )
    table.add_row("replicas", str(outcome.replicas_before), "", str(outcome.replicas_after))
    table.add_row("nodes", ", ".join(outcome.nodes_used_before), "", ", ".join(outcome.nodes_used_after))
    return table


def conclude(console: Console, outcome: Outcome) -> None:
    """Say how it went."""
    console.print(comparison(outcome))
    console.print(f"{outcome.requests_total} requests, {outcome.requests_failed} failed")
    if outcome.succeeded:
        console.print(f"[green]p95 came back under its objective {outcome.seconds_to_recover:g} s after the step[/]")
    else:
        console.print("[red]p95 did not come back under its objective[/]")
    console.print(f"why: {outcome.last_decision}", highlight=False, markup=False)


def ms(value: float | None) -> str:
    """Milliseconds for a person; a dash where nothing is known."""
    if value is None:
        return "–"
    return f"{value / 1000:.1f} s" if value >= 10_000 else f"{value:.0f} ms"


def ratio(value: float | None) -> str:
    """A ratio as a percentage; a dash where nothing is known."""
    return "–" if value is None else f"{value:.0%}"


def _count(value: int | None) -> str:
    return "–" if value is None else str(value)
