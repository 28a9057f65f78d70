"""What a physical GPU can be cut into, what changes between two cuts, and what the fleet offers on the way."""

from dataclasses import replace

import pytest

from tests.fakes.switch_worlds import V100, guest, node_in_place, own_machines
from vgpu.core.layout import Difference, Guest, Layout, PhysicalGpu, PlannedStep, difference, plan, problems
from vgpu.core.profile import parse_profile
from vgpu.core.share import SchedulerPolicy
from vgpu.core.slot_type import Fraction
from vgpu.core.switching.record import Step

A10 = PhysicalGpu(name="gpu-b", board="a10", mixed_size=True)
A100 = PhysicalGpu(name="gpu-c", board="a100dx")


def guests(*profiles: str) -> tuple[Guest, ...]:
    return tuple(guest(number, profile) for number, profile in enumerate(profiles, start=1))


@pytest.mark.parametrize(
    ("gpu", "profiles"),
    [
        (V100, ["v100-4q"] * 4),
        (V100, ["v100-16q"]),
        (V100, ["v100-8q"]),
        (V100, []),
        (replace(V100, cards=2), ["v100-16q", *["v100-4q"] * 4]),
        (replace(V100, cards=2, policy=SchedulerPolicy.FIXED_SHARE), ["v100-16q", *["v100-4q"] * 4]),
        (A10, ["a10-4q"] * 3 + ["a10-6q"] * 2),
        (replace(A10, mixed_size=False), ["a10-4q"] * 6),
        (A100, ["a100dx-3-40c", "a100dx-2-20c", "a100dx-1-10c", "a100dx-1-10c"]),
    ],
)
def test_a_cut_that_nvidia_allows_has_no_problem(gpu: PhysicalGpu, profiles: list[str]) -> None:
    assert problems(gpu, guests(*profiles)) == ()


@pytest.mark.parametrize(
    ("gpu", "profiles", "problem"),
    [
        (
            V100,
            ["v100-4q"] * 5,
            "GPU gpu-a (1 card of board v100) cannot be 5 x v100-4q-4GB at once: that is 20480 MiB of framebuffer and "
            "there are 16384; take away some guests",
        ),
        (
            V100,
            ["v100-8q", "v100-4q"],
            "GPU gpu-a (1 card of board v100) cannot be 1 x v100-8q-8GB, 1 x v100-4q-4GB at once: a card runs one "
            "size; use one size a card, or set mixed_size where the board can do it",
        ),
        (
            replace(V100, mixed_size=True, policy=SchedulerPolicy.FIXED_SHARE),
            ["v100-8q", "v100-4q"],
            "GPU gpu-a (1 card of board v100) cannot be 1 x v100-8q-8GB, 1 x v100-4q-4GB at once: under fixed share a "
            "card runs one size; use one size a card, or another scheduler policy",
        ),
        (
            replace(V100, cards=2),
            ["v100-16q", *["v100-4q"] * 3, "v100-2q"],
            "GPU gpu-a (2 cards of board v100) cannot be 1 x v100-16q-16GB, 3 x v100-4q-4GB, 1 x v100-2q-2GB at once: "
            "a card runs one size; use one size a card, or set mixed_size where the board can do it",
        ),
        (
            A10,
            ["a10-4q"] * 5 + ["a10-2q"],
            "GPU gpu-b (1 card of board a10) cannot be 5 x a10-4q-4GB, 1 x a10-2q-2GB at once: with sizes mixed a card "
            "runs fewer; take away some guests",
        ),
        (
            PhysicalGpu(name="gpu-d", board="rtx8000"),
            ["rtx8000-1q"] * 33,
            "GPU gpu-d (1 card of board rtx8000) cannot be 33 x rtx8000-1q-1GB at once: a card runs at most 32 of that "
            "profile; take away some guests",
        ),
        (
            A100,
            ["a100dx-4-40c", "a100dx-4-40c"],
            "GPU gpu-c (1 card of board a100dx) cannot be 2 x a100dx-4-40c-40GB at once: a card runs at most 1 of that "
            "profile; take away some guests",
        ),
        (
            A100,
            ["a100dx-4-40c", "a100dx-3-40c", "a100dx-1-10c"],
            "GPU gpu-c (1 card of board a100dx) cannot be 1 x a100dx-4-40c-40GB, 1 x a100dx-3-40c-40GB, "
            "1 x a100dx-1-10c-10GB at once: that is 92160 MiB of framebuffer and there are 81920; take away some "
            "guests",
        ),
        (
            A100,
            ["a100dx-4-40c", "a100dx-2-20c", "a100dx-1-10c", "a100dx-1-10c"],
            "GPU gpu-c (1 card of board a100dx) cannot be 1 x a100dx-4-40c-40GB, 1 x a100dx-2-20c-20GB, "
            "2 x a100dx-1-10c-10GB at once: a card has too few MIG slices; take away some guests",
        ),
        (
            V100,
            ["p100-4q"],
            "guest node-1 of GPU gpu-a: p100-4q-4GB is cut from board p100 and the GPU is a v100; name a profile of "
            "that board, or correct the GPU's board",
        ),
        (
            replace(V100, allowed=(parse_profile("v100-16q"),)),
            ["v100-4q"],
            "guest node-1 of GPU gpu-a: v100-4q-4GB is not allowed there; use one of v100-16q-16GB, or add it to "
            "allowed",
        ),
    ],
)
def test_a_cut_that_cannot_be_says_why(gpu: PhysicalGpu, profiles: list[str], problem: str) -> None:
    assert problems(gpu, guests(*profiles)) == (problem,)


def test_a_node_that_is_cut_again_in_place_is_its_own_machine_with_a_configuration() -> None:
    in_place = replace(V100, recuts_in_place=True)
    assert problems(in_place, [replace(guest(1, "v100-4q", "node-1"), config="small")]) == ()
    assert problems(in_place, [guest(1, "v100-4q", "node-2")]) == (
        "guest node-1 of GPU gpu-a: no config, and the GPU is cut again in place; name the configuration that makes "
        "its slots",
        "guest node-1 of GPU gpu-a: machine node-2 would be cut again and not the node; leave machine out",
    )


def test_everything_wrong_is_said_at_once() -> None:
    cut = (
        replace(guest(1, "v100-4q"), slots=0, config="small"),
        replace(guest(1, "v100-4q"), profile=Fraction(units=500)),
        guest(2, "v100-4q", "vm-1"),
    )
    assert problems(V100, cut) == (
        "guest node-1 of GPU gpu-a: 0 slots; write 1 or more, or leave the guest out",
        "guest node-1 of GPU gpu-a: config 'small' would never be applied, for its provider starts and stops machines; "
        "remove it, or name a provider of kind vgpu_device_manager or mig",
        "guest node-1 of GPU gpu-a: fraction-500 is cut when a pod is placed; name a profile such as v100-8q-8GB",
        "node node-1 is 2 guests of GPU gpu-a at once; name each node once in a layout",
        "machine vm-1 is 3 guests of GPU gpu-a at once; name each machine once in a layout",
    )


def test_a_guest_that_is_the_same_stays() -> None:
    one, two, three = guests("v100-4q", "v100-4q", "v100-4q")
    cut_anew = replace(two, profile=parse_profile("v100-8q"))
    assert difference((one, two), (one, cut_anew, three)) == Difference(
        leaving=(two,), coming=(cut_anew, three), staying=(one,)
    )


def test_a_machine_has_its_nodes_name_where_it_has_none() -> None:
    named, unnamed = guest(1, "v100-4q", "node-1"), replace(guest(1, "v100-4q"), machine="")
    assert difference((named,), (unnamed,)) == Difference(leaving=(), coming=(), staying=(named,))


def test_the_plan_says_what_the_fleet_offers_after_each_step() -> None:
    world = own_machines()
    planned = plan("gpu-a", world.day, world.night, {"v100-4q-4GB": 4})
    full, between, after = (
        {"v100-4q-4GB": quarters, "v100-8q-8GB": halves} for quarters, halves in ((8, 0), (4, 0), (4, 2))
    )
    days, nights = tuple(f"node-{number}" for number in range(1, 5)), ("node-5", "node-6")
    assert planned.steps == (
        PlannedStep(step=Step.CHECK, guests=(*days, *nights), capacity=full, units=2000),
        PlannedStep(step=Step.CORDON, guests=days, capacity=between, units=1000),
        PlannedStep(step=Step.MAKE_ROOM, guests=days, capacity=between, units=1000),
        PlannedStep(step=Step.DRAIN, guests=days, capacity=between, units=1000),
        PlannedStep(step=Step.STOP, guests=days, capacity=between, units=1000),
        PlannedStep(step=Step.START, guests=nights, capacity=between, units=1000),
        PlannedStep(step=Step.READY, guests=nights, capacity=between, units=1000),
        PlannedStep(step=Step.UNCORDON, guests=(*days, *nights), capacity=after, units=2000),
    )
    assert (planned.lowest, planned.lowest_units) == (between, 1000)
    assert (planned.gpu, planned.origin, planned.target) == ("gpu-a", "day", "night")


def test_a_node_cut_in_place_is_planned_as_leaving_and_coming() -> None:
    world = node_in_place()
    planned = plan("gpu-a", world.day, world.night, {})
    assert planned.lowest == {"a100dx-1-10c-10GB": 0, "a100dx-3-40c-40GB": 0}
    assert planned.steps[-1].capacity == {"a100dx-1-10c-10GB": 0, "a100dx-3-40c-40GB": 2}


def test_a_gpu_that_both_layouts_cut_alike_has_no_steps() -> None:
    day = own_machines().day
    planned = plan("gpu-a", day, replace(day, name="weekend"), {"fraction-500": 2})
    assert (planned.steps, planned.lowest, planned.lowest_units) == ((), {"fraction-500": 2, "v100-4q-4GB": 4}, 2000)


def test_a_gpu_that_a_layout_does_not_name_gets_nothing() -> None:
    day = own_machines().day
    planned = plan("gpu-a", day, Layout(name="off"), {})
    assert [step.step for step in planned.steps] == [
        Step.CHECK,
        Step.CORDON,
        Step.MAKE_ROOM,
        Step.DRAIN,
        Step.STOP,
        Step.UNCORDON,
    ]
    assert planned.steps[-1].capacity == {"v100-4q-4GB": 0}
