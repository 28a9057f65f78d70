"""Windows and the sliding maximum against naive ones; histograms against a list of latencies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.histogram import Histogram
from autoscaler.core.observation import Counters
from autoscaler.core.window import SlidingMax, Window, increase, with_sample
from tests.build import EDGES_S, histogram, sample

gaps_s = st.lists(st.floats(0.01, 20.0), min_size=1, max_size=40)


@given(gaps_s, st.data(), st.floats(0.0, 30.0))
def test_a_sliding_maximum_equals_the_naive_one(gaps: list[float], data: st.DataObject, span_s: float) -> None:
    window, points, now_s = SlidingMax(span_s=span_s), [], 0.0
    for gap_s in gaps:
        now_s += gap_s
        value = data.draw(st.integers(0, 5))
        window = window.with_value(now_s, value)
        points.append((now_s, value))
        later_s = now_s + data.draw(st.floats(0.0, 40.0))
        recent = [value for at_s, value in points if at_s >= later_s - span_s]
        assert window.largest(later_s) == max(recent, default=None)


@given(st.lists(st.tuples(st.floats(0.1, 5.0), st.integers(0, 9), st.booleans()), min_size=1, max_size=30))
def test_an_increase_is_the_sum_of_what_was_added_since_the_last_restart(
    story: list[tuple[float, int, bool]],
) -> None:
    """Each entry: seconds until the scrape, requests since then, whether the process restarted before them."""
    now_s, total = 0.0, 0
    window: Window = ()
    seen: list[tuple[float, int]] = []
    for gap_s, added, restarted in story:
        now_s += gap_s
        if restarted and added < total:
            total, seen = 0, []
        total += added
        seen.append((now_s, total))
        counted = Counters(
            answered=total, refused=0, failed=0, duration=histogram({50: total}), engine_busy_s=float(total)
        )
        window = with_sample(window, sample(at_s=now_s, counted=counted), 10.0)
    kept = [(at_s, total) for at_s, total in seen if at_s >= now_s - 10.0]
    increased = increase(window)
    if len(kept) < 2:
        assert increased is None
        return
    assert increased is not None
    assert increased.over_s == pytest.approx(kept[-1][0] - kept[0][0])
    assert increased.counters.answered == increased.counters.duration.total == kept[-1][1] - kept[0][1]


latencies_ms = st.lists(st.floats(0.1, 20_000.0), min_size=1, max_size=60)
quantiles = st.floats(0.01, 1.0)


def of(latencies: list[float]) -> Histogram:
    counts = tuple(sum(ms / 1000 <= edge for ms in latencies) for edge in EDGES_S)
    return Histogram(edges_s=EDGES_S, counts=(*counts, len(latencies)))


@given(latencies_ms, quantiles)
def test_a_quantile_lies_in_the_bucket_of_the_true_one(latencies: list[float], quantile: float) -> None:
    found_s = of(latencies).quantile_s(quantile)
    assert found_s is not None
    rank = quantile * len(latencies)
    true_s = next(ms for at, ms in enumerate(sorted(latencies), 1) if at >= rank) / 1000
    upper = next((edge for edge in EDGES_S if true_s <= edge), EDGES_S[-1])
    lower = max((edge for edge in (0.0, *EDGES_S) if edge < upper), default=0.0)
    assert (lower if true_s <= EDGES_S[-1] else upper) <= found_s <= upper


@given(latencies_ms, quantiles, quantiles)
def test_a_higher_quantile_is_never_faster(latencies: list[float], one: float, other: float) -> None:
    low_s, high_s = (of(latencies).quantile_s(quantile) for quantile in sorted((one, other)))
    assert low_s is not None
    assert high_s is not None
    assert low_s <= high_s + 1e-9


@given(latencies_ms, latencies_ms)
def test_what_is_added_can_be_taken_away_again(one: list[float], other: list[float]) -> None:
    assert of(one).plus(of(other)) == of(one + other)
    assert of(one + other).minus(of(one)) == of(other)


@given(latencies_ms)
def test_counts_at_an_edge_are_exact(latencies: list[float]) -> None:
    for edge in EDGES_S:
        assert of(latencies).count_within(edge) == sum(ms / 1000 <= edge for ms in latencies)
