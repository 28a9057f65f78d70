"""The plugin's socket in the kubelet's directory: put there whole, known as ours by its inode, taken away with us.

gRPC binds a name of its own, which is then renamed: whoever finds the socket finds it answering, and when gRPC removes
the name that it bound it cannot remove the socket of a successor. The kubelet empties the directory when it starts.
"""

import logging
import os
import socket
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import grpc

LONGEST_PATH = 107  # bytes of a Unix socket's path (sun_path less its terminator)
THREADS = 16  # each followed stream holds one; after a kubelet's crash the old stream is there for some seconds
GRACE_S = 2.0
_log = logging.getLogger(__name__)


class SocketUnusable(Exception):
    """The socket cannot be had; the message says why and what to do."""


class SocketIdentity(NamedTuple):
    """What tells one socket from another that comes under the same name."""

    device: int
    inode: int
    changed_ns: int


def identify(path: Path) -> SocketIdentity | None:
    """The identity of the socket at a path, None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return SocketIdentity(found.st_dev, found.st_ino, found.st_ctime_ns)


class SocketServer:
    """Serves a gRPC handler on one Unix socket, again and again."""

    def __init__(self, path: Path, make_handler: Callable[[], object]) -> None:
        self._path = path
        self._make_handler = make_handler
        self._server: Any = None
        self._identity: SocketIdentity | None = None

    @property
    def name(self) -> str:
        """The socket's name in its directory, as the kubelet is told it."""
        return self._path.name

    def start(self) -> None:
        """Serve; raise SocketUnusable. A socket that a dead predecessor left is replaced."""
        bound = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        if len(os.fsencode(bound)) > LONGEST_PATH:
            raise SocketUnusable(f"{bound} is longer than the {LONGEST_PATH} bytes of a socket's path; shorten it")
        _check_free(self._path)
        bound.unlink(missing_ok=True)
        server = grpc.server(ThreadPoolExecutor(THREADS, thread_name_prefix="kubelet"))
        server.add_generic_rpc_handlers((self._make_handler(),))
        try:
            server.add_insecure_port(f"unix:{bound}")
            server.start()
            bound.rename(self._path)
        except (RuntimeError, OSError) as fault:
            raise SocketUnusable(
                f"cannot listen on {self._path} ({fault}); is its directory there, and writable?"
            ) from fault
        self._server, self._identity = server, identify(self._path)
        _log.info("listening on %s", self._path)

    def ensure(self) -> bool:
        """Serve anew where the socket has been removed; say whether that was so.

        Raise SocketUnusable where another process has put its own there: two would fight for ever.
        """
        found = identify(self._path)
        if self._is_ours(found):
            return False
        if found is not None:
            raise SocketUnusable(f"another process has taken {self._path}; run one device plugin a node")
        _log.info("%s is gone: the kubelet has started afresh", self._path)
        self._end(grace_s=0.0)
        self.start()
        return True

    def stop(self) -> None:
        """End calls and streams, and remove the socket if it is still ours."""
        if self._server is None:
            return
        if self._is_ours(identify(self._path)):
            self._path.unlink(missing_ok=True)
        self._end(grace_s=GRACE_S)

    def _is_ours(self, found: SocketIdentity | None) -> bool:
        """By inode alone, for a new owner or security label changes the time, and while we listen it is not reused."""
        return found is not None and self._identity is not None and found[:2] == self._identity[:2]

    def _end(self, *, grace_s: float) -> None:
        self._server.stop(grace_s).wait()
        self._server = self._identity = None


def _check_free(path: Path) -> None:
    """Refuse to replace what is no socket, or one that answers."""
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise SocketUnusable(f"{path} is no socket; remove it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return
        except OSError as fault:
            raise SocketUnusable(f"{path}: {fault.strerror}; may this process use it?") from fault
    raise SocketUnusable(f"another device plugin answers on {path}; run one a node")
