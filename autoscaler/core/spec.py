"""What the operator asks for: the fleet, its models with their bounds and targets, and how the autoscaler behaves.

Every record checks itself and lists all that is wrong at once. Per-model numbers live in ModelSpec; numbers that are
the same for every model live in PolicySettings (what to want) and GuardrailSettings (how fast to follow).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from vgpu.core.share import UNITS_PER_GPU
from vgpu.core.slot_type import SlotType

SPARSE: Mapping[str, bool] = MappingProxyType({"sparse": True})
"""Metadata of a field that is left out of a record's JSON while it has its default."""


class SpecError(ValueError):
    """A specification that cannot be followed; `problems` has one sentence for each fault."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def _require(*checks: tuple[bool, str]) -> None:
    problems = tuple(problem for holds, problem in checks if not holds)
    if problems:
        raise SpecError(problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSpec:
    """A worker pool: pods of one slot type."""

    name: str
    """The pool's name; its workers carry it as a label."""
    profile: SlotType
    """The slot type every worker of the pool asks for."""
    card_cost: float = field(default=1.0, metadata=SPARSE)
    """What a whole card of this board costs, in any unit that is the same for all boards."""

    def __post_init__(self) -> None:
        _require(
            (bool(self.name), "name of a pool is empty"),
            (0 < self.card_cost < math.inf, f"pool {self.name!r}: card_cost is {self.card_cost}; above 0, and finite"),
        )

    @property
    def slot_cost(self) -> float:
        """What one slot costs: its part of the card."""
        return self.card_cost * self.profile.units / UNITS_PER_GPU


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """One served model and what is promised about it."""

    name: str
    """The model's name; also the name of its Ray Serve application."""
    pool: str
    """The pool whose workers its replicas live in."""
    objective_p95_ms: int
    """95 of 100 requests shall be answered within this. Make it an edge of the latency histogram: then the share of
    requests within it is exact, otherwise it is interpolated."""
    max_replicas: int
    """Never more than this, whatever the load."""
    min_replicas: int = 1
    """Never fewer. 0 lets a model that nobody asks have no replica at all; who asks it then is refused until a whole
    cold start has passed."""
    idle_s: float = 300.0
    """With min_replicas 0: the last replica goes when so long no request has come. Each return costs its clients a cold
    start, so some ten cold starts are a fair price for a slot; 0 gives the slot up at every pause."""
    priority: int = 0
    """The larger gets slots first, and for its load of now takes them from lower ones, down to their min_replicas."""
    target_in_flight: float = 8.0
    """Requests one replica should hold on average, waiting ones included. By Little's law a replica that answers 40
    requests/s within 200 ms holds 8. Lower starts more replicas; far above capacity x objective it never acts."""
    target_utilization_ratio: float = 0.7
    """How much of its entitled share a slot should use. 0.7 leaves room for the load that arrives during a cold
    start; near 1 the queue grows without bound."""
    scale_down_window_s: float | None = None
    """The largest need within this time decides how far to shrink. None: as long as this model's own load has shown to
    be worth it, and five minutes until it has shown anything; 0 follows every dip."""
    max_batch_size: int = 1
    """The most requests one execution takes; what larger batches gain is learned."""
    further_pools: tuple[str, ...] = field(default=(), metadata=SPARSE)
    """Pools of other slot types whose workers its replicas may live in as well. The order of pools says nothing."""

    @property
    def pools(self) -> tuple[str, ...]:
        return (self.pool, *self.further_pools)

    def __post_init__(self) -> None:
        who = f"model {self.name!r}:"
        _require(
            (bool(self.name), "name of a model is empty"),
            (all(self.pools), f"{who} pool is empty"),
            (
                len(set(self.pools)) == len(self.pools),
                f"{who} pools are {', '.join(map(repr, self.pools))}; each of them once",
            ),
            (self.objective_p95_ms >= 1, f"{who} objective_p95_ms is {self.objective_p95_ms}; at least 1"),
            (self.min_replicas >= 0, f"{who} min_replicas is {self.min_replicas}; at least 0"),
            (
                self.max_replicas >= max(1, self.min_replicas),
                f"{who} max_replicas is {self.max_replicas}; "
                + (f"at least min_replicas, which is {self.min_replicas}" if self.min_replicas > 0 else "at least 1"),
            ),
            (0 <= self.idle_s < math.inf, f"{who} idle_s is {self.idle_s}; at least 0, and finite"),
            (self.target_in_flight > 0, f"{who} target_in_flight is {self.target_in_flight}; above 0"),
            (
                0 < self.target_utilization_ratio <= 1,
                f"{who} target_utilization_ratio is {self.target_utilization_ratio}; above 0, at most 1",
            ),
            (
                self.scale_down_window_s is None or self.scale_down_window_s >= 0,
                f"{who} scale_down_window_s is {self.scale_down_window_s}; at least 0",
            ),
            (self.max_batch_size >= 1, f"{who} max_batch_size is {self.max_batch_size}; at least 1"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySettings:
    """How signals are read and what counts as too slow, too full or too crowded."""

    window_s: float = 10.0
    """Latency, rates and gauges are taken over this time. Longer is calmer and later; it should hold at least two
    scrapes and several requests."""
    recent_s: float = 3.0
    """A rise also looks at the offered rate of this last part of the window: a step from 5 to 45 requests/s reads 9
    after one second of a 10 s window, and 18 after one of 3. It should hold at least two scrapes."""
    max_age_s: float = 10.0
    """A reading older than this is missing. Several scrape intervals, so that one lost scrape does not hold a fall."""
    least_requests: int = 5
    """A percentile of fewer requests than this is an anecdote and starts nothing."""
    calm_ratio: float = 0.7
    """p95 below this part of its objective is well within it; between the two the count stays."""
    tolerance_ratio: float = 0.1
    """A target overshot by up to this part starts nothing: 10 replicas at 1.08 of their target are enough."""
    drain_s: float = 20.0
    """A backlog that will be gone within this at the present pace needs no further replica."""
    overload_memory_s: float = 3600.0
    """For this long a count that missed its objective at some rate is not tried again at that rate. Without it a model
    that needs 2 and looks idle with 2 swings between 1 and 2 for ever."""
    cold_start_s: float = 45.0
    """From the wish for a replica to its first answer, until some have been measured."""
    least_gain_ratio: float = 0.2
    """A replica that adds less than this part of what one alone on a card does is not worth its slot."""
    attainment_margin_ratio: float = 0.5
    """This part of the requests that may be late is kept in reserve: of 5 %, half is planned."""
    saturated_ratio: float = 0.9
    """A card this busy has nothing left to give: a replica added to it slows its neighbours by what it gains."""

    def __post_init__(self) -> None:
        _require(
            (self.window_s > 0, f"window_s is {self.window_s}; above 0"),
            (
                0 < self.recent_s <= self.window_s,
                f"recent_s is {self.recent_s}; above 0, at most window_s, which is {self.window_s}",
            ),
            (self.max_age_s > 0, f"max_age_s is {self.max_age_s}; above 0"),
            (self.least_requests >= 1, f"least_requests is {self.least_requests}; at least 1"),
            (0 < self.calm_ratio <= 1, f"calm_ratio is {self.calm_ratio}; above 0, at most 1"),
            (0 <= self.tolerance_ratio < 1, f"tolerance_ratio is {self.tolerance_ratio}; at least 0, below 1"),
            (self.drain_s >= 0, f"drain_s is {self.drain_s}; at least 0"),
            (self.overload_memory_s >= 0, f"overload_memory_s is {self.overload_memory_s}; at least 0"),
            (self.cold_start_s > 0, f"cold_start_s is {self.cold_start_s}; above 0"),
            (0 <= self.least_gain_ratio < 1, f"least_gain_ratio is {self.least_gain_ratio}; at least 0, below 1"),
            (
                0 <= self.attainment_margin_ratio < 1,
                f"attainment_margin_ratio is {self.attainment_margin_ratio}; at least 0, below 1",
            ),
            (0 < self.saturated_ratio <= 1, f"saturated_ratio is {self.saturated_ratio}; above 0, at most 1"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardrailSettings:
    """How fast a recommendation is followed."""

    settle_up_s: float = 5.0
    """After any change the count does not rise for this long. Short, because replicas on their way count as capacity
    and only the offered rate may ask for more of them."""
    settle_down_s: float = 10.0
    """After any change the count does not fall for this long."""
    step_up_ratio: float = 4.0
    """One step may multiply the count by this."""
    step_up_count: int = 2
    """One step may always add this many, so that 1 grows to 3 and not to 2."""
    step_down_part: int = 5
    """One step down takes at most this part of the replicas, a fifth, and at least one."""
    pending_timeout_s: float = 120.0
    """Replicas that were asked for count as capacity for this long without one of them starting. About three times
    the slowest cold start; too short cancels replicas that were nearly there."""
    pending_backoff_s: float = 60.0
    """After replicas failed to start, none is added for this long."""
    worker_keep_s: float = 30.0
    """A worker that no replica needs keeps its slot this long, in case the load returns or the autoscaler has just
    restarted and does not know the need yet."""

    def __post_init__(self) -> None:
        _require(
            (self.settle_up_s >= 0, f"settle_up_s is {self.settle_up_s}; at least 0"),
            (self.settle_down_s >= 0, f"settle_down_s is {self.settle_down_s}; at least 0"),
            (self.step_up_ratio >= 1, f"step_up_ratio is {self.step_up_ratio}; at least 1"),
            (self.step_up_count >= 1, f"step_up_count is {self.step_up_count}; at least 1"),
            (self.step_down_part >= 1, f"step_down_part is {self.step_down_part}; at least 1"),
            (self.pending_timeout_s > 0, f"pending_timeout_s is {self.pending_timeout_s}; above 0"),
            (self.pending_backoff_s >= 0, f"pending_backoff_s is {self.pending_backoff_s}; at least 0"),
            (self.worker_keep_s >= 0, f"worker_keep_s is {self.worker_keep_s}; at least 0"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetSpec:
    """All pools and models, and the settings they share."""

    pools: tuple[PoolSpec, ...]
    models: tuple[ModelSpec, ...]
    policy: PolicySettings = field(default_factory=PolicySettings)
    guardrails: GuardrailSettings = field(default_factory=GuardrailSettings)

    def __post_init__(self) -> None:
        pools = [pool.name for pool in self.pools]
        models = [model.name for model in self.models]
        _require(
            *(
                (pools.count(name) == 1, f"pool {name!r} is listed {pools.count(name)} times")
                for name in sorted(set(pools))
            ),
            *(
                (models.count(name) == 1, f"model {name!r} is listed {models.count(name)} times")
                for name in sorted(set(models))
            ),
            *(
                (pool in pools, f"model {model.name!r}: pool {pool!r} is none of {', '.join(pools) or 'none'}")
                for model in self.models
                for pool in model.pools
            ),
            *((not why, why) for why in map(self._same_type, self.models) if why),
        )

    @property
    def by_priority(self) -> tuple[ModelSpec, ...]:
        """Models in the order in which they get slots: priority first, then name."""
        return tuple(sorted(self.models, key=lambda model: (-model.priority, model.name)))

    def models_of(self, pool: str) -> tuple[ModelSpec, ...]:
        """Models whose replicas may live in the pool, in the order of `by_priority`."""
        return tuple(model for model in self.by_priority if model.pool == pool or pool in model.further_pools)

    def pool(self, name: str) -> PoolSpec:
        return next(pool for pool in self.pools if pool.name == name)

    @property
    def joined_pools(self) -> tuple[tuple[str, ...], ...]:
        """Pools grouped by the models that may live in several of them; in the order of `pools`, nearly all alone."""
        joined = {pool.name: [pool.name] for pool in self.pools}
        for model in self.models:
            for other in model.further_pools:
                mine, theirs = joined[model.pool], joined[other]
                if mine is not theirs:
                    mine += theirs
                    joined.update(dict.fromkeys(theirs, mine))
        places = {name: place for place, name in enumerate(joined)}
        groups = {id(group): tuple(sorted(group, key=places.__getitem__)) for group in joined.values()}
        return tuple(groups.values())

    def _same_type(self, model: ModelSpec) -> str:
        """Two of the model's pools that nothing tells apart; empty where there are none."""
        profiles = [pool.profile for pool in self.pools if model.further_pools and pool.name in model.pools]
        twice = sorted({profile.label for profile in profiles if profiles.count(profile) > 1})
        return f"model {model.name!r}: two of its pools are of slot type {', '.join(twice)}" if twice else ""
