"""Devices and allocations over random nodes: the kubelet's choice, ours, and what must never come out."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.deviceplugin.build import card
from vgpu.core.share import UNITS_PER_GPU, SchedulerPolicy
from vgpu.deviceplugin.allocation import AllocationRefused, SlotFacts, allocate, environment, prefer
from vgpu.deviceplugin.devices import LONGEST_ID, Card, Catalogue

FACTS = SlotFacts(node="n", policy=SchedulerPolicy.BEST_EFFORT, device_kind="real")


@st.composite
def catalogues(draw: st.DrawFn) -> Catalogue:
    cards = tuple(
        card(
            f"GPU-{index}",
            index=index,
            profile=draw(st.sampled_from(["", "", "v100-8q", "v100-4q", "v100-2q"])),
            framebuffer_mib=draw(st.sampled_from([16384, 15360])),
            ill=draw(st.sampled_from(["", "", "", "lost"])),
        )
        for index in range(draw(st.integers(1, 4)))
    )
    return Catalogue(cards=cards, units_per_device=draw(st.sampled_from([50, 100, 125])))


@st.composite
def situations(draw: st.DrawFn) -> tuple[Catalogue, list[str], list[str], int]:
    """A node, the devices that are free, those that must be included, and how many are wanted."""
    catalogue = draw(catalogues())
    everything = [name for one in catalogue.cards for name in catalogue.ids(one)]
    free = draw(st.lists(st.sampled_from(everything), unique=True)) if draw(st.booleans()) else everything
    must = draw(st.lists(st.sampled_from(free), unique=True, max_size=3)) if free else []
    return catalogue, draw(st.permutations(free)), must, draw(st.integers(1, 45))


def free_healthy(catalogue: Catalogue, free: list[str], one: Card) -> int:
    return len(set(free) & set(catalogue.ids(one))) if one.healthy else 0


@given(catalogues())
def test_ids_name_their_card_and_unit_and_nothing_else_does(catalogue: Catalogue) -> None:
    ids = [name for one in catalogue.cards for name in catalogue.ids(one)]
    assert len(set(ids)) == len(ids)
    assert all(len(name) <= LONGEST_ID for name in ids)
    for one in catalogue.cards:
        found = [catalogue.find(name) for name in catalogue.ids(one)]
        assert found == [(one, step * catalogue.units_per_device) for step in range(catalogue.count(one))]
        assert catalogue.count(one) * catalogue.units_per_device <= one.units
        for wrong in (one.units, -1, 1, "x", "", "00"):
            assert catalogue.find(f"{one.uuid}-{wrong}") is None


@given(situations())
def test_what_is_preferred_can_be_allocated(situation: tuple[Catalogue, list[str], list[str], int]) -> None:
    catalogue, free, must, size = situation
    try:
        chosen = prefer(catalogue, free, must, size)
    except AllocationRefused:
        return
    assert len(set(chosen)) == len(chosen) == size
    assert set(must) <= set(chosen) <= set(free)
    got = allocate(catalogue, chosen)
    assert len(got.cards) * got.units == size * catalogue.units_per_device
    assert len(got.cards) == 1 or (got.units == UNITS_PER_GPU and all(one.is_whole_gpu for one in got.cards))
    assert all(one.healthy for one in got.cards)
    assert environment(got, FACTS)["CUDA_VISIBLE_DEVICES"].split(",") == [one.uuid for one in got.cards]


@given(situations())
def test_nothing_is_preferred_only_where_nothing_fits(situation: tuple[Catalogue, list[str], list[str], int]) -> None:
    """Against counting by hand: a card with room, the one with the least; or enough whole GPUs of one size."""
    catalogue, free, must, size = situation
    rooms = {one.uuid: free_healthy(catalogue, free, one) for one in catalogue.cards}
    held = {one.uuid for one in catalogue.cards if set(catalogue.ids(one)) & set(must)}
    fitting = [room for uuid, room in rooms.items() if room >= size and held <= {uuid}]
    try:
        chosen = prefer(catalogue, free, must, size)
    except AllocationRefused:
        chosen = ()
    if size <= max(map(catalogue.count, catalogue.cards)):
        assert bool(chosen) == (bool(fitting) and len(must) <= size)
        if chosen:
            [uuid] = {name.rpartition("-")[0] for name in chosen}
            assert rooms[uuid] == min(fitting)
        return
    per_gpu = UNITS_PER_GPU // catalogue.units_per_device
    whole = [one for one in catalogue.cards if one.is_whole_gpu and rooms[one.uuid] == per_gpu]
    alike = [sum(one.framebuffer_mib == mib for one in whole) for mib in (16384, 15360)]
    if chosen or not must:
        assert bool(chosen) == (size % per_gpu == 0 and max(alike) >= size // per_gpu)


@given(situations(), st.randoms())
def test_the_order_of_the_ids_changes_nothing(
    situation: tuple[Catalogue, list[str], list[str], int], random: Random
) -> None:
    catalogue, free, must, size = situation

    def outcome(free: list[str], must: list[str]) -> object:
        try:
            chosen = prefer(catalogue, free, must, size)
            return chosen, environment(allocate(catalogue, chosen[::-1]), FACTS)
        except AllocationRefused as refusal:
            return refusal.reason

    expected = outcome(free, must)
    random.shuffle(free)
    assert outcome(free, must[::-1]) == expected


@given(catalogues(), st.data())
def test_the_slots_of_a_card_never_add_up_to_more_than_it_has(catalogue: Catalogue, data: st.DataObject) -> None:
    """The kubelet admits until nothing fits; each card's framebuffer and units bound what was handed out."""
    free = {name for one in catalogue.cards for name in catalogue.ids(one)}
    units: dict[str, int] = {}
    framebuffer_mib: dict[str, int] = {}
    for size in data.draw(st.lists(st.integers(1, 12), max_size=12)):
        try:
            chosen = prefer(catalogue, free, [], size)
        except AllocationRefused:
            continue
        free -= set(chosen)
        got = allocate(catalogue, chosen)
        for one in got.cards:
            units[one.uuid] = units.get(one.uuid, 0) + got.units
            framebuffer_mib[one.uuid] = framebuffer_mib.get(one.uuid, 0) + got.framebuffer_mib
    for one in catalogue.cards:
        assert units.get(one.uuid, 0) <= one.units
        assert framebuffer_mib.get(one.uuid, 0) <= one.framebuffer_mib
