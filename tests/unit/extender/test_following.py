"""What keeps the desk up to date: watches, the lease and comparisons, one step at a time and without threads."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from tests.fakes.leases import MemoryLeases
from tests.unit.extender import build
from tests.unit.extender.cluster import MemoryCluster
from vgpu.adapters.kube_errors import Unavailable
from vgpu.adapters.kube_lease import Claim, Lease
from vgpu.adapters.kube_verbs import Event, Subject
from vgpu.adapters.kube_watch import Delta, DeltaKind
from vgpu.core import request
from vgpu.extender.desk import Desk
from vgpu.extender.events import Teller
from vgpu.extender.following import Comparing, Leading, follow_nodes, follow_pods
from vgpu.extender.metrics import Tally
from vgpu.extender.readiness import LEASE_S, Readiness
from vgpu.extender.service import Extender


class Rig:
    """An extender whose watches and clock are the test's."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.cluster, self.leases, self.registry = MemoryCluster(), MemoryLeases(), CollectorRegistry()
        self.readiness = Readiness(clock=self.clock)
        self.extender = Extender(
            Desk(),
            self.cluster,
            readiness=self.readiness,
            tally=Tally(self.registry),
            tell=self.cluster.told.append,
            clock=self.clock,
        )
        self.leading = Leading(self.extender, self.lease("us"), self.clock)
        self.comparing = Comparing(self.extender, self.clock, unix_s=lambda: 1.5e9)

    def clock(self) -> float:
        return self.now_s

    def lease(self, holder: str) -> Lease:
        return Lease(self.leases, Claim(namespace="ns", name="lease", holder=holder, duration_s=LEASE_S))

    def renewed_by(self, holder: str) -> bool:
        return self.lease(holder).renew(now_s=self.now_s, wall=datetime(2027, 1, 15, tzinfo=UTC))

    def lead(self) -> None:
        self.readiness.synced |= {"nodes", "pods"}
        self.leading.step()

    def drift(self) -> float | None:
        return self.registry.get_sample_value("vgpu_ledger_drift_pods")


class Told:
    """A watch that has this to tell."""

    def __init__(self, *deltas: Delta) -> None:
        self._deltas = deltas

    def deltas(self) -> Iterator[Delta]:
        yield from self._deltas


def added(item: Any) -> Delta:
    return Delta(kind=DeltaKind.ADDED, item=item)


def deleted(item: Any) -> Delta:
    return Delta(kind=DeltaKind.DELETED, item=item)


SYNCED = Delta(kind=DeltaKind.SYNCED, item={})
ALLOCATED = build.bound(
    build.share("p", 600), "n", {"vgpu-serve.io/allocation": "v1 n main=600:9830@0/GPU-n-0"}
)  # fmt: skip


@pytest.fixture
def rig() -> Rig:
    return Rig()


def watch(*deltas: Delta) -> Any:
    return Told(*deltas)


def test_the_first_list_makes_the_books_and_readiness_follows_the_lease(rig: Rig) -> None:
    follow_nodes(rig.extender, watch(added(build.node("n", 16384)), SYNCED))
    assert rig.readiness.why_not() == "the pods have not been read yet"
    follow_pods(rig.extender, watch(added(ALLOCATED), SYNCED), rig.clock)
    assert rig.extender.desk.ledger.free_units("n") == (400,)
    assert rig.readiness.why_not() == "another process leads"
    rig.cluster.api.pods["default/p"] = ALLOCATED
    rig.leading.step()
    assert rig.readiness.why_not() == ""


def test_nodes_and_pods_that_go_are_taken_off_the_books(rig: Rig) -> None:
    node = build.node("n", 16384)
    follow_nodes(rig.extender, watch(added(node)))
    follow_pods(rig.extender, watch(added(ALLOCATED), deleted(ALLOCATED)), rig.clock)
    assert rig.extender.desk.ledger.free_units("n") == (1000,)
    follow_nodes(rig.extender, watch(deleted(node)))
    assert dict(rig.extender.desk.ledger.offers) == {}


def test_winning_the_lease_reads_the_pods_once_more(rig: Rig) -> None:
    """The watch has not delivered what the former leader bound last."""
    follow_nodes(rig.extender, watch(added(build.node("n", 16384)), SYNCED))
    rig.cluster.api.pods["default/p"] = ALLOCATED
    rig.lead()
    assert rig.extender.desk.ledger.free_units("n") == (400,)


def test_a_leader_that_cannot_read_the_pods_is_not_ready_and_tries_again(rig: Rig) -> None:
    rig.cluster.fail_next = Unavailable("GET pods", "refused")
    rig.lead()
    assert rig.readiness.why_not() == "the ledger is being rebuilt from the pods"
    rig.leading.step()
    assert rig.readiness.why_not() == ""


def test_a_follower_waits_and_takes_over_after_the_lease(rig: Rig) -> None:
    assert rig.renewed_by("them")
    rig.lead()
    assert rig.readiness.why_not() == "another process leads"
    rig.now_s += LEASE_S
    rig.leading.step()
    assert rig.readiness.why_not() == ""


def test_a_lease_that_is_lost_takes_the_promises_with_it(rig: Rig) -> None:
    follow_nodes(rig.extender, watch(added(build.node("n", 16384)), SYNCED))
    rig.lead()
    rig.extender.desk.decide(request.parse_request(build.share("q", 500)), ["n"], rig.now_s)
    rig.leases.held["lease"]["spec"]["holderIdentity"] = "them"
    rig.leading.step()
    assert rig.readiness.why_not() == "another process leads"
    assert rig.extender.desk.ledger.free_units("n") == (1000,)


def test_an_api_server_that_is_away_costs_the_lead_only_when_the_lease_ends(rig: Rig) -> None:
    rig.lead()
    rig.leases.is_away = True
    rig.now_s += 5.0
    rig.leading.step()
    assert rig.readiness.why_not() == ""
    rig.now_s += 5.0
    assert rig.readiness.why_not() == "the lease could not be renewed in time"
    rig.now_s += 5.0
    rig.leading.step()
    assert rig.readiness.why_not() == "another process leads"


def test_a_lease_taken_back_after_it_ended_is_a_new_one(rig: Rig) -> None:
    """Somebody may have led and bound in between, even where the lease names nobody by now."""
    follow_nodes(rig.extender, watch(added(build.node("n", 16384)), SYNCED))
    rig.lead()
    rig.now_s += LEASE_S
    rig.cluster.api.pods["default/p"] = ALLOCATED
    rig.leading.step()
    assert rig.readiness.why_not() == ""
    assert rig.extender.desk.ledger.free_units("n") == (400,)


def test_the_lease_is_free_once_the_leader_has_ended(rig: Rig) -> None:
    rig.lead()
    stopped = threading.Event()
    stopped.set()
    rig.leading.run(stopped)
    assert rig.readiness.why_not() != ""
    assert rig.leases.held["lease"]["spec"]["holderIdentity"] == ""


def test_a_comparison_finds_nothing_or_says_how_much(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vgpu.extender.binding.LOOK_AGAIN_AFTER_S", 0.0)
    follow_nodes(rig.extender, watch(added(build.node("n", 16384)), SYNCED))
    rig.lead()
    rig.comparing.compare()
    assert rig.drift() == 0.0
    rig.cluster.api.pods["default/p"] = ALLOCATED  # no watch tells
    rig.comparing.compare()
    assert rig.drift() == 1.0
    assert rig.extender.desk.ledger.free_units("n") == (400,)
    rig.comparing.compare()
    assert rig.drift() == 0.0


def test_a_gap_in_the_watch_is_made_up_for_and_is_no_drift(rig: Rig) -> None:
    follow_nodes(rig.extender, watch(added(build.node("n", 16384)), SYNCED))
    follow_pods(rig.extender, watch(added(ALLOCATED), SYNCED), rig.clock)
    rig.cluster.api.pods["default/p"] = ALLOCATED
    rig.lead()
    assert not rig.extender.is_relisted
    rig.cluster.api.pods.clear()
    follow_pods(rig.extender, watch(SYNCED), rig.clock)
    rig.cluster.fail_next = Unavailable("GET pods", "refused")
    rig.comparing.catch_up()
    assert rig.extender.is_relisted
    rig.comparing.catch_up()
    assert rig.extender.desk.ledger.free_units("n") == (1000,)
    assert not rig.extender.is_relisted


def test_only_the_leader_tells_about_pods_that_are_wrong(rig: Rig) -> None:
    wrong = build.share("w", 1500)
    follow_pods(rig.extender, watch(added(wrong)), rig.clock)
    assert rig.cluster.told == []
    rig.lead()
    follow_pods(rig.extender, watch(added(wrong)), rig.clock)
    (event,) = rig.cluster.told
    assert event.message.startswith("pod default/w, container main: nvidia.com/vgpu is 1500")


# Events.


def event(message: str) -> Event:
    return Event(subject=Subject(kind="Pod", name="p", uid="u"), reason="R", message=message, component="c")


def test_an_event_is_written_once_and_a_failure_ends_nothing() -> None:
    cluster = MemoryCluster(fail_next=Unavailable("POST events", "refused"))
    teller = Teller(cluster)
    for message in ("lost", "a", "b", "a"):
        teller.tell(event(message))
    teller.stop()
    teller.run()
    assert cluster.told == [event("a"), event("b")]
    for message in ("lost", "a"):
        teller.tell(event(message))
    teller.stop()
    teller.run()
    assert cluster.told == [event("a"), event("b"), event("lost")]
