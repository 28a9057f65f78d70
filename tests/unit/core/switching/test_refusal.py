"""Why a switch is refused before anything is touched: all of it at once, and what is only worth waiting for."""

from dataclasses import replace

import pytest

from tests.fakes.switch_worlds import V100, guest, node_in_place, own_machines, recut_machines
from tests.fakes.switching import ABLE, CHANGING, OFF, RUNNING, SUSPENDED, UNKNOWN, World
from vgpu.core.switching.actions import Batch, Settings, Way, WithoutRoom
from vgpu.core.switching.refusal import Doubts, doubts
from vgpu.core.switching.seen import Capabilities, MachineSeen, Missing, Seen

AWAY = Missing(why="connection refused")


def found(world: World, seen: Seen, settings: Settings | None = None) -> Doubts:
    days, nights = world.day.of("gpu-a"), world.night.of("gpu-a")
    return doubts(world.gpu, days, nights, seen, settings or Settings())


def test_a_sound_switch_is_not_refused() -> None:
    for world in (own_machines(), recut_machines(), node_in_place()):
        assert found(world, world.look()) == Doubts()


def test_where_nothing_changes_nothing_is_asked() -> None:
    nothing = Seen(nodes=AWAY, pods=AWAY, machines=AWAY, capabilities=AWAY, room=AWAY)
    days = own_machines().day.of("gpu-a")
    assert doubts(V100, days, days, nothing, Settings()) == Doubts()


def test_what_cannot_be_read_is_worth_waiting_for() -> None:
    nothing = Seen(nodes=AWAY, pods=AWAY, machines=AWAY, capabilities=AWAY, room=AWAY)
    assert found(recut_machines(), nothing) == Doubts(
        unclear=(
            "machines cannot be read: connection refused",
            "what the machines' provider can do cannot be read: connection refused",
            "pods cannot be read: connection refused",
            "nobody could say whether the remaining capacity suffices: connection refused",
            "nodes cannot be read: connection refused",
        )
    )


def test_everything_that_forbids_it_is_said_at_once() -> None:
    world = own_machines()
    seen = replace(world.look(), room={"chat": 2, "embed": 0, "rank": 1})
    broken = replace(world.night, guests={"gpu-a": (*world.night.of("gpu-a"), guest(7, "v100-4q"))})
    days = world.day.of("gpu-a")
    refusal = doubts(V100, days, broken.of("gpu-a"), seen, Settings(batch=Batch.REFUSE))
    assert refusal == Doubts(
        reasons=(
            "GPU gpu-a (1 card of board v100) cannot be 2 x v100-8q-8GB, 1 x v100-4q-4GB at once: that is 20480 MiB of "
            "framebuffer and there are 16384; take away some guests",
            "other pods run on nodes that leave: 1 (jobs/train-0); wait until they have finished, or set batch: wait "
            "or evict",
            "replicas would find no slot while the GPU is switched: 3 (chat 2, rank 1); lower what these models need, "
            "add slots that they may take, or set without_room: evict",
        ),
        unclear=(
            "machine vm-7: its provider cannot say what state it is in, or has none so named",
            "machine vm-7: its provider does not say what it can do with it",
        ),
    )


def test_the_way_back_must_be_possible_too() -> None:
    world = own_machines()
    days = (*world.day.of("gpu-a"), guest(7, "v100-4q"))
    refusal = doubts(V100, days, (), world.look(), Settings())
    assert refusal.reasons == (
        "the way back: GPU gpu-a (1 card of board v100) cannot be 5 x v100-4q-4GB at once: that is 20480 MiB of "
        "framebuffer and there are 16384; take away some guests",
    )


def test_room_is_not_asked_for_where_workers_may_be_evicted() -> None:
    world = own_machines()
    for room in (AWAY, {"chat": 4}):
        seen = replace(world.look(), room=room)
        assert found(world, seen, Settings(without_room=WithoutRoom.EVICT)) == Doubts()


@pytest.mark.parametrize(
    ("able", "settings", "reason"),
    [
        (
            Capabilities(suspend=True, power_off=True, power_on=True, why_not={"resume": "no licence"}),
            Settings(),
            "machine vm-5 is suspended and its provider cannot resume (no licence); power it off",
        ),
        (
            replace(ABLE, power_on=False),
            Settings(way=Way.POWER_OFF),
            "machine vm-1 could not be stopped and started again: its provider cannot power_on; grant its account that "
            "right, or choose another way",
        ),
        (
            Capabilities(resume=True, power_on=True, why_not={"suspend": "vGPU type"}),
            Settings(),
            "machine vm-1 could not be stopped and started again: its provider cannot suspend (vGPU type), power_off; "
            "grant its account that right, or choose another way",
        ),
        (
            replace(ABLE, snapshot=False, why_not={"snapshot": "passthrough device"}),
            Settings(snapshot=True),
            "machine vm-1 cannot have a snapshot (passthrough device); set snapshot: false",
        ),
    ],
)
def test_what_a_provider_cannot_do_is_said_of_each_machine(able: Capabilities, settings: Settings, reason: str) -> None:
    world = own_machines()
    world.able = able
    assert reason in found(world, world.look(), settings).reasons


def test_without_suspend_machines_are_powered_off() -> None:
    world = own_machines()
    world.able = replace(ABLE, suspend=False)
    assert found(world, world.look()) == Doubts()


def test_a_machine_that_is_off_must_be_able_to_start() -> None:
    world = own_machines()
    world.able, world.machines["vm-5"].state = replace(ABLE, power_on=False), OFF
    assert found(world, world.look()).reasons == (
        "machine vm-5 is off and its provider cannot power_on; power it on by hand",
    )


def test_a_machine_cut_anew_must_be_able_to_be_off_and_show_its_profile() -> None:
    world = recut_machines()
    world.able, world.machines["vm-1"].profile = replace(ABLE, power_off=False), ""
    assert found(world, world.look()).reasons == (
        "machine vm-1 is in both layouts and its provider cannot tell its profile; use a machine of its own in each "
        "layout",
        "machine vm-1 must be off to change its profile and its provider cannot power_off",
    )


@pytest.mark.parametrize(
    ("seen", "unclear"),
    [
        (MachineSeen(state=UNKNOWN), "machine vm-5: its provider cannot say what state it is in, or has none so named"),
        (MachineSeen(state=CHANGING), "machine vm-5 is changing at this moment"),
    ],
)
def test_a_machine_between_two_states_is_waited_for(seen: MachineSeen, unclear: str) -> None:
    world = own_machines()
    machines = {**_machines(world), "vm-5": seen}
    assert found(world, replace(world.look(), machines=machines)) == Doubts(unclear=(unclear,))


def test_a_machine_that_runs_with_another_profile_is_not_touched() -> None:
    world = own_machines()
    machines = {**_machines(world), "vm-5": MachineSeen(state=RUNNING, profile="v100-2q-2GB")}
    assert found(world, replace(world.look(), machines=machines)).reasons == (
        "machine vm-5 runs with v100-2q-2GB and should come with v100-8q-8GB; power it off, or correct the layout",
    )


def test_a_node_must_be_cut_in_place_where_the_gpu_is() -> None:
    world = node_in_place()
    world.able = replace(ABLE, why_not={"recuts_in_place": "no vgpu-device-manager"})
    assert found(world, world.look()).reasons == (
        "node node-1 cannot be cut again in place (no vgpu-device-manager); name its provider's kind",
    )


def test_two_cuts_that_cannot_be_told_apart_are_refused() -> None:
    world = recut_machines()
    one, two = world.day.of("gpu-a")
    in_place = replace(V100, recuts_in_place=True)
    seen = world.look()
    for gpu, new, reason in (
        (
            V100,
            replace(one, slots=2),
            "machine vm-1 has v100-4q-4GB in both layouts, with 1 and 2 slots; only its profile can be changed: use "
            "another machine",
        ),
        (
            V100,
            replace(one, machine="vm-9"),
            "node node-1 is machine vm-1 in one layout and vm-9 in the other; name one",
        ),
        (
            V100,
            replace(one, node="node-9"),
            "machine vm-1 is node node-1 in one layout and node-9 in the other; name one",
        ),
        (
            in_place,
            replace(one, slots=2),
            "node node-1 has config '' in both layouts; name two configurations",
        ),
    ):
        assert reason in doubts(gpu, (one, two), (new, two), seen, Settings()).reasons


def test_a_suspended_machine_of_the_other_layout_is_fine() -> None:
    world = own_machines()
    assert {world.machines[name].state for name in ("vm-5", "vm-6")} == {SUSPENDED}
    assert found(world, world.look()) == Doubts()


def _machines(world: World) -> dict[str, MachineSeen]:
    machines = world.look().machines
    assert not isinstance(machines, Missing)
    return dict(machines)
