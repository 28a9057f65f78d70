"""When each request of a trace comes, at any scale: drawn by seed, and how to choose the scale."""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from autoscaler.refusal import Refused
from autoscaler.sim.trace import Trace

# 50 million arrivals are 0.4 GB, and up to six times that while they are drawn.
MAX_ARRIVALS = 50_000_000
# Inside a bin of up to this length load is taken as constant; a longer one hides a slope that a scaler would see.
MAX_EVEN_BIN_S = 10.0
JITTER_S = 1.0
BUSIEST_WINDOW_S = 60.0


def arrivals(trace: Trace, *, scale: float, seed: int) -> NDArray[np.float64]:
    """Sorted times in [0, trace.span_s), float64[n], n on average exactly scale * trace.requests; the same for a seed.

    What a trace leaves open is assumed, by its form:

    - Bins of up to 10 s: each request of a bin comes floor(scale) times, and once more with the probability of the
      fraction; each is placed in its bin at random.
    - Longer bins: a Poisson process. Its rate is count * scale / bin_s at the centre of every bin, linear between the
      centres and level before the first and after the last, which keeps the sum over all bins. Inside a minute it is
      smoother than real load, which comes in clusters; only the swing between the bins is measured.
    - Arrivals: the first copy of each request stays where it is, further ones move by up to 1 s to either side (at the
      ends they are folded back inside), and the last comes with the probability of the fraction. Below scale 1 some
      are left out and none moves.

    Scaling up repeats a trace's own bursts: variance / mean of the counts grows with the scale. Give each model its own
    seed, or models that share a trace are busy in step to the millisecond. Raises `Refused` for a scale that is not
    above 0 and finite, or that asks for over 50 million arrivals.
    """
    if not 0 < scale < np.inf:
        raise Refused(f"trace {trace.name}: scale is {scale:g}; choose one above 0")
    if trace.requests * scale > MAX_ARRIVALS:
        raise Refused(
            f"trace {trace.name}: {trace.requests:,} requests at scale {scale:g} are over {MAX_ARRIVALS:,}; "
            "cut the trace or choose a smaller scale"
        )
    if trace.requests == 0:
        return np.empty(0)
    generator = np.random.default_rng(seed)
    if trace.bins is None:
        assert trace.arrivals_s is not None
        times_s = _copies(trace.arrivals_s, trace.span_s, scale, generator)
    elif trace.bin_s <= MAX_EVEN_BIN_S:
        times_s = _even(trace.bins, trace.bin_s, scale, generator)
    else:
        times_s = _sloped(trace.bins, trace.bin_s, scale, generator)
    # A place just below the end of the last bin may be rounded up to the end.
    np.minimum(times_s, np.nextafter(trace.span_s, 0.0), out=times_s)
    times_s.sort()
    return times_s


def _even(bins: NDArray[np.int64], bin_s: float, scale: float, generator: Generator) -> NDArray[np.float64]:
    whole = int(scale)
    counts = bins * whole + generator.binomial(bins, scale - whole)
    times_s = np.repeat(np.arange(len(bins), dtype=np.float64), counts)
    times_s += generator.random(len(times_s))
    times_s *= bin_s
    return times_s


def _sloped(bins: NDArray[np.int64], bin_s: float, scale: float, generator: Generator) -> NDArray[np.float64]:
    """Pieces from edge to centre to centre to edge; in each, places are drawn by the inverse of the rate's integral."""
    rates_per_s = np.concatenate((bins[:1], bins, bins[-1:])) * (scale / bin_s)
    edges_s = np.concatenate(([0.0], (np.arange(len(bins)) + 0.5) * bin_s, [len(bins) * bin_s]))
    lengths_s = np.diff(edges_s)
    counts = generator.poisson(lengths_s * (rates_per_s[:-1] + rates_per_s[1:]) / 2)
    piece = np.repeat(np.arange(len(counts)), counts)
    first, last = rates_per_s[piece], rates_per_s[piece + 1]
    # In (0, 1], so that the root below is above 0 also where the rate begins at 0.
    part = 1.0 - generator.random(len(piece))
    # Root x of first * x + (last - first) * x^2 / 2 = part * (first + last) / 2, in the form that allows last = first.
    place: NDArray[np.float64] = part * (first + last) / (first + np.sqrt(first**2 + part * (last**2 - first**2)))
    place *= lengths_s[piece]
    place += edges_s[piece]
    return place


def _copies(times_s: NDArray[np.float64], span_s: float, scale: float, generator: Generator) -> NDArray[np.float64]:
    whole = int(scale)
    drawn = times_s[generator.random(len(times_s)) < scale - whole]
    if whole == 0:
        return drawn.copy()
    moved_s = np.concatenate((np.tile(times_s, whole - 1), drawn))
    moved_s += generator.uniform(-JITTER_S, JITTER_S, len(moved_s))
    # A triangle wave: folds as often as a trace shorter than the jitter needs.
    moved_s = span_s - np.abs(span_s - np.mod(moved_s, 2 * span_s))
    return np.concatenate((times_s, moved_s))


def busiest_rate_per_s(trace: Trace) -> float:
    """Highest mean rate over 60 s anywhere in the trace, requests a second.

    Over a bin where bins are longer, over as many whole bins as come nearest to 60 s where they do not divide it, and
    over all of a trace that is shorter.
    """
    if trace.bins is None:
        assert trace.arrivals_s is not None
        window_s = min(BUSIEST_WINDOW_S, trace.span_s)
        until = np.searchsorted(trace.arrivals_s, trace.arrivals_s + window_s)
        return float(np.max(until - np.arange(len(until)), initial=0)) / window_s
    width = min(max(1, round(BUSIEST_WINDOW_S / trace.bin_s)), len(trace.bins))
    sums = np.concatenate(([0], np.cumsum(trace.bins)))
    return float((sums[width:] - sums[:-width]).max()) / (width * trace.bin_s)


def fitting_scale(trace: Trace, capacity_per_s: float, *, peak_ratio: float = 0.8) -> float:
    """The scale at which the busiest 60 s (see `busiest_rate_per_s`) have a mean rate of peak_ratio * capacity_per_s.

    Raises `Refused` for a trace without requests, and for a capacity or ratio that is not above 0.
    """
    busiest_per_s = busiest_rate_per_s(trace)
    if busiest_per_s == 0:
        raise Refused(f"trace {trace.name}: no request in it, so no scale fits; choose another part of the trace")
    if not 0 < peak_ratio * capacity_per_s < np.inf:
        raise Refused(
            f"trace {trace.name}: cannot fit to {peak_ratio:g} of {capacity_per_s:g} requests/s; choose both above 0"
        )
    return peak_ratio * capacity_per_s / busiest_per_s
