"""Whether this process may decide now: the books are complete and it leads, with time left for a Binding to arrive.

A Binding that was sent before the lease ran out must not arrive after the next leader has read the pods. A request ends
within `CALL_S` either way, so nothing is sent in the last `CALL_S` of the lease.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

LEASE_S = 15  # as Kubernetes' own controllers
RENEW_EVERY_S = 2.0
TIMEOUT_S = 4.0  # of one call: to connect, and again until the answer begins
CALL_S = 2 * TIMEOUT_S

WATCHED = ("nodes", "pods")


@dataclass(slots=True)
class Readiness:
    """Written by the threads that watch and lead, read by all; each field by one thread only."""

    clock: Callable[[], float]
    synced: set[str] = field(default_factory=set)
    leads_until_s: float | None = None
    is_rebuilt: bool = False

    def why_not(self) -> str:
        """Say why nothing is decided here now; empty where it is."""
        for what in WATCHED:
            if what not in self.synced:
                return f"the {what} have not been read yet"
        if self.leads_until_s is None:
            return "another process leads"
        if not self.is_rebuilt:
            return "the ledger is being rebuilt from the pods"
        if not self.may_write():
            return "the lease could not be renewed in time"
        return ""

    def may_write(self) -> bool:
        """Tell whether a Binding that is sent now ends before the lease does."""
        return self.leads_until_s is not None and self.clock() + CALL_S < self.leads_until_s
