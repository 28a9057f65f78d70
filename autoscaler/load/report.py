"""Quantiles and counts of what clients felt. Pure."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from autoscaler.load.client import Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Requests of one step or window; latencies in ms, None where nothing was answered."""

    requests: int
    failed: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    statuses: tuple[tuple[int, int], ...]


def quantile(ordered: Sequence[float], ratio: float) -> float | None:
    """The smallest value that at least `ratio` of all values do not exceed; None of nothing."""
    if not ordered:
        return None
    return ordered[max(0, math.ceil(ratio * len(ordered)) - 1)]


def summarise(samples: Iterable[Sample]) -> Summary:
    """Count and rank; failed requests have no latency, they are counted."""
    kept = list(samples)
    ordered = sorted(sample.latency_s * 1000 for sample in kept if not sample.failed)
    statuses = Counter(sample.status for sample in kept)
    return Summary(
        requests=len(kept),
        failed=sum(sample.failed for sample in kept),
        p50_ms=_rounded(quantile(ordered, 0.50)),
        p95_ms=_rounded(quantile(ordered, 0.95)),
        p99_ms=_rounded(quantile(ordered, 0.99)),
        statuses=tuple(sorted(statuses.items())),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
