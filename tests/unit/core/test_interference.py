"""What neighbours on a card cost, by its policy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.interference import card_rate, stretches
from autoscaler.core.queueing import closed_rate
from vgpu.core.share import SchedulerPolicy

BEST, EQUAL, FIXED = SchedulerPolicy.BEST_EFFORT, SchedulerPolicy.EQUAL_SHARE, SchedulerPolicy.FIXED_SHARE


def stretch(
    policy: SchedulerPolicy, others_ratio: float, *, own_ratio: float, attached: int, most: int, active: int
) -> float:
    """That of one slot."""
    ratios, counts = np.array([[others_ratio], [own_ratio]]), np.array([[attached], [most], [active]])
    return float(stretches(policy, *ratios, *counts)[0])


@pytest.mark.parametrize(
    ("policy", "others_ratio", "active", "times"),
    [
        (BEST, 0.0, 0, 1.0),
        (BEST, 0.5, 0, 1.0),
        (BEST, 0.5, 1, 1.5635),
        (BEST, 0.8, 1, 2.0),
        (BEST, 1.0, 30, 31.0),
        (EQUAL, 0.0, 0, 3.0),
        (FIXED, 0.9, 2, 4.0),
    ],
    ids=[
        "alone",
        "nobody has work now",
        "one neighbour, met at 56 % of the visits",
        "a neighbour that always has work",
        "a full card gives everybody a turn",
        "equal share gives idle guests their turn",
        "fixed share gives slots that do not exist theirs",
    ],
)
def test_engine_work_takes_so_many_times_as_long(
    policy: SchedulerPolicy, others_ratio: float, active: int, times: float
) -> None:
    told = stretch(policy, others_ratio, own_ratio=0.2, attached=3, most=4, active=active)
    assert told == pytest.approx(times, rel=1e-3)


@given(st.integers(1, 30), st.floats(0.01, 1.0), st.floats(0.0, 0.9))
def test_neighbours_stretch_the_work_by_a_turn_for_each_at_most(active: int, others: float, own: float) -> None:
    told = stretch(BEST, others, own_ratio=own, attached=active + 1, most=active + 1, active=active)
    more = stretch(BEST, min(1.0, others + 0.05), own_ratio=own, attached=active + 1, most=active + 1, active=active)
    assert 1.0 <= told <= more <= 1.0 + active


@pytest.mark.parametrize("policy", SchedulerPolicy)
def test_many_slots_are_told_what_each_is_told_alone(policy: SchedulerPolicy) -> None:
    others, own = np.array([[0.0, 0.105], [2.5, 0.5]]), np.array([[0.3, 0.1], [0.115, 0.5]])
    attached, most, active = np.array([[2, 2], [30, 4]]), np.array([[4, 4], [2, 32]]), np.array([[0, 1], [29, 1]])
    told = stretches(policy, others, own, attached, most, active)
    places = [(0, 0), (0, 1), (1, 0), (1, 1)]
    alone = [
        stretch(
            policy,
            others[place],
            own_ratio=own[place],
            attached=attached[place],
            most=most[place],
            active=active[place],
        )
        for place in places
    ]
    assert [told[place] for place in places] == alone


def rate(policy: SchedulerPolicy, replicas: int, *, others_ratio: float = 0.0, attached: int = 1) -> float:
    """One replica takes 40 ms elsewhere and 60 ms of the engine; the profile allows 4 on a card."""
    return card_rate(
        policy,
        replicas=replicas,
        away_s=0.04,
        engine_s=0.06,
        others_ratio=others_ratio,
        attached=attached,
        most=4,
    )


def test_alone_under_best_effort_a_replica_does_what_its_time_says() -> None:
    assert rate(BEST, 1) == pytest.approx(10.0)


def test_under_best_effort_two_share_what_one_leaves() -> None:
    assert rate(BEST, 2) == closed_rate(2, 0.04, 0.06)
    assert 10.0 < rate(BEST, 2) < 1 / 0.06
    assert rate(BEST, 1, others_ratio=0.5) == pytest.approx(1 / (0.04 + 0.12))


def test_under_equal_share_every_guest_takes_its_turn() -> None:
    assert rate(EQUAL, 2, attached=3) == pytest.approx(2 / (0.04 + 0.18))


def test_under_fixed_share_nothing_but_the_profile_counts() -> None:
    assert rate(FIXED, 2, attached=2) == pytest.approx(2 / (0.04 + 0.24))
    assert rate(FIXED, 2, others_ratio=0.9, attached=4) == rate(FIXED, 2, attached=2)


@given(st.sampled_from(SchedulerPolicy), st.integers(0, 3), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_a_busier_card_never_gives_more(policy: SchedulerPolicy, replicas: int, one: float, other: float) -> None:
    calm, busy = sorted((one, other))
    assert rate(policy, replicas, others_ratio=busy, attached=4) <= rate(
        policy, replicas, others_ratio=calm, attached=4
    )
