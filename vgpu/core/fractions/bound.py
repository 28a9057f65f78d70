"""No policy can allocate more: a bound on the units that fit, from an easier problem.

The easier problem looks at GPUs alone: no CPU, memory, model, order or node. A GPU takes one whole pod part or a set of
fractions that sum to at most 1000 (a pattern); how often each pattern is used may be a fraction. Maximise the units
allocated with at most as many GPUs as there are and of each size at most what is asked for: a linear program with a
column for each pattern. Its columns are generated (Gilmore and Gomory 1961): the simplex method prices the sizes, a
knapsack finds the pattern worth most at these prices, until none is worth more than a GPU costs.

Any prices give a bound by duality, once the price of a GPU covers the best pattern: so the result is a bound also where
the iteration ends early.
"""

from collections.abc import Mapping

import numpy as np

from vgpu.core.fractions.rows import Floats, Ints
from vgpu.core.fractions.shape import WHOLE_UNITS

MOST_ROUNDS = 2000
"""Of the OpenB lists none takes 300."""
TOLERANCE = 1e-7


def most_allocated_units(gpus: int, asked: Mapping[int, float]) -> float:
    """The most units that `gpus` GPUs can serve of `asked`: by size in units, on how many GPUs that size is asked for.

    A pod on several whole GPUs counts as so many of size 1000.
    """
    sizes = np.array(sorted(size for size, count in asked.items() if count > 0), dtype=np.int64)
    if not gpus or not len(sizes):
        return 0.0
    limits = np.array([gpus, *(asked[size] for size in sizes.tolist())], dtype=np.float64)
    program = _Program(limits)
    best = np.inf
    for _ in range(MOST_ROUNDS):
        gpu_price, prices = program.prices[0], np.maximum(program.prices[1:], 0.0)
        pattern = _dearest(sizes, sizes.astype(np.float64) - prices)
        worth = float(pattern @ (sizes - prices))
        best = min(best, float(limits[0] * max(worth, 0.0) + limits[1:] @ prices))
        if worth <= gpu_price + TOLERANCE:
            break
        program.enter(np.array([1.0, *pattern.tolist()]), float(pattern @ sizes))
    return best


class _Program:
    """Maximise by the revised simplex method; at first every row has its slack variable only."""

    def __init__(self, limits: Floats) -> None:
        count = len(limits)
        self._inverse = np.eye(count)
        self._values = limits.copy()
        self._worth = np.zeros(count)
        self._slack = np.arange(count)
        """By place in the basis: the row whose slack it is, or -1 for a pattern."""

    @property
    def prices(self) -> Floats:
        """Of one more of each row."""
        result: Floats = self._worth @ self._inverse
        return result

    def enter(self, column: Floats, worth: float) -> None:
        """Take a column that gains into the basis; slack variables whose price fell below 0 follow."""
        self._pivot(self._inverse @ column, worth, -1)
        for _ in range(4 * len(self._worth)):
            prices = self.prices
            row = int(prices.argmin())
            if prices[row] >= -TOLERANCE:
                return
            self._pivot(self._inverse[:, row].copy(), 0.0, row)

    def _pivot(self, change: Floats, worth: float, slack: int) -> None:
        rising = change > TOLERANCE
        ratios = np.full(len(change), np.inf)
        np.divide(self._values, change, out=ratios, where=rising)
        leaving = int(ratios.argmin())
        step = ratios[leaving]
        self._values -= step * change
        self._values[leaving] = step
        np.maximum(self._values, 0.0, out=self._values)
        row = self._inverse[leaving] / change[leaving]
        self._inverse -= np.outer(change, row)
        self._inverse[leaving] = row
        self._worth[leaving] = worth
        self._slack[leaving] = slack


def _dearest(sizes: Ints, values: Floats) -> Ints:
    """The pattern of most value: how many of each size, together at most 1000 units (an unbounded knapsack)."""
    worth = np.zeros(WHOLE_UNITS + 1)
    last = np.full(WHOLE_UNITS + 1, -1)
    useful = [(place, size) for place, size in enumerate(sizes.tolist()) if values[place] > TOLERANCE]
    for room in range(1, WHOLE_UNITS + 1):
        worth[room], last[room] = worth[room - 1], -1
        for place, size in useful:
            if size > room:
                break
            with_it = worth[room - size] + values[place]
            if with_it > worth[room]:
                worth[room], last[room] = with_it, place
    pattern = np.zeros(len(sizes), dtype=np.int64)
    room = WHOLE_UNITS
    while room > 0:
        if last[room] < 0:
            room -= 1
        else:
            pattern[last[room]] += 1
            room -= int(sizes[last[room]])
    return pattern
