"""Leaves nothing running: whatever happens to `up`, every process it started ends with it.

Two processes watch each other. The outer one adopts orphans (PR_SET_CHILD_SUBREAPER) and, when the inner one ends in
any way, ends every descendant that is left. The inner one, which does the work, is told by the kernel when the outer
one dies (PR_SET_PDEATHSIG) and then stops in order. Ray's daemons change their title, sessions and parents, so neither
an environment mark nor a process group would find them all; descent from a subreaper does.
"""

import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Callable

import psutil

# <linux/prctl.h>
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
KILL_AFTER_S = 1.0


def run(work: Callable[[], int]) -> int:
    """Run `work` in a child; its exit status, or 128 and the signal that ended it, once no descendant is left."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    outer = os.getpid()
    inner = os.fork()
    if inner == 0:
        _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != outer:  # it died between fork and prctl
            os._exit(1)
        _prctl(PR_SET_CHILD_SUBREAPER, 1)
        # A stop is a stop: a service's SIGTERM, the outer process's end, ctrl-C, also where a shell had it ignored.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _stop_once)
        status = 1
        try:
            status = work()
        except SystemExit as stopped:
            status = stopped.code if isinstance(stopped.code, int) else 1
        finally:
            if sys.exc_info()[0] is not None:  # nobody is left to see it once this process has ended
                traceback.print_exc()
            end_descendants()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    # A terminal's ctrl-C reaches both; the inner one decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(inner, signal.SIGTERM))
    signal.signal(signal.SIGQUIT, lambda *_: os.kill(inner, signal.SIGKILL))
    _, waited = os.waitpid(inner, 0)
    end_descendants()
    status = os.waitstatus_to_exitcode(waited)
    # As a shell says it: 137 for one that was killed.
    return status if status >= 0 else 128 - status


def end_descendants(*, kill_after_s: float = KILL_AFTER_S) -> int:
    """Terminate, then kill, every descendant of this process; how many there were."""
    ended = 0
    while descendants := psutil.Process().children(recursive=True):
        ended += len(descendants)
        for process in descendants:
            _signal(process, signal.SIGTERM)
        _, alive = psutil.wait_procs(descendants, timeout=kill_after_s)
        for process in alive:
            _signal(process, signal.SIGKILL)
        psutil.wait_procs(alive, timeout=kill_after_s)
        _reap()
    return ended


def _stop_once(*_: object) -> None:
    """Begin to stop; a second ctrl-C must not interrupt what the first one has begun."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _signal(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def _reap() -> None:
    """Collect adopted children that ended, or they would count as descendants for ever."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def _prctl(option: int, value: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl option {option} refused")
