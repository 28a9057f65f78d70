"""One worker pod's process: started, watched, started again with growing pauses, ended as a container is."""

import logging
import signal
from dataclasses import dataclass

from autoscaler.embedded.pods import Stage
from autoscaler.embedded.processes import Child, Children, Command, kill_session

log = logging.getLogger(__name__)

# The kubelet's own rule: the first restart at once, then 10 s doubling to 5 minutes. Shorter here: demos last minutes.
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0


@dataclass(slots=True)
class Worker:
    """A worker's process, and how often it had to be started."""

    command: Command
    ip: str
    children: Children
    child: Child
    restarts: int = 0
    ray_nodes: frozenset[str] = frozenset()
    """Ray nodes this pod has been, the present one included: Ray lists a dead one as alive for a while."""
    is_ready: bool = False
    died_s: float | None = None
    ending_s: float | None = None
    reported: tuple[Stage, int] | None = None
    """Stage and restarts as the API was last told."""

    @classmethod
    def launch(cls, command: Command, ip: str, children: Children) -> "Worker":
        """Start the process."""
        return cls(command, ip, children, children.start(command))

    @property
    def stage(self) -> Stage:
        if self.died_s is not None:
            return Stage.CRASHED
        return Stage.READY if self.is_ready else Stage.STARTING

    @property
    def pause_s(self) -> float:
        """How long the process stays down before its next start: 0, 1, 2, 4 … 60 s."""
        return 0.0 if self.restarts == 0 else min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** (self.restarts - 1))

    def join(self, ray_nodes: frozenset[str]) -> None:
        """Take in the pod's live Ray nodes: a new one makes the worker ready."""
        if self.stage is Stage.STARTING and ray_nodes - self.ray_nodes:
            self.ray_nodes |= ray_nodes
            self.is_ready = True

    def watch(self, now_s: float) -> None:
        """Notice that the process has ended, and start it again, in the same pod and slot, when its pause is over."""
        if self.child.process.poll() is None:
            return
        if self.died_s is None:
            log.warning("worker %s ended with status %s", self.command.name, self.child.process.returncode)
            kill_session(self.child.process)  # what the container left behind
            self.died_s, self.is_ready = now_s, False
        if now_s - self.died_s >= self.pause_s:
            self.children.forget(self.child)
            self.child = self.children.start(self.command)
            self.died_s = None
            self.restarts += 1

    def end(self, now_s: float, *, grace_s: float) -> bool:
        """Ask it to end, kill it after its grace; True once it is gone with all it started."""
        if self.ending_s is None:
            self.ending_s = now_s
            self.child.process.send_signal(signal.SIGTERM)
        if self.child.process.poll() is None and now_s - self.ending_s < grace_s:
            return False
        kill_session(self.child.process)
        self.child.process.wait()
        self.children.forget(self.child)
        return True
