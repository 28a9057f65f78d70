"""Entitlement by scheduler policy, for every number of vGPUs a card can run."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vgpu.core.share import SchedulerPolicy, Share, entitled_ratio

BEST, EQUAL, FIXED = SchedulerPolicy.BEST_EFFORT, SchedulerPolicy.EQUAL_SHARE, SchedulerPolicy.FIXED_SHARE
CARDS = [
    (most, running, busy) for most in range(1, 33) for running in range(1, most + 1) for busy in range(running + 1)
]


def test_fixed_share_promises_least_and_best_effort_most() -> None:
    for most, running, busy in CARDS:
        fixed, equal, best = (
            entitled_ratio(policy, running=running, busy=busy, most_per_gpu=most) for policy in (FIXED, EQUAL, BEST)
        )
        assert 0 < fixed <= equal <= best <= 1


def test_no_card_is_promised_more_than_once() -> None:
    for (most, running, busy), policy in itertools.product(CARDS, SchedulerPolicy):
        sharing = max(busy, 1) if policy is BEST else running
        promised = sharing * entitled_ratio(policy, running=running, busy=busy, most_per_gpu=most)
        assert promised <= 1 + 1e-12


@given(st.integers(-3, 40), st.integers(-3, 40), st.integers(1, 32), st.sampled_from(SchedulerPolicy))
def test_what_cannot_run_is_refused(running: int, busy: int, most: int, policy: SchedulerPolicy) -> None:
    if 1 <= running <= most and 0 <= busy <= running:
        assert 0 < entitled_ratio(policy, running=running, busy=busy, most_per_gpu=most) <= 1
    else:
        with pytest.raises(ValueError, match=r"(running|busy) is "):
            entitled_ratio(policy, running=running, busy=busy, most_per_gpu=most)


@given(st.integers(-2000, 3000), st.integers(-5, 5))
def test_a_share_is_a_part_of_one_gpu(units: int, framebuffer_mib: int) -> None:
    if 1 <= units <= 1000 and framebuffer_mib >= 1:
        assert Share(units=units, framebuffer_mib=framebuffer_mib).units == units
    else:
        with pytest.raises(ValueError, match=r"(units|framebuffer_mib) is "):
            Share(units=units, framebuffer_mib=framebuffer_mib)
