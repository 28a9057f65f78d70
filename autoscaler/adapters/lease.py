"""Leadership by a Kubernetes Lease: of several autoscalers, one changes things."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from autoscaler.ports import Unavailable
from vgpu.adapters import kube
from vgpu.adapters.kube_lease import Claim, Lease, Leases

NAME = "vgpu-serve-autoscaler"
# As Kubernetes' own controllers: long enough for a write that was begun under it, requests take 10 s at most.
SHORTEST_S = 15


class LeaseLeadership:
    """One candidate for the Lease of a namespace."""

    def __init__(self, leases: Leases, *, namespace: str, holder: str, interval_s: float) -> None:
        """The lease outlasts two ticks, so that it does not change hands between two ticks of a healthy leader."""
        duration_s = max(SHORTEST_S, round(2 * interval_s) + SHORTEST_S)
        self._lease = Lease(leases, Claim(namespace=namespace, name=NAME, holder=holder, duration_s=duration_s))

    def is_held(self, now_s: float) -> bool:
        """Take or renew the lease. Raises `Unavailable`."""
        with _unavailable():
            return self._lease.renew(now_s=now_s, wall=datetime.now(UTC))

    def close(self) -> None:
        """Free the lease, so that the next holder need not wait; one that cannot be freed runs out."""
        try:
            self._lease.release(wall=datetime.now(UTC))
        except kube.Unavailable:
            return


@contextmanager
def _unavailable() -> Iterator[None]:
    try:
        yield
    except (kube.Unavailable, kube.NotFound, kube.Conflict) as error:
        raise Unavailable(error.what, error.why) from error
