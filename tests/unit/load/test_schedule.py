"""When requests are due."""

import math
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.load.schedule import Step, StepError, arrivals, parse_steps
from autoscaler.refusal import Refused

steps = st.lists(
    st.builds(Step, rate_per_s=st.floats(0.5, 50.0), duration_s=st.floats(1.0, 20.0)), min_size=1, max_size=4
).map(tuple)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("5:60s", [(5.0, 60.0)]),
        ("5:60s,40:2m", [(5.0, 60.0), (40.0, 120.0)]),
        (" 0.5:1.5s , 2000:60m ", [(0.5, 1.5), (2000.0, 3600.0)]),
    ],
)
def test_steps_are_rates_and_durations(text: str, read: list[tuple[float, float]]) -> None:
    assert [(step.rate_per_s, step.duration_s) for step in parse_steps(text)] == read


@pytest.mark.parametrize(
    "part", ["", "5", "5:", ":5s", "5:60", "5:60h", "-5:60s", "5:-60s", "5,60s", "five:60s", "5:6e1s"]
)
def test_what_is_no_step_is_named(part: str) -> None:
    with pytest.raises(StepError) as caught:
        parse_steps(f"1:1s,{part}")
    assert isinstance(caught.value, Refused)
    for piece, line in zip(part.split(","), str(caught.value).splitlines(), strict=True):
        assert line == f"step {piece!r}: not RATE:DURATION such as 40:120s or 5:2m"


@pytest.mark.parametrize(
    ("part", "why"),
    [
        ("0:5s", "rate is 0/s; above 0, at most 2000"),
        ("2001:5s", "rate is 2001/s; above 0, at most 2000"),
        ("5:0s", "duration is 0 s; above 0, at most 3600"),
        ("5:61m", "duration is 3660 s; above 0, at most 3600"),
    ],
)
def test_a_step_out_of_bounds_is_named_with_them(part: str, why: str) -> None:
    with pytest.raises(StepError, match=f"^step '{part}': {why}$"):
        parse_steps(f"1:1s,{part},2:2s")


def test_every_bad_step_is_named_at_once() -> None:
    with pytest.raises(StepError) as caught:
        parse_steps("x,1:1s,0:1s")
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()] == ["step 'x'", "step '0"]


@given(steps, st.integers(0, 1000))
def test_requests_are_due_in_order_each_within_its_step(planned: tuple[Step, ...], seed: int) -> None:
    due = list(arrivals(planned, seed=seed))
    assert all(earlier <= later for (earlier, _), (later, _) in pairwise(due))
    for at_s, index in due:
        began_s = sum(step.duration_s for step in planned[:index])
        assert began_s <= at_s < began_s + planned[index].duration_s


@given(steps, st.integers(0, 1000))
def test_one_seed_gives_the_same_times_and_another_others(planned: tuple[Step, ...], seed: int) -> None:
    def times(with_seed: int) -> list[tuple[float, int]]:
        return list(islice(arrivals(planned, seed=with_seed), 20))

    assert times(seed) == times(seed)
    assert not times(seed) or times(seed) != times(seed + 1)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("rate_per_s", "duration_s"), [(5.0, 200.0), (40.0, 60.0), (500.0, 10.0)])
def test_as_many_are_due_as_of_independent_clients(rate_per_s: float, duration_s: float, seed: int) -> None:
    """A Poisson count lies within four standard deviations of its mean, but for one case in 16 000."""
    mean = rate_per_s * duration_s
    count = sum(1 for _ in arrivals((Step(rate_per_s=rate_per_s, duration_s=duration_s),), seed=seed))
    assert abs(count - mean) <= 4 * math.sqrt(mean)


def test_gaps_vary_as_those_of_independent_clients_do() -> None:
    """Exponential gaps have a standard deviation as large as their mean; evenly spaced ones would have none."""
    due = [at_s for at_s, _ in arrivals((Step(rate_per_s=50.0, duration_s=200.0),), seed=1)]
    gaps_s = [later - earlier for earlier, later in pairwise(due)]
    mean_s = sum(gaps_s) / len(gaps_s)
    deviation_s = math.sqrt(sum((gap_s - mean_s) ** 2 for gap_s in gaps_s) / len(gaps_s))
    assert 0.95 <= deviation_s / mean_s <= 1.05


def test_the_rate_changes_at_the_step_and_not_before() -> None:
    planned = parse_steps("2:30s,100:30s")
    due = [at_s for at_s, _ in arrivals(planned, seed=3)]
    assert sum(at_s < 30 for at_s in due) < 90
    assert sum(at_s >= 30 for at_s in due) > 2700
