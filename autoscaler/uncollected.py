"""A while without Python's cyclic garbage collector, for work that makes records by the hundred thousand and no cycles.

Each collection looks at every young record and, time after time, at all that a fleet's memory holds: a sixth of a tick
of 8,000 replicas, and nothing is ever found. What is no longer needed goes by its reference count all the same.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Put off automatic collections until the end; whoever had turned them off finds them off."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
