"""One worker pod's process: started, watched, started again with growing pauses, ended as a container is."""

import signal
from collections.abc import Mapping
from dataclasses import dataclass

from autoscaler.embedded.processes import Child, Children, Command, kill_session

# The kubelet's own rule: the first restart at once, then 10 s doubling to 5 minutes. Shorter here: a demo lasts minutes.
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """How to start one worker."""

    name: str
    ip: str
    command: tuple[str, ...]
    environment: Mapping[str, str]

    @property
    def process(self) -> Command:
        """The container's one process, logged under the pod's name."""
        return Command(name=self.name, arguments=self.command, environment=self.environment)


@dataclass(slots=True)
class Worker:
    """A running worker, and how often it had to be started."""

    start: Start
    child: Child
    started_s: float
    is_starting: bool = True
    is_announced_dead: bool = False
    restarts: int = 0
    died_s: float | None = None
    ending_s: float | None = None

    @classmethod
    def launch(cls, start: Start, children: Children, now_s: float) -> "Worker":
        """Start the process."""
        return cls(start, children.start(start.process), now_s)

    @property
    def has_died(self) -> bool:
        return self.child.process.poll() is not None

    def restart_is_due(self, now_s: float) -> bool:
        """Whether the pause after its end is over; what the container left behind is killed first."""
        if self.died_s is None:
            kill_session(self.child.process)
            self.died_s = now_s
            self.is_starting = False
        pause_s = 0.0 if self.restarts == 0 else min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (self.restarts - 1))
        return now_s - self.died_s >= pause_s

    def restart(self, children: Children, now_s: float) -> None:
        """Start it again in the same pod, on the same slot."""
        children.forget(self.child)
        self.child = children.start(self.start.process)
        self.started_s, self.died_s, self.is_starting, self.is_announced_dead = now_s, None, True, False
        self.restarts += 1

    def end(self, now_s: float, *, grace_s: float) -> bool:
        """Ask it to end, kill it after its grace; True once it is gone with all it started."""
        if self.ending_s is None:
            self.ending_s = now_s
            if not self.has_died:
                self.child.process.send_signal(signal.SIGTERM)
        if not self.has_died and now_s - self.ending_s < grace_s:
            return False
        kill_session(self.child.process)
        self.child.process.wait()
        return True
