"""Child processes of the embedded installation: each with a log file, kept alive or missed, stopped together."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

STOP_GRACE_S = 3.0
# Ending a worker's dozen processes takes about 0.3 s here.
KILL_S = 3.0
RESTART_PAUSE_S = 1.0
LOG_TAIL_LINES = 15


class ProcessFailed(Exception):
    """A child ended when it should not have; the message holds the end of its log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """How to start a child. A `kept` one is started again when it ends: nothing depends on what it remembers."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    kept: bool = False


@dataclass(slots=True)
class Child:
    """One child and where it writes."""

    command: Command
    process: "subprocess.Popen[bytes]"
    log: Path
    started_s: float

    def failure(self) -> ProcessFailed:
        """Why it ended, from its own last words."""
        return self.problem(f"{self.command.name} ended with status {self.process.returncode}")

    def problem(self, what: str) -> ProcessFailed:
        """What is wrong with it, with its own last words."""
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        return ProcessFailed("\n".join([f"{what}; {self.log} ends:", *lines]))


@dataclass(slots=True)
class Children:
    """The children of one process."""

    log_directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    _children: list[Child] = field(default_factory=list)

    def start(self, command: Command) -> Child:
        """Start a child in a session of its own, so that a terminal's ctrl-C reaches only its parent."""
        log = self.log_directory / f"{command.name}.log"
        child = Child(command, self._spawn(command, log), log, time.monotonic())
        self._children.append(child)
        return child

    def forget(self, child: Child) -> None:
        """Stop keeping track of a child that has ended."""
        self._children.remove(child)

    def running(self) -> tuple[Child, ...]:
        """Those that are kept track of and have not ended."""
        return tuple(child for child in self._children if child.process.poll() is None)

    def kill(self, child: Child) -> None:
        """End a child at once, as a machine ends what runs on it when its power goes, and forget it."""
        kill_session(child.process)
        child.process.wait()
        self.forget(child)

    def check(self) -> None:
        """Start again the kept children that have ended. Raises `ProcessFailed` for one that is not kept."""
        for child in self._children:
            if child.process.poll() is None:
                continue
            if not child.command.kept:
                raise child.failure()
            if time.monotonic() - child.started_s >= RESTART_PAUSE_S:
                child.process = self._spawn(child.command, child.log)
                child.started_s = time.monotonic()

    def stop(self, *, grace_s: float = STOP_GRACE_S) -> None:
        """Ask all to end, newest first; kill whatever is left of them and of what they started in time."""
        deadline_s = time.monotonic() + grace_s
        # Taken now: once a parent has ended, its children can no longer be told from strangers.
        started = [process for child in self._children for process in _descendants(child.process.pid)]
        for child in reversed(self._children):
            child.process.terminate()
        for child in reversed(self._children):
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(max(0.0, deadline_s - time.monotonic()))
            # Also where the child itself has ended: what it left behind is still in its session.
            kill_session(child.process)
            child.process.wait()
        for process in started:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(started, timeout=STOP_GRACE_S)
        self._children.clear()

    def _spawn(self, command: Command, log: Path) -> "subprocess.Popen[bytes]":
        with log.open("ab") as output:
            return subprocess.Popen(
                command.arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.environment, **command.environment},
                start_new_session=True,
            )


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def freeze(process: "subprocess.Popen[bytes]") -> None:
    """Stop a child and everything it started where they are, as the suspension of their machine does."""
    frozen: set[psutil.Process] = set()
    # Whoever is not stopped yet may start others meanwhile.
    while fresh := {*_self(process.pid), *_descendants(process.pid)} - frozen:
        _signal_all(fresh, signal.SIGSTOP)
        frozen |= fresh


def thaw(process: "subprocess.Popen[bytes]") -> None:
    """Let a child and everything it started go on."""
    _signal_all({*_self(process.pid), *_descendants(process.pid)}, signal.SIGCONT)


def _self(pid: int) -> list[psutil.Process]:
    try:
        return [psutil.Process(pid)]
    except psutil.NoSuchProcess:
        return []


def _signal_all(processes: Iterable[psutil.Process], number: int) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def kill_session(process: "subprocess.Popen[bytes]") -> None:
    """Kill a child and everything it started, as a container runtime ends a container.

    SIGQUIT tells `autoscaler.embedded.container` to do so; SIGKILL to its process group is for all others, and for one
    that does not answer. A frozen one hears only once it may go on.
    """
    process.send_signal(signal.SIGQUIT)
    process.send_signal(signal.SIGCONT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(KILL_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
