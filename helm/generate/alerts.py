"""Alerts: broken promises first, which call somebody; then their causes.

Severity `page` calls somebody now, `ticket` waits for the working day. Every replica of the autoscaler looks and
reports, leading or not, so what it says of the world is taken by `max`.
"""

from dataclasses import dataclass

from helm.generate.objectives import AVAILABILITY, BURNS, LATENCY, LEAST_REQUESTS, Burn, Objective

RUNBOOK = "docs/runbook.md"
PAGE, TICKET = "page", "ticket"
OF_MODEL = "max by (namespace, model)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alerting rule; its section of the runbook has its name."""

    name: str
    expr: str
    held: str
    """How long it must hold, as PromQL writes a duration."""
    severity: str
    summary: str
    description: str
    labels: tuple[tuple[str, str], ...] = ()

    def rule(self) -> dict[str, object]:
        """As Prometheus reads it."""
        return {
            "alert": self.name,
            "expr": self.expr,
            "for": self.held,
            "labels": {"severity": self.severity, **dict(self.labels)},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook_url": f"{RUNBOOK}#{self.name.lower()}",
            },
        }


def promises() -> list[Alert]:
    """Multi-window, multi-burn-rate: three for each objective."""
    return [_burning(objective, burn) for objective in (LATENCY, AVAILABILITY) for burn in BURNS]


def _burning(objective: Objective, burn: Burn) -> Alert:
    threshold = f"{burn.rate:g} * {objective.budget_ratio:g}"
    spent = f"{burn.rate * objective.budget_ratio * 100:.3g} %"
    gone = f"{burn.budget_spent_ratio() * 100:.0f} %"
    bad = {
        LATENCY.name: "of its good answers came later than its objective_p95_ms",
        AVAILABILITY.name: "of its requests were refused for lack of room or failed",
    }[objective.name]
    return Alert(
        name=f"VgpuServe{objective.name.capitalize()}BudgetBurn",
        # A broken promise that is over calls nobody: the short window must burn too.
        expr=(
            f"{objective.failure_ratio(burn.long)} > {threshold}\n"
            f"and {objective.failure_ratio(burn.short)} > {threshold}\n"
            f"and {objective.total(burn.short)} > {burn.least_per_s:.4g}"
        ),
        held={"5m": "2m", "30m": "15m"}.get(burn.short, "1h"),
        severity=burn.severity,
        labels=(("burn_rate", f"{burn.rate:g}"), ("long_window", burn.long), ("short_window", burn.short)),
        summary=f"{{{{ $labels.model }}}} spends its {objective.name} budget {burn.rate:g} times too fast",
        description=(
            f"{{{{ $value | humanizePercentage }}}} {bad} in the last {burn.long}, and above {spent} too in the last "
            f"{burn.short}; {objective.budget_ratio * 100:.2g} % is allowed. At this rate {gone} of 30 days' budget "
            f"goes every {burn.long}. Silent below {LEAST_REQUESTS} requests in {burn.short}."
        ),
    )
