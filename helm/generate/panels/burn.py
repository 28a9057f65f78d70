"""How fast error budgets burn, over each window an alert looks at, and what is left of them."""

from dataclasses import replace

from helm.generate.objectives import BURNS, LEAST_REQUESTS, OBJECTIVES, WINDOW_S, Objective
from helm.generate.panel import (
    COUNT,
    GREEN,
    RATIO,
    RED,
    YELLOW,
    Panel,
    Row,
    graph,
    highest,
    of_model,
    query,
)

COLOURS = {"page": RED, "ticket": YELLOW}


def rows() -> tuple[Row, ...]:
    """One row an objective."""
    return tuple(
        Row(title=f"{objective.name.capitalize()}: {objective.promise}", panels=_panels(objective))
        for objective in OBJECTIVES
    )


def budget_left(objective: Objective) -> Panel:
    """The part of 30 days' budget that is left; also for the overview."""
    return replace(
        graph(
            f"{objective.name.capitalize()} budget left",
            "Of the last 30 days' budget, or of as many days as Prometheus keeps. Below 0 it is overspent: put"
            " reliability before changes, see the burn dashboard for when it went.",
            RATIO,
            [query(highest(of_model(objective.budget_left), "model"), "{{model}}")],
        ),
        least=None,
        most=1,
        lowest_colour=RED,
        steps=((0, YELLOW), (0.25, GREEN)),
    )


def _panels(objective: Objective) -> tuple[Panel, ...]:
    return (*(_burn(objective, window) for window in WINDOW_S), budget_left(objective), _guard(objective))


def _burn(objective: Objective, window: str) -> Panel:
    rate = f"{highest(of_model(objective.failure_ratio(window)), 'model')} / {objective.budget_ratio:g}"
    calls = [burn for burn in BURNS if window in (burn.long, burn.short)]
    told = "; ".join(f"{burn.rate:g} over {burn.long} and {burn.short}: {burn.severity}" for burn in calls)
    return replace(
        graph(
            f"{objective.name.capitalize()} burn rate, {window}",
            f"1 spends the budget in exactly 30 days. Alerts: {told}. At most"
            f" {1 / objective.budget_ratio:g}, when nothing is good. The model dashboard says why.",
            COUNT,
            [query(rate, "{{model}}")],
        ),
        width=6,
        height=7,
        steps=tuple((burn.rate, COLOURS[burn.severity]) for burn in sorted(calls, key=lambda burn: burn.rate)),
    )


def _guard(objective: Objective) -> Panel:
    return replace(
        graph(
            f"Requests behind the {objective.name} burn rate, in 5m",
            f"Below {LEAST_REQUESTS} in the short window an alert stays silent: a few slow answers say nothing.",
            COUNT,
            [query(f"{highest(of_model(objective.total('5m')), 'model')} * {WINDOW_S['5m']}", "{{model}}")],
        ),
        width=8,
        steps=((LEAST_REQUESTS, GREEN),),
        lowest_colour=YELLOW,
    )
