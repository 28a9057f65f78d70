"""Candidates rehearsed on a load: a smooth one needs little headroom, a bursty one more or a longer hold."""

from collections.abc import Callable
from itertools import pairwise

import pytest

from autoscaler.core.bearable import Bearable
from autoscaler.core.candidates import CANDIDATES, COST, FACTORS, HOLDS_S, LATE, PRIOR, table_of
from autoscaler.core.rehearsal import Rehearsal, Trial
from autoscaler.core.rehearsal import rehearse as rehearse_all

TEN_EACH = Bearable(
    rates_per_s=tuple(10.0 * count for count in range(21)),
    limits_per_s=tuple(15.0 * count for count in range(21)),
    slack_s=0.2,
    allowed_late_ratio=0.03,
)


def tick(
    known: Rehearsal,
    at_s: float,
    offered_per_s: float,
    *,
    horizon_s: float = 45.0,
    bearable: Bearable = TEN_EACH,
    desired: int = 0,
) -> Rehearsal:
    (made,) = rehearse_all([Trial(known, at_s, offered_per_s, horizon_s, bearable, desired)])
    return made


def late_ratio(state: Rehearsal) -> float:
    """The part of requests that the chosen candidate would have answered late."""
    return float(table_of(state.shown)[LATE, state.chosen]) / state.offered


def rehearse(
    load: Callable[[float], float], *, minutes: float, horizon_s: float = 45.0, bearable: Bearable = TEN_EACH
) -> Rehearsal:
    state = Rehearsal.begin(0.0, load(0.0), load(0.0), bearable)
    for number in range(1, int(minutes * 12) + 1):
        state = tick(state, 5.0 * number, load(5.0 * number), horizon_s=horizon_s, bearable=bearable)
    return state


def smooth(_now_s: float) -> float:
    return 45.0


def bursts(now_s: float) -> float:
    """Half a minute of four times the load, every four minutes."""
    return 120.0 if now_s % 240 < 30 and now_s > 60 else 30.0


def held_count(state: Rehearsal) -> int:
    return TEN_EACH.count(state.need_per_s)


def test_the_fewest_replicas_that_bear_a_rate() -> None:
    assert [TEN_EACH.count(rate) for rate in (0.0, 0.1, 10.0, 10.1, 200.0, 999.0)] == [0, 1, 1, 2, 20, 20]


def test_at_first_there_is_headroom_and_what_is_there_counts_as_needed() -> None:
    fresh = Rehearsal.begin(0.0, 20.0, 60.0, TEN_EACH)
    assert (fresh.factor, fresh.hold_s) == (FACTORS[PRIOR], 300.0)
    assert fresh.need_per_s == pytest.approx(60.0)
    assert Rehearsal.begin(0.0, 70.0, 60.0, TEN_EACH).need_per_s == pytest.approx(70.0 * FACTORS[PRIOR])


def test_what_was_there_at_first_is_let_go_after_its_hold() -> None:
    state = Rehearsal.begin(0.0, 20.0, 150.0, TEN_EACH)
    for number in range(1, 12 * 20):
        state = tick(state, 5.0 * number, 20.0)
    assert state.need_per_s <= 20.0 * FACTORS[PRIOR]


def test_the_first_tick_takes_what_there_is_for_needed() -> None:
    assert Rehearsal().need_per_s == 0.0
    begun = tick(Rehearsal(), 100.0, 5.0, desired=3)
    assert TEN_EACH.count(begun.need_per_s) == 3
    later = tick(begun, 105.0, 5.0, desired=1)
    assert TEN_EACH.count(later.need_per_s) == 3, "the beginning is held, whatever is there later"


def test_a_tick_seen_twice_changes_nothing() -> None:
    state = rehearse(smooth, minutes=1)
    assert tick(state, 60.0, 999.0) == state


def test_models_of_one_tick_do_not_meddle_with_each_other() -> None:
    """Each of three, one of them with a table of other counts and one seen before, as if it were alone."""
    small = Bearable(
        rates_per_s=(-1.0, 10.0, 12.0), limits_per_s=(0.0, 15.0, 18.0), slack_s=0.1, allowed_late_ratio=0.02
    )
    smooth_one, bursty_one = rehearse(smooth, minutes=5), rehearse(bursts, minutes=5)
    trials = [
        Trial(smooth_one, 305.0, 45.0, 45.0, TEN_EACH, 5),
        Trial(rehearse(smooth, minutes=5, bearable=small), 304.0, 300.0, 20.0, small, 2),
        Trial(smooth_one, 300.0, 999.0, 45.0, TEN_EACH, 5),
        Trial(bursty_one, 310.0, 400.0, 45.0, TEN_EACH, 5),
        Trial(Rehearsal(), 310.0, 7.0, 45.0, small, 1),
    ]
    together = rehearse_all(trials)
    assert together == [rehearse_all([trial])[0] for trial in trials]
    assert together[2] == smooth_one


def test_a_smooth_load_learns_that_little_headroom_will_do() -> None:
    state = rehearse(smooth, minutes=30)
    assert state.factor <= 1.1
    assert held_count(state) == 5
    assert late_ratio(state) <= TEN_EACH.allowed_late_ratio * 1.5


def test_repeated_bursts_learn_to_be_ready_for_the_next() -> None:
    state = rehearse(bursts, minutes=59.5)
    calm = rehearse(lambda _: 30.0, minutes=59.5)
    assert held_count(state) > held_count(calm)
    assert state.factor * state.hold_s > calm.factor * calm.hold_s
    still_there = TEN_EACH.limits_per_s[held_count(state)]
    assert still_there >= 120.0, "half a minute before the next burst, there is what gets through it"


def test_a_slower_start_is_never_worth_less_headroom() -> None:
    """A ramp of 1 request/s every 10 s: what is ready after 5 s of a start and after 90 s of one."""

    def ramp(now_s: float) -> float:
        return 20.0 + now_s % 600 / 10

    quick, slow = (rehearse(ramp, minutes=40, horizon_s=horizon_s) for horizon_s in (5.0, 90.0))
    assert quick.need_per_s <= slow.need_per_s


def test_of_two_that_are_equally_late_the_cheaper_is_chosen() -> None:
    """Without any load nobody is late, and the candidates differ in cost by what they hold alone."""
    state = rehearse(lambda now_s: 90.0 if now_s < 20 else 0.0, minutes=50)
    table = table_of(state.shown)
    costs = dict(zip(CANDIDATES, table[COST], strict=True))
    late = dict(zip(CANDIDATES, table[LATE], strict=True))
    chosen = CANDIDATES[state.chosen]
    as_good = [one for one in CANDIDATES if late[one] <= late[chosen]]
    assert costs[chosen] <= min(costs[one] for one in as_good) / 0.97
    assert state.need_per_s == 0.0


def test_candidates_that_cost_the_same_do_not_take_turns() -> None:
    chosen = []
    state = Rehearsal.begin(0.0, 45.0, 45.0, TEN_EACH)
    for number in range(1, 12 * 60):
        state = tick(state, 5.0 * number, 45.0 + number % 2)
        chosen.append(state.chosen)
    changes = sum(before != after for before, after in pairwise(chosen))
    assert changes <= len(FACTORS) + len(HOLDS_S)
    assert len(set(chosen[-360:])) == 1


def test_a_load_nobody_can_bear_is_not_bought_at_any_price() -> None:
    """The whole fleet bears 30 requests/s and 300 come: more headroom helps nobody."""
    small = Bearable(
        rates_per_s=(0.0, 10.0, 20.0, 30.0), limits_per_s=(0.0, 15.0, 30.0, 45.0), slack_s=0.2, allowed_late_ratio=0.03
    )
    state = rehearse(lambda _: 300.0, minutes=10, bearable=small)
    assert small.count(state.need_per_s) == 3
