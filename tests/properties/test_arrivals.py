"""What holds for arrivals and parts of any trace, at any scale and seed, and for any order of a file's rows."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.sim.arrivals import arrivals, busiest_rate_per_s, fitting_scale
from autoscaler.sim.trace import Trace, read


def binned(bins: list[int], bin_s: float) -> Trace:
    return Trace(name="load", span_s=len(bins) * bin_s, bins=np.array(bins), bin_s=bin_s)


def exact(times_s: list[float]) -> Trace:
    ordered = np.array(sorted(times_s))
    span_s = float(np.floor(ordered[-1])) + 1.0 if times_s else 1.0
    return Trace(name="load", span_s=span_s, arrivals_s=ordered)


counts = st.lists(st.integers(0, 50), min_size=1, max_size=40)
bin_lengths_s = st.sampled_from([0.001, 0.1, 1.0, 7.0, 10.0, 60.0, 3600.0])
traces = st.builds(binned, counts, bin_lengths_s) | st.builds(exact, st.lists(st.floats(0.0, 1000.0), max_size=40))
scales = st.floats(1e-6, 20.0)
seeds = st.integers(0, 2**32)


@given(traces, scales, seeds)
def test_arrivals_are_sorted_and_inside_the_span(trace: Trace, scale: float, seed: int) -> None:
    times_s = arrivals(trace, scale=scale, seed=seed)
    assert times_s.dtype == np.float64
    assert (np.diff(times_s) >= 0).all()
    assert ((times_s >= 0) & (times_s < trace.span_s)).all()
    assert times_s.tolist() == arrivals(trace, scale=scale, seed=seed).tolist()


@given(counts, st.sampled_from([0.1, 1.0, 7.0]), scales, seeds)
def test_a_short_bin_has_its_requests_times_the_scale_rounded_each_by_itself(
    bins: list[int], bin_s: float, scale: float, seed: int
) -> None:
    times_s = arrivals(binned(bins, bin_s), scale=scale, seed=seed)
    edges_s = np.arange(len(bins) + 1) * bin_s
    drawn = np.diff(np.searchsorted(times_s, edges_s))
    assert (drawn >= np.array(bins) * int(scale)).all()
    assert (drawn <= np.array(bins) * (int(scale) + 1)).all()
    assert drawn.sum() == len(times_s)


@given(st.lists(st.floats(0.0, 1000.0), max_size=40), scales, seeds)
def test_every_arrival_comes_its_number_of_times_and_at_once_the_first(
    times_s: list[float], scale: float, seed: int
) -> None:
    drawn = arrivals(exact(times_s), scale=scale, seed=seed)
    assert len(times_s) * int(scale) <= len(drawn) <= len(times_s) * (int(scale) + 1)
    if scale >= 1:
        assert set(times_s) <= set(drawn.tolist())
    else:
        assert set(drawn.tolist()) <= set(times_s)
    for at_s in drawn.tolist():
        # A fold back at an end only brings a copy nearer to where it came from.
        assert min(abs(at_s - own_s) for own_s in times_s) <= 1.0 + 1e-9


@given(traces.filter(lambda trace: trace.requests > 0), st.floats(0.1, 1e4), st.floats(0.1, 2.0))
def test_the_fitting_scale_brings_the_busiest_rate_to_the_wanted_part_of_the_capacity(
    trace: Trace, capacity_per_s: float, peak_ratio: float
) -> None:
    scale = fitting_scale(trace, capacity_per_s, peak_ratio=peak_ratio)
    assert scale * busiest_rate_per_s(trace) == pytest.approx(peak_ratio * capacity_per_s)
    assert busiest_rate_per_s(trace) >= trace.requests / trace.span_s * (1 - 1e-9) or trace.span_s > 60.0


@given(traces, st.lists(st.floats(0.0, 1.0), max_size=5))
def test_parts_that_adjoin_hold_the_whole(trace: Trace, places: list[float]) -> None:
    step_s = trace.span_s / 7 if trace.bins is None else trace.bin_s
    steps = round(trace.span_s / step_s)
    edges_s = [step_s * edge for edge in sorted({0, steps, *(round(place * steps) for place in places)})]
    edges_s[-1] = trace.span_s
    parts = [trace.cut(from_s, to_s) for from_s, to_s in pairwise(edges_s)]
    assert sum(part.requests for part in parts) == trace.requests
    assert sum(part.span_s for part in parts) == pytest.approx(trace.span_s)
    for part in parts:
        if part.arrivals_s is not None:
            assert ((part.arrivals_s >= 0) & (part.arrivals_s < part.span_s)).all()


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 99)), min_size=12, max_size=60).flatmap(st.permutations),
)
def test_the_order_of_rows_changes_nothing_but_the_report(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int]]
) -> None:
    # Seconds 0 to 30 are all there once, without requests: nothing is missing, whatever is drawn besides.
    path: Path = tmp_path_factory.mktemp("rows") / "load.csv"
    every = [*rows, *((second, 0) for second in range(31))]
    path.write_text("second,requests\n" + "".join(f"{second},{requests}\n" for second, requests in every))
    trace = read(path)
    wanted = [sum(requests for second, requests in rows if second == at) for at in range(31)]
    assert trace.bins is not None
    assert trace.bins.tolist() == wanted
    assert [repair.split(" ", 1)[1] for repair in trace.repairs if "repeated" in repair] == [
        "rows repeated the second of another: their requests were added up"
    ]
    assert f"{len(rows)} rows repeated" in " ".join(trace.repairs)
