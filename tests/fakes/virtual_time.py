"""An event loop whose clock moves only when nothing is left to do: waiting costs no time, and every time is exact."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


class EverythingWaitsError(AssertionError):
    """No timer is set and nothing is ready: the code under test waits for what never comes."""


class _Clock(selectors.DefaultSelector):
    """Where the loop would sleep, the time passes at once."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise EverythingWaitsError("no timer is set and nothing is ready")
        self.now_s += max(0.0, timeout)
        return super().select(0)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """For code that waits on timers and futures only: no threads, no sockets."""

    def __init__(self) -> None:
        self._clock = _Clock()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now_s


def run(main: Coroutine[Any, Any, Result]) -> Result:
    """Like `asyncio.run`, in virtual time from 0 s."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
