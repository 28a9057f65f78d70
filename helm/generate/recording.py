"""Recording rules: what became of each model's requests over each window.

A refusal for lack of room (429: the queue is full; 5xx: everything else that is ours) is a failure, a client's own
mistake (other 4xx) is not. Requests that found no replica never reach one: HAProxy counts them (`serving/haproxy.py`).
Those that wake a model which may sleep (min_replicas 0) are no failures, for clients of such a model come back.
"""

from helm.generate.objectives import (
    AVAILABILITY,
    BUDGET_WINDOW,
    LATENCY,
    LONGEST_RAW_S,
    OBJECTIVES,
    WINDOW_S,
    Objective,
)

BY = "sum by (namespace, model)"
FAILED = "429|5.."
SUCCEEDED = "2.."


Record = dict[str, str]
"""One recording rule as Prometheus spells it: `record` and `expr`."""


def rules() -> list[Record]:
    """All of them; each needs only those before it."""
    raw = [window for window, span_s in WINDOW_S.items() if span_s <= LONGEST_RAW_S]
    means = [window for window in WINDOW_S if window not in raw]
    return [
        *(rule for window in raw for rule in (*_latency(window), *_availability(window))),
        *(_mean(name(of, window), name(of, "5m"), window) for of in OBJECTIVES for window in means for name in _RATES),
        *(_ratio(objective, window) for objective in OBJECTIVES for window in WINDOW_S),
        *(_budget_left(objective) for objective in OBJECTIVES),
    ]


_RATES = (Objective.total, Objective.failures)


def _latency(window: str) -> tuple[Record, Record]:
    """Failures are good answers that came late; those that failed are the other objective's."""
    total = LATENCY.total(window)
    within = f"{BY} (rate(vgpu_serve_requests_within_objective_total[{window}]))"
    return (
        {"record": total, "expr": f"{BY} ({_answers(SUCCEEDED, window)})"},
        {"record": LATENCY.failures(window), "expr": f"clamp_min({total} - {within}, 0)"},
    )


def _availability(window: str) -> tuple[Record, Record]:
    total = AVAILABILITY.total(window)
    turned_away = _turned_away(window)
    return (
        {"record": total, "expr": f"{BY} (rate(vgpu_serve_requests_total[{window}]) or {turned_away})"},
        # A code has no series before its first answer: no failure is 0, not unknown.
        {
            "record": AVAILABILITY.failures(window),
            "expr": f"{BY} ({_answers(FAILED, window)} or {turned_away}) or 0 * {total}",
        },
    )


def _answers(codes: str, window: str) -> str:
    return f'rate(vgpu_serve_requests_total{{code=~"{codes}"}}[{window}])'


def _turned_away(window: str) -> str:
    """Requests that found no replica of a model that should have one."""
    counted = f'rate(haproxy_backend_http_requests_total{{proxy=~"asleep-.+"}}[{window}])'
    of_model = f'label_replace({counted}, "model", "$1", "proxy", "asleep-(.+)")'
    return f'({of_model} unless on (namespace, model) (vgpu_serve_replicas_limit{{bound="min"}} == 0))'


def _mean(record: str, of: str, window: str) -> Record:
    return {"record": record, "expr": f"avg_over_time({of}[{window}])"}


def _ratio(objective: Objective, window: str) -> Record:
    return {
        "record": objective.failure_ratio(window),
        "expr": f"{objective.failures(window)} / ({objective.total(window)} > 0)",
    }


def _budget_left(objective: Objective) -> Record:
    failures = f"avg_over_time({objective.failures('5m')}[{BUDGET_WINDOW}])"
    total = f"avg_over_time({objective.total('5m')}[{BUDGET_WINDOW}])"
    return {
        "record": objective.budget_left,
        "expr": f"1 - {failures} / ({total} > 0) / {objective.budget_ratio}",
    }
