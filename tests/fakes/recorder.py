"""Keeps every tick it is told of."""

from dataclasses import dataclass, field

from autoscaler.ports import Tick


@dataclass
class FakeRecorder:
    """The loop's `Recorder`."""

    ticks: list[Tick] = field(default_factory=list)

    def record(self, tick: Tick) -> None:
        self.ticks.append(tick)
