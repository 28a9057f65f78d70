"""An ingress in memory that counts what a test says.

`tests/contracts/ports` holds it to what `HaproxyIngress` does with the real HAProxy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from autoscaler.core.observation import IngressSample
from autoscaler.ports import Unavailable


@dataclass
class FakeIngress:
    """The loop's `Ingress`."""

    unanswered: dict[str, int] = field(default_factory=dict)
    """By model: requests that found no replica."""
    is_away: bool = False
    is_deaf: bool = False
    """It answers, and takes in nothing."""
    process: str = "1"
    starts_s: dict[str, float] = field(default_factory=dict)
    """What was announced last."""

    def read(self, models: Sequence[str], now_s: float) -> tuple[IngressSample, ...]:
        self._answer()
        return tuple(
            IngressSample(model=model, at_s=now_s, unanswered=self.unanswered[model], process=self.process)
            for model in models
            if model in self.unanswered
        )

    def announce(self, starts_s: Mapping[str, float]) -> None:
        self._answer()
        if self.is_deaf:
            raise Unavailable("ingress /starts", "answered 404")
        self.starts_s.update(starts_s)

    def _answer(self) -> None:
        if self.is_away:
            raise Unavailable("ingress /metrics", "nobody listens")
