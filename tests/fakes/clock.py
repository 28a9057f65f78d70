"""A clock that a test moves: sleeping takes no time, and ends for good at a given second."""

from dataclasses import dataclass, field


@dataclass
class VirtualClock:
    """The loop's `Clock` in virtual seconds."""

    until_s: float = float("inf")
    at_s: float = 0.0
    slept_s: list[float] = field(default_factory=list)

    def now_s(self) -> float:
        return self.at_s

    def sleep(self, duration_s: float) -> bool:
        """Let the time pass; False when it would pass the end."""
        self.slept_s.append(duration_s)
        self.at_s += duration_s
        return self.at_s < self.until_s

    def pass_s(self, duration_s: float) -> None:
        """Time that something takes."""
        self.at_s += duration_s
