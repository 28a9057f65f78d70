"""Labels and NVIDIA names become profiles; contradictions are refused with the parts and the remedy."""

import pytest

from vgpu.core.profile import BOARD_GB, ProfileError, parse_profile


@pytest.mark.parametrize(
    ("text", "label", "units", "most_per_gpu", "framebuffer_mib"),
    [
        ("v100-8q-8GB", "v100-8q-8GB", 500, 2, 8192),
        ("v100-4q-4GB", "v100-4q-4GB", 250, 4, 4096),
        ("GRID V100-8Q", "v100-8q-8GB", 500, 2, 8192),
        ("V100L-16C", "v100l-16c-16GB", 1000, 1, 16384),
        ("v100dx-32q-32GB", "v100dx-32q-32GB", 1000, 1, 32768),
        ("T4-1Q", "t4-1q-1GB", 62, 16, 1024),
        ("M60-0Q", "m60-0q-512MB", 62, 16, 512),
        ("A100D-80C", "a100d-80c-80GB", 1000, 1, 81920),
        ("NVIDIA A100-1-5CME", "a100-1-5cme-5GB", 125, 1, 5120),
        ("NVIDIA-H100XM-80C", "h100xm-80c-80GB", 1000, 1, 81920),
        ("NVIDIA RTX6000-Ada-4Q", "rtx6000-ada-4q-4GB", 83, 12, 4096),
    ],
)
def test_label_and_name_give_the_same_profile(
    text: str, label: str, units: int, most_per_gpu: int, framebuffer_mib: int
) -> None:
    profile = parse_profile(text)
    assert (profile.label, profile.units, profile.most_per_gpu, profile.framebuffer_mib) == (
        label,
        units,
        most_per_gpu,
        framebuffer_mib,
    )


@pytest.mark.parametrize(
    ("name", "most_per_gpu"),
    [
        ("A100-4C", 10), ("A100-5C", 8), ("A100-20C", 2), ("H100-5C", 16), ("H100L-4C", 23), ("H100L-11C", 8),
        ("RTX8000-1Q", 32), ("RTX8000-3Q", 16), ("H200-4C", 32), ("H200-7C", 20), ("H200-8C", 16), ("H200-70C", 2),
        ("P40-3Q", 8), ("V100S-1Q", 32),
        ("A100-1-5C", 7), ("A100-2-10C", 3), ("A100-3-20C", 2), ("A100-4-20C", 1), ("A100-7-40C", 1),
        ("H100-1-10C", 7), ("H100-1-20C", 4), ("H100L-1-24C", 4), ("H100L-2-24C", 3), ("H200-3-71C", 2),
        ("H200-1-35C", 4), ("H200-1-18CME", 1), ("A30-1-6C", 4), ("A30-2-12C", 2), ("A30-2-12CME", 1),
    ],
)  # fmt: skip
def test_the_most_per_gpu_is_the_one_in_nvidias_tables(name: str, most_per_gpu: int) -> None:
    assert parse_profile(name).most_per_gpu == most_per_gpu


def test_mig_units_count_memory_slices_so_that_rounded_names_still_fit() -> None:
    """3-71C of an H200 is 71 of 141 GB by name; twice 503 units would not fit, twice 4 of 8 slices do."""
    assert parse_profile("H200-3-71C").units == 500


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "v100-8q-16GB",
            "'v100-8q-16GB' contradicts itself: '8q' means 8 GB and '16GB' says 16 GB; "
            "write v100-8q-8GB or v100-16q-16GB",
        ),
        (
            "v100-0q-1GB",
            "'v100-0q-1GB' contradicts itself: '0q' means 512 MB and '1GB' says 1 GB; "
            "write v100-0q-512MB or v100-1q-1GB",
        ),
        (
            "a100-1-5c-6GB",
            "'a100-1-5c-6GB' contradicts itself: '5c' means 5 GB and '6GB' says 6 GB; write a100-1-5c-5GB",
        ),
        (
            "v100-32q-32GB",
            "'v100-32q-32GB': '32q' asks for 32 GB and board 'v100' has 16 GB; "
            "use a profile of at most 16 GB, or one of the boards v100d, v100dx, v100s",
        ),
        ("t4-64q", "'t4-64q': '64q' asks for 64 GB and board 't4' has 16 GB; use a profile of at most 16 GB"),
        ("v100-1-5c", "'v100-1-5c': 1 MIG slices on board 'v100', which has no MIG"),
        ("v100-8qme", "'v100-8qme': attribute 'me' belongs to MIG profiles; this one names no slices"),
        (
            "a30-7-24c",
            "'a30-7-24c': 7 MIG slices with 24 GB; board 'a30' has 4 slices and no instance without memory",
        ),
        (
            "half a gpu",
            "'half a gpu' is no vGPU profile; write <board>-<GB><series>-<GB>GB such as v100-8q-8GB, "
            "or NVIDIA's name such as A100-1-5CME",
        ),
    ],
)
def test_a_contradiction_names_both_parts_and_the_remedy(text: str, message: str) -> None:
    with pytest.raises(ProfileError) as raised:
        parse_profile(text)
    assert str(raised.value) == message


def test_an_unknown_board_is_refused_with_the_boards_that_are_known() -> None:
    with pytest.raises(ProfileError) as raised:
        parse_profile("x9-8q-8GB")
    assert str(raised.value) == (
        f"'x9-8q-8GB': board 'x9' is not known; known boards: {', '.join(sorted(b.lower() for b in BOARD_GB))}"
    )
