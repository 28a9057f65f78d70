"""Sends a watch: one JSON line an event, until the client leaves, its time is up, or the server closes.

The history, not the connection, holds what is still to be sent; a client too slow for it is told Expired.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from starlette.types import Message, Receive, Scope, Send

from autoscaler.embedded.apiserver import listing
from autoscaler.embedded.apiserver.errors import ApiError
from autoscaler.embedded.apiserver.listing import Opening, Selection
from autoscaler.embedded.apiserver.resources import Json
from autoscaler.embedded.apiserver.store import Store

LONGEST_S = 3600.0  # a watch that names no timeout
BOOKMARK_EVERY_S = 60.0
BOOKMARK_BEFORE_END_S = 2.0  # as upstream: a client that lets a watch time out still learns the newest version
Render = Callable[[Json, bool], Json]  # an object, and whether it is the first of its stream


class Feed:
    """Wakes the open watches after each write, and ends them when the server stops."""

    def __init__(self) -> None:
        self.is_closed = False
        self._wakers: set[asyncio.Event] = set()

    def add(self) -> asyncio.Event:
        """Open a waker."""
        waker = asyncio.Event()
        self._wakers.add(waker)
        return waker

    def drop(self, waker: asyncio.Event) -> None:
        """Forget a waker."""
        self._wakers.discard(waker)

    def notify(self) -> None:
        """Wake every watch."""
        for waker in self._wakers:
            waker.set()

    def close(self) -> None:
        """End every watch."""
        self.is_closed = True
        self.notify()


def line(kind: str, item: Json) -> bytes:
    """Write one event of a watch."""
    return json.dumps({"type": kind, "object": item}, separators=(",", ":")).encode() + b"\n"


@dataclass(slots=True, kw_only=True)
class WatchResponse:
    """An open watch, as the ASGI callable that serves it."""

    status_code: ClassVar[int] = 200
    store: Store
    feed: Feed
    selection: Selection
    opening: Opening
    render: Render
    bookmarks: bool
    timeout_s: float
    drop_after: int | None = None  # a fault: cut the connection after so many events
    _sent: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream until there is a reason to stop; a dropped watch is left without its proper end."""
        waker = self.feed.add()
        waker.set()  # what happened between the client's list and this watch is sent first
        client = asyncio.create_task(_disconnection(receive))
        client.add_done_callback(lambda _: waker.set())
        headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-cache, private")]
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": b"", "more_body": True})  # the headers leave at once
        try:
            if await self._stream(waker, client, send):
                await send({"type": "http.response.body", "body": b""})
        finally:
            client.cancel()
            self.feed.drop(waker)

    async def _stream(self, waker: asyncio.Event, client: "asyncio.Task[None]", send: Send) -> bool:
        """Send until the end; return whether the end is a proper one."""
        clock = asyncio.get_running_loop().time
        ends_at, bookmark_at = clock() + self.timeout_s, clock() + self._bookmark_after(self.timeout_s)
        lines, position = self._opening_lines(), self.opening.version
        while not client.done():
            if not await self._send_all(lines, send):
                return False
            if self.feed.is_closed or clock() >= ends_at:
                return True
            await _wait(waker, min(ends_at, bookmark_at) - clock())
            waker.clear()
            try:
                lines = self._event_lines(position)
            except ApiError as gone:
                await self._send_all([line("ERROR", gone.as_status())], send)
                return True
            position = self.store.version
            if self.bookmarks and clock() >= bookmark_at:
                lines.append(self._bookmark(position))
            if clock() >= bookmark_at:
                bookmark_at = clock() + self._bookmark_after(ends_at - clock())
        return True

    def _bookmark_after(self, left_s: float) -> float:
        before_end_s = left_s - BOOKMARK_BEFORE_END_S
        return min(BOOKMARK_EVERY_S, before_end_s) if before_end_s > 0 else BOOKMARK_EVERY_S

    def _bookmark(self, version: int, *, ends_initial: bool = False) -> bytes:
        mark = listing.bookmark(self.selection.resource, version, ends_initial=ends_initial)
        return line("BOOKMARK", mark)

    def _opening_lines(self) -> list[bytes]:
        lines = [line("ADDED", self.render(item, place == 0)) for place, item in enumerate(self.opening.shown)]
        if self.opening.marks_end:
            lines.append(self._bookmark(self.opening.version, ends_initial=True))
        self._sent += len(self.opening.shown)
        return lines

    def _event_lines(self, position: int) -> list[bytes]:
        lines = []
        for kind, item in listing.watch_events(self.selection, self.store.history.after(position)):
            lines.append(line(kind, self.render(item, self._sent == 0)))
            self._sent += 1
        return lines

    async def _send_all(self, lines: list[bytes], send: Send) -> bool:
        """Send lines one by one; return False once the injected fault cuts the connection."""
        for data in lines:
            if self.drop_after is not None and self.drop_after <= 0:
                return False
            await send({"type": "http.response.body", "body": data, "more_body": True})
            if self.drop_after is not None:
                self.drop_after -= 1
        return self.drop_after is None or self.drop_after > 0


async def _disconnection(receive: Receive) -> None:
    message: Message = {"type": ""}
    while message["type"] != "http.disconnect":
        message = await receive()


async def _wait(waker: asyncio.Event, timeout_s: float) -> None:
    try:
        await asyncio.wait_for(waker.wait(), max(0.0, timeout_s))
    except TimeoutError:
        return
