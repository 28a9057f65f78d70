"""Writes Events in a thread of its own, each once: a scheduler asks again every few seconds, people read it once."""

import logging
import queue
import threading
from datetime import UTC, datetime

from vgpu.adapters.kube_errors import Conflict, NotFound, Unavailable
from vgpu.adapters.kube_verbs import Event, Verbs

log = logging.getLogger(__name__)

_WAITING = 1000  # Events; beyond that new ones are dropped, for telling must never hold up deciding
_REMEMBERED = 10_000


class Teller:
    """Takes Events from any thread."""

    def __init__(self, cluster: Verbs) -> None:
        self._cluster = cluster
        self._waiting: queue.Queue[Event | None] = queue.Queue(_WAITING)
        self._told: dict[tuple[str, str], None] = {}
        self._lock = threading.Lock()

    def tell(self, event: Event) -> None:
        """Have an Event written soon, unless the same was told about the same object before."""
        key = (event.subject.uid, event.message)
        with self._lock:
            if key in self._told:
                return
            self._told[key] = None
            if len(self._told) > _REMEMBERED:
                del self._told[next(iter(self._told))]
        try:
            self._waiting.put_nowait(event)
        except queue.Full:
            log.warning("too many Events wait; dropped: %s", event.message)

    def run(self) -> None:
        """Write Events until stopped."""
        while (event := self._waiting.get()) is not None:
            try:
                self._cluster.record_event(event, wall=datetime.now(UTC))
            except (Unavailable, Conflict, NotFound) as fault:
                log.warning("cannot write an Event (%s): %s", fault, event.message)
                with self._lock:
                    self._told.pop((event.subject.uid, event.message), None)  # told again when it is met again

    def stop(self) -> None:
        """End `run` once what waits is written."""
        self._waiting.put(None)
