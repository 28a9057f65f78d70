"""What a container is told, and which devices are preferred, case by case."""

import pytest

from tests.unit.deviceplugin.build import card, catalogue
from vgpu.core.share import SchedulerPolicy
from vgpu.deviceplugin.allocation import (
    Allocation,
    AllocationRefused,
    RefusalReason,
    SlotFacts,
    allocate,
    environment,
    prefer,
)
from vgpu.deviceplugin.devices import Card, device_id

FACTS = SlotFacts(node="n1", policy=SchedulerPolicy.EQUAL_SHARE, device_kind="emulated")
TWO = catalogue(card(), card("GPU-b", index=1), units_per_device=100)


def ids(uuid: str, *firsts: int) -> list[str]:
    return [device_id(uuid, first) for first in firsts]


def slot(one: Card, units: int, first_unit: int = 0) -> tuple[str, ...]:
    variables = environment(Allocation(cards=(one,), units=units, first_unit=first_unit), FACTS)
    shown = ("SLOT_ID", "SLOT_PROFILE", "SLOT_FRAMEBUFFER_MIB", "SLOT_MOST_PER_GPU", "SLOT_SCHEDULER_POLICY")
    return tuple(variables[f"VGPU_{name}"] for name in shown)


@pytest.mark.parametrize(
    ("one", "units", "first_unit", "expected"),
    [
        (card(), 1000, 0, ("n1/0", "fraction-1000", "16384", "1", "equal-share")),
        (card(), 300, 700, ("n1/0.700", "fraction-300", "4915", "3", "equal-share")),
        (card(index=3, profile="v100-8q"), 500, 0, ("n1/3", "v100-8q-8GB", "8192", "2", "equal-share")),
        (card(profile="v100-8q"), 250, 0, ("n1/0.0", "fraction-250", "4096", "4", "equal-share")),
        (card(profile="A100-1-5CME"), 125, 0, ("n1/0", "a100-1-5cme-5GB", "5120", "1", "fixed-share")),
        (card(framebuffer_mib=100), 1, 0, ("n1/0.0", "fraction-1", "1", "1000", "equal-share")),
    ],
)
def test_a_slot_is_told_its_part(one: Card, units: int, first_unit: int, expected: tuple[str, ...]) -> None:
    assert slot(one, units, first_unit) == expected


def test_the_least_framebuffer_holds_where_whole_gpus_differ() -> None:
    mixed = catalogue(card(), card("GPU-b", index=1, framebuffer_mib=15360), units_per_device=500)
    got = allocate(mixed, [*ids("GPU-b", 0, 500), *ids("GPU-a", 500, 0)])
    assert (got.cards, got.units, got.framebuffer_mib) == (mixed.cards, 1000, 15360)


def test_several_parts_of_guests_are_no_whole_gpu() -> None:
    guests = catalogue(card(profile="v100-8q"), card("GPU-b", index=1, profile="v100-8q"), units_per_device=250)
    with pytest.raises(AllocationRefused) as refused:
        allocate(guests, [*ids("GPU-a", 0, 250), *ids("GPU-b", 0, 250)])
    assert (refused.value.reason, str(refused.value)) == (
        RefusalReason.SEVERAL_GPUS,
        "units of several GPUs for one container (500 of GPU-a, 500 of GPU-b); a fraction lies on one GPU, and "
        "several GPUs come whole: ask for at most 1000 units or a multiple of 1000",
    )
    with pytest.raises(AllocationRefused, match="1000 units are more than one GPU"):
        prefer(guests, [*ids("GPU-a", 0, 250), *ids("GPU-b", 0, 250)], [], 4)


@pytest.mark.parametrize(
    ("free", "must", "size", "chosen"),
    [
        (ids("GPU-a", 0, 100, 200) + ids("GPU-b", 500, 400), [], 2, ids("GPU-b", 400, 500)),
        (ids("GPU-a", 0, 100) + ids("GPU-b", 500, 400), [], 2, ids("GPU-a", 0, 100)),
        (ids("GPU-a", 0, 100, 200) + ids("GPU-b", 500, 400), ids("GPU-a", 200), 2, ids("GPU-a", 200, 0)),
        (ids("GPU-a", 0) + ids("GPU-b", 500), ids("GPU-b", 400), 2, ids("GPU-b", 400, 500)),
        ([*ids("GPU-a", 0), "GPU-old-0", "nonsense"], [], 1, ids("GPU-a", 0)),
    ],
)
def test_the_fullest_gpu_with_room_comes_first(free: list[str], must: list[str], size: int, chosen: list[str]) -> None:
    assert prefer(TWO, free, must, size) == tuple(chosen)


@pytest.mark.parametrize(
    ("free", "must", "size", "reason"),
    [
        (ids("GPU-a", 0) + ids("GPU-b", 0), [], 2, RefusalReason.NO_ROOM),
        (ids("GPU-a", 0) + ids("GPU-b", 0), ids("GPU-a", 0) + ids("GPU-b", 0), 2, RefusalReason.NO_ROOM),
        (ids("GPU-a", 0), ["GPU-old-0"], 1, RefusalReason.UNKNOWN_DEVICE),
        (ids("GPU-a", 0), ids("GPU-a", 0, 100), 1, RefusalReason.NO_DEVICES),
        (ids("GPU-a", 0), [], 0, RefusalReason.NO_DEVICES),
        (
            [device_id(one.uuid, step) for one in TWO.cards for step in range(0, 1000, 100)],
            [],
            15,
            RefusalReason.NO_ROOM,
        ),
    ],
)
def test_what_does_not_fit_is_refused(free: list[str], must: list[str], size: int, reason: RefusalReason) -> None:
    with pytest.raises(AllocationRefused) as refused:
        prefer(TWO, free, must, size)
    assert refused.value.reason is reason


def test_an_ill_gpu_is_neither_preferred_nor_given() -> None:
    one_ill = catalogue(card(ill="it is lost"), card("GPU-b", index=1), units_per_device=500)
    everything = [name for one in one_ill.cards for name in one_ill.ids(one)]
    assert prefer(one_ill, everything, [], 1) == ("GPU-b-0",)
    with pytest.raises(AllocationRefused, match="GPU GPU-a: it is lost"):
        allocate(one_ill, ["GPU-a-0"])
    with pytest.raises(AllocationRefused, match=r"2000 units are more than one GPU.*and 1 are free"):
        prefer(one_ill, everything, [], 4)
