"""Who acts: the holder of the lease, for as long as what it sends ends before the lease does."""

import threading

import pytest

from tests.fakes.leases import MemoryLeases
from vgpu.switcher.leading import LEASE_S, NAME, TIMEOUT_S, Leading


class Candidates:
    """Two candidates on one lease, and one clock."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.leases = MemoryLeases()
        self.one, self.other = (
            Leading(self.leases, namespace="default", holder=holder, clock=lambda: self.now_s)
            for holder in ("one", "other")
        )


@pytest.fixture
def two() -> Candidates:
    return Candidates()


def test_nobody_acts_before_it_holds_the_lease(two: Candidates) -> None:
    assert not two.one.may_act()
    two.one.renew()
    two.other.renew()
    assert (two.one.may_act(), two.other.may_act()) == (True, False)
    assert two.leases.held[NAME]["spec"]["holderIdentity"] == "one"


def test_a_holder_that_cannot_renew_stops_in_time(two: Candidates) -> None:
    """Two calls of `TIMEOUT_S` before the lease ends: one may be on its way, with its answer lost."""
    two.one.renew()
    two.leases.is_away = True
    two.now_s += LEASE_S - 2 * TIMEOUT_S - 0.1
    two.one.renew()
    assert two.one.may_act()
    two.now_s += 0.2
    assert not two.one.may_act()
    two.leases.is_away = False
    two.one.renew()
    assert two.one.may_act()


def test_there_are_never_two(two: Candidates) -> None:
    two.one.renew()
    for _ in range(40):
        two.now_s += 1.0
        two.other.renew()
        assert not (two.one.may_act() and two.other.may_act())
    assert two.other.may_act()
    two.one.renew()
    assert not two.one.may_act()


def test_who_stops_lets_the_next_one_have_it_at_once(two: Candidates) -> None:
    two.one.renew()
    two.one.release()
    two.other.renew()
    assert (two.one.may_act(), two.other.may_act()) == (False, True)


def test_a_lease_that_cannot_be_freed_is_no_fault(two: Candidates, caplog: pytest.LogCaptureFixture) -> None:
    two.one.renew()
    two.leases.is_away = True
    two.one.release()
    assert not two.one.may_act()
    assert "it runs out by itself" in caplog.text


def test_it_runs_until_it_is_stopped(two: Candidates) -> None:
    stopped = threading.Event()
    thread = threading.Thread(target=lambda: two.one.run(stopped))
    thread.start()
    stopped.set()
    thread.join(5)
    assert not thread.is_alive()
