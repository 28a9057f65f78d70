"""A tick is made without the cyclic collector, and has nothing for it to find."""

import gc
from collections.abc import Iterator

import pytest

from autoscaler.core.decide import decide
from autoscaler.core.state import State
from autoscaler.uncollected import uncollected
from tests.bench.scale import modelled_fleet


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    was_enabled = gc.isenabled()
    yield
    (gc.enable if was_enabled else gc.disable)()


@pytest.mark.parametrize("is_enabled", [True, False])
def test_it_leaves_the_collector_as_it_was(is_enabled: bool) -> None:
    (gc.enable if is_enabled else gc.disable)()
    with uncollected():
        assert not gc.isenabled()
    assert gc.isenabled() is is_enabled


def test_it_does_so_when_the_work_fails() -> None:
    gc.enable()
    with pytest.raises(ValueError, match="of the work"), uncollected():
        raise ValueError("of the work")
    assert gc.isenabled()


@pytest.mark.parametrize("case", ["at_rest", "growing", "short"])
def test_ticks_leave_no_cycle_behind(case: str) -> None:
    fleet, state = modelled_fleet(4, case), State()
    state, _ = decide(fleet.spec, state, fleet.observe(1.0), fleet.stock, fleet.now_s)
    with uncollected():
        gc.collect()
        for _ in range(6):
            state, _ = decide(fleet.spec, state, fleet.observe(1.1), fleet.stock, fleet.now_s)
        assert gc.collect() == 0
