"""The bound against worlds small enough to enumerate, and against what is known."""

from collections import Counter
from itertools import combinations_with_replacement

import pytest

from vgpu.core.fractions.bound import most_allocated_units


def best(gpus: int, sizes: tuple[int, ...]) -> int:
    """The most units of these pods that fit, by trying every placement."""

    def place(index: int, free: tuple[int, ...]) -> int:
        if index == len(sizes):
            return 0
        left = place(index + 1, free)
        for gpu in {free.index(room) for room in free if room >= sizes[index]}:
            after = tuple(room - sizes[index] * (at == gpu) for at, room in enumerate(free))
            left = max(left, sizes[index] + place(index + 1, tuple(sorted(after))))
        return left

    return place(0, (1000,) * gpus)


def test_no_placement_exceeds_the_bound_and_the_bound_no_trivial_limit() -> None:
    for sizes in combinations_with_replacement((190, 320, 470, 810, 1000), 4):
        for gpus in (1, 2):
            bound = most_allocated_units(gpus, Counter(sizes))
            assert best(gpus, sizes) <= bound + 1e-6
            assert bound <= min(1000 * gpus, sum(sizes)) + 1e-6


@pytest.mark.parametrize(
    ("gpus", "asked", "bound"),
    [
        pytest.param(10, {}, 0.0, id="nothing asked"),
        pytest.param(0, {500: 3}, 0.0, id="no GPU"),
        pytest.param(10, {810: 100}, 8100.0, id="190 of each GPU stay empty"),
        pytest.param(10, {810: 100, 190: 100}, 10_000.0, id="unless something fills them"),
        pytest.param(10, {810: 100, 190: 5}, 9050.0, id="as far as there is of it"),
        pytest.param(10, {600: 10, 1000: 4}, 7600.0, id="whole ones first"),
        pytest.param(3, {400: 3, 350: 3, 250: 3}, 3000.0, id="three to a GPU"),
        pytest.param(10, {1000: 2}, 2000.0, id="less asked for than there is"),
    ],
)
def test_known_bounds(gpus: int, asked: dict[int, int], bound: float) -> None:
    assert most_allocated_units(gpus, asked) == pytest.approx(bound)
