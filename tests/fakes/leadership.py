"""Who leads, as a test says it."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from autoscaler.ports import Unavailable


@dataclass
class FakeLeadership:
    """The loop's `Leadership`."""

    held: bool = True
    is_away: bool = False
    asked: Counter[bool] = field(default_factory=Counter)
    """How often it was asked, by its answer."""
    before_answer: Callable[[int], None] = lambda number: None
    """Called with the number of each question, before it is answered."""

    def is_held(self, now_s: float) -> bool:
        self.before_answer(self.asked.total())
        if self.is_away:
            raise Unavailable("lease", "the API server is away")
        self.asked[self.held] += 1
        return self.held
