"""Ray Serve as the deployer meets it: applications that it is handed, and what it says of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from serving.changes import Delete, Deploy, Step
from serving.deployed import Deployed, State
from serving.session import RayAway


@dataclass(slots=True)
class FakeRay:
    """Keeps what it is handed; applications run at once, unless `fails` or `waits` names them.

    Of those in `stops` no replica is there.
    """

    applications: dict[str, Deployed] = field(default_factory=dict)
    away: str = ""
    fails: set[str] = field(default_factory=set)
    waits: set[str] = field(default_factory=set)
    stops: set[str] = field(default_factory=set)
    handed: list[Step] = field(default_factory=list)
    reads: int = 0

    def read(self) -> Mapping[str, Deployed]:
        self.reads += 1
        self._must_be_there()
        return dict(self.applications)

    def apply(self, steps: Sequence[Step]) -> None:
        self._must_be_there()
        for step in steps:
            self.handed.append(step)
            if isinstance(step, Delete):
                del self.applications[step.name]
            else:
                self.applications[step.name] = self._deployed(step)

    def close(self) -> None:
        return

    def scale(self, name: str, count: int) -> None:
        """What the autoscaler does."""
        self.applications[name] = replace(self.applications[name], target=count, replicas=count)

    def _deployed(self, step: Deploy) -> Deployed:
        state = State.RUNNING
        if step.name in self.waits:
            state = State.DEPLOYING
        if step.name in self.fails:
            state = State.DEPLOY_FAILED
        message = "its constructor failed" if step.name in self.fails else ""
        return Deployed(
            state=state,
            message=message,
            settings=step.settings,
            target=step.replicas,
            replicas=0 if step.name in self.stops else step.replicas,
        )

    def _must_be_there(self) -> None:
        if self.away:
            raise RayAway(self.away)
