"""One connection to a libvirt daemon: kept, opened again when it broke, and no call of it waits for ever.

A call of libvirt blocks until the daemon answers, and opening a connection has no time limit of its own. So each call
runs in a thread that can be left behind: the caller hears after `answer_s` that there was no answer. Keepalive
messages (libvirt's `virConnectSetKeepAlive`, which needs its event loop) end calls to a daemon that is gone.
"""

import logging
import queue
import threading
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import libvirt

from vgpu.switcher.providers.libvirt_faults import fault, without_user
from vgpu.switcher.providers.port import ProviderError

T = TypeVar("T")

KEEPALIVE_S, KEEPALIVE_TRIES = 5, 3  # a silent daemon is given up after 20 s
MOST_LEFT_BEHIND = 4  # threads that wait for an answer nobody wants any more; then no further call is made

_log = logging.getLogger(__name__)


class Line:
    """Calls of one daemon by its URI. The connection is made by the first call."""

    def __init__(self, uri: str, *, answer_s: float = 10.0) -> None:
        self.uri = uri
        self._answer_s = answer_s
        self._open: libvirt.virConnect | None = None
        self._opening = threading.Lock()
        self._left_behind: list[threading.Thread] = []

    def __repr__(self) -> str:
        return f"Line({without_user(self.uri)!r})"

    def ask(self, what: str, call: Callable[[libvirt.virConnect], T]) -> T:
        """Make calls that answer at once; raise ProviderError, not permanent where no answer came in time."""
        self._left_behind = [thread for thread in self._left_behind if thread.is_alive()]
        if len(self._left_behind) >= MOST_LEFT_BEHIND:
            raise self._silent(what)
        outcome: queue.SimpleQueue[tuple[T | None, Exception | None]] = queue.SimpleQueue()
        thread = threading.Thread(
            target=_run, args=(self._connected, call, outcome), daemon=True, name=f"libvirt {what}"
        )
        thread.start()
        try:
            result, error = outcome.get(timeout=self._answer_s)
        except queue.Empty:
            self._left_behind.append(thread)
            self._open = None  # closing it would wait for the daemon too
            raise self._silent(what) from None
        if isinstance(error, libvirt.libvirtError):
            raise fault(what, error) from error
        if error is not None:
            raise error
        return result  # type: ignore[return-value]  # None only where T is None

    def run(self, call: Callable[[libvirt.virConnect], T]) -> T:
        """Make calls that may take minutes, in the caller's own thread; raise libvirtError."""
        return call(self._connected())

    def close(self) -> None:
        """Close the connection; a daemon that does not answer is not waited for."""
        connection, self._open = self._open, None
        if connection is not None:
            threading.Thread(target=_close, args=(connection,), daemon=True, name="libvirt close").start()

    def _connected(self) -> libvirt.virConnect:
        with self._opening:
            connection = self._open
            if connection is None or not _is_alive(connection):
                connection = self._open = _connect(self.uri)
            return connection

    def _silent(self, what: str) -> ProviderError:
        why = f"{without_user(self.uri)} has not answered within {self._answer_s:g} s"
        return ProviderError(what, why, permanent=False)


def _run(
    connected: Callable[[], libvirt.virConnect],
    call: Callable[[libvirt.virConnect], T],
    outcome: "queue.SimpleQueue[tuple[T | None, Exception | None]]",
) -> None:
    try:
        outcome.put((call(connected()), None))
    except Exception as error:  # the caller's to hear: nobody hears a thread
        outcome.put((None, error))


def _connect(uri: str) -> libvirt.virConnect:
    _prepare()
    connection = libvirt.open(uri)
    try:
        connection.setKeepAlive(KEEPALIVE_S, KEEPALIVE_TRIES)
    except libvirt.libvirtError as error:  # a driver inside this process: there is nothing to lose touch with
        _log.debug("no keepalive: %s", without_user(str(error)))
    return connection


def _is_alive(connection: libvirt.virConnect) -> bool:
    """Whether its socket is still up, which is known here without asking the daemon."""
    try:
        return bool(connection.isAlive())
    except libvirt.libvirtError:
        return False


def _close(connection: libvirt.virConnect) -> None:
    try:
        connection.close()
    except libvirt.libvirtError as error:
        _log.debug("closing: %s", without_user(str(error)))


@cache
def _prepare() -> None:
    """Once a process, before the first connection: an event loop, and errors to our log instead of standard error."""
    libvirt.registerErrorHandler(_tell, None)
    libvirt.virEventRegisterDefaultImpl()
    threading.Thread(target=_events, daemon=True, name="libvirt events").start()


def _events() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()


def _tell(_: object, error: tuple[Any, ...]) -> None:
    """Whatever libvirt would print; the caller hears of it by an exception too."""
    _log.debug("libvirt: %s", without_user(str(error[2])))
