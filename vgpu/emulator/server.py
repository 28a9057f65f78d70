"""Serves one arbiter over a Unix socket, in one thread.

It sleeps until a message arrives or something is due. `select` and not `epoll` or `poll`, because Python rounds the
timeouts of those up to whole milliseconds: half a millisecond late on average, half of a 1 ms slice.
"""

import contextlib
import logging
import select
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path

from vgpu.emulator.arbiter import Arbiter, Session
from vgpu.emulator.messages import LONGEST_LINE, Refusal

MOST_CONNECTIONS = 256  # select stops at 1024 descriptors; a GPU has at most 32 slots
MOST_UNREAD = 1 << 20  # bytes of replies that a client may leave unread

_log = logging.getLogger(__name__)


class SocketInUseError(RuntimeError):
    """Something else has the socket's path."""


@dataclass(slots=True, eq=False)
class _Connection:
    socket: socket.socket
    session: Session = field(default_factory=Session)
    inbox: bytes = b""
    closed: bool = False

    def fileno(self) -> int:
        return self.socket.fileno()

    def receive(self) -> list[bytes]:
        """The lines that have come in whole."""
        try:
            received = self.socket.recv(1 << 16)
        except BlockingIOError:
            return []
        except OSError:
            received = b""
        self.closed = not received
        *lines, self.inbox = (self.inbox + received).split(b"\n")
        if len(self.inbox) > LONGEST_LINE:
            self.session.refuse(None, Refusal.MALFORMED, f"a message has at most {LONGEST_LINE} bytes; closing")
            self.closed = True
        return lines

    def send(self) -> None:
        """Send what the client takes of its replies."""
        outbox = self.session.outbox
        try:
            del outbox[: self.socket.send(outbox)]
        except BlockingIOError:
            pass
        except OSError:
            self.closed = True
        if len(outbox) > MOST_UNREAD:
            _log.warning("dropping process %d: it leaves its replies unread", self.session.pid)
            self.closed = True


class Server:
    """The socket of one arbiter and its connections. It listens from the start and answers once it serves."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connections: list[_Connection] = []
        self._stopping = False
        self._listener = _listen(path)

    def stop(self, *_: object) -> None:
        """Make `serve` return at its next wake-up, at most a sixth of a second away. Fit for a signal handler."""
        self._stopping = True

    def serve(self, arbiter: Arbiter) -> None:
        """Serve until `stop`, then remove the socket."""
        try:
            while not self._stopping:
                self._serve_once(arbiter)
        finally:
            for connection in self._connections:
                connection.socket.close()
            self._listener.close()
            self._path.unlink(missing_ok=True)
            arbiter.close()

    def _serve_once(self, arbiter: Arbiter) -> None:
        wait_s = max(0, arbiter.next_wake_ns() - time.monotonic_ns()) / 1e9
        unsent = [connection for connection in self._connections if connection.session.outbox]
        sources: list[_Connection | socket.socket] = [self._listener, *self._connections]
        readable, _, _ = select.select(sources, unsent, [], wait_s)
        arbiter.advance(time.monotonic_ns())
        for source in readable:
            if isinstance(source, _Connection):
                for line in source.receive():
                    arbiter.receive(source.session, line, time.monotonic_ns())
            else:
                self._accept()
        for connection in list(self._connections):
            if connection.session.outbox:
                connection.send()
            if connection.closed:
                self._connections.remove(connection)
                arbiter.leave(connection.session, time.monotonic_ns())
                connection.socket.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the client left before it was met
            accepted, _ = self._listener.accept()
            accepted.setblocking(False)
            if len(self._connections) < MOST_CONNECTIONS:
                self._connections.append(_Connection(accepted))
            else:
                _log.warning("refused a connection: %d are open", MOST_CONNECTIONS)
                accepted.close()


def _listen(path: Path) -> socket.socket:
    """Listen on `path`, taking over the socket that a dead arbiter left there."""
    if path.is_socket():
        with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(ConnectionRefusedError):
            probe.connect(str(path))
            raise SocketInUseError(f"socket {path} is served by another arbiter; stop it or choose another path")
        path.unlink()
    elif path.exists():
        raise SocketInUseError(f"socket {path} is a file of another kind; choose another path")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen()
    listener.setblocking(False)
    return listener
