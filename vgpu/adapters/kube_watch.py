"""Follows a kind of object: lists it, watches it from there, and yields what changed, whatever happens to the server.

Rule: the time between two attempts grows, jittered and capped, until a watch proves good by delivering something or by
lasting; a successful list proves nothing. The official client's informer has no such pause and makes about a thousand
requests a second of a server that answers 500. No Kubernetes library is used here: a `Source` does the talking.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from vgpu.adapters.kube_errors import Expired, Unavailable

Json = dict[str, Any]

GOOD_WATCH_S = 5.0  # a watch that lasted this long was a working one, even if nothing happened in it


class DeltaKind(StrEnum):
    """What happened to an object; SYNCED follows each list and names none."""

    ADDED = "added"
    MODIFIED = "modified"
    DELETED = "deleted"
    SYNCED = "synced"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """One change. A deleted object is given in its last known state; SYNCED has the empty object."""

    kind: DeltaKind
    item: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchEvent:
    """One line of a watch: ADDED, MODIFIED, DELETED or BOOKMARK, and its object."""

    kind: str
    item: Json


class Stream(AbstractContextManager["Stream"], Protocol):
    """An open watch."""

    def __iter__(self) -> Iterator[WatchEvent]:
        """Yield events; raise Expired or Unavailable."""

    def interrupt(self) -> None:
        """End the watch from another thread."""


class Source(Protocol):
    """What can be listed and watched."""

    def list(self) -> tuple[Sequence[Json], str]:
        """Read all objects and the version they are of; raise Unavailable."""

    def open(self, version: str) -> Stream:
        """Watch from a version on; raise Expired or Unavailable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """The pause after the n-th failure in a row: first_s × 2^(n-1), at most cap_s, times a ratio drawn from [½, 1].

    With these defaults a server that answers 500 for a minute gets about a dozen requests.
    """

    first_s: float = 0.1
    cap_s: float = 30.0

    def __post_init__(self) -> None:
        if not 0 < self.first_s <= self.cap_s:
            raise ValueError(f"first_s: {self.first_s} must be above 0 and at most cap_s ({self.cap_s})")

    def delay_s(self, failures: int, drawn_ratio: float) -> float:
        """Give the pause for a number of failures and a number drawn from [0, 1)."""
        doubled_s = self.first_s * 2.0 ** min(failures - 1, 64)  # 64: far past any cap, far below overflow
        return min(self.cap_s, doubled_s) * (0.5 + drawn_ratio / 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a reflector needs of the outside; tests give their own."""

    clock: Callable[[], float] = time.monotonic
    wait: Callable[[float], object] | None = None  # None: wait on the reflector's own stop
    draw: Callable[[], float] = random.random
    on_trouble: Callable[[Unavailable, float], None] = lambda fault, delay_s: None  # told of each pause


class Reflector:
    """Follows one source. One thread iterates over `deltas`; any thread may `stop`."""

    def __init__(
        self, source: Source, *, backoff: Backoff | None = None, surroundings: Surroundings | None = None
    ) -> None:
        self._source = source
        self._backoff = backoff or Backoff()
        self._around = surroundings or Surroundings()
        self._stopped = threading.Event()
        self._wait = self._around.wait or self._stopped.wait
        self._known: dict[tuple[str, str], Json] = {}
        self._version: str | None = None
        self._stream: Stream | None = None
        self._failures = 0

    def stop(self) -> None:
        """End `deltas`, at once even where it waits."""
        self._stopped.set()
        if (stream := self._stream) is not None:
            stream.interrupt()

    def deltas(self) -> Iterator[Delta]:
        """Yield changes until stopped. Objects present at the start come as ADDED, then SYNCED.

        After an outage the missed changes come as if they had just happened, then SYNCED again.
        """
        while not self._stopped.is_set():
            started_s = self._around.clock()
            trouble: Unavailable | None = None
            try:
                if self._version is None:
                    yield from self._relist()
                yield from self._follow()
            except Expired as fault:
                self._version, trouble = None, fault
            except Unavailable as fault:
                trouble = fault
            if self._around.clock() - started_s >= GOOD_WATCH_S:
                self._failures = 0
            if not self._stopped.is_set():
                self._pause(trouble or Unavailable("watch", "ended by the server"))

    def _pause(self, trouble: Unavailable) -> None:
        self._failures += 1
        delay_s = self._backoff.delay_s(self._failures, self._around.draw())
        self._around.on_trouble(trouble, delay_s)
        self._wait(delay_s)

    def _relist(self) -> Iterator[Delta]:
        """Compare what there is with what was known."""
        items, version = self._source.list()
        now = {_key(item): item for item in items}
        for key, old in list(self._known.items()):
            if key not in now or _uid(now[key]) != _uid(old):
                del self._known[key]
                yield Delta(kind=DeltaKind.DELETED, item=old)
        for key, item in now.items():
            known = self._known.get(key)
            self._known[key] = item
            if known is None or known["metadata"]["resourceVersion"] != item["metadata"]["resourceVersion"]:
                yield Delta(kind=DeltaKind.ADDED if known is None else DeltaKind.MODIFIED, item=item)
        self._version = version
        yield Delta(kind=DeltaKind.SYNCED, item={})

    def _follow(self) -> Iterator[Delta]:
        assert self._version is not None
        with self._source.open(self._version) as stream:
            self._stream = stream
            try:
                if self._stopped.is_set():  # stopped while the watch was being opened
                    return
                for event in stream:
                    self._failures = 0
                    self._version = event.item["metadata"]["resourceVersion"]
                    if event.kind != "BOOKMARK":
                        yield self._applied(event)
            finally:
                self._stream = None

    def _applied(self, event: WatchEvent) -> Delta:
        key = _key(event.item)
        if event.kind == "DELETED":
            self._known.pop(key, None)
            return Delta(kind=DeltaKind.DELETED, item=event.item)
        kind = DeltaKind.MODIFIED if key in self._known else DeltaKind.ADDED
        self._known[key] = event.item
        return Delta(kind=kind, item=event.item)


def _key(item: Json) -> tuple[str, str]:
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]


def _uid(item: Json) -> object:
    return item["metadata"].get("uid")
