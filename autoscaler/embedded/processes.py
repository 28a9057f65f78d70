"""Child processes of the embedded installation: started with a log file each, stopped in reverse order."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

STOP_GRACE_S = 10.0
LOG_TAIL_LINES = 15


class ProcessFailed(Exception):  # says what happened, as the domain's words do
    """A child ended when it should not have; the message holds the end of its log."""


@dataclass(slots=True)
class Child:
    """One running child and where it writes."""

    name: str
    process: "subprocess.Popen[bytes]"
    log: Path

    def failure(self) -> ProcessFailed:
        """Why it ended, from its own last words."""
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        status = self.process.returncode
        return ProcessFailed("\n".join([f"{self.name} ended with status {status}; {self.log} ends:", *lines]))


@dataclass(slots=True)
class Children:
    """The children of one installation, in the order they were started."""

    log_directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    _children: list[Child] = field(default_factory=list)

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> Child:
        """Start a child in a session of its own, so that a terminal's ctrl-C reaches only its parent."""
        log = self.log_directory / f"{name}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.environment, **(environment or {})},
                start_new_session=True,
            )
        child = Child(name, process, log)
        self._children.append(child)
        return child

    def run(self, name: str, command: Sequence[str], *, timeout_s: float) -> None:
        """Run a child to its end. Raises `ProcessFailed` where it fails or takes too long."""
        child = self.start(name, command)
        try:
            child.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            stop(child.process, grace_s=1)
        self._children.remove(child)
        if child.process.returncode != 0:
            raise child.failure()

    def forget(self, child: Child) -> None:
        """Stop keeping track of a child that has ended."""
        self._children.remove(child)

    def check(self) -> None:
        """Raise `ProcessFailed` for the first child that has ended."""
        for child in self._children:
            if child.process.poll() is not None:
                raise child.failure()

    def stop(self, *, grace_s: float = STOP_GRACE_S) -> None:
        """Stop all, newest first: workers before what they depend on."""
        while self._children:
            stop(self._children.pop().process, grace_s=grace_s)


def stop(process: "subprocess.Popen[bytes]", *, grace_s: float) -> None:
    """Terminate one process, then kill its whole session if it has not ended in time."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            kill_session(process)
            process.wait()


def kill_session(process: "subprocess.Popen[bytes]") -> None:
    """Kill a child and everything in its process group, as a container runtime ends a container."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
