"""Which of several switchers acts: the one that holds the lease, and only while it is sure to."""

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from vgpu.adapters.kube_errors import Conflict, NotFound, Unavailable
from vgpu.adapters.kube_lease import Claim, Lease, Leases

log = logging.getLogger(__name__)

NAME = "vgpu-serve-switcher"
LEASE_S = 15  # as Kubernetes' own controllers
RENEW_EVERY_S = 2.0
TIMEOUT_S = 4.0  # of one call of the API: what was sent under the lease has arrived before another may hold it
_MARGIN_S = 2 * TIMEOUT_S


class Leading:
    """One candidate. One thread runs it; any asks `may_act`."""

    def __init__(
        self, leases: Leases, *, namespace: str, holder: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._lease = Lease(leases, Claim(namespace=namespace, name=NAME, holder=holder, duration_s=LEASE_S))
        self._clock = clock
        self._until_s = float("-inf")

    def may_act(self) -> bool:
        """Whether what is sent now ends before the lease does."""
        return self._clock() + _MARGIN_S < self._until_s

    def run(self, stopped: threading.Event) -> None:
        """Renew until stopped, then let the next one have it at once."""
        while not stopped.is_set():
            self.renew()
            stopped.wait(RENEW_EVERY_S)

    def renew(self) -> None:
        """Take or renew the lease once."""
        asked_s = self._clock()
        try:
            held = self._lease.renew(now_s=asked_s, wall=datetime.now(UTC))
        except (Unavailable, Conflict, NotFound) as fault:
            log.warning("cannot renew the lease: %s", fault)
            return
        was_held = self._until_s > asked_s
        if held != was_held:
            log.info("this switcher leads" if held else "another switcher leads")
        self._until_s = asked_s + LEASE_S if held else float("-inf")

    def release(self) -> None:
        """Free the lease; one that cannot be freed runs out."""
        self._until_s = float("-inf")
        try:
            self._lease.release(wall=datetime.now(UTC))
        except Unavailable as fault:
            log.warning("the lease could not be freed, it runs out by itself: %s", fault)
