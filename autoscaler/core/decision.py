"""The decision and its explanation as data: recommendations, steps with reasons and numbers, actions, the plan.

Logs, metrics, Events, the page and `explain` render these records; nothing else knows why. Every reason is a word an
operator would say, and every step can be read as a part of a sentence.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from autoscaler.core.contention import GpuLoad
from autoscaler.core.observation import Missing
from autoscaler.core.signals import ModelSignals
from autoscaler.core.spec import SPARSE
from vgpu.core.packing import Blocked

Numbers = Mapping[str, float]
"""The numbers behind a step, by name with its unit."""


class Reason(StrEnum):
    """Why a count is what it is."""

    LATENCY_ABOVE_OBJECTIVE = "latency_above_objective"
    LATENCY_NEAR_OBJECTIVE = "latency_near_objective"
    LATENCY_WITHIN_OBJECTIVE = "latency_within_objective"
    OBJECTIVE_OUT_OF_REACH = "objective_out_of_reach"
    OVERLOAD_REMEMBERED = "overload_remembered"
    REQUESTS_REFUSED = "requests_refused"
    OBJECTIVE_BELOW_SOLO = "objective_below_solo"
    LOAD_EXPECTED = "load_expected"
    LOAD_BORNE = "load_borne"
    LATENCY_ABOVE_OBJECTIVE_NOW = "latency_above_objective_now"
    QUEUE_ABOVE_TARGET = "queue_above_target"
    QUEUE_WITHIN_TARGET = "queue_within_target"
    UTILIZATION_ABOVE_TARGET = "utilization_above_target"
    UTILIZATION_WITHIN_TARGET = "utilization_within_target"
    NO_TRAFFIC = "no_traffic"
    STEADY = "steady"
    NO_FRESH_METRICS = "no_fresh_metrics"
    COLD_START_PENDING = "cold_start_pending"
    BACKLOG_DRAINING = "backlog_draining"
    PENDING_EXPIRED = "pending_expired"
    WORST_NEED = "worst_need"
    SETTLING = "settling"
    STEP_LIMIT = "step_limit"
    BOUNDS = "bounds"
    NO_SLOTS = "no_slots"
    SATURATED = "saturated"
    YIELDED = "yielded"
    MOVE_INTERFERENCE = "move_interference"
    MOVING = "moving"
    MOVE_FOR_OTHERS = "move_for_others"
    NODE_LEAVING = "node_leaving"
    WOKEN = "woken"
    IDLE = "idle"
    ASLEEP = "asleep"
    INGRESS_UNREADABLE = "ingress_unreadable"
    TARGET_RESET = "target_reset"
    FOREIGN_WRITER = "foreign_writer"
    SERVE_UNREADABLE = "serve_unreadable"
    WORKERS_UNREADABLE = "workers_unreadable"


class Stage(StrEnum):
    """Where in the tick a step was taken."""

    SEEN = "seen"
    POLICY = "policy"
    GUARDRAIL = "guardrail"
    PLACEMENT = "placement"


def numbers(**values: float) -> Numbers:
    """Freeze named numbers; one that is not finite is a bug and raises ValueError."""
    if not all(map(math.isfinite, values.values())):
        name, value = next(entry for entry in values.items() if not math.isfinite(entry[1]))
        raise ValueError(f"{name} is {value}; a number behind a decision is finite")
    return MappingProxyType(values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """The count one policy asks for, and why."""

    count: int
    reason: Reason
    numbers: Numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One change of mind on the way to the count."""

    stage: Stage
    before: int
    after: int
    reason: Reason
    numbers: Numbers = field(default_factory=numbers)

    def phrase(self) -> str:
        """The step as a part of a sentence."""
        return _PHRASES[self.reason].format(before=self.before, after=self.after, **self.numbers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """How many replicas one model shall have, from `current` to `count`, with everything that led there."""

    model: str
    current: int
    count: int
    steps: tuple[Step, ...]
    recommendations: tuple[Recommendation, ...] = ()
    signals: ModelSignals | None = None
    """None when Ray Serve could not be read, for then nobody knows which replicas run."""
    unplaced: int = 0
    """Replicas that were wanted and found no slot that helps."""
    blocked: tuple[tuple[str, Blocked], ...] = ()
    """Why, per node."""
    victims: tuple[str, ...] = ()
    """All running replicas by id, those first that the model can best do without."""
    sleeps_in_s: float | None = None
    """Seconds without a request after which it has no replica; None where it may not, or nobody can tell."""
    starts_in_s: float | None = None
    """Seconds until a replica is expected, of a model that has none; None before any start was measured."""
    spread: tuple[tuple[str, int], ...] = field(default=(), metadata=SPARSE)
    """Of a model on several slot types: how many of the replicas are for each pool."""
    leaving: tuple[str, ...] = field(default=(), metadata=SPARSE)
    """Its running replicas on nodes that will be taken away, by id, those that go first first."""
    released: int = field(default=0, metadata=SPARSE)
    """So many of them go now: their successors run."""

    @property
    def held(self) -> bool:
        """Nothing changes."""
        return self.count == self.current

    @property
    def reason(self) -> Reason:
        """The reason that settled the count: the last step's; STEADY when everything is within its target."""
        if self.held and self.steps[-1].reason in _CALM:
            return Reason.STEADY
        return self.steps[-1].reason

    def sentence(self) -> str:
        """The decision for a person: from where, each step, so how many."""
        said = ", ".join(step.phrase() for step in self.steps)
        where = f" ({', '.join(f'{count} in {pool}' for pool, count in self.spread)})" if self.spread else ""
        if self.held:
            return f"{self.model}: stays at {self.count}{where}: {said}"
        return f"{self.model}: from {self.current}, {said}, so {self.count}{where}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetWorkers:
    """Size a worker pool, from `before` to `count`."""

    pool: str
    before: int
    count: int
    preferred_nodes: tuple[str, ...] = ()
    """Where new workers help most, best first."""
    victims: tuple[str, ...] = ()
    """Pods (namespace/name) to remove, for no replica lives in them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainWorkers:
    """Close these workers (namespace/name) to new replicas for good, so that the replicas in them are those that leave
    when their model's target falls."""

    model: str
    workers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SetReplicas:
    """Give a model's deployment a new replica target, from `before` to `count`."""

    model: str
    before: int
    count: int


Action = SetWorkers | DrainWorkers | SetReplicas


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do, in order: grow workers, then shrink and grow replicas, then shrink workers."""

    at_s: float
    decisions: tuple[Decision, ...]
    actions: tuple[Action, ...]
    gpus: tuple[GpuLoad, ...] = ()
    undecided: tuple[Missing, ...] = ()
    """Models about which nothing is known yet: Ray Serve could not be read since the autoscaler started."""

    def __post_init__(self) -> None:
        ranks = [rank(action) for action in self.actions]
        if ranks != sorted(ranks):
            raise ValueError(f"actions are out of order: {self.actions}")


def rank(action: Action) -> int:
    """The place of an action in a plan: a replica never waits for a worker that is only asked for after it."""
    match action:
        case SetWorkers(before=before, count=count):
            return 0 if count > before else 3
        case DrainWorkers():
            return 1  # with the fall it belongs to right behind it: Ray soon starts a substitute for a drained replica
        case SetReplicas(before=before, count=count):
            return 1 if count < before else 2


_CALM = (
    Reason.LOAD_BORNE,
    Reason.LATENCY_WITHIN_OBJECTIVE,
    Reason.QUEUE_WITHIN_TARGET,
    Reason.UTILIZATION_WITHIN_TARGET,
    Reason.NO_TRAFFIC,
)

_PHRASES = {
    Reason.LATENCY_ABOVE_OBJECTIVE: "latency wanted {after} (p95 {p95_ms:.0f} ms > {objective_ms:.0f} ms)",
    Reason.LATENCY_NEAR_OBJECTIVE: (
        "latency wanted {after} (p95 {p95_ms:.0f} ms is not well within {objective_ms:.0f} ms)"
    ),
    Reason.LATENCY_WITHIN_OBJECTIVE: "latency wanted {after} (p95 {p95_ms:.0f} ms <= {objective_ms:.0f} ms)",
    Reason.OBJECTIVE_OUT_OF_REACH: (
        "latency kept {after} (p95 {p95_ms:.0f} ms > {objective_ms:.0f} ms with nothing waiting: "
        "more replicas would not help)"
    ),
    Reason.OVERLOAD_REMEMBERED: (
        "latency wanted {after} ({overloaded_count:.0f} missed the objective at {overloaded_per_s:.1f} requests/s)"
    ),
    Reason.OBJECTIVE_BELOW_SOLO: (
        "the load alone wanted {after} (a lone request takes {solo_ms:.0f} ms and the objective is {objective_ms:.0f} "
        "ms: no count can keep it; raise objective_p95_ms or choose a larger slot)"
    ),
    Reason.LOAD_EXPECTED: (
        "the load to be ready for wanted {after} ({rate_per_s:.1f} requests/s: {offered_per_s:.1f} now, the most of "
        "{hold_s:.0f} s x {factor:.2f}; one replica does {replica_per_s:.1f})"
    ),
    Reason.LOAD_BORNE: (
        "the load to be ready for wanted {after} ({rate_per_s:.1f} requests/s: {offered_per_s:.1f} now, the most of "
        "{hold_s:.0f} s x {factor:.2f}; one replica does {replica_per_s:.1f})"
    ),
    Reason.LATENCY_ABOVE_OBJECTIVE_NOW: (
        "latency wanted {after} (the objective is missed at {offered_per_s:.1f} requests/s, {rate_per_s:.1f} with the "
        "backlog; one replica does {replica_per_s:.1f})"
    ),
    Reason.REQUESTS_REFUSED: "latency wanted {after} ({refused:.0f} requests refused)",
    Reason.QUEUE_ABOVE_TARGET: "queue wanted {after} ({in_flight:.1f} in flight, {target:.1f} per replica)",
    Reason.QUEUE_WITHIN_TARGET: "queue wanted {after} ({in_flight:.1f} in flight, {target:.1f} per replica)",
    Reason.UTILIZATION_ABOVE_TARGET: (
        "utilization wanted {after} ({utilization_ratio:.0%} of the slots' share, target {target_ratio:.0%})"
    ),
    Reason.UTILIZATION_WITHIN_TARGET: (
        "utilization wanted {after} ({utilization_ratio:.0%} of the slots' share, target {target_ratio:.0%})"
    ),
    Reason.NO_TRAFFIC: "no traffic",
    Reason.STEADY: "steady",
    Reason.NO_FRESH_METRICS: "missing metrics kept {after} (readings missing: {gaps:.0f})",
    Reason.COLD_START_PENDING: "a pending cold start kept {after} ({pending:.0f} not running yet)",
    Reason.BACKLOG_DRAINING: "a backlog that is draining kept {after}",
    Reason.PENDING_EXPIRED: "replicas that did not start in time left {after}",
    Reason.WORST_NEED: "the worst need of {window_s:.0f} s kept {after}",
    Reason.SETTLING: "settling kept {after} ({since_s:.0f} s since the last change)",
    Reason.STEP_LIMIT: "step limit allowed {after}",
    Reason.BOUNDS: "bounds made it {after} ({min_replicas:.0f} to {max_replicas:.0f})",
    Reason.NO_SLOTS: "free slots allowed {after} ({unplaced:.0f} without a slot)",
    Reason.SATURATED: "saturated GPUs allowed {after} (every free slot is on a card with nothing left to give)",
    Reason.MOVE_INTERFERENCE: (
        "a move to a better card made it {after} for a while ({here_per_s:.1f} requests/s here, {there_per_s:.1f} "
        "there)"
    ),
    Reason.MOVING: "a move under way kept {after}",
    Reason.MOVE_FOR_OTHERS: "a move to another slot type, for a model that lacks this one, made it {after} for a while",
    Reason.NODE_LEAVING: (
        "nodes that leave made it {after} ({on_leaving:.0f} on them, of which {successors_running:.0f} have a "
        "successor that runs and {short:.0f} find no slot)"
    ),
    Reason.YIELDED: "one was yielded to a model that lacks more, which left {after}",
    Reason.WOKEN: "a request wanted {after} ({unanswered:.0f} found no replica in {over_s:.0f} s)",
    Reason.IDLE: "idleness wanted {after} (no request for {quiet_s:.0f} s, {idle_s:.0f} s allow it)",
    Reason.ASLEEP: "asleep until a request comes",
    Reason.INGRESS_UNREADABLE: (
        "an unread ingress wanted {after} (for {unread_s:.0f} s nobody could say whether a request came)"
    ),
    Reason.TARGET_RESET: "Ray Serve's target was {before} instead of {after} and is set again",
    Reason.FOREIGN_WRITER: "another writer sets the target, which is left at {after} for {left_s:.0f} s more",
    Reason.SERVE_UNREADABLE: "Ray Serve could not be read, which kept {after}",
    Reason.WORKERS_UNREADABLE: "workers could not be read, which kept {after}",
}
