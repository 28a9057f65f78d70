"""Work that takes minutes: one piece for a machine, a few at once, and failures that are heard later."""

import threading
from collections.abc import Callable

import pytest

from tests.fakes.clock import VirtualClock
from tests.fakes.waiting import eventually
from vgpu.switcher.providers.libvirt_jobs import MOST_AT_ONCE, NEWS_S, Jobs
from vgpu.switcher.providers.port import ProviderError

BOUND_S = 900.0


def make_jobs(clock: VirtualClock, patience_s: float = 0.0) -> Jobs:
    return Jobs(patience_s=patience_s, bound_s=BOUND_S, clock=clock.now_s)


def failing(why: str) -> Callable[[], None]:
    def work() -> None:
        raise ProviderError("suspend vm-1", why, permanent=True)

    return work


def fail_later(jobs: Jobs) -> None:
    """Work on vm-1 that fails when whoever asked for it has gone."""
    go = threading.Event()
    jobs.begin("suspend", "vm-1", lambda: (go.wait(), failing("disk full")())[1])
    go.set()
    ended(jobs, "vm-1")


def ended(jobs: Jobs, machine: str) -> None:
    eventually(lambda: jobs.under_way(machine) is None)


def test_what_fails_at_once_is_heard_at_once() -> None:
    jobs = make_jobs(VirtualClock(), patience_s=10.0)
    with pytest.raises(ProviderError, match="no room"):
        jobs.begin("suspend", "vm-1", failing("no room"))
    jobs.begin("suspend", "vm-1", lambda: None)
    assert jobs.under_way("vm-1") is None


def test_what_fails_later_is_heard_once_by_who_asks_for_the_same() -> None:
    jobs = make_jobs(VirtualClock())
    fail_later(jobs)
    ran = threading.Event()
    with pytest.raises(ProviderError, match="disk full"):
        jobs.begin("suspend", "vm-1", ran.set)
    assert not ran.is_set()
    jobs.begin("suspend", "vm-1", ran.set)
    assert ran.wait(10.0)


def test_what_failed_long_ago_says_nothing_of_the_next_time() -> None:
    clock = VirtualClock()
    jobs = make_jobs(clock)
    fail_later(jobs)
    clock.pass_s(NEWS_S + 1.0)
    jobs.begin("suspend", "vm-1", lambda: None)


def test_other_work_forgets_the_failure_before() -> None:
    jobs = make_jobs(VirtualClock())
    fail_later(jobs)
    jobs.begin("power off", "vm-1", lambda: None)
    ended(jobs, "vm-1")
    jobs.begin("suspend", "vm-1", lambda: None)


def test_what_is_under_way_refuses_everything_else_for_now() -> None:
    clock, go = VirtualClock(), threading.Event()
    jobs = make_jobs(clock)
    jobs.begin("suspend", "vm-1", lambda: (go.wait(), None)[1])
    clock.pass_s(30.0)
    assert jobs.refusal("suspend", "vm-1") is None
    assert jobs.refusal("power on", "vm-2") is None
    other = jobs.refusal("power on", "vm-1")
    assert (str(other), other and other.permanent) == ("power on vm-1: suspend is under way since 30 s", False)
    assert not jobs.is_late("vm-1")
    clock.pass_s(BOUND_S)
    late = jobs.refusal("suspend", "vm-1")
    assert (str(late), late and late.permanent) == ("suspend vm-1: not done after 900 s; given up", False)
    assert jobs.is_late("vm-1")
    jobs.give_up("vm-1")
    assert jobs.refusal("suspend", "vm-1") is None
    assert not jobs.is_late("vm-1")
    go.set()


def test_a_daemon_keeps_room_for_questions() -> None:
    """It works on five calls of a client at once: sixteen guests that are saved together would leave none."""
    jobs, go = make_jobs(VirtualClock()), threading.Event()
    begun: list[str] = []
    machines = [f"vm-{index}" for index in range(16)]
    for machine in machines:
        jobs.begin("suspend", machine, lambda name=machine: (begun.append(name), go.wait(), None)[2])
    eventually(lambda: len(begun) == MOST_AT_ONCE)
    assert all(jobs.under_way(machine) for machine in machines)
    go.set()
    for machine in machines:
        ended(jobs, machine)
    assert sorted(begun) == sorted(machines)
