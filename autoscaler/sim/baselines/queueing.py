"""How late requests get before a row of servers: Erlang's C formula, with a tail for uneven service times.

The wait of M/M/c is exponential with rate c*mu - lam where a request waits at all; for general times that rate is
scaled by 2 / (ca2 + cs2) (Allen and Cunneen's approximation), with Poisson arrivals ca2 = 1. Numbers may be arrays of
one shape: rates and times are then taken element by element.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from autoscaler.sim.world import SimModel

# Deciles of a standard normal at their middles: ten equally likely service times stand for the lognormal.
_NORMAL_MIDDLES = (-1.6449, -1.0364, -0.6745, -0.3853, -0.1257, 0.1257, 0.3853, 0.6745, 1.0364, 1.6449)

LATE_RATIO = 0.05
"""The part of requests that a p95 objective lets be late."""

Number = TypeVar("Number", float, NDArray[np.float64])


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A model measured alone on an idle card, at the batch it would be run with.

    The batch is the largest that takes at most half the objective, so that a request that just missed one still makes
    the next.
    """

    service_s: float
    """Time a replica spends on one request: a batch's time by its size."""
    latency_s: float
    """Time a request spends in a batch."""
    engine_s: float
    """Engine time of one request."""
    spread_ratio: float
    objective_s: float

    @classmethod
    def of(cls, model: SimModel) -> "Profile":
        service = model.service
        fits = [items for items in range(1, service.max_batch + 1) if service.solo_ms(items) <= model.objective_s * 500]
        items = max(fits, default=1)
        batch_s = service.solo_ms(items) / 1000
        return cls(
            service_s=batch_s / items,
            latency_s=batch_s,
            engine_s=(batch_s - service.host_ms / 1000) / items,
            spread_ratio=service.spread_ratio,
            objective_s=model.objective_s,
        )


def service_draws(spread_ratio: float) -> NDArray[np.float64]:
    """Ten equally likely factors of mean 1 that stand for a lognormal of this coefficient of variation."""
    sigma = math.sqrt(math.log(1 + spread_ratio**2))
    factors = np.exp(sigma * np.array(_NORMAL_MIDDLES))
    return np.asarray(factors / factors.mean(), dtype=np.float64)


def erlang_c(servers: int, offered: Number) -> Number:
    """Probability that a request waits, offered load in servers' worth (rate x time); meant for 0 <= offered < servers.

    A. K. Erlang 1917, by the recursion of the B formula, which does not overflow.
    """
    blocked = offered * 0 + 1.0
    for count in range(1, servers + 1):
        blocked = offered * blocked / (count + offered * blocked)
    return servers * blocked / (servers - offered * (1 - blocked))


def late_ratio(servers: int, rate_per_s: float, profile: Profile, *, stretch: float = 1.0) -> float:
    """Part of requests that take longer than the objective, 0 to 1; `stretch` multiplies every service time."""
    service_s = profile.service_s * stretch
    offered = rate_per_s * service_s
    if offered >= servers:
        return 1.0
    slack_s = profile.objective_s - profile.latency_s * stretch * service_draws(profile.spread_ratio)
    decay = 2 * (servers / service_s - rate_per_s) / (1 + profile.spread_ratio**2)
    waits = erlang_c(servers, offered) * np.exp(-decay * np.maximum(slack_s, 0))
    return float(np.where(slack_s <= 0, 1.0, waits).mean())


@lru_cache(maxsize=256)
def rate_within(servers: int, profile: Profile) -> float:
    """The largest rate (requests/s) at which no more than 5 % are late, 0 where even a lone request is."""
    if late_ratio(servers, 0.0, profile) > LATE_RATIO:
        return 0.0
    low, high = 0.0, servers / profile.service_s
    for _ in range(30):
        middle = (low + high) / 2
        if late_ratio(servers, middle, profile) <= LATE_RATIO:
            low = middle
        else:
            high = middle
    return low


def replicas_for(rate_per_s: float, profile: Profile, *, most: int) -> int:
    """The fewest replicas, 1 to `most`, that keep the objective at this rate; `most` where none does."""
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        if rate_within(middle, profile) >= rate_per_s:
            high = middle
        else:
            low = middle + 1
    return low
