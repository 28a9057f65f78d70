"""One panel as data: what it asks, how it is drawn, and what a person should do about it.

Queries name Grafana's variables ($namespace, $model, $node); `of_model` and `of_node` write them, so that every panel
filters by the same ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

GREEN, YELLOW, RED, BLUE = "green", "yellow", "red", "blue"
SECONDS, RATIO, COUNT, PER_SECOND, BYTES = "s", "percentunit", "short", "reqps", "bytes"
"""Grafana's names of units: seconds, a part of 1 shown in percent, a number, requests a second, bytes."""
RATE = "$__rate_interval"
FULL_WIDTH = 24


class Shape(StrEnum):
    """How a panel is drawn, as Grafana calls it."""

    GRAPH = "timeseries"
    NUMBER = "stat"
    HEATMAP = "heatmap"
    TABLE = "table"
    TIMELINE = "state-timeline"


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One expression and the name of its series."""

    expr: str
    legend: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One panel; `advice` tells what it shows and what to do."""

    title: str
    advice: str
    unit: str
    queries: tuple[Query, ...]
    shape: Shape = Shape.GRAPH
    width: int = 8
    height: int = 8
    steps: tuple[tuple[float, str], ...] = ()
    """From which value on which colour; the first colour holds below all of them."""
    lowest_colour: str = GREEN
    is_stacked: bool = False
    least: float | None = 0
    most: float | None = None
    dashed: tuple[str, ...] = ()
    """Legends, as regular expressions, of lines that are limits and not measurements."""
    is_latency: bool = False
    """The autoscaler's decisions are marked on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A titled row of panels, laid out left to right and top to bottom."""

    title: str
    panels: tuple[Panel, ...]


def query(expr: str, legend: str) -> Query:
    """A query."""
    return Query(expr=expr, legend=legend)


def of_namespace(metric: str, *matchers: str) -> str:
    """A metric of the chosen namespaces."""
    return _selected(metric, ('namespace=~"$namespace"', *matchers))


def of_model(metric: str, *matchers: str) -> str:
    """A metric of the chosen models."""
    return of_namespace(metric, 'model=~"$model"', *matchers)


def of_node(metric: str, *matchers: str) -> str:
    """A metric of the chosen nodes."""
    return of_namespace(metric, 'node=~"$node"', *matchers)


def _selected(metric: str, matchers: tuple[str, ...]) -> str:
    return f"{metric}{{{', '.join(matchers)}}}"


def rate(selected: str) -> str:
    """A counter's increase a second."""
    return f"rate({selected}[{RATE}])"


def total(expr: str, *by: str) -> str:
    """The sum over everything but these labels."""
    return f"sum by ({', '.join(by)}) ({expr})"


def highest(expr: str, *by: str) -> str:
    """The largest over everything but these labels: replicas of a process that say the same count once."""
    return f"max by ({', '.join(by)}) ({expr})"


def quantile(ratio: float, buckets: str, *by: str) -> str:
    """A quantile of a histogram whose bucket series are selected, as Prometheus estimates it."""
    return f"histogram_quantile({ratio:g}, {total(rate(buckets), 'le', *by)})"


def or_zero(expr: str, reported: str) -> str:
    """0 where `expr` has no series though somebody reports: a counter by code has none before its first event."""
    return f"{expr} or 0 * {reported}"


def turned_away() -> str:
    """Requests a second that found no replica, by model, as HAProxy counts them in `asleep-MODEL`."""
    counted = rate(of_namespace("haproxy_backend_http_requests_total", 'proxy=~"asleep-($model)"'))
    # Grafana replaces only variables that the dashboard has, so $1 reaches Prometheus.
    return total(f'label_replace({counted}, "model", "$1", "proxy", "asleep-(.+)")', "model")


def graph(title: str, advice: str, unit: str, queries: Sequence[Query]) -> Panel:
    """Lines over time."""
    return Panel(title=title, advice=advice, unit=unit, queries=tuple(queries))


def number(title: str, advice: str, unit: str, asked: Query) -> Panel:
    """The last value of each series, with a small curve."""
    return Panel(
        title=title, advice=advice, unit=unit, queries=(asked,), shape=Shape.NUMBER, width=4, height=4, least=None
    )
