"""What a pod may ask for, and what a host has left."""

from dataclasses import replace

import pytest

from tests.unit.core.fractions.build import fraction, host, no_gpu, whole
from vgpu.core.fractions.host import MOST_GPUS, Host
from vgpu.core.fractions.shape import Shape


@pytest.mark.parametrize(
    ("gpus", "units", "said"),
    [
        pytest.param(1, 0, "0 units on one GPU: give 1 to 1000", id="no units"),
        pytest.param(1, -5, "-5 units on one GPU: give 1 to 1000", id="negative units"),
        pytest.param(1, 1500, "1500 units on one GPU: give 1 to 1000", id="more than a GPU"),
        pytest.param(2, 500, "500 units on each of 2 GPUs: several GPUs are whole ones, 1000 each", id="halves of two"),
        pytest.param(0, 500, "500 units, models [] without a GPU: give 0 units, no models", id="units without GPU"),
        pytest.param(-1, 0, "cpu_milli 0, memory_mib 0, gpus -1: give 0 or more", id="negative GPUs"),
    ],
)
def test_what_cannot_be_asked_is_refused(gpus: int, units: int, said: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the whole message is compared
        Shape(cpu_milli=0, memory_mib=0, gpus=gpus, units=units)
    assert str(refused.value) == said


def test_a_shape_knows_its_total_and_its_kind() -> None:
    assert [
        (each.total_units, each.kind, each.is_fraction) for each in (fraction(320), whole(), whole(8), no_gpu(5))
    ] == [
        (320, 0, True),
        (1000, 1, False),
        (8000, 8, False),
        (0, 0, False),
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param({"cpu_milli": -1}, "host n: -1 milli-CPU and 1048576 MiB free: give 0 or more", id="CPU"),
        pytest.param({"free_units": (1001,)}, "host n: free units (1001,): each is 0 to 1000", id="too many units"),
        pytest.param({"free_units": (5, -1)}, "host n: free units (5, -1): each is 0 to 1000", id="negative units"),
        pytest.param(
            {"free_units": (0,) * (MOST_GPUS + 1)}, f"host n: {MOST_GPUS + 1} GPUs, at most {MOST_GPUS}", id="GPUs"
        ),
    ],
)
def test_a_host_that_cannot_be_is_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the whole message is compared
        replace(host("n", 1000), **change)  # type: ignore[arg-type]  # the table's values are of several types
    assert str(refused.value) == said


@pytest.mark.parametrize(
    ("there", "asked", "fits"),
    [
        pytest.param(host("n", 500), fraction(500), True, id="exactly"),
        pytest.param(host("n", 499, 499), fraction(500), False, id="enough in all, on no GPU"),
        pytest.param(host("n", 1000, 999), whole(2), False, id="a GPU that is begun is not whole"),
        pytest.param(host("n", 1000, cpu_milli=999), fraction(10), False, id="too little CPU"),
        pytest.param(host("n"), no_gpu(96_000), True, id="no GPU, none asked for"),
        pytest.param(host("n", 1000), fraction(10, models=frozenset({"T4"})), False, id="another model"),
        pytest.param(host("n", 1000), fraction(10, models=frozenset({"T4", "V100"})), True, id="one of the models"),
        pytest.param(host("n", 1000), replace(whole(), memory_mib=1 << 21), False, id="too little memory"),
    ],
)
def test_what_fits(there: Host, asked: Shape, fits: bool) -> None:
    assert there.fits(asked) is fits


def test_a_pod_takes_and_gives_back() -> None:
    before = host("n", 1000, 700)
    after = before.without(fraction(320), (1,))
    assert (after.cpu_milli, after.memory_mib, after.free_units, after.kinds) == (
        95_000,
        (1 << 20) - 1024,
        (1000, 380),
        frozenset({0}),
    )
    assert replace(after.with_back(fraction(320), (1,)), kinds=frozenset()) == before


@pytest.mark.parametrize("gpus", [(), (2,), (-1,), (0, 1)], ids=["none", "beyond the last", "negative", "two"])
def test_a_fraction_lies_on_one_gpu_of_the_host(gpus: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="for a pod of 1"):
        host("n", 1000, 1000).without(fraction(320), gpus)
    with pytest.raises(ValueError, match="each is 0 to 1000"):
        host("n", 100, 1000).without(fraction(320), (0,))
