"""Keeps what Ray Serve runs as the models file says: takes up its changes, and deploys again what Ray has lost.

A changed file is checked as a whole first; one that is refused changes nothing and is looked at again when it changes.
What is deployed is read from Ray each time and remembered nowhere, so that a deployer that starts anew touches nothing
that is as it should be.
"""

import hashlib
import logging
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from serving import changes, config
from serving.changes import Delete, Deploy, How, Step
from serving.config import ConfigError, ServingConfig
from serving.deployed import Deployed, State
from serving.deployer_metrics import APPLIED, REFUSED, DeployerMetrics
from serving.session import RayAway, Session

log = logging.getLogger(__name__)

CHECK_TIMEOUT_S = 300
# Between two looks at Ray: while something is under way, and while nothing is.
BUSY_S, QUIET_S = 1.0, 5.0
# Between two attempts while Ray is away: doubling, each shortened by up to half at random.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
# One answer that is late is no reason to take a node from its load balancer.
AWAY_ATTEMPTS = 3
# A worker is there within 15 s where a slot is free; a rolling change that has waited so long is made in place.
ROOM_PATIENCE_S = 60.0
# Ray gives up on a model that does not start, and what kept it from that may pass: a server it is downloaded from.
FIRST_RETRY_S, LONGEST_RETRY_S = 60.0, 600.0

Check = Callable[[Collection[str]], Sequence[str]]
"""Makes every model of the file and loads those named; one line for each problem."""
UNDER_WAY = {State.NOT_STARTED, State.DEPLOYING, State.DELETING}


@dataclass(slots=True, kw_only=True)
class Deployer:
    """One models file and one Ray cluster. `jitter` gives numbers from 0 to 1."""

    file: Path
    session: Session
    check: Check
    metrics: DeployerMetrics
    jitter: Callable[[], float]
    room_patience_s: float = ROOM_PATIENCE_S
    _seen: str | None = None
    """Digest of the file as it was looked at last."""
    _candidate: ServingConfig | None = None
    """Can be read, and is not checked yet, or not fully."""
    _is_made: bool = False
    """Every model of the candidate can be made; whether it loads is not known yet."""
    _good: ServingConfig | None = None
    _is_handed_over: bool = False
    _attempts: int = 0
    """That failed, since Ray answered last."""
    _next_s: float = 0.0
    _waits_since_s: dict[str, float] = field(default_factory=dict)
    _failed: dict[str, str] = field(default_factory=dict)
    _retries: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Of models that never started: when they are tried again, and the pause before that."""

    def step(self, now_s: float) -> None:
        """Look at the file, and at Ray where it is time. Never raises for what a file or Ray may do."""
        if self._look():
            self._next_s = min(self._next_s, now_s) if not self._attempts else self._next_s
        if now_s >= self._next_s and (self._candidate or self._good):
            try:
                is_busy = self._reconcile(now_s)
            except RayAway as away:
                self._next_s = now_s + self._pause_s()
                log.warning("Ray is away: %s; next attempt in %.1f s", away, self._next_s - now_s)
                return
            self._attempts = 0
            self._next_s = now_s + (BUSY_S if is_busy else QUIET_S)

    def not_ready(self) -> str:
        """Why the last good file is not deployed; empty where it is.

        A refused file or an application that fails does not count: what else runs must not leave its load balancer.
        """
        if self._attempts >= AWAY_ATTEMPTS:
            return "Ray is away"
        if self._good is None:
            return "no models file could be taken up yet"
        return "" if self._is_handed_over else "the models file is not handed to Ray yet"

    def _look(self) -> bool:
        """Whether the file has changed; then it is read, and refused or made the candidate."""
        try:
            # The content and not the time: a ConfigMap's volume changes by swapping a link to a folder.
            digest = hashlib.sha256(self.file.read_bytes()).hexdigest()
        except OSError as error:
            digest = f"unreadable: {error.strerror}"
        if digest == self._seen:
            return False
        self._seen, self._candidate, self._is_made = digest, None, False
        try:
            self._candidate = config.load(self.file)
        except ConfigError as error:
            self._refuse(str(error).splitlines())
        return True

    def _refuse(self, problems: Sequence[str]) -> None:
        self._candidate = None
        for problem in problems:
            log.error("refused: %s", problem)
        log.error("refused: %s changes nothing until it is corrected", self.file)
        self.metrics.file_refused.set(1)
        self.metrics.changes.labels(REFUSED).inc()

    def _reconcile(self, now_s: float) -> bool:
        """Bring Ray nearer to what is wanted; whether something is under way. Raises `RayAway`."""
        if self._good is None and self._candidate is not None and not self._is_made:
            self._is_made = self._passes([])  # meanwhile the session joins Ray
        deployed = self.session.read()
        self.metrics.show([seen.state for seen in deployed.values()])
        self._tell_failures(deployed)
        if self._candidate is not None:
            self._prove(self._candidate, deployed)
        if self._good is None:
            return False
        steps = changes.difference(
            deployed,
            self._good,
            without_room=self._without_room(deployed, now_s),
            tried_again=self._tried_again(deployed, now_s),
        )
        if steps:
            self.session.apply(steps)
            for step in steps:
                log.info("%s", told(step))
        self._is_handed_over = True
        return bool(steps) or any(seen.state in UNDER_WAY for seen in deployed.values())

    def _prove(self, candidate: ServingConfig, deployed: Mapping[str, Deployed]) -> None:
        """Make the candidate the good file, or refuse it. Models that do not run as they shall are loaded for that.

        Where nothing runs there is nothing to lose: the replicas load them just as well.
        """
        steps = changes.difference(deployed, candidate) if deployed else ()
        load = [step.name for step in steps if isinstance(step, Deploy) and step.name != config.GATEWAY]
        if (load or not self._is_made) and not self._passes(load):
            return
        self._good, self._candidate = candidate, None
        self.metrics.file_refused.set(0)
        self.metrics.changes.labels(APPLIED).inc()
        log.info("taken up: %s, with %d models", self.file, len(candidate.models))

    def _passes(self, load: Sequence[str]) -> bool:
        """Whether the candidate's models can be made, and these of them loaded; it is refused where not."""
        problems = self.check(load)
        if self._look():
            return False  # what was checked is no longer what was read
        if problems:
            self._refuse(problems)
        return not problems

    def _without_room(self, deployed: Mapping[str, Deployed], now_s: float) -> frozenset[str]:
        waiting = {name for name, seen in deployed.items() if changes.lacks_room(seen)}
        self._waits_since_s = {name: self._waits_since_s.get(name, now_s) for name in waiting}
        return frozenset(
            name for name, since_s in self._waits_since_s.items() if now_s - since_s >= self.room_patience_s
        )

    def _tried_again(self, deployed: Mapping[str, Deployed], now_s: float) -> frozenset[str]:
        """Models that never started, each after a pause that doubles."""
        due = set()
        for name, seen in deployed.items():
            if seen.state is State.RUNNING:
                self._retries.pop(name, None)
            elif changes.never_started(seen):
                at_s, pause_s = self._retries.setdefault(name, (now_s + FIRST_RETRY_S, FIRST_RETRY_S))
                if now_s >= at_s:
                    due.add(name)
                    pause_s = min(2 * pause_s, LONGEST_RETRY_S)
                    self._retries[name] = (now_s + pause_s, pause_s)
        return frozenset(due)

    def _tell_failures(self, deployed: Mapping[str, Deployed]) -> None:
        failed = {
            name: in_short(seen.message)
            for name, seen in deployed.items()
            if seen.state is State.DEPLOY_FAILED or changes.never_started(seen)
        }
        for name, message in failed.items():
            if self._failed.get(name) != message:
                log.error(
                    "%s could not be deployed: %s; correct the model or its entry in %s", name, message, self.file
                )
        self._failed = failed

    def _pause_s(self) -> float:
        self._attempts += 1
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(self._attempts - 1, 10))
        return pause_s * (1 - self.jitter() / 2)


def in_short(message: str) -> str:
    """Ray's message without the traceback in it: what it says itself, and what was raised."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return lines[0] if len(lines) == 1 else f"{lines[0]} {lines[-1]}" if lines else "Ray does not say why"


def told(step: Step) -> str:
    """A step in words."""
    match step:
        case Delete(is_retry=True):
            return f"{step.name}: none of its replicas started, so it is taken away and deployed anew"
        case Delete():
            return f"{step.name}: taken away"
        case Deploy(how=How.NEW):
            return f"{step.name}: deployed, {step.replicas} replicas"
        case Deploy(how=How.LIVE):
            return f"{step.name}: changed while it runs"
        case Deploy(how=How.ROLLING):
            return f"{step.name}: replaced, {step.replicas} replicas one after the other"
        case Deploy():
            return (
                f"{step.name}: no worker was free for its successor within {ROOM_PATIENCE_S:g} s, so it is replaced in "
                f"place and refuses requests meanwhile; keep a slot free to change a model without that"
            )


def checker(file: Path, *, cost_ratio: float) -> Check:
    """Checks in a process of its own: a model that hangs, crashes or fills memory does so there."""

    def check(load: Collection[str]) -> Sequence[str]:
        command = [sys.executable, "-m", "serving.check", str(file), "--cost-ratio", str(cost_ratio), "--only", *load]
        try:
            answer = subprocess.run(command, capture_output=True, text=True, timeout=CHECK_TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            return [
                f"{file}: its models did not load within {CHECK_TIMEOUT_S} s, downloads included; give smaller ones, "
                f"or more memory"
            ]
        if answer.returncode == 0:
            return []
        return answer.stderr.splitlines() or [f"{file}: the check ended with status {answer.returncode}"]

    return check
