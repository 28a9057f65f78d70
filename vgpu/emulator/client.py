"""A process's side of an emulated GPU: attach to a slot, allocate framebuffer, run jobs.

One client serves many concurrent runs, from threads and from any event loop: a thread of its own reads the replies.
Rule: an arbiter that is gone fails every waiting call at once; nothing here connects again by itself.
"""

import asyncio
import contextlib
import json
import os
import socket
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from vgpu.emulator.framebuffer import FramebufferExhausted
from vgpu.emulator.messages import Operation, Refusal, encode

REPLY_TIMEOUT_S = 10.0  # for what the arbiter answers at once; jobs have no limit
Reply = dict[str, Any]


class EngineUnavailable(ConnectionError):
    """The arbiter of the emulated GPU cannot be reached, or has gone."""


class EngineRefused(RuntimeError):
    """The arbiter refused a request; `refusal` says why."""

    def __init__(self, refusal: str, message: str) -> None:
        super().__init__(refusal, message)  # all of them, so that it survives pickling between processes
        self.refusal = refusal

    def __str__(self) -> str:
        return str(self.args[1])


class DeviceLost(RuntimeError):
    """The emulated GPU fell off the bus: this attachment is dead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRun:
    """A job that the emulated engine has finished. Times are `time.monotonic_ns` of this machine, modelled."""

    demand_ns: int
    submitted_ns: int
    finished_ns: int


class EngineClient:
    """One process attached to one slot of an emulated GPU."""

    def __init__(self, socket_path: Path | str, slot_id: str, *, pid: int | None = None) -> None:
        """Connect and attach, or raise EngineUnavailable, EngineRefused (unknown or taken slot) or DeviceLost."""
        self._lock = threading.Lock()
        self._waiting: dict[int, Future[Reply]] = {}
        self._last_id = 0
        self._gone: str | None = None
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.connect(str(socket_path))
        except OSError as problem:
            self._socket.close()
            raise EngineUnavailable(f"no arbiter answers at {socket_path}: {problem}") from problem
        self._reader = threading.Thread(target=self._read_replies, name=f"engine-{slot_id}", daemon=True)
        self._reader.start()
        try:
            reply = self._ask_now(Operation.ATTACH, slot=slot_id, pid=pid or os.getpid())
        except (EngineUnavailable, EngineRefused, DeviceLost):
            self.close()
            raise
        self.slot_id = slot_id
        self.framebuffer_mib: int = reply["framebuffer_mib"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def connected(self) -> bool:
        """Whether the arbiter was still there the last time this client heard of it."""
        return self._gone is None

    def allocate(self, mib: int) -> None:
        """Take `mib` of the slot's framebuffer, or raise FramebufferExhausted."""
        self._ask_now(Operation.ALLOCATE, mib=mib)

    def free(self, mib: int) -> None:
        """Give `mib` of the slot's framebuffer back."""
        self._ask_now(Operation.FREE, mib=mib)

    async def run(self, demand_ns: int) -> EngineRun:
        """Wait until the emulated engine has spent `demand_ns` on a job.

        Cancelling the wait does not recall the job: the engine spends the time all the same, as a GPU would.
        """
        return _as_run(demand_ns, await asyncio.wrap_future(self._ask(Operation.RUN, demand_ns=demand_ns)))

    def run_blocking(self, demand_ns: int) -> EngineRun:
        """`run` for callers without an event loop."""
        return _as_run(demand_ns, self._ask(Operation.RUN, demand_ns=demand_ns).result())

    def close(self) -> None:
        """Leave the slot. Waiting calls raise EngineUnavailable."""
        with contextlib.suppress(OSError):  # the arbiter left first
            self._socket.shutdown(socket.SHUT_RDWR)
        if threading.current_thread() is not self._reader:
            self._reader.join()
        self._socket.close()

    def _ask_now(self, operation: Operation, **fields: object) -> Reply:
        try:
            return self._ask(operation, **fields).result(REPLY_TIMEOUT_S)
        except TimeoutError as problem:
            raise EngineUnavailable(f"the arbiter left {operation} unanswered for {REPLY_TIMEOUT_S} s") from problem

    def _ask(self, operation: Operation, **fields: object) -> Future[Reply]:
        future: Future[Reply] = Future()
        future.set_running_or_notify_cancel()  # so that a cancelled waiter cannot cancel it under the reader
        with self._lock:
            if self._gone is not None:
                raise EngineUnavailable(self._gone)
            self._last_id += 1
            self._waiting[self._last_id] = future
            try:
                self._socket.sendall(encode({"id": self._last_id, "op": operation, **fields}))
            except OSError as problem:
                del self._waiting[self._last_id]
                raise EngineUnavailable(f"the arbiter has gone: {problem}") from problem
        return future

    def _read_replies(self) -> None:
        reason = "the arbiter has closed the connection"
        try:
            with self._socket.makefile("rb") as replies:
                for line in replies:
                    self._settle(json.loads(line))
        except (OSError, ValueError) as problem:
            reason = f"the connection to the arbiter broke: {problem}"
        with self._lock:
            self._gone = reason
            waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            future.set_exception(EngineUnavailable(reason))

    def _settle(self, reply: Reply) -> None:
        with self._lock:
            future = self._waiting.pop(reply["id"], None)
        if future is None:
            return
        if "error" in reply:
            future.set_exception(_as_error(reply))
        else:
            future.set_result(reply)


def read_status(socket_path: Path | str) -> Reply:
    """What the arbiter says of its GPU: policy, slice, busy time and framebuffer per slot, who is attached."""
    return _ask_once(socket_path, Operation.STATUS)


def set_device_lost(socket_path: Path | str, lost: bool) -> None:
    """Inject a lost device, or end it. A loss kills every attachment for good; new ones work after its end."""
    _ask_once(socket_path, Operation.LOSE if lost else Operation.RESTORE)


def _ask_once(socket_path: Path | str, operation: Operation) -> Reply:
    """Ask something that needs no slot, on a connection of its own."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(REPLY_TIMEOUT_S)
        try:
            connection.connect(str(socket_path))
            connection.sendall(encode({"id": 1, "op": operation}))
            with connection.makefile("rb") as replies:
                reply: Reply = json.loads(replies.readline())
        except (OSError, ValueError) as problem:
            raise EngineUnavailable(f"no arbiter answers at {socket_path}: {problem}") from problem
    return reply


def _as_run(demand_ns: int, reply: Reply) -> EngineRun:
    return EngineRun(demand_ns=demand_ns, submitted_ns=reply["submitted_ns"], finished_ns=reply["finished_ns"])


def _as_error(reply: Reply) -> Exception:
    if reply["error"] == Refusal.FRAMEBUFFER_EXHAUSTED:
        return FramebufferExhausted(reply["asked_mib"], reply["used_mib"], reply["size_mib"])
    if reply["error"] == Refusal.DEVICE_LOST:
        return DeviceLost(reply["message"])
    return EngineRefused(reply["error"], reply["message"])
