"""Which shapes are asked for, and how often: learned from the pods that have arrived, or given in advance.

A scheduler knows only what has arrived. The measure of FGD's authors takes the whole list's classes in advance: that
is `Demand.known`.
"""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from vgpu.core.fractions.shape import Shape

FIRST_LOOKS = 16
"""Arrivals before the mix is looked at for the second time; after that, when they have grown by GROWTH."""
GROWTH = 1.5
"""Scores are kept until the mix is looked at again: 18 looks for 10,000 pods, each the rescoring of every host."""
MOST_REMEMBERED = 1 << 15
"""Arrivals, after which all counts are halved: the mix follows demand that drifts."""
MOST_CLASSES = 256
"""The rest, each of them rare, is left out: the tables grow with the classes."""


class Class(NamedTuple):
    """One task class of the fragmentation measure, and how many pods are of it."""

    shape: Shape
    pods: int


class Demand:
    """Counts of task classes: shapes without their memory."""

    def __init__(self) -> None:
        self._counts: Counter[Shape] = Counter()
        self._classes: dict[Shape, Shape] = {}
        self._arrived = 0
        self._look_at = 1
        self._is_fixed = False

    @classmethod
    def known(cls, counts: Mapping[Shape, int], *, coverage_ratio: float = 1.0) -> "Demand":
        """Demand given in advance: the most frequent classes up to this part of all pods; arrivals change nothing."""
        demand = cls()
        for shape, count in counts.items():
            demand._counts[shape.without_memory()] += count
        total, covered = sum(demand._counts.values()), 0
        for shape, count in _ordered(demand._counts):
            if covered >= coverage_ratio * total:
                del demand._counts[shape]
            covered += count
        demand._is_fixed = True
        return demand

    def arrived(self, shape: Shape) -> bool:
        """Count a pod; say whether the mix should be looked at again."""
        if self._is_fixed:
            return False
        task = self._classes.get(shape)
        if task is None:
            if len(self._classes) > 4 * MOST_CLASSES:  # a stranger's pods must not fill the memory
                self._classes.clear()
            task = self._classes[shape] = shape.without_memory()
        self._counts[task] += 1
        self._arrived += 1
        if self._arrived < self._look_at:
            return False
        if self._arrived >= MOST_REMEMBERED:
            self._counts = Counter({task: count // 2 for task, count in self._counts.items() if count > 1})
            self._arrived = sum(self._counts.values())
        self._look_at = min(max(FIRST_LOOKS, int(self._arrived * GROWTH)), MOST_REMEMBERED)
        return True

    def classes(self) -> tuple[Class, ...]:
        """The most frequent first, at most `MOST_CLASSES`."""
        return tuple(Class(shape, count) for shape, count in _ordered(self._counts)[:MOST_CLASSES])


def _ordered(counts: Mapping[Shape, int]) -> list[tuple[Shape, int]]:
    """By count, then by what is asked: the order in which they arrived makes no difference."""
    return sorted(
        counts.items(),
        key=lambda item: (-item[1], item[0].cpu_milli, item[0].units, item[0].gpus, sorted(item[0].models)),
    )
