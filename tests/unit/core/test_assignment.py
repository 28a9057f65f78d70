"""Which GPUs the containers of one pod get: the most at any time counts, not the sum over all times."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vgpu.core import assignment
from vgpu.core.assignment import Assignment
from vgpu.core.request import Ask, Stage


def ask(units: int, stage: Stage = Stage.MAIN, gpus: int = 1) -> Ask:
    return Ask(container="c", stage=stage, gpus=gpus, units=units)


INIT, SIDECAR = Stage.INIT, Stage.SIDECAR

CASES = {
    "one share goes where it leaves least": ([ask(300)], (1000, 300), Assignment(gpus=((1,),), kept_units=(0, 300))),
    "several may share a GPU": ([ask(300), ask(700)], (0, 1000), Assignment(gpus=((1,), (1,)), kept_units=(0, 1000))),
    "an init container uses what the pod keeps anyway": (
        [ask(600, INIT), ask(500)], (600, 1000), Assignment(gpus=((0,), (0,)), kept_units=(600, 0)),
    ),
    "init containers do not add up": (
        [ask(900, INIT), ask(800, INIT), ask(100)], (900,), Assignment(gpus=((0,),) * 3, kept_units=(900,)),
    ),
    "a sidecar adds to what runs after it": (
        [ask(200, SIDECAR), ask(900, INIT), ask(100)], (1000,), None,
    ),
    "but not to what ran before it": (
        [ask(900, INIT), ask(200, SIDECAR), ask(100)], (1000,), Assignment(gpus=((0,),) * 3, kept_units=(900,)),
    ),
    "whole GPUs take idle ones": (
        [ask(1000, gpus=2), ask(400)], (1000, 400, 1000), Assignment(gpus=((0, 2), (1,)), kept_units=(1000, 400, 1000)),
    ),
    "what does not fit is not placed": ([ask(600), ask(600)], (1000,), None),
    "the first place tried is not the last": (
        [ask(500), ask(500), ask(400)], (900, 500), Assignment(gpus=((1,), (0,), (0,)), kept_units=(900, 500)),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("asks", "free", "expected"), CASES.values(), ids=CASES)
def test_assignment(asks: list[Ask], free: tuple[int, ...], expected: Assignment | None) -> None:
    assert assignment.assign(asks, free) == expected


asks_of_one_gpu = st.builds(ask, st.sampled_from((100, 250, 400, 500, 600, 1000)), st.sampled_from(Stage))


@settings(max_examples=300, deadline=None)
@given(st.lists(asks_of_one_gpu, min_size=1, max_size=4), st.lists(st.integers(0, 1000), min_size=1, max_size=3))
def test_it_finds_a_place_exactly_when_there_is_one(asks: list[Ask], free: list[int]) -> None:
    found = assignment.assign(asks, free)
    fits = [
        places
        for places in product(range(len(free)), repeat=len(asks))
        if all(units <= free[gpu] for gpu, units in assignment.kept(asks, [(gpu,) for gpu in places]).items())
    ]
    assert (found is not None) == bool(fits)
    if found is not None:
        kept = assignment.kept(asks, found.gpus)
        assert found.kept_units == tuple(kept.get(gpu, 0) for gpu in range(len(free)))
        assert all(units <= limit for units, limit in zip(found.kept_units, free, strict=True))


def test_a_pod_that_no_search_can_finish_is_given_up() -> None:
    """Nine shares of 331 and 336 in a space that is three units short: the search ends, and soon."""
    assert assignment.assign([ask(331 + n % 6) for n in range(24)], (1000,) * 7 + (999,)) is None


def test_nodes_with_the_same_free_units_are_one_case_and_have_each_their_own_gpus() -> None:
    assigner = assignment.Assigner([ask(300), ask(1000)])
    found = [assigner.assign(free) for free in ((1000, 300), (300, 1000), (200, 1000), (1000, 200))]
    assert found == [
        Assignment(gpus=((1,), (0,)), kept_units=(1000, 300)),
        Assignment(gpus=((0,), (1,)), kept_units=(300, 1000)),
        None,
        None,
    ]


def test_the_placements_tried_are_limited_for_all_nodes_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirteen shares above 425 and seven above 270: by number and sum they might fit on eight GPUs, and do not."""
    tried, add = [], assignment._Search.add

    def count(search: assignment._Search, at: int, gpus: tuple[int, ...], sign: int) -> None:
        tried.append(at)
        add(search, at, gpus, sign)

    monkeypatch.setattr(assignment._Search, "add", count)
    assigner = assignment.Assigner([ask(425 + n) for n in range(13)] + [ask(270 + n) for n in range(7)])
    for node in range(100):
        assert assigner.assign((1000,) * 4 + tuple(900 + node + gpu for gpu in range(4))) is None
    assert 1000 < len(tried) <= 2 * (assignment.TRIES + 100 * 20)


NECESSARY = {
    "more shares above a half than GPUs": ([ask(501 + n) for n in range(9)], (1000,) * 8),
    "a share above a half that no GPU has room for": ([ask(501), ask(900)], (899, 899, 899)),
    "more units than there are": ([ask(331 + n % 6) for n in range(24)], (1000,) * 7 + (999,)),
}


@pytest.mark.parametrize(("asks", "free"), NECESSARY.values(), ids=NECESSARY)
def test_what_cannot_be_is_not_searched_for(
    monkeypatch: pytest.MonkeyPatch, asks: list[Ask], free: tuple[int, ...]
) -> None:
    monkeypatch.setattr(assignment._Search, "place", lambda self, depth: pytest.fail("it was searched for"))
    assert assignment.assign(asks, free) is None
