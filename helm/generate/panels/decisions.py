"""What the autoscaler decided, from what, what kept it from more, and what came of it.

Each replica of the autoscaler counts what it decides, the leader and those that only look on, so rates are taken by
`max` and not summed.
"""

from dataclasses import replace

from helm.generate.grafana import Mark
from helm.generate.panel import (
    BLUE,
    COUNT,
    PER_SECOND,
    RATE,
    RATIO,
    RED,
    SECONDS,
    YELLOW,
    Panel,
    Row,
    graph,
    highest,
    of_model,
    of_namespace,
    query,
    rate,
)


def rows() -> tuple[Row, ...]:
    """Counts, reasons, and what the decisions were made from; actions and the loop are in `panels.actions`."""
    return (
        Row(title="Replicas", panels=(desired_and_actual(), _limited(), _unplaced())),
        Row(title="Decisions", panels=(_reasons(), _changes())),
        Row(
            title="What decisions are made from",
            panels=(_latencies(), _rates(), _queues(), _utilization(), _missing(), _ages()),
        ),
    )


def marks() -> tuple[Mark, ...]:
    """Changes of replica counts, and (off until wanted) times at which a model was kept below what it asked for."""
    changes = of_model("vgpu_serve_replica_changes_total")
    return (
        Mark(
            name="Replica changes",
            expr=f"max by (model, direction) (increase({changes}[{RATE}])) > 0",
            title="{{model}} {{direction}}",
            colour=BLUE,
            labels=("model", "direction"),
        ),
        Mark(
            name="Kept below what it asks for",
            expr=f"max by (model, guardrail) ({of_model('vgpu_serve_limited')}) > 0",
            title="{{model}}: {{guardrail}}",
            colour=RED,
            labels=("model", "guardrail"),
            is_on=False,
        ),
    )


def desired_and_actual() -> Panel:
    """Also for the overview."""
    states = of_model("vgpu_serve_replicas", 'state=~"desired|running|starting"')
    limits = of_model("vgpu_serve_replicas_limit")
    leaving = of_model("vgpu_serve_replicas_leaving")
    return replace(
        graph(
            "Replicas: desired, running, and the band they may move in",
            "desired is the last decision. Running below it for long: look at starting, at time to ready, and at"
            " unplaced replicas. desired at the dashed max under load: raise max_replicas, or accept the latency."
            " leaving: they run on nodes that will be taken away, beside their successors; for minutes: too few slots"
            " stay.",
            COUNT,
            [
                query(highest(states, "model", "state"), "{{state}} {{model}}"),
                query(highest(limits, "model", "bound"), "{{bound}} {{model}}"),
                query(highest(leaving, "model"), "leaving {{model}}"),
            ],
        ),
        width=12,
        dashed=("/^(min|max) /",),
    )


def _limited() -> Panel:
    limited = highest(of_model("vgpu_serve_limited"), "model", "guardrail")
    nothing = f"0 * {highest(of_model('vgpu_serve_limited'), 'model')}"
    return replace(
        graph(
            "Kept below what it asks for, by what",
            "1 while it lasts, 0 without a name when nothing does. bounds: max_replicas. no_slots, saturated: capacity."
            " cold_start_pending, settling, step_limit: pace, soon over. foreign_writer: somebody else scales it."
            " `vgpu-serve explain MODEL` has the sentence.",
            COUNT,
            [query(f"{limited} > 0 or {nothing}", "{{model}} {{guardrail}}")],
        ),
        width=6,
        is_stacked=True,
    )


def _unplaced() -> Panel:
    return replace(
        graph(
            "Replicas without a slot",
            "Asked for, and no slot takes them. Free slots of another type do not help unless the model's slot lists"
            " it. Add nodes, list a further slot type, or lower max_replicas of a model of less priority.",
            COUNT,
            [query(highest(of_model("vgpu_serve_unplaced_replicas"), "model"), "{{model}}")],
        ),
        width=6,
        steps=((1, RED),),
    )


def _reasons() -> Panel:
    decided = rate(of_model("vgpu_serve_decisions_total", 'reason!="steady"'))
    all_steady = f"0 * {highest(rate(of_model('vgpu_serve_decisions_total')), 'model')}"
    return replace(
        graph(
            "Decisions by what settled them, steady ones left out",
            "One decision per model and tick. latency_ and load_ reasons are demand; the others are what held a count"
            " back. Only steady ones: 0.",
            PER_SECOND,
            [query(f"{highest(decided, 'model', 'reason')} or {all_steady}", "{{model}} {{reason}}")],
        ),
        width=12,
        is_stacked=True,
    )


def _changes() -> Panel:
    changes = f"increase({of_model('vgpu_serve_replica_changes_total')}[1h])"
    return replace(
        graph(
            "Changes in the last hour",
            "Rises and falls of each model. Many of both: it flaps; lengthen scale_down_window_s, or lower"
            " guardrails' step.",
            COUNT,
            [query(highest(changes, "model", "direction"), "{{model}} {{direction}}")],
        ),
        width=12,
        steps=((6, YELLOW),),
    )


def _signal(*names: str) -> str:
    return highest(of_model("vgpu_serve_signal", f'signal=~"{"|".join(names)}"'), "model", "signal")


def _latencies() -> Panel:
    return replace(
        graph(
            "Signal: latency",
            "As the autoscaler saw it over its window, in seconds here; the dashed line is the objective for p95.",
            SECONDS,
            [
                query(f"{_signal('p50_ms', 'p95_ms')} / 1000", "{{signal}} {{model}}"),
                query(highest(of_model("vgpu_serve_objective_seconds"), "model"), "objective {{model}}"),
            ],
        ),
        dashed=("/^objective/",),
        is_latency=True,
    )


def _rates() -> Panel:
    return graph(
        "Signal: load",
        "Requests that came in, refused ones included; unanswered are those that found no replica.",
        PER_SECOND,
        [query(_signal("offered_per_s", "unanswered_per_s"), "{{signal}} {{model}}")],
    )


def _queues() -> Panel:
    return graph(
        "Signal: queue",
        "Mean over the window, all replicas together. target_in_flight is per replica.",
        COUNT,
        [query(_signal("in_flight", "queued"), "{{signal}} {{model}}")],
    )


def _utilization() -> Panel:
    return graph(
        "Signal: use of the entitlement, and attainment",
        "utilization_ratio against target_utilization_ratio; attainment_ratio against 0.95.",
        RATIO,
        [query(_signal("utilization_ratio", "attainment_ratio"), "{{signal}} {{model}}")],
    )


def _missing() -> Panel:
    return replace(
        graph(
            "Readings that were missing",
            "Each keeps a model from falling. A few during a start are normal. For minutes: a worker or an exporter is"
            " not reached; `vgpu-serve status` names the problems.",
            COUNT,
            [query(highest(of_model("vgpu_serve_signals_missing"), "model"), "{{model}}")],
        ),
        steps=((1, YELLOW),),
    )


def _ages() -> Panel:
    return replace(
        graph(
            "Age of the oldest reading, by source",
            "Above policy.max_age_s (10 s by default) a decision does without it.",
            SECONDS,
            [query(highest(of_namespace("vgpu_serve_signal_age_seconds"), "source"), "{{source}}")],
        ),
        steps=((10, YELLOW), (30, RED)),
    )
