"""Holds a lease: at most one holder at a time, told by what this process saw change and not by comparing wall clocks.

A lease of someone else counts as lost by them only after it stayed unchanged, under our eyes, for its whole duration on
our monotonic clock; a wrong wall clock can therefore never make two holders.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from vgpu.adapters.kube_errors import Conflict, NotFound

Json = dict[str, Any]


class Leases(Protocol):
    """Where leases are kept; `Kube` is one."""

    def read_lease(self, namespace: str, name: str) -> Json:
        """Read; raise NotFound or Unavailable."""

    def create_lease(self, namespace: str, manifest: Json) -> Json:
        """Create; raise Conflict or Unavailable."""

    def replace_lease(self, namespace: str, manifest: Json) -> Json:
        """Replace the version named in the manifest; raise Conflict, NotFound or Unavailable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Which lease, for whom, and how long it holds without renewal."""

    namespace: str
    name: str
    holder: str
    duration_s: int

    def __post_init__(self) -> None:
        if self.duration_s < 1:
            raise ValueError(f"duration_s: {self.duration_s} must be 1 or more")
        if not self.holder:
            raise ValueError("holder: must not be empty; an empty holder marks a free lease")


class Lease:
    """One claim on one lease."""

    def __init__(self, leases: Leases, claim: Claim) -> None:
        self._leases = leases
        self._claim = claim
        self._seen: tuple[Json, float] | None = None  # another holder's spec, and since when it has been so

    def renew(self, *, now_s: float, wall: datetime) -> bool:
        """Take or renew the lease; tell whether it is held now.

        `now_s` is monotonic and decides; `wall` is only written down. Raise Unavailable.
        """
        claim = self._claim
        try:
            lease = self._leases.read_lease(claim.namespace, claim.name)
        except NotFound:
            return self._written(self._manifest({}, {}, wall))
        spec = lease.get("spec") or {}
        if not self._may_take(spec, now_s):
            return False
        return self._written(self._manifest(lease["metadata"], spec, wall))

    def release(self, *, wall: datetime) -> None:
        """Free the lease, if it is ours, so that the next holder need not wait; raise Unavailable."""
        claim = self._claim
        try:
            lease = self._leases.read_lease(claim.namespace, claim.name)
            if lease["spec"].get("holderIdentity") == claim.holder:
                spec = lease["spec"] | {"holderIdentity": "", "renewTime": render_time(wall), "leaseDurationSeconds": 1}
                self._leases.replace_lease(claim.namespace, lease | {"spec": spec})
        except (Conflict, NotFound):
            return  # no longer ours to free

    def _may_take(self, spec: Json, now_s: float) -> bool:
        if spec.get("holderIdentity", "") in ("", self._claim.holder):
            self._seen = None
            return True
        if self._seen is None or self._seen[0] != spec:
            self._seen = (spec, now_s)
        return now_s - self._seen[1] >= (spec.get("leaseDurationSeconds") or self._claim.duration_s)

    def _manifest(self, about: Json, spec: Json, wall: datetime) -> Json:
        claim, now = self._claim, render_time(wall)
        is_ours = spec.get("holderIdentity") == claim.holder
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {**about, "name": claim.name, "namespace": claim.namespace},
            "spec": {
                "holderIdentity": claim.holder,
                "leaseDurationSeconds": claim.duration_s,
                "acquireTime": spec.get("acquireTime", now) if is_ours else now,
                "renewTime": now,
                "leaseTransitions": (spec.get("leaseTransitions") or 0) + (not is_ours and bool(spec)),
            },
        }

    def _written(self, manifest: Json) -> bool:
        write = self._leases.replace_lease if "resourceVersion" in manifest["metadata"] else self._leases.create_lease
        try:
            write(self._claim.namespace, manifest)
        except (Conflict, NotFound):
            return False
        return True


def render_time(wall: datetime) -> str:
    """Write a time as a lease's MicroTime."""
    return wall.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
