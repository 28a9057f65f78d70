"""The trade between attainment and slot-hours: Pareto fronts, cost at equal attainment, and how sure a ratio is.

A policy with several settings is a front and no point: two policies are compared where they serve equally well.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RESAMPLES = 2000
# 95 of 100 resamples lie between these.
LOW, HIGH = 2.5, 97.5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Results:
    """What one policy did: attainment_ratio and slot_hours are float64[seeds, settings]; seeds are the same in all."""

    attainment_ratio: Floats
    slot_hours: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Slot-hours of a policy at a given attainment."""

    slot_hours: float
    is_reached: bool
    """False: no setting serves that well. `slot_hours` is then what its best one takes, and the truth is larger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """One policy's slot-hours as a part of another's at the attainment of the first."""

    value: float
    is_reached: bool
    """False: the other does not reach that attainment, so the ratio is smaller than `value`."""
    low: float | None
    """95 % of paired resamples of the seeds lie between `low` and `high`; None with a single seed."""
    high: float | None


def pareto(attainment_ratio: Floats, slot_hours: Floats) -> NDArray[np.int64]:
    """Places of the settings that no other beats in both, attainment rising (and slot-hours with it)."""
    # Best first: of equal attainment the cheaper one. A setting stays while it is cheaper than all that serve better.
    order = np.lexsort((slot_hours, -attainment_ratio))
    cheapest_before = np.concatenate(([np.inf], np.minimum.accumulate(slot_hours[order])[:-1]))
    kept = order[slot_hours[order] < cheapest_before]
    return kept[::-1].astype(np.int64)


def cost_at(attainment_ratio: Floats, slot_hours: Floats, wanted_ratio: float) -> Cost:
    """Slot-hours for an attainment of `wanted_ratio`, on straight lines between the settings of the front.

    Below the front's lower end the cheapest setting is the answer: it serves better than wanted for that price.
    """
    front = pareto(attainment_ratio, slot_hours)
    served, taken = attainment_ratio[front], slot_hours[front]
    # Means of the same runs may differ in the last bit.
    is_reached = bool(wanted_ratio <= served[-1] + 1e-12)
    return Cost(slot_hours=float(np.interp(wanted_ratio, served, taken)), is_reached=is_reached)


def ratio_at_equal_attainment(ours: Results, other: Results, *, seed: int = 1) -> Ratio:
    """Slot-hours of `ours` (one setting) over those of `other` at the attainment of `ours`, over means of the seeds.

    The interval is a percentile bootstrap, paired: each resample draws seeds with replacement and takes the same ones
    from both, since a seed gives both the same arrivals (Efron and Tibshirani, An Introduction to the Bootstrap, ch.
    13). Where a resample of `other` does not reach the attainment, its best setting's slot-hours stand in: that makes
    the ratio larger than it is.
    """
    seeds = len(ours.slot_hours)
    value, is_reached = _ratio(ours, other, np.full(seeds, 1 / seeds))
    if seeds < 2:
        return Ratio(value=value, is_reached=is_reached, low=None, high=None)
    weights = np.random.default_rng(seed).multinomial(seeds, np.full(seeds, 1 / seeds), size=RESAMPLES) / seeds
    # Few seeds give few different resamples: each is computed once.
    distinct, place = np.unique(weights, axis=0, return_inverse=True)
    drawn = np.array([_ratio(ours, other, weight)[0] for weight in distinct])[place.ravel()]
    low, high = np.percentile(drawn, [LOW, HIGH])
    return Ratio(value=value, is_reached=is_reached, low=float(low), high=float(high))


def _ratio(ours: Results, other: Results, weight: Floats) -> tuple[float, bool]:
    served, taken = float(weight @ ours.attainment_ratio[:, 0]), float(weight @ ours.slot_hours[:, 0])
    cost = cost_at(weight @ other.attainment_ratio, weight @ other.slot_hours, served)
    return taken / cost.slot_hours, cost.is_reached
