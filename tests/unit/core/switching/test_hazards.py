"""Switches that meet people's own cordons, clocks that are set back, and providers that say very much."""

from dataclasses import replace

import pytest

from tests.fakes.switch_worlds import own_machines, runner
from tests.fakes.switching import RefusedError, Trouble, World
from vgpu.core.switching.actions import Action, StartMachine
from vgpu.core.switching.record import Result, Step
from vgpu.core.switching.text import render


def refusing(kind: type[Action], why: str, *, permanent: bool) -> Trouble:
    """Every action of a kind fails."""
    fault = RefusedError(why, permanent=permanent)
    return Trouble(refuse=lambda action: fault if isinstance(action, kind) else None)


def mended(world: World) -> str:
    world.trouble = Trouble()
    return ""


@pytest.mark.parametrize("is_refused", [True, False])
def test_a_node_that_was_cordoned_before_stays_so_on_the_way_back(is_refused: bool) -> None:
    """Somebody keeps node-2 out of use; a switch that ends where it began leaves it so, one that arrives does not."""
    world = own_machines()
    world.nodes["node-2"].schedulable = False
    if is_refused:
        world.trouble = refusing(StartMachine, "denied", permanent=True)
    one = runner(world)
    if is_refused:
        one.meddle = lambda switch: mended(world) if switch.exchanges else ""
    switch, node = one.run(), world.nodes["node-2"]
    if is_refused:
        assert (switch.result, switch.held) == (Result.ROLLED_BACK, ("node-2",))
        assert (node.schedulable, node.leaving, node.asleep) == (False, "", "")
        assert world.nodes["node-1"].schedulable
    else:
        runner(world, origin="night", target="day").run()
        assert node.schedulable


def test_clocks_that_go_back_put_nothing_off() -> None:
    """What was to be tried again within a minute was so by a clock that is set back by an hour."""
    world = own_machines()
    one = runner(world)
    one.run_to(Step.STOP)
    late = replace(one.switch, next_try_at_s=world.now_s + 3600, seen_at_s=world.now_s + 3600, attempts=5)
    after, _ = one.decide(late, world.look())
    assert after.next_try_at_s is not None
    assert after.next_try_at_s <= world.now_s + one.settings.retry_most_s


def test_a_record_never_outgrows_a_config_map() -> None:
    """A provider that answers with whole pages, in a switch that turns round for days."""
    world = own_machines()
    world.trouble = refusing(StartMachine, "x" * 100_000, permanent=True)
    one = runner(world)
    for _ in range(600):
        one.once()
        world.wait(120.0)
    assert one.switch.exchanges > 64
    assert len(render(one.switch)) < 95_000
