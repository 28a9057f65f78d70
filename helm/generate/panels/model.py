"""One model after another: rate, errors, duration (RED), then what holds its requests up."""

from dataclasses import replace

from helm.generate.objectives import AVAILABILITY, LATENCY
from helm.generate.panel import (
    COUNT,
    GREEN,
    PER_SECOND,
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
    or_zero,
    quantile,
    query,
    rate,
    total,
    turned_away,
)

DURATION = "vgpu_serve_request_duration_seconds"
QUEUED = "vgpu_serve_queue_duration_seconds"
EXECUTED = "vgpu_serve_execution_duration_seconds"
OBJECTIVE = "objective {{model}}"
LIMITS = ("/^objective/",)


def rows() -> tuple[Row, ...]:
    """Promises, then rate, errors, duration, saturation."""
    return (
        Row(title="Promises", panels=(_attainment(), _availability(), latency_against_objective())),
        Row(title="Rate and errors", panels=(_by_code(), _failures(), _refusals(), _ingress())),
        Row(title="Duration", panels=(_latency(), _durations(), _queue_and_execution(), _means())),
        Row(title="Saturation", panels=(_in_flight(), _queued(), _batch(), _replicas())),
    )


def _attainment() -> Panel:
    return replace(
        graph(
            "Answers within the objective",
            f"The part of good answers that came within objective_p95_ms; {LATENCY.target_ratio:.0%} are promised."
            " Below it for long: look at queue against execution here, then at the decisions dashboard, whether the"
            " model was kept below what it asks for.",
            RATIO,
            [
                query(f"1 - {of_model(LATENCY.failure_ratio('5m'))}", "5m {{model}}"),
                query(f"1 - {of_model(LATENCY.failure_ratio('1h'))}", "1h {{model}}"),
            ],
        ),
        most=1,
        lowest_colour=RED,
        steps=((LATENCY.target_ratio, GREEN),),
        is_latency=True,
    )


def _availability() -> Panel:
    return replace(
        graph(
            "Requests not refused and not failed",
            f"The part of requests answered; {AVAILABILITY.target_ratio:.1%} are promised. 429 (queue full), 5xx and"
            " requests that found no replica count against it. Below it: the panels of rate and errors say which.",
            RATIO,
            [
                query(f"1 - {of_model(AVAILABILITY.failure_ratio('5m'))}", "5m {{model}}"),
                query(f"1 - {of_model(AVAILABILITY.failure_ratio('1h'))}", "1h {{model}}"),
            ],
        ),
        most=1,
        lowest_colour=RED,
        steps=((AVAILABILITY.target_ratio, GREEN),),
    )


def latency_against_objective() -> Panel:
    """Comparable over models of different objectives."""
    p95 = quantile(0.95, of_model(f"{DURATION}_bucket"), "namespace", "model")
    objective = highest(of_model("vgpu_serve_objective_seconds"), "namespace", "model")
    return replace(
        graph(
            "p95 as a part of the objective",
            "1 is the objective. Above it a model breaks its promise; near it the autoscaler keeps what there is. If it"
            " stays above while replicas are added, run `vgpu-serve explain MODEL`: the objective may be out of reach.",
            RATIO,
            [query(f"{p95} / {objective}", "{{model}}")],
        ),
        steps=((0.8, YELLOW), (1, RED)),
        is_latency=True,
    )


def _by_code() -> Panel:
    return replace(
        graph(
            "Requests by status",
            "Answers of the replicas a second. 2xx is served load; 4xx but 429 are the clients' own mistakes; 429 and"
            " 5xx are ours.",
            PER_SECOND,
            [query(total(rate(of_model("vgpu_serve_requests_total")), "model", "code"), "{{model}} {{code}}")],
        ),
        width=6,
        is_stacked=True,
    )


def _failures() -> Panel:
    answers = total(rate(of_model("vgpu_serve_requests_total")), "model")
    failed = total(rate(of_model("vgpu_serve_requests_total", 'code=~"429|5.."')), "model")
    return replace(
        graph(
            "Failed part of the answers",
            "429 and 5xx over all answers. Rising with the queue: too few replicas, see the decisions dashboard. Rising"
            " without one: a card or a replica fails, see the slots dashboard and the replicas' logs.",
            RATIO,
            [query(f"({or_zero(failed, answers)}) / ({answers} > 0)", "{{model}}")],
        ),
        width=6,
        most=1,
        steps=((AVAILABILITY.budget_ratio, YELLOW), (0.05, RED)),
    )


def _refusals() -> Panel:
    answers = total(rate(of_model("vgpu_serve_requests_total")), "model")
    refused = total(rate(of_model("vgpu_serve_requests_total", 'code=~"4..|5.."')), "model", "code")
    return replace(
        graph(
            "Refusals by reason",
            "The reason follows from the status: 429 queue_full; 503 no_capacity, device_lost or out_of_memory; 504"
            " deadline_passed; 502 replica_lost; 400, 404, 405 and 413 are wrong requests. queue_full and no_capacity:"
            " more replicas or max_queue; deadline_passed: more replicas or a longer deadline; device_lost: the slots"
            " dashboard.",
            PER_SECOND,
            [query(or_zero(refused, answers), "{{model}} {{code}}")],
        ),
        width=6,
        is_stacked=True,
    )


def _ingress() -> Panel:
    return replace(
        graph(
            "Requests that found no replica",
            "Counted by HAProxy, refused at once with 503. Of a model with min_replicas 0 they wake it. Of any other:"
            " all its replicas are gone; see replicas below, and unplaced replicas on the decisions dashboard.",
            PER_SECOND,
            [query(turned_away(), "{{model}}")],
        ),
        width=6,
        steps=((0.01, YELLOW),),
    )


def _latency() -> Panel:
    buckets = of_model(f"{DURATION}_bucket")
    quantiles = [
        query(quantile(ratio, buckets, "namespace", "model"), f"{name} {{{{model}}}}")
        for name, ratio in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
    ]
    line = highest(of_model("vgpu_serve_objective_seconds"), "model")
    return replace(
        graph(
            "Duration of requests",
            "From a request's arrival at its replica to its answer; the dashed line is the objective for p95, and marks"
            " are changes of replicas. p99 far above p95: batches wait for time slices of the card, see the slots"
            " dashboard. Quantiles are estimates between bucket edges; attainment is exact.",
            SECONDS,
            [*quantiles, query(line, OBJECTIVE)],
        ),
        width=12,
        dashed=LIMITS,
        is_latency=True,
    )


def _durations() -> Panel:
    return replace(
        graph(
            "Durations over time",
            "How many requests took how long. Two bands: some replicas are slower than others; compare their slots.",
            SECONDS,
            [query(total(rate(of_model(f"{DURATION}_bucket")), "le"), "{{le}}")],
        ),
        width=12,
        shape=Shape.HEATMAP,
        least=None,
        is_latency=True,
    )


def _queue_and_execution() -> Panel:
    return replace(
        graph(
            "Queue against execution, p95",
            "Queue above execution: requests wait for a batch, more replicas help. Execution grows: neighbours on the"
            " card or larger batches; more replicas on the same card do not help, see the slots dashboard.",
            SECONDS,
            [
                query(quantile(0.95, of_model(f"{QUEUED}_bucket"), "model"), "queue {{model}}"),
                query(quantile(0.95, of_model(f"{EXECUTED}_bucket"), "model"), "execution {{model}}"),
                query(highest(of_model("vgpu_serve_objective_seconds"), "model"), OBJECTIVE),
            ],
        ),
        width=12,
        dashed=LIMITS,
        is_latency=True,
    )


def _means() -> Panel:
    def mean(name: str) -> str:
        spent = total(rate(of_model(f"{name}_sum")), "model")
        return f"{spent} / {total(rate(of_model(f'{name}_count')), 'model')}"

    return replace(
        graph(
            "Queue and execution, mean",
            "Where a mean request spends its time. The rest, up to its whole duration, is reading, tokenizing and"
            " writing on the host's processors.",
            SECONDS,
            [
                query(mean(QUEUED), "queue {{model}}"),
                query(mean(EXECUTED), "execution {{model}}"),
                query(mean(DURATION), "whole {{model}}"),
            ],
        ),
        width=12,
        is_latency=True,
    )


def _in_flight() -> Panel:
    return replace(
        graph(
            "Requests in flight",
            "Being answered now, waiting ones included, over all replicas. Growing while the rate does not: answers"
            " have become slower.",
            COUNT,
            [query(total(of_model("vgpu_serve_requests_in_flight"), "model"), "{{model}}")],
        ),
        width=6,
    )


def _queued() -> Panel:
    return replace(
        graph(
            "Rows waiting for a batch",
            "Above what one batch takes, for long: the model lacks replicas. At max_queue further requests are refused"
            " with 429.",
            COUNT,
            [query(total(of_model("vgpu_serve_queued_rows"), "model"), "{{model}}")],
        ),
        width=6,
    )


def _batch() -> Panel:
    rows_ = total(rate(of_model("vgpu_serve_batch_size_sum")), "model")
    return replace(
        graph(
            "Mean rows in a batch",
            "Near max_batch_size: replicas are full, and each row is as cheap as it gets. Near 1 under load: a batch"
            " closes too early, see batching in the models file.",
            COUNT,
            [query(f"{rows_} / {total(rate(of_model('vgpu_serve_batch_size_count')), 'model')}", "{{model}}")],
        ),
        width=6,
    )


def _replicas() -> Panel:
    return replace(
        graph(
            "Replicas ready",
            "Replicas whose model is loaded and whose slot answers, as they say themselves.",
            COUNT,
            [query(total(of_model("vgpu_serve_ready"), "model"), "{{model}}")],
        ),
        width=6,
    )


def load() -> Panel:
    """For the overview."""
    return graph(
        "Requests",
        "Answered a second, by model; requests that found no replica are on the model dashboard.",
        PER_SECOND,
        [query(total(rate(of_model("vgpu_serve_requests_total")), "model"), "{{model}}")],
    )


def waiting() -> Panel:
    """For the overview."""
    return number(
        "Rows waiting",
        "Over all chosen models. Above 0 for minutes: the model dashboard says whose.",
        COUNT,
        query(f"sum({of_namespace('vgpu_serve_queued_rows')})", "waiting"),
    )
