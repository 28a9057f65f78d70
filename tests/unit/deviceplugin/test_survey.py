"""Readings to cards: what is advertised, what is refused and with which sentence, what is remembered."""

from dataclasses import replace

import pytest

from tests.unit.deviceplugin.build import GUEST_READING, READING, card
from vgpu.adapters.nvml import DeviceReading, Missing, MissingReason, VirtualizationMode
from vgpu.core.profile import parse_profile
from vgpu.deviceplugin.survey import RefusedBecause, Strike, Survey, take, with_stale_readings, with_strikes

UNREAD = Missing(reason=MissingReason.DRIVER_ERROR, detail="nvmlDeviceGetMemoryInfo: Unknown Error")


def test_a_physical_gpu_has_1000_units_and_a_guest_the_part_its_name_says() -> None:
    guest = replace(GUEST_READING, index=1, uuid="GPU-b", memory_total_mib=8128)  # less than nominal: the driver's part
    assert take((READING, guest)) == Survey(
        cards=(
            card(),
            replace(card("GPU-b", index=1, profile="GRID V100-8Q"), name="GRID V100-8Q", framebuffer_mib=8128),
        )
    )


def test_a_card_that_knows_no_mode_is_a_guest_by_its_name() -> None:
    reading = replace(GUEST_READING, virtualization_mode=Missing(reason=MissingReason.NOT_SUPPORTED))
    assert take((reading,)).cards[0].profile == parse_profile("v100-8q-8GB")


@pytest.mark.parametrize(
    ("reading", "because", "message"),
    [
        (
            replace(READING, memory_total_mib=UNREAD),
            RefusedBecause.MEMORY_UNKNOWN,
            "GPU 0: GPU-a is not advertised, its framebuffer is unknown (nvmlDeviceGetMemoryInfo: Unknown Error); "
            "mend the driver, it is read again",
        ),
        (
            replace(READING, memory_total_mib=0),
            RefusedBecause.MEMORY_UNKNOWN,
            "GPU 0: GPU-a is not advertised, its framebuffer is unknown (the driver says 0 MiB); "
            "mend the driver, it is read again",
        ),
        (
            replace(READING, uuid=Missing(reason=MissingReason.DEVICE_LOST)),
            RefusedBecause.NO_UUID,
            "GPU 0: no UUID (device_lost), so no device can be named after it",
        ),
        (
            replace(READING, uuid="GPU-" + "x" * 55),
            RefusedBecause.LONG_UUID,
            f"GPU 0: UUID GPU-{'x' * 55} leaves no room for a device ID",
        ),
        (
            replace(READING, virtualization_mode=VirtualizationMode.VGPU_HOST),
            RefusedBecause.VGPU_HOST,
            "GPU 0: GPU-a belongs to the guests of this vGPU host; run there",
        ),
        (
            replace(GUEST_READING, name="NVIDIA Z9-8Q"),
            RefusedBecause.UNKNOWN_PROFILE,
            "GPU 0: GPU-a is a vGPU of type 'NVIDIA Z9-8Q', of unknown size; add its board to vgpu/core/profile.py",
        ),
    ],
)
def test_a_gpu_that_cannot_be_advertised_is_named_and_the_others_go_on(
    reading: DeviceReading, because: RefusedBecause, message: str
) -> None:
    other = replace(READING, index=1, uuid="GPU-b")
    survey = take((reading, other))
    assert survey.cards == (card("GPU-b", index=1),)
    assert [(refusal.because, refusal.message) for refusal in survey.refusals] == [(because, message)]


def test_a_uuid_met_twice_is_one_card() -> None:
    survey = take((READING, replace(READING, index=1)))
    assert survey.cards == (card(),)
    assert [refusal.because for refusal in survey.refusals] == [RefusedBecause.REPEATED_UUID]


def test_a_part_smaller_than_a_device_is_refused() -> None:
    reading = replace(GUEST_READING, name="GRID V100-1Q", memory_total_mib=1024)
    [refusal] = take((reading,), units_per_device=100).refusals
    assert refusal.message == (
        "GPU 0: GPU-a has 62 units, less than one device of 100; choose a smaller --units-per-device"
    )


def test_a_known_card_stays_unwell_until_it_reads_again() -> None:
    known = take((READING,)).cards
    unread = take((replace(READING, memory_total_mib=UNREAD),), known)
    assert unread == Survey(cards=(card(ill="its framebuffer cannot be read, nvmlDeviceGetMemoryInfo: Unknown Error"),))
    no_driver = take(Missing(reason=MissingReason.NO_DRIVER, detail="the NVIDIA driver is not loaded"), unread.cards)
    assert no_driver == Survey(cards=(card(ill="the NVIDIA driver is not loaded"),))
    gone = take((), no_driver.cards)
    assert gone == Survey(cards=(card(ill="the driver no longer lists it"),))
    assert take((READING,), gone.cards) == Survey(cards=(card(),))


def test_a_known_card_that_is_refused_now_stays_with_that_reason() -> None:
    now_host = replace(READING, virtualization_mode=VirtualizationMode.VGPU_HOST)
    survey = take((now_host,), (card(),))
    assert survey.cards == (card(ill="GPU 0: GPU-a belongs to the guests of this vGPU host; run there"),)


def test_a_name_that_cannot_be_read_for_once_changes_no_size() -> None:
    known = take((GUEST_READING,)).cards
    assert take((replace(GUEST_READING, name=UNREAD),), known).cards == known


def test_without_a_driver_and_without_memory_there_is_no_card() -> None:
    assert take(Missing(reason=MissingReason.NO_DRIVER)) == Survey(cards=())


def test_the_name_and_the_framebuffer_of_a_guest_must_not_contradict() -> None:
    [half] = take((replace(GUEST_READING, memory_total_mib=4096),)).cards
    assert half.label_doubt == "'GRID V100-8Q' has 8192 MiB and the driver reads 4096 MiB"
    assert half.healthy


def test_the_last_strike_counts_and_only_while_it_is_recent() -> None:
    survey = Survey(cards=(card(), card("GPU-b", index=1), card("GPU-c", index=2, ill="lost")))
    strikes = [Strike(uuid="GPU-a", xid=48, at_s=10.0), Strike(uuid="GPU-a", xid=79, at_s=20.0)]
    struck = Survey(cards=(card(ill="the driver told of XID 79"), *survey.cards[1:]))
    assert with_strikes(survey, strikes, now_s=29.9, quiet_s=10.0) == struck
    assert with_strikes(survey, strikes, now_s=30.0, quiet_s=10.0) == survey
    everywhere = with_strikes(survey, [Strike(uuid=None, xid=62, at_s=0.0)], now_s=1.0, quiet_s=10.0)
    why = "the driver told of XID 62 without saying of which GPU"
    assert [one.unhealthy_because for one in everywhere.cards] == [why, why, "lost"]


def test_stale_readings_make_all_unwell() -> None:
    assert with_stale_readings(Survey(cards=(card(),)), because="silence") == Survey(cards=(card(ill="silence"),))
