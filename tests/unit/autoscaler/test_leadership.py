"""Of several autoscalers one writes: who does not hold the lease, or has just lost it, changes nothing."""

import pytest

from autoscaler.adapters.lease import NAME, LeaseLeadership
from autoscaler.ports import Unavailable
from tests.fakes.leases import MemoryLeases
from tests.unit.autoscaler.whole import BUSY, whole


def candidate(leases: MemoryLeases, holder: str, *, interval_s: float = 2.0) -> LeaseLeadership:
    return LeaseLeadership(leases, namespace="default", holder=holder, interval_s=interval_s)


def test_one_of_two_candidates_leads_and_the_other_follows_when_it_is_silent_for_long() -> None:
    leases = MemoryLeases()
    one, other = candidate(leases, "one"), candidate(leases, "other")
    assert one.is_held(0.0)
    # Unchanged under its own eyes for 19 s: twice the interval and 15 s.
    assert [other.is_held(at_s) for at_s in (1.0, 10.0, 19.9)] == [False, False, False]
    assert other.is_held(20.0)
    assert not one.is_held(20.1)
    assert leases.held[NAME]["spec"]["holderIdentity"] == "other"


def test_a_leader_that_stops_in_order_is_followed_at_once() -> None:
    leases = MemoryLeases()
    one, other = candidate(leases, "one"), candidate(leases, "other")
    assert one.is_held(0.0)
    assert not other.is_held(1.0)
    one.close()
    assert other.is_held(2.0)


def test_a_lease_that_cannot_be_read_is_unavailable_and_stopping_goes_on() -> None:
    leases = MemoryLeases(is_away=True)
    leadership = candidate(leases, "one")
    with pytest.raises(Unavailable, match="timed out"):
        leadership.is_held(0.0)
    leadership.close()


def test_a_lease_outlasts_two_ticks_of_a_slow_loop() -> None:
    leases = MemoryLeases()
    candidate(leases, "one", interval_s=300.0).is_held(0.0)
    assert leases.held[NAME]["spec"]["leaseDurationSeconds"] == 615


def test_a_follower_decides_and_changes_nothing() -> None:
    around = whole(load=BUSY)
    around.leadership.held = False
    ticks = around.run(20)
    assert around.changes == []
    assert all(tick.dry_run for tick in ticks)
    assert any(tick.plan and tick.plan.actions for tick in ticks)


def test_who_cannot_renew_changes_nothing_and_says_why() -> None:
    around = whole(load=BUSY)
    around.leadership.is_away = True
    ticks = around.run(20)
    assert around.changes == []
    why = "lease: the API server is away; nothing is changed until the lease can be renewed"
    assert {tick.problems for tick in ticks} == {(why,)}


def test_a_dry_run_does_not_take_the_lease() -> None:
    around = whole(load=BUSY, dry_run=True)
    around.run(20)
    assert around.leadership.asked.total() == 0
