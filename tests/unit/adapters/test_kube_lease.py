"""A lease has one holder at a time, whatever the wall clocks say."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from vgpu.adapters.kube_errors import Conflict, NotFound, Unavailable
from vgpu.adapters.kube_lease import Claim, Lease

_WALL = datetime(2027, 1, 15, 8, tzinfo=UTC)


@dataclass
class _Leases:
    """One lease under optimistic concurrency; `before_write` runs between a candidate's read and its write."""

    held: Any = None
    version: int = 0
    before_write: list[Any] = field(default_factory=list)
    broken: bool = False

    def read_lease(self, namespace: str, name: str) -> Any:
        if self.broken:
            raise Unavailable("read", "500")
        if self.held is None:
            raise NotFound("read", name)
        return self.held

    def create_lease(self, namespace: str, manifest: Any) -> Any:
        self._interfere()
        if self.held is not None:
            raise Conflict("create", "exists")
        return self._write(manifest)

    def replace_lease(self, namespace: str, manifest: Any) -> Any:
        self._interfere()
        if manifest["metadata"]["resourceVersion"] != str(self.version):
            raise Conflict("replace", "stale")
        return self._write(manifest)

    def _interfere(self) -> None:
        if self.before_write:
            self.before_write.pop(0)()

    def _write(self, manifest: Any) -> Any:
        self.version += 1
        self.held = manifest | {"metadata": manifest["metadata"] | {"resourceVersion": str(self.version)}}
        return self.held

    @property
    def holder(self) -> str:
        return str(self.held["spec"]["holderIdentity"])


def _lease(leases: _Leases, holder: str) -> Lease:
    return Lease(leases, Claim(namespace="default", name="leader", holder=holder, duration_s=15))


def test_a_lease_that_is_not_there_is_taken() -> None:
    leases = _Leases()
    assert _lease(leases, "a").renew(now_s=0.0, wall=_WALL)
    assert leases.held["spec"] == {
        "holderIdentity": "a",
        "leaseDurationSeconds": 15,
        "acquireTime": "2027-01-15T08:00:00.000000Z",
        "renewTime": "2027-01-15T08:00:00.000000Z",
        "leaseTransitions": 0,
    }


def test_a_renewal_keeps_the_time_of_acquisition() -> None:
    leases = _Leases()
    lease = _lease(leases, "a")
    lease.renew(now_s=0.0, wall=_WALL)
    assert lease.renew(now_s=5.0, wall=_WALL.replace(second=5))
    spec = leases.held["spec"]
    assert (spec["acquireTime"], spec["renewTime"]) == ("2027-01-15T08:00:00.000000Z", "2027-01-15T08:00:05.000000Z")


def test_a_lease_is_lost_only_after_its_whole_duration_under_our_eyes() -> None:
    leases = _Leases()
    _lease(leases, "a").renew(now_s=0.0, wall=_WALL)
    second = _lease(leases, "b")
    outcomes = [(now_s, second.renew(now_s=now_s, wall=_WALL)) for now_s in (100.0, 110.0, 114.9, 115.0)]
    assert outcomes == [(100.0, False), (110.0, False), (114.9, False), (115.0, True)]
    assert (leases.holder, leases.held["spec"]["leaseTransitions"]) == ("b", 1)


def test_a_wrong_wall_clock_takes_nothing_from_anybody() -> None:
    leases = _Leases()
    _lease(leases, "a").renew(now_s=0.0, wall=_WALL.replace(year=2020))
    assert not _lease(leases, "b").renew(now_s=0.0, wall=_WALL.replace(year=2030))
    assert leases.holder == "a"


def test_a_holder_that_renews_is_never_overtaken() -> None:
    leases = _Leases()
    first, second = _lease(leases, "a"), _lease(leases, "b")
    for turn in range(10):
        assert first.renew(now_s=turn * 10.0, wall=_WALL.replace(minute=turn))
        assert not second.renew(now_s=turn * 10.0 + 5.0, wall=_WALL)


def test_of_two_that_try_at_once_one_wins() -> None:
    leases = _Leases()
    second = _lease(leases, "b")
    leases.before_write = [lambda: second.renew(now_s=0.0, wall=_WALL)]
    assert not _lease(leases, "a").renew(now_s=0.0, wall=_WALL)
    assert leases.holder == "b"


def test_a_released_lease_is_taken_without_waiting() -> None:
    leases = _Leases()
    first, second = _lease(leases, "a"), _lease(leases, "b")
    first.renew(now_s=0.0, wall=_WALL)
    assert not second.renew(now_s=1.0, wall=_WALL)
    first.release(wall=_WALL)
    assert second.renew(now_s=2.0, wall=_WALL)


def test_only_the_holder_releases() -> None:
    leases = _Leases()
    _lease(leases, "a").renew(now_s=0.0, wall=_WALL)
    _lease(leases, "b").release(wall=_WALL)
    assert leases.holder == "a"
    _lease(_Leases(), "b").release(wall=_WALL)  # there is none at all


def test_trouble_with_the_server_is_not_an_answer() -> None:
    leases = _Leases(broken=True)
    with pytest.raises(Unavailable):
        _lease(leases, "a").renew(now_s=0.0, wall=_WALL)


@pytest.mark.parametrize(
    ("claim", "field_named"),
    [({"duration_s": 0, "holder": "a"}, "duration_s"), ({"duration_s": 5, "holder": ""}, "holder")],
)
def test_a_claim_that_makes_no_sense_is_refused(claim: Any, field_named: str) -> None:
    with pytest.raises(ValueError, match=field_named):
        Claim(namespace="default", name="leader", **claim)
