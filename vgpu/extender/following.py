"""Threads that keep the desk up to date: the watches, the lease, and the comparisons with the API server."""

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from vgpu.adapters.kube_errors import Conflict, NotFound, Unavailable
from vgpu.adapters.kube_lease import Lease
from vgpu.adapters.kube_watch import DeltaKind, Reflector
from vgpu.extender import binding
from vgpu.extender.metrics import Outcome
from vgpu.extender.readiness import LEASE_S, RENEW_EVERY_S, WATCHED, Readiness
from vgpu.extender.service import Extender

log = logging.getLogger(__name__)

EXPIRE_EVERY_S = 5.0
RECONCILE_EVERY_S = 30.0
_LOOK_EVERY_S = 0.05  # whether the watches have delivered what there is


def follow_nodes(extender: Extender, watch: Reflector) -> None:
    """Tell the desk of nodes until the watch is stopped."""
    for delta in watch.deltas():
        if delta.kind is DeltaKind.SYNCED:
            extender.readiness.synced.add("nodes")
            continue
        with extender.lock:
            if delta.kind is DeltaKind.DELETED:
                extender.desk.lose_node(delta.item["metadata"]["name"])
            else:
                extender.desk.see_node(delta.item)


def follow_pods(extender: Extender, watch: Reflector, clock: Callable[[], float]) -> None:
    """Tell the desk of pods until the watch is stopped, and their owners of what is wrong with them."""
    for delta in watch.deltas():
        if delta.kind is DeltaKind.SYNCED:
            # A pod that we bound and that was deleted while the watch was away is in no delta: compare once more.
            extender.is_relisted = "pods" in extender.readiness.synced
            extender.readiness.synced.add("pods")
            continue
        problem = ""
        with extender.lock:
            if delta.kind is DeltaKind.DELETED:
                extender.desk.lose_pod(delta.item)
            else:
                problem = extender.desk.see_pod(delta.item, clock())
        if problem and not extender.readiness.why_not():  # one process tells
            if delta.item["spec"].get("nodeName"):
                extender.tally.count(Outcome.MALFORMED)
            extender.complain(delta.item, problem)


class Leading:
    """Holds the lease, and has the ledger rebuilt each time it is won."""

    def __init__(self, extender: Extender, lease: Lease, clock: Callable[[], float]) -> None:
        self._extender, self._lease, self._clock = extender, lease, clock

    def run(self, stopped: threading.Event) -> None:
        """Renew until stopped, then let the next one have it at once; without the books there is nothing to lead."""
        while not (self._extender.readiness.synced.issuperset(WATCHED) or stopped.wait(_LOOK_EVERY_S)):
            pass
        while not stopped.is_set():
            self.step()
            stopped.wait(RENEW_EVERY_S)
        self._give_up()

    def step(self) -> None:
        """Renew once; rebuild where the lease is new or the last try failed."""
        readiness, asked_s = self._extender.readiness, self._clock()
        if readiness.leads_until_s is not None and asked_s >= readiness.leads_until_s:
            self._lose(readiness)  # somebody else may have led since, even if the lease is free again
        try:
            if self._lease.renew(now_s=asked_s, wall=datetime.now(UTC)):
                readiness.leads_until_s = asked_s + LEASE_S
            elif readiness.leads_until_s is not None:
                self._lose(readiness)
        except (Unavailable, Conflict, NotFound) as fault:
            log.warning("cannot renew the lease: %s", fault)
        if readiness.leads_until_s is not None and not readiness.is_rebuilt:
            self._rebuild(readiness)

    def _rebuild(self, readiness: Readiness) -> None:
        """Read all pods once more: the watch may not have delivered what the former leader wrote last."""
        try:
            self._extender.run(binding.rebuild(self._extender.desk, self._clock))
        except Unavailable as fault:
            log.warning("cannot rebuild the ledger: %s", fault)
            return
        readiness.is_rebuilt = True
        log.info("leading; %d pods in the ledger", len(self._extender.desk.ledger.entries))

    def _lose(self, readiness: Readiness) -> None:
        log.warning("the lease is lost")
        readiness.leads_until_s, readiness.is_rebuilt = None, False
        with self._extender.lock:
            self._extender.desk.ledger.drop_assumed()

    def _give_up(self) -> None:
        """Free the lease once no Binding is under way any more."""
        # What is being bound now may still be sent; the answers of new requests say that they come too late.
        self._extender.readiness.is_rebuilt = False
        deadline_s = self._clock() + LEASE_S
        while self._extender.desk.sending and self._clock() < deadline_s:
            time.sleep(0.01)
        try:
            self._lease.release(wall=datetime.now(UTC))
        except Unavailable as fault:
            log.warning("the lease could not be freed, it runs out by itself: %s", fault)


class Comparing:
    """Expires promises every few seconds and compares the books with the API server every half minute."""

    def __init__(self, extender: Extender, clock: Callable[[], float], unix_s: Callable[[], float] = time.time) -> None:
        self._extender, self._clock, self._unix_s = extender, clock, unix_s

    def run(self, stopped: threading.Event) -> None:
        """Work until stopped; only while leading."""
        compared_s = self._clock()
        while not stopped.wait(EXPIRE_EVERY_S):
            if self._extender.readiness.why_not():
                continue
            self._extender.run(binding.expire(self._extender.desk, self._clock))
            self.catch_up()
            if self._clock() - compared_s >= RECONCILE_EVERY_S:
                compared_s = self._clock()
                self.compare()

    def catch_up(self) -> None:
        """Rebuild where a watch had to list again; that is no drift."""
        if self._extender.is_relisted:
            try:
                self._extender.is_relisted = False
                self._extender.run(binding.rebuild(self._extender.desk, self._clock))
            except Unavailable as fault:
                self._extender.is_relisted = True
                log.warning("cannot rebuild the ledger after a gap in the watch: %s", fault)

    def compare(self) -> None:
        """Compare once; what differs is corrected, logged and counted."""
        try:
            differences = self._extender.run(binding.reconcile(self._extender.desk, self._clock))
        except Unavailable as fault:
            log.warning("cannot compare the ledger with the pods: %s", fault)
            return
        for difference in differences:
            log.error(
                "drift: pod %s: ledger %s, annotations %s",
                difference.pod, difference.in_ledger, difference.in_annotations,
            )  # fmt: skip
        self._extender.tally.compared(len(differences), unix_s=self._unix_s())
