"""A slot type is a profile or a fraction; what is neither is refused with both forms."""

import pytest

from vgpu.core.inventory import Gpu, Slot
from vgpu.core.profile import ProfileError, parse_profile
from vgpu.core.share import SchedulerPolicy
from vgpu.core.slot_type import Fraction, parse_slot_type, parse_slot_types


@pytest.mark.parametrize("text", ["fraction:500", "fraction-500", " Fraction:500 "])
def test_a_fraction_is_written_with_its_units(text: str) -> None:
    assert parse_slot_type(text) == Fraction(units=500)


def test_a_profile_stays_one() -> None:
    assert parse_slot_type("GRID V100-8Q") == parse_profile("v100-8q-8GB")


def test_its_label_reads_back() -> None:
    assert parse_slot_type(Fraction(units=37).label) == Fraction(units=37)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fraction:0", "a fraction of 0 units; write 1 to 1000, the whole card"),
        ("fraction:1500", "a fraction of 1500 units; write 1 to 1000, the whole card"),
        ("fraction:half", "'fraction:half' is no fraction; write fraction:500 for half of a card"),
        ("v100-32q-32GB", "'32q' asks for 32 GB and board 'v100' has 16 GB"),
    ],
)
def test_what_cannot_be_is_refused(text: str, message: str) -> None:
    with pytest.raises(ProfileError, match=message):
        parse_slot_type(text)


@pytest.mark.parametrize(("units", "most", "mib"), [(1000, 1, 16384), (500, 2, 8192), (333, 3, 5455), (1, 1000, 16)])
def test_how_many_a_card_has_room_for_and_how_large_each_is(units: int, most: int, mib: int) -> None:
    card = Gpu(uuid="GPU-a", framebuffer_mib=16384, policy=SchedulerPolicy.BEST_EFFORT)
    slot = Slot(node="n1", index=0, profile=Fraction(units=units), gpu=card, name="chat-a")
    assert (slot.profile.most_per_gpu, slot.framebuffer_mib, slot.slot_id) == (most, mib, "n1/chat-a")


def test_a_model_may_take_a_fraction_or_a_profile_and_not_two_fractions() -> None:
    assert parse_slot_types(["fraction:500", "v100-8q"]) == (Fraction(units=500), parse_profile("v100-8q"))
    with pytest.raises(ProfileError, match="fraction:500, fraction:250: a model takes one size of fraction; name one"):
        parse_slot_types(["fraction:500", "fraction:250"])
