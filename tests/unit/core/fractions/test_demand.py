"""Demand: what is counted, when the mix is looked at again, and what is left out."""

from collections import Counter

from tests.unit.core.fractions.build import fraction, no_gpu, whole
from vgpu.core.fractions import demand as demands
from vgpu.core.fractions.demand import Class, Demand
from vgpu.core.fractions.shape import Shape


def test_classes_are_shapes_without_their_memory_the_most_frequent_first() -> None:
    learned = Demand()
    larger = Shape(cpu_milli=1000, memory_mib=9999, gpus=1, units=320)
    for shape in (whole(), fraction(320), larger, no_gpu(5)):
        learned.arrived(shape)
    assert learned.classes() == (
        Class(fraction(320).without_memory(), 2),
        Class(no_gpu(5).without_memory(), 1),
        Class(whole().without_memory(), 1),
    )


def test_the_mix_is_looked_at_again_when_arrivals_have_grown_by_half() -> None:
    learned = Demand()
    looks = [count for count in range(1, 200) if learned.arrived(whole())]
    assert looks == [1, 16, 24, 36, 54, 81, 121, 181]


def test_known_demand_keeps_the_classes_that_cover_the_part_and_learns_nothing() -> None:
    """70 + 20 are 90 % and short of 95 %, so the third is kept too; the fourth is not."""
    counts = {whole(): 70, fraction(500): 20, fraction(320): 6, fraction(10): 4}
    known = Demand.known(counts, coverage_ratio=0.95)
    assert not any(known.arrived(fraction(10)) for _ in range(50))
    assert [entry.pods for entry in known.classes()] == [70, 20, 6]
    assert sum(entry.pods for entry in Demand.known(counts).classes()) == 100


def test_old_arrivals_fade() -> None:
    """After the most that are remembered, everything counts half: what came once before is gone."""
    learned = Demand()
    learned.arrived(fraction(1))
    for _ in range(demands.MOST_REMEMBERED):
        learned.arrived(whole())
    (entry,) = learned.classes()
    assert entry.shape == whole().without_memory()
    assert demands.MOST_REMEMBERED // 2 - 1 <= entry.pods <= demands.MOST_REMEMBERED // 2 + 1


def test_rare_classes_beyond_the_most_are_left_out() -> None:
    shapes = Counter({fraction(units): 2 for units in range(1, 1000)}) + Counter({whole(): 3})
    classes = Demand.known(shapes).classes()
    assert len(classes) == demands.MOST_CLASSES
    assert classes[0] == Class(whole().without_memory(), 3)
