"""How much replicas on one card slow one another down, by the card's scheduler policy. Pure formulas.

Best effort hands the engine round among those with work, equal share among all guests that run, fixed share among all
that the profile allows. The engine is one processor-sharing station; a replica between two batches is away from it.
"""

import numpy as np

from autoscaler.core.queueing import Floats, Ints, closed_rate, companies
from vgpu.core.share import SchedulerPolicy


def stretches(  # each is one number of the formula
    policy: SchedulerPolicy, others_ratios: Floats, own_ratios: Floats, attached: Ints, most: Ints, active: Ints
) -> Floats:
    """How many times as long each slot's engine work takes as alone on its card, at least 1. All of one shape.

    others_ratios, own_ratios  the part of the engine that the card's other slots use, and this one
    attached, most, active  guests on the card, guests the profile allows, other guests with work now
    """
    if policy is SchedulerPolicy.BEST_EFFORT:
        return 1.0 + companies(active, others_ratios, own_ratios)
    guests = most if policy is SchedulerPolicy.FIXED_SHARE else attached
    return np.maximum(1, guests).astype(float)


def card_rate(  # noqa: PLR0913  # each is one number of the formula
    policy: SchedulerPolicy,
    *,
    replicas: int,
    away_s: float,
    engine_s: float,
    others_ratio: float,
    attached: int,
    most: int,
) -> float:
    """Batches per second that `replicas` of one model get through on one card when they always have work.

    `attached` counts these replicas and every other guest of the card; `others_ratio` is what the others use.
    """
    match policy:
        case SchedulerPolicy.FIXED_SHARE:
            return replicas / (away_s + engine_s * max(1, most))
        case SchedulerPolicy.EQUAL_SHARE:
            return replicas / (away_s + engine_s * max(1, attached))
        case SchedulerPolicy.BEST_EFFORT:
            return closed_rate(replicas, away_s, engine_s, others_ratio)
