"""What ticks teach beside the cost of a batch: starts, the shape of arrivals, and trust in the formulas."""

import math
from random import Random

import pytest

from autoscaler.core.learning import (
    GOAL_RATIO,
    KEPT_STARTS,
    LEAST_TRIM,
    LEAST_VARIATION,
    MOST_TRIM,
    MOST_VARIATION,
    WARM_UP_S,
    WORST_JUDGED_RATIO,
    Jumps,
    Learned,
    Trust,
)
from autoscaler.core.replicas import Arrivals, FreshReplica, last_arrivals
from tests import build


def came(count: int, *, replicas: int = 1, over_s: float = 5.0) -> Arrivals:
    """So many requests in the last tick, divided over the replicas."""
    made = []
    for index in range(replicas):
        part = count // replicas + (index < count % replicas)
        window = build.window(
            build.sample(f"r{index}", 0.0), build.sample(f"r{index}", over_s, build.counters({50: part}))
        )
        made.append(FreshReplica(replica_id=f"r{index}", slot_id="n1/0", age_s=0.0, samples=window))
    return last_arrivals(made)


def test_a_replica_teaches_once_it_is_warm() -> None:
    learned = Learned().with_running(["r1"], 0.0).with_running(["r1", "r2"], 15.0)
    assert learned.warm(WARM_UP_S - 0.1) == frozenset()
    assert learned.warm(WARM_UP_S) == {"r1"}
    assert learned.warm(15.0 + WARM_UP_S) == {"r1", "r2"}


def test_a_replica_that_comes_back_warms_up_again() -> None:
    learned = Learned().with_running(["r1"], 0.0).with_running([], 50.0).with_running(["r1"], 60.0)
    assert learned.warm(70.0) == frozenset()


def test_a_start_takes_from_the_wish_to_the_running_replica() -> None:
    learned = Learned().with_running(["r1"], 0.0).with_asked(3, 1, 100.0)
    assert learned.slowest_start_s == 0.0
    learned = learned.with_running(["r1", "r2"], 130.0)
    assert (learned.starts_s, learned.asked) == ((), ((100.0, 3),)), "the third is still awaited"
    learned = learned.with_running(["r1", "r2", "r3"], 142.0)
    assert (learned.starts_s, learned.asked) == ((42.0,), ())
    assert learned.slowest_start_s == 42.0


def test_wishes_for_more_are_timed_each_from_its_own_moment() -> None:
    learned = Learned().with_running(["r1"], 0.0).with_asked(2, 1, 10.0).with_asked(3, 1, 20.0)
    assert learned.with_running(["r1", "r2"], 50.0).with_running(["r1", "r2", "r3"], 55.0).starts_s == (40.0, 35.0)


def test_a_wish_that_was_taken_back_is_no_start() -> None:
    learned = Learned().with_running(["r1"], 0.0).with_asked(3, 1, 10.0).with_asked(1, 1, 20.0)
    assert learned.with_running(["r1", "r2", "r3"], 50.0).starts_s == ()


def test_only_the_last_starts_count_and_nearly_the_slowest_of_them() -> None:
    learned = Learned()
    for index in range(15):
        learned = learned.with_asked(1, 0, 100.0 * index).with_running(["r"], 100.0 * index + index + 1)
        learned = learned.with_running([], 100.0 * index + 50)
    assert learned.starts_s == tuple(float(index) for index in range(6, 16))
    assert len(learned.starts_s) == KEPT_STARTS
    assert learned.slowest_start_s == 14.0


BROKEN, KEPT = WORST_JUDGED_RATIO, 0.0
FORETOLD = 0.02


def trimmed(
    trust: Trust, late_ratio: float | None, *, since_s: float, seconds: int, foretold: float = FORETOLD
) -> Trust:
    for second in range(seconds):
        trust = trust.judged(late_ratio, foretold, since_s + second)
    return trust


def test_formulas_that_were_too_kind_are_believed_less_and_slowly_more_again() -> None:
    worse = trimmed(Trust(), BROKEN, since_s=0.0, seconds=61)
    assert 1.1 < worse.trim < MOST_TRIM
    turned = trimmed(worse, KEPT, since_s=61.0, seconds=300)
    better = trimmed(turned, KEPT, since_s=361.0, seconds=60)
    assert better.trim < turned.trim
    assert turned.trim / better.trim < worse.trim, "trust comes back more slowly than it goes"


def test_it_rests_where_the_formulas_tell_the_truth() -> None:
    worse = trimmed(Trust(), BROKEN, since_s=0.0, seconds=61)._replace(missed_ratio=0.0)
    assert trimmed(worse, 0.04, since_s=61.0, seconds=60, foretold=0.04).trim == pytest.approx(worse.trim)


def test_a_fleet_with_little_to_do_teaches_no_trust() -> None:
    assert trimmed(Trust(), 0.0, since_s=0.0, seconds=3000, foretold=0.0).trim == 1.0


def test_some_requests_are_late_by_themselves() -> None:
    assert trimmed(Trust(), GOAL_RATIO, since_s=0.0, seconds=3000, foretold=0.0).trim == 1.0
    assert trimmed(Trust(), 2 * GOAL_RATIO, since_s=0.0, seconds=3000, foretold=0.0).trim > 1.0


def test_a_fleet_that_is_known_to_be_too_small_teaches_no_distrust() -> None:
    assert trimmed(Trust(), 0.9, since_s=0.0, seconds=3000, foretold=0.6).trim == 1.0


def test_the_more_is_late_the_faster_trust_goes() -> None:
    trims = [trimmed(Trust(), late, since_s=0.0, seconds=61).trim for late in (0.05, 0.1, WORST_JUDGED_RATIO, 1.0)]
    assert trims == sorted(trims)
    assert 1.0 < trims[0] < trims[1] < trims[2]
    assert trims[2] == trims[3], "a collapse says no more about the formulas"


def test_trust_has_bounds() -> None:
    assert trimmed(Trust(), BROKEN, since_s=0.0, seconds=3000).trim == MOST_TRIM
    assert trimmed(Trust(), KEPT, since_s=0.0, seconds=3000).trim == LEAST_TRIM


def test_a_time_of_which_nothing_can_be_said_changes_no_trust() -> None:
    worse = trimmed(Trust(), BROKEN, since_s=0.0, seconds=31)
    blind = trimmed(worse, None, since_s=31.0, seconds=100)
    assert (blind.trim, blind.missed_ratio) == (worse.trim, worse.missed_ratio)
    after, before = (each.judged(BROKEN, FORETOLD, at_s) for each, at_s in ((blind, 131.0), (worse, 31.0)))
    assert after.trim == before.trim, "one second and not a hundred"


def test_a_long_pause_is_one_verdict_and_not_many() -> None:
    worse = trimmed(Trust(), BROKEN, since_s=0.0, seconds=31)
    paused, short = (worse.judged(BROKEN, FORETOLD, at_s) for at_s in (3600.0, 40.0))
    assert paused == short._replace(at_s=3600.0)


def poisson(random: Random, mean: float) -> int:
    """Count exponential gaps."""
    count, passed = 0, random.expovariate(1.0)
    while passed < mean:
        count, passed = count + 1, passed + random.expovariate(1.0)
    return count


def varied(counts: list[int]) -> list[float]:
    """The variation after each tick of 5 s."""
    jumps, seen = Jumps(), []
    for count in counts:
        jumps = jumps.with_arrivals(came(count))
        seen.append(jumps.variation)
    return seen


def test_arrivals_by_chance_vary_by_about_one() -> None:
    random = Random(7)
    seen = varied([poisson(random, 100.0) for _ in range(600)])
    assert sum(seen[-480:]) / 480 == pytest.approx(1.0, abs=0.2)


def test_a_clock_varies_less_and_a_pack_more() -> None:
    assert varied([100] * 600)[-1] == LEAST_VARIATION
    random = Random(7)
    packs = [5 * poisson(random, 20.0) for _ in range(600)]
    assert sum(varied(packs)[-480:]) / 480 > 2.5
    assert varied([0, 400] * 300)[-1] == MOST_VARIATION


def test_a_slow_swing_of_the_load_is_no_variation() -> None:
    random = Random(7)
    swing = [poisson(random, 100.0 + 80.0 * math.sin(tick / 60)) for tick in range(600)]
    assert sum(varied(swing)[-480:]) / 480 == pytest.approx(1.0, abs=0.25)


def test_arrivals_are_those_of_all_replicas_together() -> None:
    one = Jumps().with_arrivals(came(100)).with_arrivals(came(160))
    four = Jumps().with_arrivals(came(100, replicas=4)).with_arrivals(came(160, replicas=4))
    assert four == one


def test_a_handful_of_requests_says_nothing_of_variation() -> None:
    assert Jumps().with_arrivals(came(2)).with_arrivals(came(7)).variation == Jumps().variation
