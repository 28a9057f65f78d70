"""Counters packed into one number against the plain definitions: what fell, what was added, what that comes to."""

from collections.abc import Sequence
from operator import ge

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.histogram import Histogram
from autoscaler.core.lanes import COUNT_LIMIT, FALLEN, MOST_LANES, packed, unpacked
from autoscaler.core.observation import Counters
from tests import build

counts = st.integers(0, COUNT_LIMIT - 1) | st.integers(0, 3) | st.integers(COUNT_LIMIT - 3, COUNT_LIMIT - 1)


def rows(least: int, most: int) -> st.SearchStrategy[list[list[int]]]:
    """Several lists of counts, all of one length."""
    lengths = st.integers(0, 30)
    return lengths.flatmap(
        lambda length: st.lists(st.lists(counts, min_size=length, max_size=length), min_size=least, max_size=most)
    )


@given(rows(1, 1))
def test_what_is_packed_comes_out_again(given_: list[list[int]]) -> None:
    assert unpacked(packed(given_[0]), len(given_[0])) == tuple(given_[0])


@given(rows(2, 2))
def test_a_fall_of_any_count_is_noticed_and_nothing_else(given_: list[list[int]]) -> None:
    earlier, later = given_
    never_fell = all(map(ge, later, earlier))
    assert (not (packed(later) - packed(earlier)) & FALLEN) == never_fell
    risen = [max(pair) for pair in zip(earlier, later, strict=True)]
    assert not (packed(risen) - packed(earlier)) & FALLEN


@given(st.lists(counts, min_size=1, max_size=30), st.data())
def test_a_single_fall_is_noticed_in_any_place_by_any_amount(earlier: list[int], data: st.DataObject) -> None:
    place = data.draw(st.sampled_from([place for place, count in enumerate(earlier) if count] or [0]))
    earlier[place] = max(1, earlier[place])
    later = [data.draw(st.integers(count, COUNT_LIMIT - 1)) for count in earlier]
    later[place] = data.draw(st.integers(0, earlier[place] - 1))
    assert (packed(later) - packed(earlier)) & FALLEN


@given(rows(2, 12))
def test_a_sum_of_differences_is_that_of_every_count(given_: list[list[int]]) -> None:
    pairs = [(sorted(pair)[0], sorted(pair)[1]) for column in zip(*given_, strict=True) for pair in [column[:2]]]
    earlier, later = [low for low, _ in pairs], [high for _, high in pairs]
    together = (packed(later) - packed(earlier)) * len(given_)
    assert unpacked(together, len(pairs)) == tuple((high - low) * len(given_) for low, high in pairs)


@pytest.mark.parametrize(
    "counts", [[-1], [3, COUNT_LIMIT], [0] * (MOST_LANES + 1)], ids=["below zero", "too large", "too many"]
)
def test_what_fits_no_lane_is_refused(counts: Sequence[int]) -> None:
    with pytest.raises(ValueError, match=r"at (most|least)"):
        packed(counts)


def test_the_widest_number_of_lanes_notices_a_fall_in_its_last() -> None:
    assert (packed([5] * (MOST_LANES - 1) + [4]) - packed([5] * MOST_LANES)) & FALLEN
    assert not (packed([5] * MOST_LANES) - packed([5] * (MOST_LANES - 1) + [4])) & FALLEN


few = st.integers(0, 2)
counted = st.builds(
    Counters,
    answered=few,
    refused=few,
    failed=few,
    batches=few,
    engine_busy_s=few.map(float),
    duration=st.builds(
        Histogram.of_buckets, st.sampled_from([(0.1, 0.2), (0.1, 0.3)]), st.lists(few, min_size=3, max_size=3)
    ),
)


@given(counted, counted)
def test_counters_follow_where_none_of_them_fell(later: Counters, earlier: Counters) -> None:
    names = ("answered", "refused", "failed", "batches", "engine_busy_s")
    follows = (
        all(getattr(later, name) >= getattr(earlier, name) for name in names)
        and later.duration.edges_s == earlier.duration.edges_s
        and all(map(ge, later.duration.buckets, earlier.duration.buckets))
    )
    assert later.follows(earlier) == follows
    assert (later.minus(earlier) is not None) == follows
    assert later.duration.follows(earlier.duration) == (
        later.duration.edges_s == earlier.duration.edges_s
        and all(map(ge, later.duration.buckets, earlier.duration.buckets))
    )


@given(counted)
def test_buckets_are_what_a_histogram_is_made_of(made: Counters) -> None:
    duration = made.duration
    assert Histogram.of_buckets(duration.edges_s, duration.buckets) == duration
    assert sum(duration.buckets) == duration.total


def test_what_follows_from_other_counts_is_no_part_of_a_record() -> None:
    one = build.sample(counted=build.counters({50: 4}, refused=1), in_flight=2)
    assert one.arrived == 4 + 1 + 2
    assert "lanes" not in repr(one)
    assert "arrived" not in repr(one)
