"""How much slower a replica runs at each time, for each count of replicas, when they stand on the best cards.

A mean-field estimate of processor sharing: a tenant of a card is at work for (its load x its stretch) of the time, and
a replica's engine part is stretched by one plus the others at work, and by the switching cost of that many. Under
equal and fixed share the engine part is stretched by the entitled share, whoever works.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoscaler.sim.baselines.queueing import LATE_RATIO, Profile, erlang_c, service_draws
from autoscaler.sim.world import World
from vgpu.core.share import SchedulerPolicy

SEGMENT_S = 60.0
"""Loads of neighbours are taken as constant for this long."""
_ROUNDS = 8
_HALVINGS = 14
_USUAL_UTILIZATION = 0.7
_DRAWS = 10

Floats = NDArray[np.float64]


def foreign_load(world: World, segments: int) -> Floats:
    """Engine load the foreign tenants of each card want: [segments, cards], at the middle of each segment."""
    middles_s = (np.arange(segments) + 0.5) * SEGMENT_S
    load = np.zeros((segments, world.cards))
    for tenant in world.foreign:
        starts_s = np.array([start_s for start_s, _ in tenant.phases])
        ratios = np.array([0.0, *(ratio for _, ratio in tenant.phases)])
        load[:, tenant.card] += ratios[np.searchsorted(starts_s, middles_s, side="right")]
    return load


def own_capacity(world: World) -> NDArray[np.int64]:
    """Slots of each card that no foreign tenant holds: [cards]."""
    free = np.full(world.cards, world.slots_per_card)
    for tenant in world.foreign:
        free[tenant.card] -= 1
    return free


def busyness(world: World, profile: Profile, load: Floats, placed: Floats) -> Floats:
    """How little a card has left for one more replica; only its order counts. Shapes [..., cards].

    Under best effort its neighbours' load and that of the replicas on it, under the other policies its tenants.
    """
    if world.policy is SchedulerPolicy.BEST_EFFORT:
        return load + _USUAL_UTILIZATION * profile.engine_s / profile.service_s * placed
    return placed + (world.slots_per_card - own_capacity(world))


@dataclass(frozen=True, slots=True)
class Crowding:
    """The model under study on a world whose other load is known; `load` [segments, cards] in engines."""

    world: World
    profile: Profile
    load: Floats

    def rates_within(self, most: int) -> Floats:
        """The largest rate (requests/s) that 1 to `most` replicas answer within the objective: [most, segments]."""
        free = own_capacity(self.world)
        placed = np.zeros(self.load.shape)
        rates = np.zeros((most, len(self.load)))
        rows = np.arange(len(self.load))
        for count in range(1, most + 1):
            score = np.where(placed < free, busyness(self.world, self.profile, self.load, placed), np.inf)
            placed[rows, score.argmin(axis=1)] += 1
            rates[count - 1] = self._largest_rate(count, placed)
        return np.maximum.accumulate(rates, axis=0)

    def _largest_rate(self, count: int, placed: Floats) -> Floats:
        low = np.zeros(len(placed))
        high = np.full(len(placed), count / self.profile.service_s)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            within = self.late_ratio(count, placed, middle) <= LATE_RATIO
            low, high = np.where(within, middle, low), np.where(within, high, middle)
        return low

    def stretch(self, placed: Floats, per_replica: Floats) -> Floats:
        """How many times longer a replica's engine part takes on each card; `per_replica` is its load, [segments]."""
        world = self.world
        tenants = np.maximum(placed + (world.slots_per_card - own_capacity(world)), 1.0)
        switching = 1 + world.switch_cost_ratio * (tenants - 1)  # as if all of them were at work
        if world.policy is SchedulerPolicy.FIXED_SHARE:
            return float(world.slots_per_card) * switching
        if world.policy is SchedulerPolicy.EQUAL_SHARE:
            return tenants * switching
        load = per_replica[:, None]
        at_work = np.minimum(1.0, load * np.ones_like(placed))
        others = np.minimum(1.0, self.load)
        stretch = np.ones_like(placed)
        for _ in range(_ROUNDS):
            crowd = np.maximum(placed - 1, 0) * at_work + others
            stretch = (1 + crowd) * (1 + world.switch_cost_ratio * crowd)
            theirs = 1 + placed * at_work
            at_work = np.minimum(1.0, load * stretch)
            others = np.minimum(1.0, self.load * theirs * (1 + world.switch_cost_ratio * (theirs - 1)))
        return stretch

    def late_ratio(self, count: int, placed: Floats, rate_per_s: Floats) -> Floats:
        """Part of requests beyond the objective, [segments], for `count` replicas `placed` on cards."""
        profile = self.profile
        slower = self.stretch(placed, rate_per_s / count * profile.engine_s)
        service_s = profile.service_s + profile.engine_s * (slower - 1)
        speeds = placed / service_s
        capacity = speeds.sum(axis=1)
        mean_s = count / capacity
        offered = np.minimum(rate_per_s * mean_s, count * (1 - 1e-9))
        wait = np.minimum(1.0, erlang_c(count, offered))
        decay = 2 * np.maximum(capacity - rate_per_s, 0) / (1 + profile.spread_ratio**2)
        latency_s = profile.latency_s * service_s / profile.service_s
        slack_s = profile.objective_s - latency_s[:, :, None] * service_draws(profile.spread_ratio)
        waits = wait[:, None, None] * np.exp(-decay[:, None, None] * np.maximum(slack_s, 0))
        late = np.where(slack_s <= 0, 1.0, waits).mean(axis=2)
        mixed: Floats = (late * speeds).sum(axis=1) / capacity
        return np.where(rate_per_s * mean_s >= count, 1.0, mixed)
