"""The first look: are clients served, is there room, does the autoscaler do its work."""

from dataclasses import replace

from helm.generate.causes import STALLED_S
from helm.generate.objectives import AVAILABILITY, LATENCY, Objective
from helm.generate.panel import (
    COUNT,
    GREEN,
    RATIO,
    RED,
    SECONDS,
    YELLOW,
    Panel,
    Row,
    Shape,
    graph,
    highest,
    number,
    of_model,
    of_namespace,
    query,
    total,
)
from helm.generate.panels import burn, decisions, model, switching


def rows() -> tuple[Row, ...]:
    """From what clients feel to what is behind it."""
    return (
        Row(
            title="Now", panels=(_alerts(), _good(LATENCY), _good(AVAILABILITY), model.waiting(), _free(), _unplaced())
        ),
        Row(
            title="Clients",
            panels=(
                model.load(),
                model.latency_against_objective(),
                replace(burn.budget_left(LATENCY), width=4),
                replace(burn.budget_left(AVAILABILITY), width=4),
            ),
        ),
        Row(title="Capacity", panels=(decisions.desired_and_actual(), _slots())),
        Row(title="Control", panels=(_leaders(), _since(), _refused(), _unhealthy(), _version(), _applications())),
        switching.overview(),
        Row(title="Models", panels=(_models(),)),
    )


def _alerts() -> Panel:
    firing = 'sum(ALERTS{alertname=~"Vgpu.*", alertstate="firing", namespace=~"$namespace"})'
    return replace(
        number(
            "Alerts firing",
            "Of this system. Each has a section in docs/runbook.md.",
            COUNT,
            query(f"{firing} or vector(0)", "firing"),
        ),
        steps=((1, RED),),
    )


def _good(objective: Objective) -> Panel:
    worst = f"1 - max({of_model(objective.failure_ratio('1h'))})"
    return replace(
        number(
            f"Worst {objective.name}, 1h",
            f"Of the model that keeps it worst: {objective.promise}. Below: the model dashboard.",
            RATIO,
            query(worst, "worst model"),
        ),
        lowest_colour=RED,
        steps=((objective.target_ratio, GREEN),),
    )


def _free() -> Panel:
    free = highest(of_namespace("vgpu_serve_slots", 'state="free"'), "node")
    return replace(
        number("Slots free", "None left and load rising: add nodes.", COUNT, query(f"sum({free})", "free")),
        lowest_colour=YELLOW,
        steps=((1, GREEN),),
    )


def _unplaced() -> Panel:
    unplaced = highest(of_model("vgpu_serve_unplaced_replicas"), "model")
    return replace(
        number(
            "Replicas without a slot",
            "Asked for, and no slot takes them; the decisions dashboard says whose.",
            COUNT,
            query(f"sum({unplaced})", "unplaced"),
        ),
        steps=((1, RED),),
    )


def _slots() -> Panel:
    return replace(
        graph(
            "Slots",
            "Over all nodes, as the autoscaler counts them.",
            COUNT,
            [query(total(highest(of_namespace("vgpu_serve_slots"), "node", "state"), "state"), "{{state}}")],
        ),
        width=12,
        is_stacked=True,
    )


def _leaders() -> Panel:
    return replace(
        number(
            "Autoscalers leading",
            "Must be 1; 0 in a dry run.",
            COUNT,
            query(total(of_namespace("vgpu_serve_leader"), "namespace"), "{{namespace}}"),
        ),
        lowest_colour=RED,
        steps=((1, GREEN), (2, RED)),
    )


def _since() -> Panel:
    last = highest(of_namespace("vgpu_serve_last_tick_timestamp_seconds"), "namespace")
    return replace(
        number(
            "Since the last tick",
            "Above the interval: the loop stands still, see the decisions dashboard.",
            SECONDS,
            query(f"time() - {last}", "{{namespace}}"),
        ),
        steps=((STALLED_S, RED),),
    )


def _refused() -> Panel:
    by_process = " + ".join(
        highest(of_namespace(metric), "namespace")
        for metric in ("vgpu_serve_models_file_refused", "vgpu_serve_deployer_file_refused")
    )
    return replace(
        number(
            "Processes that refuse the models file",
            "Above 0: the last change is not in effect; `vgpu-serve check FILE` lists every problem.",
            COUNT,
            query(by_process, "{{namespace}}"),
        ),
        steps=((1, RED),),
    )


def _unhealthy() -> Panel:
    return replace(
        number(
            "Devices that do not answer",
            "See the slots dashboard for the node.",
            COUNT,
            query(
                f"count({of_namespace('vgpu_device_healthy')}) - sum({of_namespace('vgpu_device_healthy')})", "silent"
            ),
        ),
        steps=((1, RED),),
    )


def _version() -> Panel:
    return number(
        "Autoscalers and switchers by version",
        "Two versions for long: a roll-out is stuck.",
        COUNT,
        query(f"count by (version) ({of_namespace('vgpu_serve_build_info')})", "{{version}}"),
    )


def _applications() -> Panel:
    return number(
        "Applications of Ray Serve, by state",
        "All should be running; the deployer's log says why one is not.",
        COUNT,
        query(highest(of_namespace("vgpu_serve_deployer_applications"), "state"), "{{state}}"),
    )


def _models() -> Panel:
    return replace(
        number(
            "Models as configured",
            "From the models file in effect: where each comes from, its slot types and its tenant.",
            COUNT,
            query(highest(of_model("vgpu_serve_model_info"), "model", "source", "slot", "tenant"), "{{model}}"),
        ),
        shape=Shape.TABLE,
        width=24,
        height=7,
    )
