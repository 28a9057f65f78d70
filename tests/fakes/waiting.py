"""Waits for what other threads and processes do, as short as can be and never for ever."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

import psutil

Value = TypeVar("Value")

POLL_S = 0.01


def eventually(read: Callable[[], Value], holds: Callable[[Value], object] = bool, *, within_s: float = 10.0) -> Value:
    """The first value that holds; fails with the last one when none did."""
    deadline_s = time.monotonic() + within_s
    while not holds(value := read()):
        assert time.monotonic() < deadline_s, f"not within {within_s} s; last: {value!r}"
        threading.Event().wait(POLL_S)
    return value


def is_gone(pid: int) -> bool:
    """Whether a process has ended, collected by its parent or not."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
