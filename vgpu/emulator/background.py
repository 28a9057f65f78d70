"""A scripted neighbour: a load that wants a fixed part of the engine, whatever it gets.

Rule: no clock and no randomness; the arbiter asks when work is due.
"""

from vgpu.emulator.engine import NS_PER_MS

PERIOD_NS = 50 * NS_PER_MS  # long against a slice and short against a sample of utilization
MOST_QUEUED = 2  # under contention it always has work waiting and never a pile of it


class BackgroundLoad:
    """Work for `slot` at every period, for `duty_ratio` of the period."""

    def __init__(self, slot: str, duty_ratio: float, *, now_ns: int) -> None:
        if not 0 < duty_ratio <= 1:
            raise ValueError(f"duty_ratio is {duty_ratio}; it is above 0 and up to 1")
        self.slot = slot
        self.demand_ns = max(1, round(duty_ratio * PERIOD_NS))
        self.next_ns = now_ns

    def take(self, queued: int) -> int:
        """Pass to the next period and return the work due in this one; 0 while `queued` jobs are enough."""
        self.next_ns += PERIOD_NS
        return 0 if queued >= MOST_QUEUED else self.demand_ns
