"""When requests come: by the form of the trace, the scale and the seed."""

import numpy as np
import pytest
from numpy.typing import NDArray

from autoscaler.refusal import Refused
from autoscaler.sim.arrivals import arrivals, busiest_rate_per_s, fitting_scale
from autoscaler.sim.trace import Trace


def binned(bins: list[int], *, bin_s: float = 1.0) -> Trace:
    return Trace(name="load", span_s=len(bins) * bin_s, bins=np.array(bins), bin_s=bin_s)


def exact(times_s: list[float], *, span_s: float) -> Trace:
    return Trace(name="load", span_s=span_s, arrivals_s=np.array(times_s))


def per_bin(times_s: NDArray[np.float64], bin_s: float, bins: int) -> list[int]:
    return np.bincount((times_s / bin_s).astype(np.int64), minlength=bins).tolist()


@pytest.mark.parametrize("scale", [1.0, 2.0, 7.0])
@pytest.mark.parametrize("bin_s", [0.25, 1.0, 10.0])
def test_at_a_whole_scale_every_short_bin_has_exactly_its_requests(scale: float, bin_s: float) -> None:
    bins = [3, 0, 0, 100, 1]
    times_s = arrivals(binned(bins, bin_s=bin_s), scale=scale, seed=1)
    assert per_bin(times_s, bin_s, 5) == [int(scale) * count for count in bins]
    assert (np.diff(times_s) > 0).all()


def test_requests_are_spread_evenly_inside_a_short_bin() -> None:
    times_s = arrivals(binned([100_000], bin_s=10.0), scale=1.0, seed=1)
    # Five standard deviations of 10,000 expected.
    assert all(abs(count - 10_000) < 500 for count in per_bin(times_s, 1.0, 10))


@pytest.mark.parametrize("scale", [0.001, 0.3, 2.5])
@pytest.mark.parametrize("form", ["short bins", "long bins", "arrivals"])
def test_the_mean_is_the_scale_times_the_trace(form: str, scale: float) -> None:
    traces = {
        "short bins": binned([50, 0, 150] * 100),
        "long bins": binned([50, 0, 150] * 100, bin_s=60.0),
        "arrivals": exact(np.arange(20_000.0).tolist(), span_s=20_000.0),
    }
    drawn = [len(arrivals(traces[form], scale=scale, seed=seed)) for seed in range(20)]
    # 20 draws of 20,000 * scale, at most Poisson: five standard deviations of their sum.
    wanted = 20 * 20_000 * scale
    assert abs(sum(drawn) - wanted) < 5 * wanted**0.5
    assert len(set(drawn)) > 5


def test_the_load_of_long_bins_runs_in_lines_between_their_centres() -> None:
    # Rates of 0, 1000/s and 0 at 30, 90 and 150 s: level, up to the middle and down again.
    times_s = arrivals(binned([0, 60_000, 0], bin_s=60.0), scale=1.0, seed=3)
    quarters = per_bin(times_s, 15.0, 12)
    wanted = [0, 0, 1875, 5625, 9375, 13_125, 13_125, 9375, 5625, 1875, 0, 0]
    assert all(abs(count - mean) <= 5 * mean**0.5 for count, mean in zip(quarters, wanted, strict=True))


def test_the_load_of_long_bins_is_level_at_both_ends() -> None:
    times_s = arrivals(binned([60_000, 120_000], bin_s=60.0), scale=1.0, seed=3)
    assert all(abs(count - 10_000) < 500 for count in per_bin(times_s[times_s < 30.0], 10.0, 3))
    assert all(abs(count - 20_000) < 710 for count in per_bin(times_s[times_s >= 90.0] - 90.0, 10.0, 3))


def test_long_bins_are_as_random_as_poisson() -> None:
    times_s = arrivals(binned([6000] * 200, bin_s=60.0), scale=1.0, seed=5)
    seconds = np.array(per_bin(times_s, 1.0, 12_000))
    # The index of dispersion of 12,000 Poisson counts has a standard deviation of sqrt(2 / 12,000) = 0.013.
    assert abs(seconds.var() / seconds.mean() - 1.0) < 0.065


def test_arrivals_at_scale_1_are_the_traces_own() -> None:
    trace = exact([0.0, 0.5, 0.5, 2.75], span_s=3.0)
    assert arrivals(trace, scale=1.0, seed=1).tolist() == [0.0, 0.5, 0.5, 2.75]


def test_below_scale_1_arrivals_are_left_out_and_none_moves() -> None:
    times_s = np.arange(1000) / 4
    drawn = arrivals(exact(times_s.tolist(), span_s=250.0), scale=0.5, seed=1)
    assert set(drawn.tolist()) < set(times_s.tolist())
    assert len(set(drawn.tolist())) == len(drawn)
    assert 420 < len(drawn) < 580


def test_further_copies_of_an_arrival_move_by_up_to_a_second() -> None:
    drawn = arrivals(exact([50.0, 100.0], span_s=200.0), scale=1000.0, seed=1)
    assert len(drawn) == 2000
    assert [np.count_nonzero(drawn == at_s) for at_s in (50.0, 100.0)] == [1, 1]
    off_s = np.minimum(np.abs(drawn - 50.0), np.abs(drawn - 100.0))
    assert 0.99 < off_s.max() <= 1.0
    assert abs(off_s.mean() - 0.5) < 0.035
    assert abs(np.count_nonzero(drawn < 50.0) - 500) < 80


def test_copies_at_the_ends_are_folded_back_inside() -> None:
    drawn = arrivals(exact([0.0, 99.9], span_s=100.0), scale=1000.0, seed=1)
    assert drawn.min() >= 0.0
    assert drawn.max() < 100.0
    assert np.count_nonzero(drawn < 1.0) == 1000
    assert len(np.unique(drawn)) == 2000, "copies beyond an end may not pile up on it"
    short = arrivals(exact([0.1], span_s=0.25), scale=1000.0, seed=1)
    assert len(short) == 1000
    assert short.min() >= 0.0
    assert short.max() < 0.25


def test_an_arrival_that_is_rounded_up_to_the_end_stays_before_it() -> None:
    # Numbers near 2^36 are 2^-17 apart: of a million copies within a second of the end, several fall on it.
    span_s = 2.0**36
    drawn = arrivals(exact([span_s - 0.5], span_s=span_s), scale=1_000_000.0, seed=1)
    assert drawn.max() == np.nextafter(span_s, 0.0)


def test_a_trace_without_requests_brings_none() -> None:
    for trace in (binned([0, 0]), binned([0, 0], bin_s=60.0), exact([], span_s=5.0)):
        assert arrivals(trace, scale=1e300, seed=1).tolist() == []


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_is_none_is_refused(scale: float) -> None:
    with pytest.raises(Refused, match=r"^trace load: scale is \S+; choose one above 0$"):
        arrivals(binned([1]), scale=scale, seed=1)


def test_more_arrivals_than_memory_takes_are_refused() -> None:
    with pytest.raises(Refused) as caught:
        arrivals(binned([10**10]), scale=0.5, seed=1)
    why = (
        "trace load: 10,000,000,000 requests at scale 0.5 are over 50,000,000; cut the trace or choose a smaller scale"
    )
    assert str(caught.value) == why


@pytest.mark.parametrize(
    ("trace", "rate_per_s"),
    [
        (binned([0] * 100 + [6] * 30 + [2] * 30 + [0] * 100), 4.0),
        (binned([5, 10], bin_s=30.0), 0.25),
        (binned([5, 10, 40, 20], bin_s=30.0), 1.0),
        (binned([70, 140, 7], bin_s=7.0), 217 / 21),
        (binned(list(range(1, 17)), bin_s=8.0), 100 / 64),
        (binned([600, 1200, 0], bin_s=600.0), 2.0),
        (binned([4, 8]), 6.0),
        (exact([0.0, 10.0, 59.0, 60.0, 69.5, 130.0], span_s=200.0), 4 / 60),
        (exact([0.0, 1.0], span_s=2.0), 1.0),
    ],
)
def test_the_busiest_rate_is_that_of_any_60_s(trace: Trace, rate_per_s: float) -> None:
    assert busiest_rate_per_s(trace) == pytest.approx(rate_per_s)


def test_the_fitting_scale_fills_the_capacity_at_the_busiest_time() -> None:
    trace = binned([10] * 100 + [40] * 60 + [10] * 100)
    assert fitting_scale(trace, 100.0) == pytest.approx(2.0)
    scale = fitting_scale(trace, 5000.0, peak_ratio=1.2)
    assert scale == pytest.approx(150.0)
    times_s = arrivals(trace, scale=scale, seed=1)
    assert max(per_bin(times_s, 20.0, 13)) == 20 * 6000


@pytest.mark.parametrize(
    ("trace", "capacity_per_s", "peak_ratio", "why"),
    [
        (binned([0, 0]), 10.0, 0.8, "no request in it, so no scale fits; choose another part of the trace"),
        (exact([], span_s=1.0), 10.0, 0.8, "no request in it, so no scale fits; choose another part of the trace"),
        (binned([1]), 0.0, 0.8, "cannot fit to 0.8 of 0 requests/s; choose both above 0"),
        (binned([1]), 10.0, -1.0, "cannot fit to -1 of 10 requests/s; choose both above 0"),
        (binned([1]), float("nan"), 0.8, "cannot fit to 0.8 of nan requests/s; choose both above 0"),
    ],
)
def test_what_fits_no_scale_is_refused(trace: Trace, capacity_per_s: float, peak_ratio: float, why: str) -> None:
    with pytest.raises(Refused) as caught:
        fitting_scale(trace, capacity_per_s, peak_ratio=peak_ratio)
    assert str(caught.value) == f"trace load: {why}"
