"""How much replicas on one card slow one another down, by the card's scheduler policy. Pure formulas.

Best effort hands the engine round among those with work, equal share among all guests that run, fixed share among all
that the profile allows. The engine is one processor-sharing station; a replica between two batches is away from it.
"""

from autoscaler.core.queueing import closed_rate, company
from vgpu.core.share import SchedulerPolicy

_BEST_EFFORT = SchedulerPolicy.BEST_EFFORT  # asked of thousands of replicas in a tick: a look at an enum takes 0.1 µs


def stretch(  # each is one number of the formula
    policy: SchedulerPolicy, others_ratio: float, own_ratio: float, attached: int, most: int, active: int
) -> float:
    """How many times as long a slot's engine work takes as alone on the card, at least 1.

    others_ratio, own_ratio  the part of the engine that the card's other slots use, and this one
    attached, most, active  guests on the card, guests the profile allows, other guests with work now
    """
    if policy is _BEST_EFFORT:
        return 1.0 + company(active, others_ratio, own_ratio)
    return float(max(1, most if policy is SchedulerPolicy.FIXED_SHARE else attached))


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
