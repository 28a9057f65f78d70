"""Traces of real load: the record, its parts in time, and the reader with the repairs it makes and reports."""

import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autoscaler.refusal import Refused
from autoscaler.sim.rows import Rows, Source, parse_date, read_rows

MAX_ROWS = 50_000_000
# Longer stretches without data are more likely an outage of the recording than of the load: no line is drawn over them.
MAX_FILLED_BINS = 10
OFFSET = re.compile(r"(?P<value>\d+(?:\.\d+)?)(?P<unit>[smhd]?)")
UNITS_S = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trace:
    """Load over `span_s` seconds from 0: either counts in equal bins, or the arrivals themselves.

    bins: int64[n], requests in [i * bin_s, (i + 1) * bin_s), with span_s = n * bin_s. arrivals_s: float64[n], sorted,
    in [0, span_s). Exactly one of them is given, and both are read-only. start_s: where 0 lies on the file's own time
    axis. begins_utc: the date of 0, where the file tells it. repairs: a sentence for every kind of repair that was made
    to the file; a part of a trace keeps those of the whole.
    """

    name: str
    span_s: float
    bins: NDArray[np.int64] | None = None
    bin_s: float = 1.0
    arrivals_s: NDArray[np.float64] | None = None
    start_s: float = 0.0
    begins_utc: datetime | None = None
    repairs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.bins is None) == (self.arrivals_s is None):
            raise ValueError(f"trace {self.name}: give bins or arrivals_s, one of them")
        # A view, so that an array that the caller goes on writing to is not locked for him.
        if self.bins is not None:
            object.__setattr__(self, "bins", self.bins.view())
            self.bins.setflags(write=False)
        if self.arrivals_s is not None:
            object.__setattr__(self, "arrivals_s", self.arrivals_s.view())
            self.arrivals_s.setflags(write=False)

    @property
    def requests(self) -> int:
        """How many requests the trace counts."""
        if self.bins is not None:
            return int(self.bins.sum())
        return 0 if self.arrivals_s is None else len(self.arrivals_s)

    def cut(self, from_s: float = 0.0, to_s: float | None = None) -> "Trace":
        """The part from `from_s` to before `to_s` (None: the end), both in seconds from this trace's 0.

        A bin belongs to the part in which it begins, so parts that adjoin share no bin and lose none. Raises `Refused`
        for bounds outside the trace or with nothing between them.
        """
        until_s = self.span_s if to_s is None else to_s
        if not 0 <= from_s < until_s <= self.span_s:
            raise Refused(
                f"trace {self.name}: cannot cut from {from_s:g} s to {until_s:g} s; "
                f"choose a part of 0 s to {self.span_s:g} s that begins before it ends"
            )
        if self.bins is not None:
            return self._cut_bins(self.bins, from_s, until_s)
        assert self.arrivals_s is not None
        first, last = np.searchsorted(self.arrivals_s, [from_s, until_s])
        span_s = until_s - from_s
        # The difference of two floats may be rounded up to the span itself.
        inside = np.minimum(self.arrivals_s[first:last] - from_s, np.nextafter(span_s, 0.0))
        return self._part(from_s, span_s=span_s, arrivals_s=inside)

    def _cut_bins(self, bins: NDArray[np.int64], from_s: float, until_s: float) -> "Trace":
        first, last = (int(np.ceil(round(edge_s / self.bin_s, 9))) for edge_s in (from_s, until_s))
        if first >= last:
            raise Refused(
                f"trace {self.name}: no bin begins from {from_s:g} s to {until_s:g} s; "
                f"choose a part of at least one bin of {self.bin_s:g} s"
            )
        return self._part(first * self.bin_s, span_s=(last - first) * self.bin_s, bins=bins[first:last])

    def _part(
        self,
        from_s: float,
        *,
        span_s: float,
        bins: NDArray[np.int64] | None = None,
        arrivals_s: NDArray[np.float64] | None = None,
    ) -> "Trace":
        begins_utc = None if self.begins_utc is None else self.begins_utc + timedelta(seconds=from_s)
        start_s = self.start_s + from_s
        return replace(self, span_s=span_s, bins=bins, arrivals_s=arrivals_s, start_s=start_s, begins_utc=begins_utc)

    def halves(self, *, training_ratio: float = 0.5) -> "tuple[Trace, Trace]":
        """Split in time: (training, test). Settings are tuned on the first part and measured on the second only.

        Raises `Refused` where one of them would be empty.
        """
        middle_s = self.span_s * training_ratio
        return self.cut(0.0, middle_s), self.cut(middle_s)

    def offset_s(self, text: str) -> float:
        """Seconds from this trace's 0 of `90`, `90s`, `30m`, `12h`, `40d`, or of a date such as `1998-06-10T18:00`.

        Dates are UTC, and known only to traces whose file has them. Raises `Refused`.
        """
        if match := OFFSET.fullmatch(text.strip()):
            return float(match["value"]) * UNITS_S[match["unit"]]
        wanted = parse_date(text)
        if wanted is None:
            raise Refused(f"{text!r} is no time; write seconds, or a number with s, m, h or d such as 12h, or a date")
        if self.begins_utc is None:
            raise Refused(
                f"trace {self.name} does not say its date, so {text!r} is unknown in it; write 12h or the like"
            )
        offset_s = (wanted - self.begins_utc).total_seconds()
        if not 0 <= offset_s <= self.span_s:
            ends_utc = self.begins_utc + timedelta(seconds=self.span_s)
            raise Refused(
                f"trace {self.name} runs {self.begins_utc} to {ends_utc} UTC; choose a date inside, not {text!r}"
            )
        return offset_s


def read(path: str | Path, *, max_rows: int = MAX_ROWS) -> Trace:
    """Read a trace from a CSV file with a header, packed by gzip or not; further columns are ignored.

    `arrival_s`: one row a request. `second,requests`: one row a bin, whose length is the most common difference of the
    seconds; an empty `requests` is a bin that was not recorded. The first column whose name ends in `_utc` dates the
    trace. Repaired and told in `Trace.repairs`: rows out of order, several rows of one second (added up), and up to 10
    bins in a row that are missing (on the line between their neighbours, rounded). Everything else that is wrong
    raises `Refused` as `FILE:LINE: what; remedy`, and so do more than `max_rows` rows or bins.
    """
    source = Source(path=Path(path))
    name = re.sub(r"(\.csv)?(\.gz)?$", "", source.path.name)
    rows = read_rows(source, max_rows=max_rows)
    trace = _exact(name, rows) if rows.counts is None else _binned(name, rows, rows.counts, source, max_rows)
    if rows.first_utc is None:
        return trace
    first_row_s = float(rows.times_s[0]) - trace.start_s
    return replace(trace, begins_utc=rows.first_utc - timedelta(seconds=first_row_s))


def _exact(name: str, rows: Rows) -> Trace:
    """0 is the full second before the first arrival; the trace ends with the full second after the last."""
    times_s = np.sort(rows.times_s)
    start_s = float(np.floor(times_s[0]))
    span_s = float(np.floor(times_s[-1] - start_s)) + 1.0
    arrivals_s = times_s - start_s
    return Trace(name=name, span_s=span_s, arrivals_s=arrivals_s, start_s=start_s, repairs=_sorting(rows.times_s))


def _binned(name: str, rows: Rows, counts: NDArray[np.float64], source: Source, max_rows: int) -> Trace:
    order = np.argsort(rows.times_s, kind="stable")
    seconds, lines, counts = rows.times_s[order], rows.lines[order], counts[order]
    bin_s = _bin_s(seconds, lines, source)
    known = np.flatnonzero(~np.isnan(counts))
    if not len(known):
        raise source.refusal(2, "requests is empty in every row", "write how many requests came in each bin")
    outside = int(known[0]) + len(counts) - 1 - int(known[-1])
    seconds, lines, counts = seconds[known], lines[known], counts[known]
    start_s = float(seconds[0])
    places = np.rint((seconds - start_s) / bin_s).astype(np.int64)
    astray = np.abs(start_s + places * bin_s - seconds) > bin_s / 1000
    if astray.any():
        first = int(astray.argmax())
        what = f"second {seconds[first]:.12g} is between the bins of {bin_s:g} s that begin at {start_s:.12g}"
        raise source.refusal(int(lines[first]), what, "write the second in which each bin begins, bins of equal length")
    _refuse_wide_gap(places, lines, bin_s, source)
    if places[-1] >= max_rows:
        what = f"over {max_rows:,} bins of {bin_s:g} s"
        raise source.refusal(int(lines[-1]), what, "cut the file, or add its requests up into longer bins")
    bins, filled = _filled(places, counts)
    repairs = (
        *_sorting(rows.times_s),
        *_repair(
            len(places) - len(bins) + filled, "row", "repeated the second of another: their requests were added up"
        ),
        *_repair(outside, "row", "without requests before the first bin or after the last: left out"),
        *_repair(filled, "bin", f"of {len(bins)} not recorded: filled in on the line between the neighbours"),
    )
    return Trace(name=name, span_s=len(bins) * bin_s, bins=bins, bin_s=bin_s, start_s=start_s, repairs=repairs)


def _bin_s(seconds: NDArray[np.float64], lines: NDArray[np.int32], source: Source) -> float:
    """The most common difference, to the microsecond; of equally common ones the smallest."""
    lengths_s, times = np.unique(np.round(np.diff(np.unique(seconds)), 6), return_counts=True)
    if not len(lengths_s):
        raise source.refusal(int(lines[0]), "only one second, so the bin's length is unknown", "give at least two bins")
    bin_s = float(lengths_s[times.argmax()])
    if bin_s == 0:
        raise source.refusal(int(lines[0]), "bins of less than a microsecond", "give a row a request: `arrival_s`")
    return bin_s


def _refuse_wide_gap(places: NDArray[np.int64], lines: NDArray[np.int32], bin_s: float, source: Source) -> None:
    missing = np.diff(places) - 1
    wide = missing > MAX_FILLED_BINS
    if wide.any():
        first = int(wide.argmax())
        what = (
            f"{missing[first]} bins of {bin_s:g} s before this row are missing, at most {MAX_FILLED_BINS} are filled in"
        )
        raise source.refusal(int(lines[first + 1]), what, "write 0 where no request came, or cut the file here")


def _filled(places: NDArray[np.int64], counts: NDArray[np.float64]) -> tuple[NDArray[np.int64], int]:
    """Counts by place, those of one place added up and those between interpolated; how many were interpolated."""
    bins = np.bincount(places, weights=counts)
    known = np.bincount(places) > 0
    gaps, there = np.flatnonzero(~known), np.flatnonzero(known)
    bins[gaps] = np.rint(np.interp(gaps, there, bins[there]))
    return bins.astype(np.int64), len(gaps)


def _sorting(times_s: NDArray[np.float64]) -> tuple[str, ...]:
    late = int(np.count_nonzero(times_s < np.maximum.accumulate(times_s)))
    return _repair(late, "row", "earlier than one before: sorted by time")


def _repair(count: int, what: str, how: str) -> tuple[str, ...]:
    return (f"{count} {what}{'' if count == 1 else 's'} {how}",) if count else ()
