"""What the autoscaler remembers from one tick to the next.

Losing it is safe: counts are then taken from what runs, windows fill anew, and until a whole scale-down window has been
watched nothing shrinks. Records are replaced, never changed in place.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from autoscaler.core.ingress import Knocks
from autoscaler.core.learning import Learned
from autoscaler.core.observation import DeploymentSeen, ReplicaSample
from autoscaler.core.record import replace
from autoscaler.core.service import Service
from autoscaler.core.spec import GuardrailSettings, ModelSpec, PolicySettings
from autoscaler.core.window import SlidingMax, Window, with_sample

FOREIGN_MEMORY_S = 120.0
FOREIGN_HOLD_S = 300.0
"""Two redeploys that reset a target to the same number within two minutes are rare; a script that sets it is not."""
CARRIED_S = 150.0
"""A slot that is given away and comes back is missing for two cold starts of about a minute: what the load took within
that time is not spare."""
UNLEARNED_WINDOW_S = 300.0
"""The scale-down window while nothing is known of a model's load: rides out a lull between bursts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overload:
    """This many replicas missed the objective at this offered rate."""

    count: int
    offered_per_s: float
    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Moving:
    """A move to a better card: wished for or under way since `since_s`; under way when `base` says what it adds to."""

    base: int | None = None
    since_s: float | None = None
    ended_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evacuation:
    """A model's running replicas on nodes that will be taken away, and what was decided for them last."""

    replicas: frozenset[str]
    """By id."""
    seats: int
    """Replicas meant for nodes that stay."""
    count: int
    """All, those included that stay only until their successors run."""
    promised: int | None = None
    """The replicas wanted when the last of the nodes was cordoned; None before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelState:
    """The memory of one model."""

    desired: int
    """The count decided last: running replicas, and those still to come."""
    needs: SlidingMax
    """What was recommended, before any guardrail."""
    carried: SlidingMax = field(default_factory=lambda: SlidingMax(span_s=CARRIED_S))
    """Replicas that the load of each tick took."""
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
    foreign: tuple[int, float] | None = None
    """The target that somebody else last set, and when that was seen."""
    yields_until_s: float | None = None
    """Until then another writer has the model's target."""
    moving: Moving = field(default_factory=Moving)
    evacuation: Evacuation | None = None
    """None while none of its replicas is on a node that will be taken away."""
    learned: Learned = field(default_factory=Learned)
    boards: Mapping[str, Service] = field(default_factory=dict)
    """By board, of a model on several slot types: what a batch costs there."""
    spread: Mapping[str, int] = field(default_factory=dict)
    """By pool, of such a model: how many of the desired replicas it was to hold."""
    shunned: Mapping[str, float] = field(default_factory=dict)
    """By pool, of such a model: until when no replica is tried there, for the last ones did not start."""
    knocks: Knocks = field(default_factory=Knocks)
    asked_s: float | None = None
    """When a request was last seen to come, whether it found a replica or not."""
    quiet_since_s: float | None = None
    """Since when every reading has said that no request came; None while one comes or a reading is missing."""

    @classmethod
    def start(cls, spec: ModelSpec, target: int, now_s: float) -> "ModelState":
        """Begin from Ray Serve's target; with nothing measured yet, the first tick takes it for the need."""
        window_s = UNLEARNED_WINDOW_S if spec.scale_down_window_s is None else spec.scale_down_window_s
        return cls(
            desired=target,
            needs=SlidingMax(span_s=window_s),
            running_since_s=now_s,
            knocks=Knocks(heard_s=now_s),
        )

    @property
    def running(self) -> int:
        return len(self.running_ids)

    @property
    def decided(self) -> int:
        """All replicas decided on last: `desired`, and those that stay only until their successors run."""
        return self.desired if self.evacuation is None else self.evacuation.count

    @property
    def pending(self) -> int:
        """Replicas decided on that do not run yet: capacity on its way."""
        awaited = max(0, self.desired - self.running)
        if self.evacuation is None:
            return awaited
        staying = sum(replica_id not in self.evacuation.replicas for replica_id in self.running_ids)
        return max(awaited, self.evacuation.seats - staying)

    def with_deployment(self, seen: DeploymentSeen, settings: GuardrailSettings, now_s: float) -> "ModelState":
        """Take in which replicas run; notice progress, and when pending ones have had their time."""
        running_ids, state = seen.running_ids, self
        learned = self.learned.with_running(running_ids, now_s)
        if learned is not self.learned:
            state = replace(state, learned=learned)
        if running_ids != self.running_ids:
            started = len(running_ids) > self.running
            state = replace(
                state,
                running_ids=running_ids,
                running_since_s=now_s,
                pending_since_s=None if started else self.pending_since_s,
                backoff_until_s=None if started else self.backoff_until_s,
            )
        if not state.pending:
            return state if state.pending_since_s is None else replace(state, pending_since_s=None)
        if state.pending_since_s is None:
            return replace(state, pending_since_s=now_s)
        timeout_s = max(settings.pending_timeout_s, 3 * state.learned.slowest_start_s)
        if now_s - state.pending_since_s >= timeout_s:
            return replace(state, backoff_until_s=now_s + settings.pending_backoff_s, pending_since_s=now_s)
        return state

    def with_target(self, seen: DeploymentSeen, now_s: float) -> "ModelState":
        """Notice a target that somebody else has set. The same one again after it was put right is no redeploy but
        another writer: it is left to them for a while, for two who correct each other help nobody."""
        if self.posted is None or seen.at_s <= self.posted_s or seen.target == self.posted:
            return self
        again = self.foreign is not None and self.foreign[0] == seen.target
        if again and self.foreign is not None and now_s - self.foreign[1] <= FOREIGN_MEMORY_S:
            return replace(self, foreign=None, yields_until_s=now_s + FOREIGN_HOLD_S)
        return replace(self, foreign=(seen.target, now_s))

    def unposted(self) -> "ModelState":
        """Forget what Ray Serve was given: the plan was not carried out."""
        return replace(self, posted=None)

    def windows_with(self, samples: Iterable[ReplicaSample], window_s: float) -> dict[str, Window]:
        """The running replicas' windows with this tick's scrapes; series of others are dropped."""
        known, running = self.windows, self.running_ids
        same = tuple(known) == running  # nearly always: a copy takes a third of as many look-ups
        windows = dict(known) if same else {replica_id: known.get(replica_id, ()) for replica_id in running}
        for sample in samples:
            window = windows.get(sample.replica_id)
            if window is not None:
                windows[sample.replica_id] = with_sample(window, sample, window_s)
        return windows

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
            learned=self.learned.with_asked(count, self.running, now_s),
            pending_since_s=now_s if asked_for_more else self.pending_since_s,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The memory of the fleet."""

    models: Mapping[str, ModelState] = field(default_factory=dict)
    surplus_since_s: Mapping[str, float] = field(default_factory=dict)
    """By pool: since when it has had workers that nobody needs."""
    usual: Mapping[str, float] = field(default_factory=dict)
    """By slot: its engine use, smoothed."""

    def unposted(self) -> "State":
        """The same memory after a plan that nobody carried out."""
        return replace(self, models={name: model.unposted() for name, model in self.models.items()})
