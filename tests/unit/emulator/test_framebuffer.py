"""The framebuffer ledger of one emulated card."""

import pytest

from vgpu.emulator.framebuffer import FramebufferExhausted, FramebufferLedger


def halved_card() -> FramebufferLedger:
    ledger = FramebufferLedger(total_mib=16384)
    ledger.attach("a", 8192)
    ledger.attach("b", 8192)
    return ledger


def test_an_allocation_that_does_not_fit_says_what_was_asked_used_and_there() -> None:
    ledger = halved_card()
    ledger.allocate("a", 8000)
    with pytest.raises(FramebufferExhausted) as refusal:
        ledger.allocate("a", 200)
    assert str(refusal.value) == (
        "framebuffer exhausted: asked for 200 MiB, 8000 of 8192 MiB are in use and 192 MiB are free"
    )
    assert (ledger.used_mib("a"), ledger.used_mib("b")) == (8000, 0)


def test_a_slot_can_use_its_framebuffer_to_the_last_mib_and_give_it_back() -> None:
    ledger = halved_card()
    ledger.allocate("a", 8192)
    ledger.free("a", 192)
    ledger.allocate("b", 100)
    assert (ledger.used_mib("a"), ledger.total_used_mib()) == (8000, 8100)
    ledger.free_all("a")
    assert (ledger.used_mib("a"), ledger.total_used_mib()) == (0, 100)


def test_profiles_may_not_exceed_the_card() -> None:
    ledger = halved_card()
    with pytest.raises(ValueError, match="size_mib is 1 for slot 'c'; other slots hold 16384 of 16384 MiB"):
        ledger.attach("c", 1)


def test_amounts_out_of_range_are_refused_and_change_nothing() -> None:
    ledger = halved_card()
    ledger.allocate("a", 10)
    for call, message in [
        (lambda: ledger.allocate("a", 0), "mib is 0; an allocation takes at least 1 MiB"),
        (lambda: ledger.free("a", 11), "mib is 11; slot 'a' uses 10 MiB"),
        (lambda: ledger.free("a", -1), "mib is -1"),
        (lambda: ledger.attach("a", 1), "slot is 'a'; it has its framebuffer already"),
        (lambda: FramebufferLedger(total_mib=0), "total_mib is 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
    assert ledger.total_used_mib() == 10
