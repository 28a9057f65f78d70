"""Each shape has the features it is named for, at times and levels that its seed moves a little."""

import numpy as np
import pytest
from numpy.typing import NDArray

from autoscaler.refusal import Refused
from autoscaler.sim.shapes import SHAPES, names, shape
from autoscaler.sim.trace import Trace

SEEDS = range(10)


def levels(trace: Trace, *, of: int = 36) -> NDArray[np.float64]:
    """Mean requests/s in that many equal parts of the span."""
    assert trace.bins is not None
    return trace.bins[: len(trace.bins) // of * of].reshape(of, -1).mean(axis=1)


def test_the_names_are_those_that_can_be_asked_for() -> None:
    assert names() == ("step", "ramp", "spike", "diurnal", "on-off") == tuple(SHAPES)
    with pytest.raises(Refused, match=r"^no shape 'saw'; choose one of step, ramp, spike, diurnal, on-off$"):
        shape("saw", seed=1)


@pytest.mark.parametrize("name", names())
def test_a_seed_draws_the_same_trace_and_another_seed_another(name: str) -> None:
    first, again, other = (shape(name, seed=seed) for seed in (1, 1, 2))
    assert first.bins is not None
    assert other.bins is not None
    assert (first.name, first.bin_s, first.span_s, first.repairs) == (name, 1.0, 3600.0, ())
    assert first.bins.tolist() == again.bins.tolist()  # type: ignore[union-attr]  # as the first
    # Not only other noise: the levels and the times of events differ too.
    assert np.abs(levels(first) - levels(other)).max() > 5


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("seed", SEEDS)
def test_levels_run_between_about_20_and_100_a_second(name: str, seed: int) -> None:
    level = levels(shape(name, seed=seed), of=120)
    assert 10 < level.min() < 30
    assert 55 < level.max() < 130


@pytest.mark.parametrize("name", names())
def test_levels_and_span_can_be_chosen(name: str) -> None:
    trace = SHAPES[name](seed=1, span_s=7200.9, low_per_s=0.0, peak_per_s=1000.0)
    assert (trace.span_s, len(levels(trace, of=7200))) == (7200.0, 7200)
    assert levels(trace).max() > 300
    assert trace.bins is not None
    assert trace.bins.min() == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_a_step_goes_up_at_a_third_and_down_at_two(seed: int) -> None:
    high = levels(shape("step", seed=seed), of=60) > 60
    assert np.count_nonzero(np.diff(high)) == 2
    assert (high[:18].any(), high[22:38].all(), high[42:].any()) == (False, True, False)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_ramp_has_every_level_on_the_way_up_and_down(seed: int) -> None:
    level = levels(shape("ramp", seed=seed), of=20)
    assert level[:2].max() < 30
    assert level[10:13].min() > 75
    assert level[19] < 30
    assert np.diff(level[3:10]).max() < 30
    assert 40 < level[6] < 80
    assert 35 < level[15] < 85


@pytest.mark.parametrize("seed", SEEDS)
def test_spikes_rise_within_seconds_and_stay_for_minutes(seed: int) -> None:
    level = levels(shape("spike", seed=seed), of=240)
    high = level > 45
    assert np.count_nonzero(np.diff(high.astype(int)) == 1) == 4
    assert 60 <= np.count_nonzero(high) * 15 <= 4 * 120
    assert 18 < np.median(level) < 30


@pytest.mark.parametrize("seed", SEEDS)
def test_diurnal_load_swings_twice_and_the_second_day_is_like_the_first(seed: int) -> None:
    level = levels(shape("diurnal", seed=seed), of=24)
    assert max(level[[0, 12, 23]]) < 50 < 75 < min(level[[5, 6, 17, 18]])
    assert np.corrcoef(level[:12], level[12:])[0, 1] > 0.9


def test_diurnal_days_have_24_hours_where_there_is_time_for_two() -> None:
    level = levels(shape("diurnal", seed=1, span_s=3 * 86_400.0), of=72)
    for day in range(3):
        hours = level[24 * day : 24 * (day + 1)]
        assert max(hours[0], hours[23]) < 40 < 75 < hours[12]


@pytest.mark.parametrize("seed", SEEDS)
def test_on_and_off_take_turns_of_different_lengths(seed: int) -> None:
    high = levels(shape("on-off", seed=seed), of=360) > 60
    turns = np.diff(np.flatnonzero(np.diff(high)))
    assert 11 <= len(turns) <= 20
    assert 12 <= turns.min() < turns.max() <= 33
    assert not high[0]
    assert 0.3 < high.mean() < 0.7


@pytest.mark.parametrize("seed", SEEDS)
def test_the_level_wanders_slowly(seed: int) -> None:
    level = levels(SHAPES["step"](seed=seed, span_s=36_000.0, low_per_s=50.0, peak_per_s=50.0), of=360)
    # A mean over 100 s has a standard deviation of 0.7/s by chance alone, its steps one of 1.0/s.
    assert 1.2 < level.std() < 5.0
    assert np.diff(level).std() < 1.3


@pytest.mark.parametrize("name", names())
def test_counts_scatter_as_independent_clients_do(name: str) -> None:
    trace = SHAPES[name](seed=1, low_per_s=50.0, peak_per_s=50.0)
    assert trace.bins is not None
    steps = np.diff(trace.bins)
    # Half the mean square of the steps is the variance without the slow wander; 0.024 a standard deviation.
    assert abs((steps**2).mean() / 2 / trace.bins.mean() - 1.0) < 0.15


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"span_s": 59.0}, "span is 59 s; choose 60 s to 366 days"),
        ({"span_s": float("nan")}, "span is nan s; choose 60 s to 366 days"),
        ({"low_per_s": 2.0, "peak_per_s": 1.0}, "levels are 2/s and 1/s; choose a low of at least 0 and a peak"),
        ({"low_per_s": -1.0}, "levels are -1/s and 100/s; choose a low"),
        ({"low_per_s": 0.0, "peak_per_s": 0.0}, "levels are 0/s and 0/s; choose a low"),
        ({"peak_per_s": 2e6}, "levels are 20/s and 2e+06/s; choose a low"),
    ],
)
def test_what_cannot_be_drawn_is_refused(options: dict[str, float], why: str) -> None:
    with pytest.raises(Refused) as caught:
        SHAPES["step"](seed=1, **options)
    assert str(caught.value).startswith(f"shape step: {why}")
