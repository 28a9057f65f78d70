"""When each request is due: steps of constant rate, arrivals at random as of independent clients. Pure.

Latency counts from the due time, not from when the client got round to sending: a slow server cannot slow its own test
down (coordinated omission).
"""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

from autoscaler.refusal import Refused

MAX_RATE_PER_S = 2000.0
MAX_DURATION_S = 3600.0
UNITS_S = {"s": 1.0, "m": 60.0}
STEP = re.compile(r"(?P<rate>\d+(?:\.\d+)?):(?P<duration>\d+(?:\.\d+)?)(?P<unit>[sm])")


class StepError(Refused):
    """A step that cannot be driven; the message names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """`rate_per_s` requests a second for `duration_s`."""

    rate_per_s: float
    duration_s: float

    def __post_init__(self) -> None:
        if not 0 < self.rate_per_s <= MAX_RATE_PER_S:
            raise StepError(f"rate is {self.rate_per_s:g}/s; above 0, at most {MAX_RATE_PER_S:g}")
        if not 0 < self.duration_s <= MAX_DURATION_S:
            raise StepError(f"duration is {self.duration_s:g} s; above 0, at most {MAX_DURATION_S:g}")


def parse_steps(text: str) -> tuple[Step, ...]:
    """Read `5:60s,40:2m`: five a second for a minute, then forty for two. Raises `StepError` naming every bad part."""
    steps, problems = [], []
    for part in text.split(","):
        try:
            steps.append(_parse_step(part.strip()))
        except StepError as error:
            problems.append(f"step {part.strip()!r}: {error}")
    if problems:
        raise StepError("\n".join(problems))
    return tuple(steps)


def _parse_step(part: str) -> Step:
    match = STEP.fullmatch(part)
    if match is None:
        raise StepError("not RATE:DURATION such as 40:120s or 5:2m")
    duration_s = float(match["duration"]) * UNITS_S[match["unit"]]
    return Step(rate_per_s=float(match["rate"]), duration_s=duration_s)


def arrivals(steps: tuple[Step, ...], *, seed: int) -> Iterator[tuple[float, int]]:
    """Due times in seconds from the start, with the index of their step; exponential gaps, the same for one seed."""
    generator = random.Random(seed)
    step_began_s = 0.0
    for index, step in enumerate(steps):
        due_s = step_began_s
        step_ends_s = step_began_s + step.duration_s
        while (due_s := due_s + generator.expovariate(step.rate_per_s)) < step_ends_s:
            yield due_s, index
        step_began_s = step_ends_s
