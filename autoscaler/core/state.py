"""What the autoscaler remembers from one tick to the next.

Losing it is safe: counts are then taken from what runs, windows fill anew, and until a whole scale-down window has been
watched nothing shrinks. Records are replaced, never changed in place.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from autoscaler.core.observation import DeploymentSeen, ReplicaSample
from autoscaler.core.spec import GuardrailSettings, ModelSpec, PolicySettings
from autoscaler.core.window import SlidingMax, Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Overload:
    """This many replicas missed the objective at this offered rate."""

    count: int
    offered_per_s: float
    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelState:
    """The memory of one model."""

    desired: int
    """The count decided last: running replicas, and those still to come."""
    needs: SlidingMax
    """What was recommended, before any guardrail."""
    running_ids: tuple[str, ...] = ()
    running_since_s: float
    """When the set of running replicas last changed."""
    windows: Mapping[str, Window] = field(default_factory=dict)
    """By replica id; running replicas only."""
    overloads: tuple[Overload, ...] = ()
    """At most one for each count, the latest."""
    changed_s: float | None = None
    """When `desired` last changed."""
    pending_since_s: float | None = None
    """Since when replicas have been awaited without one of them starting."""
    backoff_until_s: float | None = None
    """Until then none is added, because the last ones never started."""
    posted: int | None = None
    """The replica target Ray Serve was last given."""
    posted_s: float = 0.0

    @classmethod
    def start(cls, spec: ModelSpec, target: int, now_s: float) -> "ModelState":
        """Begin from Ray Serve's target; with nothing measured yet, the first tick takes it for the need."""
        return cls(desired=target, needs=SlidingMax(span_s=spec.scale_down_window_s), running_since_s=now_s)

    @property
    def running(self) -> int:
        return len(self.running_ids)

    @property
    def pending(self) -> int:
        """Replicas decided on that do not run yet: capacity on its way."""
        return max(0, self.desired - self.running)

    def with_deployment(self, seen: DeploymentSeen, settings: GuardrailSettings, now_s: float) -> "ModelState":
        """Take in which replicas run; notice progress, and when pending ones have had their time."""
        state = self
        if seen.running_ids != self.running_ids:
            started = len(seen.running_ids) > self.running
            state = replace(
                self,
                running_ids=seen.running_ids,
                running_since_s=now_s,
                pending_since_s=None if started else self.pending_since_s,
                backoff_until_s=None if started else self.backoff_until_s,
            )
        if not state.pending:
            return replace(state, pending_since_s=None)
        if state.pending_since_s is None:
            return replace(state, pending_since_s=now_s)
        if now_s - state.pending_since_s >= settings.pending_timeout_s:
            return replace(state, backoff_until_s=now_s + settings.pending_backoff_s, pending_since_s=now_s)
        return state

    def with_samples(self, samples: Iterable[ReplicaSample], window_s: float) -> "ModelState":
        """Take in this tick's scrapes; series of replicas that no longer run are dropped."""
        windows = {key: window for key, window in self.windows.items() if key in self.running_ids}
        for sample in samples:
            if sample.replica_id in self.running_ids:
                window = windows.get(sample.replica_id, Window(span_s=window_s))
                windows[sample.replica_id] = window.with_sample(sample)
        return replace(self, windows=windows)

    def with_overload(self, missed: Overload) -> "ModelState":
        kept = tuple(overload for overload in self.overloads if overload.count != missed.count)
        return replace(self, overloads=(*kept, missed))

    def without_overloads(self, *, borne_per_s: float | None, settings: PolicySettings, now_s: float) -> "ModelState":
        """Forget what is too old, and what the running replicas have just shown they can bear."""
        kept = tuple(
            overload
            for overload in self.overloads
            if now_s - overload.at_s <= settings.overload_memory_s
            and not (
                borne_per_s is not None and overload.count >= self.running and overload.offered_per_s <= borne_per_s
            )
        )
        return replace(self, overloads=kept)

    def with_desired(self, count: int, now_s: float) -> "ModelState":
        if count == self.desired:
            return self
        asked_for_more = count > max(self.desired, self.running)
        return replace(
            self,
            desired=count,
            changed_s=now_s,
            pending_since_s=now_s if asked_for_more else self.pending_since_s,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The memory of the fleet."""

    models: Mapping[str, ModelState] = field(default_factory=dict)
    surplus_since_s: Mapping[str, float] = field(default_factory=dict)
    """By pool: since when it has had workers that nobody needs."""
