"""Text forms round-trip, and as many slots as are promised fit on the card."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from vgpu.core.profile import BOARD_GB, Profile, ProfileError, parse_profile
from vgpu.core.share import UNITS_PER_GPU


@st.composite
def profiles(draw: st.DrawFn) -> Profile:
    """Any profile that can exist, time-sliced or on MIG."""
    board = draw(st.sampled_from(sorted(BOARD_GB)))
    slices = draw(st.none() | st.integers(1, 7))
    try:
        return Profile(
            board=board.lower(),
            gigabytes=draw(st.integers(0, BOARD_GB[board])),
            series=draw(st.sampled_from("abcq")),
            mig_slices=slices,
            attribute="" if slices is None else draw(st.sampled_from(["", "me", "nome", "meall", "gfx"])),
        )
    except ProfileError:
        assume(False)
        raise


@given(profiles())
def test_label_and_name_round_trip(profile: Profile) -> None:
    assert parse_profile(profile.label) == profile
    assert parse_profile(profile.name) == profile


@given(profiles(), st.sampled_from(["GRID ", "NVIDIA ", "nvidia-", "Grid_", ""]))
def test_vendor_prefixes_and_case_mean_nothing(profile: Profile, prefix: str) -> None:
    assert parse_profile(prefix + profile.name.upper()) == profile
    assert parse_profile(f" {prefix}{profile.name.lower()} ") == profile


@given(profiles())
def test_a_label_is_a_legal_kubernetes_label_value(profile: Profile) -> None:
    assert len(profile.label) <= 63
    assert profile.label.replace("-", "").isalnum()


@given(profiles())
def test_the_most_slots_of_a_profile_fit_on_the_card(profile: Profile) -> None:
    assert profile.most_per_gpu >= 1
    assert profile.most_per_gpu * profile.units <= UNITS_PER_GPU
    assert profile.share.units == profile.units
    if profile.mig_slices is None:
        assert profile.most_per_gpu * profile.framebuffer_mib <= profile.board_framebuffer_mib


@given(profiles(), st.integers(0, 200))
def test_a_size_that_is_not_the_profiles_own_is_refused(profile: Profile, gigabytes: int) -> None:
    assume(gigabytes != profile.gigabytes or gigabytes == 0)
    body = profile.label.rsplit("-", 1)[0]
    with pytest.raises(ProfileError, match="contradicts itself"):
        parse_profile(f"{body}-{gigabytes}GB")


@given(st.text(max_size=30))
def test_any_other_text_is_refused_and_never_crashes(text: str) -> None:
    try:
        parsed = parse_profile(text)
    except ProfileError:
        return
    assert parse_profile(parsed.label) == parsed
