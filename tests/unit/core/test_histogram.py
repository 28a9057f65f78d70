"""Quantiles as Prometheus interpolates them, exact counts at an edge, differences that notice a restart."""

import pytest

from autoscaler.core.histogram import Histogram
from tests import build

EDGES_S = (0.1, 0.2, 0.4)


def histogram(*counts: int) -> Histogram:
    return Histogram(edges_s=EDGES_S, counts=counts)


@pytest.mark.parametrize(
    ("counts", "quantile", "expected_s"),
    [
        ((10, 10, 10, 10), 0.5, 0.05),
        ((0, 10, 10, 10), 0.5, 0.15),
        ((0, 10, 10, 10), 1.0, 0.2),
        ((50, 90, 100, 100), 0.95, 0.3),
        ((50, 90, 90, 100), 0.95, 0.4),
        ((0, 0, 0, 3), 0.01, 0.4),
    ],
    ids=[
        "half of the first bucket",
        "half of the second bucket",
        "its upper edge",
        "half of the third bucket",
        "beyond the last edge: that edge",
        "all beyond the last edge: that edge",
    ],
)
def test_a_quantile_is_interpolated_inside_its_bucket(
    counts: tuple[int, ...], quantile: float, expected_s: float
) -> None:
    assert histogram(*counts).quantile_s(quantile) == pytest.approx(expected_s)


def test_no_requests_have_no_quantile() -> None:
    assert histogram(0, 0, 0, 0).quantile_s(0.95) is None


@pytest.mark.parametrize("quantile", [0.0, 1.1])
def test_a_quantile_outside_its_range_is_a_bug(quantile: float) -> None:
    with pytest.raises(ValueError, match=f"quantile is {quantile}; above 0, at most 1"):
        histogram(1, 1, 1, 1).quantile_s(quantile)


@pytest.mark.parametrize(
    ("limit_s", "within"), [(0.05, 5.0), (0.1, 10.0), (0.2, 20.0), (0.3, 25.0), (0.4, 30.0), (9.0, 30.0)]
)
def test_the_count_within_a_limit_is_exact_at_an_edge(limit_s: float, within: float) -> None:
    assert histogram(10, 20, 30, 40).count_within(limit_s) == pytest.approx(within)


def test_a_difference_is_what_was_added() -> None:
    assert histogram(3, 5, 5, 6).minus(histogram(1, 2, 2, 2)) == histogram(2, 3, 3, 4)


@pytest.mark.parametrize(
    "earlier",
    [histogram(4, 4, 4, 4), histogram(0, 3, 3, 3), Histogram(edges_s=(1.0,), counts=(0, 0))],
    ids=["a counter fell", "a bucket gained more than the one above it", "other edges"],
)
def test_a_restarted_process_has_no_difference(earlier: Histogram) -> None:
    assert histogram(3, 5, 5, 5).minus(earlier) is None


def test_histograms_add_up_bucket_by_bucket() -> None:
    assert histogram(1, 2, 3, 4).plus(histogram(0, 1, 1, 1)) == histogram(1, 3, 4, 5)
    with pytest.raises(ValueError, match="edges_s differ"):
        histogram(1, 1, 1, 1).plus(build.histogram())


@pytest.mark.parametrize(
    ("edges_s", "counts", "message"),
    [
        ((), (0,), "edges_s is"),
        ((0.2, 0.1), (0, 0, 0), "edges_s is"),
        ((0.1,), (0,), "counts has 1 entries; one for each of 1 edges and a total"),
        ((0.1,), (2, 1), "cumulative counts never fall"),
        ((0.1,), (-1, 1), "cumulative counts never fall"),
    ],
)
def test_an_impossible_histogram_is_refused(edges_s: tuple[float, ...], counts: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Histogram(edges_s=edges_s, counts=counts)
