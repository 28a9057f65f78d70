"""What replicas bear within the objective, from what they can do: worked out for all models of a tick at once."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from autoscaler.core.capacity import Reach
from autoscaler.core.queueing import Tolerance, busy_ratios
from autoscaler.core.service import Demand
from autoscaler.core.spec import ModelSpec

Floats = npt.NDArray[np.float64]

PROMISE_RATIO = 0.05
"""A p95 objective lets one request in twenty be late."""
SERVICE_VARIATION = 0.1
"""Squared variation of service times, about what a batch of one model shows."""
LEAST_BUSY_RATIO = 0.3
"""Replicas less busy than this gain nothing from company."""
MOST_BUSY_RATIO = 0.95
"""However well a group does, the last twentieth of its time is no reserve."""
OUT_OF_REACH_BUSY_RATIO = 0.8
SAME_PACE = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Bearable:
    """What 0, 1, 2 … replicas bear within the objective, and what they get through at most, in requests/s."""

    rates_per_s: tuple[float, ...]
    limits_per_s: tuple[float, ...]
    slack_s: float
    """The wait that still leaves a request in time."""
    allowed_late_ratio: float

    def count(self, rate_per_s: float) -> int:
        """The fewest replicas that bear a rate; the most there is an entry for where none does."""
        return min(bisect_left(self.rates_per_s, rate_per_s), len(self.rates_per_s) - 1)


class Ability(NamedTuple):
    """What the replicas of one model can do, and how regular its load is."""

    spec: ModelSpec
    demand: Demand
    reach: Reach
    variation: float
    """Of the arrivals: 1 for Poisson's."""
    trim: float
    """By how much replicas bear less than the formulas say."""


def bearable(abilities: Sequence[Ability], attainment_margin_ratio: float) -> list[Bearable]:
    """Turn what replicas can do into what they bear within the objective.

    `attainment_margin_ratio` is the part of the allowed late requests that is kept in reserve.
    """
    if not abilities:
        return []
    allowed = PROMISE_RATIO * (1 - attainment_margin_ratio)
    # A group that does better than foretold may be busier than foretold; it cannot do more than it can.
    limits = [
        rates if each.trim <= 1.0 else tuple([rate / each.trim for rate in rates])
        for each in abilities
        for rates in (each.reach.rates_per_s,)
    ]
    borne = _borne_per_s(abilities, limits, allowed)
    made, begin = [], 0
    for each, limits_per_s in zip(abilities, limits, strict=True):
        spec, most = each.spec, len(limits_per_s) - 1
        objective_s = spec.objective_p95_ms / 1000
        none = max(1, spec.min_replicas)  # no load is a reason for none: see `waking`
        its = borne[begin + none - 1 : begin + most]
        begin += most
        made.append(
            Bearable(
                rates_per_s=(*[-1.0] * none, *accumulate(its, max)),
                limits_per_s=limits_per_s,
                slack_s=max(0.05 * objective_s, objective_s - each.demand.items / (limits_per_s[-1] / most)),
                allowed_late_ratio=allowed,
            )
        )
    return made


def _borne_per_s(abilities: Sequence[Ability], limits: Sequence[tuple[float, ...]], allowed: float) -> list[float]:
    """The rates at which 1, 2 … replicas of the first model answer in time, then those of the next, and so on.

    The busier they are the more they wait for one another on their cards: the pace of so many falls from what each does
    alone on its card to what all with work do, its limit. How busy they may be follows from the pace, and the pace from
    how busy they are; two rounds settle it to a percent.
    """
    sizes = [len(limits_per_s) - 1 for limits_per_s in limits]
    owners = np.repeat(np.arange(len(abilities)), sizes)
    counts = np.concatenate([np.arange(1, size + 1) for size in sizes])
    full_per_s = np.array(list(chain.from_iterable([limits_per_s[1:] for limits_per_s in limits])))
    lone_per_s = np.array(list(chain.from_iterable([each.reach.lone_per_s[1:] for each in abilities])))
    doubts = np.array([max(1.0, each.trim) for each in abilities])
    lone_s, full_s = counts / (lone_per_s / doubts[owners]), counts / full_per_s
    slowing_s = full_s - lone_s
    tolerances = [Tolerance.of((each.variation + SERVICE_VARIATION) / 2, allowed) for each in abilities]
    objectives_s = np.array([each.spec.objective_p95_ms / 1000 for each in abilities])[owners]
    items = np.array([each.demand.items for each in abilities])[owners]

    def busy(where: npt.NDArray[np.intp], pace_s: Floats) -> Floats:
        # In batches: what a request waits for the batch before its own is part of what every group makes wait.
        patience = objectives_s[where] / (items[where] / (1 / pace_s))
        return busy_ratios(counts[where], patience, owners[where], tolerances)

    busy_ratio = busy(np.arange(len(counts)), full_s)
    slowed = np.flatnonzero(slowing_s >= SAME_PACE * full_s)
    busy_ratio[slowed] = busy(slowed, lone_s[slowed] + slowing_s[slowed] * busy_ratio[slowed])
    # What is late although nobody is busy is late by itself, and company is no help.
    busy_ratio /= np.array([min(1.0, each.trim) for each in abilities])[owners]
    busy_ratio = np.minimum(np.maximum(busy_ratio, LEAST_BUSY_RATIO), MOST_BUSY_RATIO)
    borne_per_s = busy_ratio * counts / (lone_s + slowing_s * busy_ratio)
    in_reach = np.array([each.demand.solo_s < each.spec.objective_p95_ms / 1000 for each in abilities])
    rates: list[float] = np.where(in_reach[owners], borne_per_s, OUT_OF_REACH_BUSY_RATIO * full_per_s).tolist()
    return rates
