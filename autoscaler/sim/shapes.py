"""Load of a known shape, drawn by seed: to see how a law answers a step or a spike before it meets real traces."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from autoscaler.refusal import Refused
from autoscaler.sim.trace import Trace

LOW_PER_S = 20.0
PEAK_PER_S = 100.0
DAY_S = 86_400.0
# An event's time moves by up to this part of the span to either side: a law cannot be tuned to the second of it.
EVENT_JITTER_RATIO = 0.03
# Standard deviation of the slow wander of the level, and how many times a span it turns.
WANDER_RATIO = 0.06
WANDER_KNOTS = 16

Level = NDArray[np.float64]


class Shape(Protocol):
    """A generator of one shape."""

    def __call__(
        self, *, seed: int, span_s: float = 3600.0, low_per_s: float = LOW_PER_S, peak_per_s: float = PEAK_PER_S
    ) -> Trace:
        """A trace of 1 s bins between about `low_per_s` and `peak_per_s` requests/s: relative, to be scaled."""


def step(times_s: Level, span_s: float, generator: Generator) -> Level:
    """Low, the peak from a third to two thirds of the span, low."""
    up_s, down_s = _moved(np.array([1 / 3, 2 / 3]), span_s, generator)
    return np.where((times_s >= up_s) & (times_s < down_s), 1.0, 0.0)


def ramp(times_s: Level, span_s: float, generator: Generator) -> Level:
    """Low, even rise from 15 to 50 % of the span, peak, even fall from 65 to 90 %, low."""
    return np.interp(times_s, _moved(np.array([0.15, 0.5, 0.65, 0.9]), span_s, generator), [0.0, 1.0, 1.0, 0.0])


def spike(times_s: Level, span_s: float, generator: Generator) -> Level:
    """Four flash crowds, the highest to the peak: each there within 15 s, then dying down by a factor of e a minute."""
    level = np.zeros(len(times_s))
    heights = generator.permutation(np.array([1.0, *generator.uniform(0.5, 1.0, 3)]))
    for begins_s, height in zip(_moved(np.array([0.15, 0.4, 0.65, 0.85]), span_s, generator), heights, strict=True):
        since_s = times_s - begins_s
        crowd = np.minimum(since_s / 15.0, np.exp(-np.maximum(since_s - 15.0, 0.0) / 60.0))
        level = np.maximum(level, height * crowd)
    return level


def diurnal(times_s: Level, span_s: float, generator: Generator) -> Level:
    """Days of a broad working day and a shorter night; two are squeezed into a span of less than two days."""
    day_s = min(DAY_S, span_s / 2)
    phase = 2 * np.pi * (times_s / day_s + generator.uniform(-EVENT_JITTER_RATIO, EVENT_JITTER_RATIO))
    wave = 0.5 - 0.5 * np.cos(phase)
    return wave ** generator.uniform(0.6, 0.9)


def on_off(times_s: Level, span_s: float, generator: Generator) -> Level:
    """Peak and low in turn, low first; each lasts a sixteenth of the span, give or take 40 %."""
    lengths_s = generator.uniform(0.6, 1.4, 32) * span_s / 16  # at least 1.2 spans together
    turns = np.searchsorted(np.cumsum(lengths_s), times_s, side="right")
    return (turns % 2).astype(np.float64)


def _moved(parts: NDArray[np.float64], span_s: float, generator: Generator) -> NDArray[np.float64]:
    return (parts + generator.uniform(-EVENT_JITTER_RATIO, EVENT_JITTER_RATIO, len(parts))) * span_s


def _shape(name: str, level: Callable[[Level, float, Generator], Level]) -> Shape:
    def draw(
        *, seed: int, span_s: float = 3600.0, low_per_s: float = LOW_PER_S, peak_per_s: float = PEAK_PER_S
    ) -> Trace:
        if not 60.0 <= span_s <= 366 * DAY_S:
            raise Refused(f"shape {name}: span is {span_s:g} s; choose 60 s to 366 days")
        if not 0 <= low_per_s <= peak_per_s <= 1e6 or peak_per_s == 0:
            raise Refused(
                f"shape {name}: levels are {low_per_s:g}/s and {peak_per_s:g}/s; "
                "choose a low of at least 0 and a peak that is not below it, above 0, at most 1e6"
            )
        generator = np.random.default_rng(seed)
        times_s = np.arange(int(span_s), dtype=np.float64)
        rates_per_s = low_per_s + (peak_per_s - low_per_s) * np.maximum(level(times_s, span_s, generator), 0.0)
        knots = generator.normal(0.0, WANDER_RATIO, WANDER_KNOTS)
        wander = np.interp(times_s, np.linspace(0.0, span_s, WANDER_KNOTS), knots)
        # Poisson counts: what independent clients send, variance / mean of 1 at scale 1 where the level stands.
        bins = generator.poisson(rates_per_s * np.exp(wander)).astype(np.int64)
        return Trace(name=name, span_s=float(len(bins)), bins=bins, bin_s=1.0)

    return draw


SHAPES: Mapping[str, Shape] = MappingProxyType(
    {
        "step": _shape("step", step),
        "ramp": _shape("ramp", ramp),
        "spike": _shape("spike", spike),
        "diurnal": _shape("diurnal", diurnal),
        "on-off": _shape("on-off", on_off),
    }
)


def names() -> tuple[str, ...]:
    """The shapes there are, in the order of `SHAPES`."""
    return tuple(SHAPES)


def shape(name: str, *, seed: int, span_s: float = 3600.0) -> Trace:
    """The shape of that name between its usual levels. Raises `Refused` for a name that is none."""
    if name not in SHAPES:
        raise Refused(f"no shape {name!r}; choose one of {', '.join(names())}")
    return SHAPES[name](seed=seed, span_s=span_s)
