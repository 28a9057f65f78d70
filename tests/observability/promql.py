"""Reads PromQL: which series an expression asks for, and which labels its result has."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import promql_parser as parser

from tests.observability.exported import OF_TARGETS, Labels

# What Grafana puts in; the values are those of "All" and of a scrape every second.
VARIABLES = {"$__rate_interval": "30s", "$__interval": "15s", "$__range": "1h"}
VARIABLES |= dict.fromkeys(("$namespace", "$model", "$node"), ".*")


class Wrong(AssertionError):
    """An expression asks for what nobody exports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """One selection of series, as it stands in an expression."""

    name: str
    text: str
    matched: frozenset[str]
    """Labels that it filters by."""


def substituted(expr: str) -> str:
    """The expression as Grafana sends it."""
    for name, value in VARIABLES.items():
        expr = expr.replace(name, value)
    left = re.findall(r"\$\{?[a-z_]+", expr)
    assert not left, f"unknown variables {left} in {expr}"
    return expr


def selectors(expr: str) -> list[Selector]:
    """Every selection of an expression."""
    return [_selector(node) for node in _nodes(parser.parse(expr)) if isinstance(node, parser.VectorSelector)]


def result_labels(expr: str, exported: Labels) -> frozenset[str]:
    """The labels of the result. Raises `Wrong` for a name, a filter or a grouping that nobody exports."""
    return _labels(parser.parse(expr), exported)


def _selector(node: parser.VectorSelector) -> Selector:
    matchers = list(node.matchers.matchers)
    assert node.name is not None, f"{node}: name the metric"
    return Selector(name=node.name, text=str(node), matched=frozenset(matcher.name for matcher in matchers))


def _nodes(expr: parser.Expr) -> Iterator[parser.Expr]:
    found: list[parser.Expr] = []
    parser.walk(expr, pre_visit=lambda node: found.append(node))
    return iter(found)


def _labels(node: parser.Expr, exported: Labels) -> frozenset[str]:
    match node:
        case parser.VectorSelector():
            return _selected(_selector(node), exported)
        case parser.MatrixSelector():
            return _labels(node.vector_selector, exported)
        case parser.AggregateExpr():
            return _aggregated(node, exported)
        case parser.Call():
            return _called(node, exported)
        case parser.BinaryExpr():
            return _combined(node, exported)
        case parser.ParenExpr() | parser.UnaryExpr() | parser.SubqueryExpr():
            return _labels(node.expr, exported)
    return frozenset()


def _selected(selector: Selector, exported: Labels) -> frozenset[str]:
    if selector.name not in exported:
        raise Wrong(f"nobody exports {selector.name}")
    has = exported[selector.name] | (frozenset() if ":" in selector.name else OF_TARGETS)
    if unknown := selector.matched - has:
        raise Wrong(f"{selector.name} has no label {sorted(unknown)}; it has {sorted(has)}")
    return has


def _aggregated(node: parser.AggregateExpr, exported: Labels) -> frozenset[str]:
    inner = _labels(node.expr, exported)
    if node.modifier is None:
        return frozenset()
    assert node.modifier.type == parser.AggModifierType.By, f"{node}: say by which labels"
    by = frozenset(node.modifier.labels)
    if by - inner:
        raise Wrong(f"{node}: no label {sorted(by - inner)} to group by; there are {sorted(inner)}")
    return by


def _called(node: parser.Call, exported: Labels) -> frozenset[str]:
    inner = frozenset[str]().union(*(_labels(argument, exported) for argument in node.args))
    match node.func.name:
        case "label_replace":
            return inner | {node.args[1].val}
        case "histogram_quantile":
            if "le" not in inner:
                raise Wrong(f"{node}: a quantile needs le")
            return inner - {"le"}
    return inner


def _combined(node: parser.BinaryExpr, exported: Labels) -> frozenset[str]:
    left, right = _labels(node.lhs, exported), _labels(node.rhs, exported)
    modifier = node.modifier
    if modifier is None or modifier.matching is None:
        return left | right if not left or not right else left
    on = frozenset(modifier.matching.labels)
    if on - left or on - right:
        raise Wrong(f"{node}: {sorted(on - (left & right))} is not on both sides")
    return left | frozenset(modifier.group_labels or ())


def recorded(rules: list[Mapping[str, str]], exported: Labels) -> dict[str, frozenset[str]]:
    """What recording rules add, each from what was there before it."""
    known = dict(exported)
    for rule in rules:
        known[rule["record"]] = result_labels(rule["expr"], known)
    return known
