"""Quantiles and counts against the slowest possible way of computing them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.load.client import FAILED, Sample
from autoscaler.load.report import Summary, quantile, summarise

samples = st.lists(
    st.builds(
        lambda due_s, took_s, status: Sample(0, due_s, due_s + took_s, status),
        st.floats(0, 100),
        st.floats(0, 60),
        st.sampled_from([200, 200, 200, 429, 503, FAILED]),
    ),
    max_size=60,
)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=80), st.integers(1, 100))
def test_a_quantile_is_the_least_value_that_enough_do_not_exceed(values: list[float], percent: int) -> None:
    ordered = sorted(values)
    naive = next(value for value in ordered if sum(other <= value for other in ordered) * 100 >= percent * len(ordered))
    assert quantile(ordered, percent / 100) == naive


def test_of_nothing_there_is_no_quantile() -> None:
    assert quantile([], 0.95) is None


@given(samples)
def test_latencies_are_those_of_answered_requests_only(felt: list[Sample]) -> None:
    summary = summarise(felt)
    answered_ms = sorted(sample.latency_s * 1000 for sample in felt if sample.status == 200)
    assert summary.requests == len(felt)
    assert summary.failed == len(felt) - len(answered_ms)
    for ratio, said in ((0.5, summary.p50_ms), (0.95, summary.p95_ms), (0.99, summary.p99_ms)):
        exact = quantile(answered_ms, ratio)
        assert said == (None if exact is None else round(exact, 1))


@given(samples)
def test_every_request_has_a_status_and_is_counted_under_it(felt: list[Sample]) -> None:
    statuses = dict(summarise(felt).statuses)
    assert statuses == {status: sum(sample.status == status for sample in felt) for status in statuses}
    assert sum(statuses.values()) == len(felt)


def test_a_summary_is_read_from_top_to_bottom() -> None:
    felt = [Sample(0, 0.0, 0.1 * index, 200) for index in range(1, 21)] + [Sample(0, 0.0, 9.0, 503)]
    assert summarise(felt) == Summary(
        requests=21, failed=1, p50_ms=1000.0, p95_ms=1900.0, p99_ms=2000.0, statuses=((200, 20), (503, 1))
    )


@pytest.mark.parametrize(("status", "failed"), [(200, False), (201, True), (400, True), (429, True), (FAILED, True)])
def test_only_an_answer_counts_as_one(status: int, failed: bool) -> None:
    assert Sample(0, 0.0, 1.0, status).failed is failed
