"""What a slot usually uses of its card's engine: its readings, smoothed over about a minute."""

import math
from collections.abc import Collection, Mapping
from itertools import repeat

import numpy as np
import numpy.typing as npt

from autoscaler.core.observation import Observation
from vgpu.core.inventory import CardTable

Ratios = npt.NDArray[np.float64]
"""Parts of an engine, 0 to 1, mostly as (cards, slots of each) of a table."""
# The weight of a new reading: at a tick of 5 s a neighbour that stays is believed to 2/3 after half a minute.
SMOOTHING = 0.15


def vacant_workers(seen: Observation) -> set[str]:
    """Workers in which no replica lives."""
    lived_in = seen.lived_in
    vacant = {worker.pod for pool in seen.pools for worker in pool.workers if worker.pod not in lived_in}
    if vacant:  # nearly always none: the replicas that run are enough to say so
        vacant -= {replica.worker for deployment in seen.deployments for replica in deployment.replicas}
    return vacant


def smoothed(table: CardTable, read: Ratios, before: Mapping[str, float], vacant: Collection[str]) -> Ratios:
    """Smooth each slot's engine use, not a number where it was not read: such a slot keeps what it had.

    A slot that nobody holds, or a worker in which no replica lives, is believed at once: what a replica that has left
    once used would be taken for a neighbour's use, make its card look full, and have the count that has just fallen
    rise again.
    """
    known = np.array(list(map(before.get, table.slots, repeat(math.nan)))).reshape(read.shape)
    is_vacant = np.array([holder is None or holder in vacant for holder in table.holders]).reshape(read.shape)
    start = np.where(np.isnan(known) | (is_vacant & (read < known)), read, known)
    return np.where(np.isnan(read), np.nan_to_num(known), start + SMOOTHING * (read - start))
