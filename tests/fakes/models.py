"""The models file as a test says it."""

from dataclasses import dataclass

from autoscaler.about import ModelAbout
from autoscaler.core.spec import FleetSpec
from autoscaler.ports import Change, ModelsFileSeen


@dataclass
class FakeModels:
    """The loop's `SpecSource`."""

    spec: FleetSpec
    problems: tuple[str, ...] = ()
    reads: int = 0
    _change: Change | None = None
    _reworked: frozenset[str] = frozenset()

    def take(self, spec: FleetSpec, *, reworked: frozenset[str] = frozenset()) -> None:
        """The file changes to this, and can be followed."""
        self.spec, self.problems, self._change, self._reworked = spec, (), Change.APPLIED, reworked

    def refuse(self, *problems: str) -> None:
        """The file changes to something that cannot be followed."""
        self.problems, self._change = problems, Change.REFUSED

    def restore(self) -> None:
        """The file is again what is followed."""
        self.problems = ()

    def read(self) -> ModelsFileSeen:
        self.reads += 1
        seen = ModelsFileSeen(
            spec=self.spec,
            about=tuple(ModelAbout(name=model.name, source="synthetic") for model in self.spec.models),
            problems=self.problems,
            change=self._change,
            reworked=self._reworked,
        )
        self._change, self._reworked = None, frozenset()
        return seen
