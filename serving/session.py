"""The deployer's end of its Ray session, a process of its own.

Ray ends a process that is connected to it when Ray itself goes away, and may leave its calls hanging meanwhile. The
deployer has to outlive that, so it holds no connection: `serving.ray_session` does, and is started again as needed.
"""

import contextlib
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, Protocol

from serving.changes import Step
from serving.deployed import Deployed

# Importing Ray and joining a cluster takes 2 s here, and several times that on a crowded machine.
ANSWER_S = 60.0


class RayAway(Exception):
    """Ray did not answer, or refused; the message says what happened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingress:
    """Where clients connect."""

    host: str
    port: int

    @property
    def url(self) -> str:
        # What listens on all addresses is reached on loopback.
        host = "127.0.0.1" if self.host == "0.0.0.0" else self.host
        return f"http://{host}:{self.port}"


class Session(Protocol):
    """Ray Serve, as the deployer uses it."""

    def read(self) -> Mapping[str, Deployed]:
        """Every application, by name. Raises `RayAway`."""

    def apply(self, steps: Sequence[Step]) -> None:
        """Hand the steps to Ray, which carries them out by itself. Raises `RayAway`; what was done is there to read."""

    def close(self) -> None:
        """End the session; the next call begins another."""


def ray_session(ray_address: str, ingress: Ingress) -> tuple[str, ...]:
    """The command of a session with the Ray cluster at host:port, whose clients come in by `ingress`."""
    return (sys.executable, "-m", "serving.ray_session", ray_address, ingress.host, str(ingress.port))


class SessionProcess:
    """Asks `serving.ray_session`. It starts at once, so that Ray is joined while its user does something else."""

    def __init__(self, command: Sequence[str], *, answer_s: float = ANSWER_S) -> None:
        """`command` is told the file descriptor to answer on as its last argument: see `ray_session`."""
        self._command = command
        self._answer_s = answer_s
        self._process: "subprocess.Popen[bytes] | None" = None  # noqa: UP037  # subscripted at run time otherwise
        self._pipe: "Connection[Any, Any] | None" = None  # noqa: UP037  # likewise
        self._start()

    def read(self) -> Mapping[str, Deployed]:
        answer: Mapping[str, Deployed] = self._ask(("read", None))
        return answer

    def apply(self, steps: Sequence[Step]) -> None:
        self._ask(("apply", tuple(steps)))

    def close(self) -> None:
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _start(self) -> None:
        ours, theirs = Pipe()
        with theirs:
            command = [*self._command, str(theirs.fileno())]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])
        self._pipe = ours

    def _ask(self, question: tuple[str, Any]) -> Any:  # noqa: ANN401  # what the question asks for
        if self._pipe is None:
            self._start()
        try:
            return self._answer(question)
        except RayAway:
            self.close()
            raise

    def _answer(self, question: tuple[str, Any]) -> Any:  # noqa: ANN401  # what the question asks for
        assert self._pipe is not None
        with contextlib.suppress(BrokenPipeError):  # what it said before it ended is still to be read
            self._pipe.send(question)
        try:
            if not self._pipe.poll(self._answer_s):
                raise RayAway(f"no answer from Ray within {self._answer_s:g} s")
            failure, answer = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise RayAway("the session with Ray has ended") from error
        if failure is not None:
            raise RayAway(failure)
        return answer
