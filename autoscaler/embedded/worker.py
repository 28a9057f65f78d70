"""One pod's process: started, watched, started again with growing pauses, ended as a container is."""

import logging
import signal
from dataclasses import dataclass

from autoscaler.embedded.pods import Stage
from autoscaler.embedded.processes import Child, Children, Command, freeze, kill_session, thaw

log = logging.getLogger(__name__)

# The kubelet's own rule: the first restart at once, then 10 s doubling to 5 minutes. Shorter here: demos last minutes.
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0


@dataclass(slots=True)
class Worker:
    """A pod's process, and how often it had to be started."""

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
    joins_ray: bool = True
    """Ready once its Ray node has joined; else as soon as it runs."""
    may_finish: bool = False
    """Status 0 is its end; else whatever ends is started again."""
    has_finished: bool = False

    @classmethod
    def launch(cls, command: Command, ip: str, children: Children, *, restarts: int = 0) -> "Worker":
        """Start the process of a Ray worker."""
        return cls(command, ip, children, children.start(command), restarts)

    @classmethod
    def launch_job(cls, command: Command, ip: str, children: Children, *, restarts: int, may_finish: bool) -> "Worker":
        """Start the process of a job, which is ready when it runs."""
        child = children.start(command)
        return cls(command, ip, children, child, restarts, is_ready=True, joins_ray=False, may_finish=may_finish)

    @property
    def stage(self) -> Stage:
        if self.has_finished:
            return Stage.FINISHED
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
        if self.has_finished or self.child.process.poll() is None:
            return
        if self.may_finish and self.child.process.returncode == 0:
            kill_session(self.child.process)
            self.children.forget(self.child)
            self.has_finished = True
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
            self.is_ready = not self.joins_ray

    def freeze(self) -> None:
        """Stop it where it is: its machine is suspended."""
        freeze(self.child.process)

    def thaw(self) -> None:
        """Let it go on: its machine is there again."""
        thaw(self.child.process)

    def lose_power(self) -> None:
        """End it at once: its machine is off."""
        if not self.has_finished:
            self.children.kill(self.child)

    def end(self, now_s: float, *, grace_s: float) -> bool:
        """Ask it to end, kill it after its grace; True once it is gone with all it started."""
        if self.has_finished:
            return True
        if self.ending_s is None:
            self.ending_s = now_s
            self.child.process.send_signal(signal.SIGTERM)
        if self.child.process.poll() is None and now_s - self.ending_s < grace_s:
            return False
        kill_session(self.child.process)
        self.child.process.wait()
        self.children.forget(self.child)
        return True
