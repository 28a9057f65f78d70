"""Rows of a CSV file as columns of numbers, each cell checked: what is wrong is refused by file and line."""

import csv
import gzip
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import numpy as np
from numpy.typing import NDArray

from autoscaler.refusal import Refused

if TYPE_CHECKING:
    from _csv import Reader

# Above every date in seconds up to the year 5138, below today's date in milliseconds.
MAX_TIME_S = 1e11
# With 50 million bins the sum stays inside int64.
MAX_COUNT = 1e10
# Text held at once is at most CHUNK_ROWS * MAX_LINE_CHARS = 134 MB, whatever a file expands to.
CHUNK_ROWS = 8192
MAX_LINE_CHARS = 16_384
FORMS = "`second,requests` (a row a bin) or `arrival_s` (a row a request)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The file being read, to point into it."""

    path: Path

    def refusal(self, line: int, what: str, remedy: str) -> Refused:
        """`FILE:LINE: what; remedy`, to be raised."""
        return Refused(f"{self.path}:{line}: {what}; {remedy}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """One entry a row, in the order of the file, which holds at least one.

    times_s: float64[n] of `second` or `arrival_s`, 0 or more. counts: float64[n] of whole numbers, NaN where the cell
    is empty; None where every row is a request. lines: int32[n]. first_utc: the date in the first row, if there is one.
    """

    times_s: NDArray[np.float64]
    counts: NDArray[np.float64] | None
    lines: NDArray[np.int32]
    first_utc: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chunk:
    times_s: NDArray[np.float64]
    counts: NDArray[np.float64]
    lines: NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Columns:
    """Where the header says the recognised columns are."""

    width: int
    time: int
    count: int | None
    utc: int | None

    @property
    def time_name(self) -> str:
        return "arrival_s" if self.count is None else "second"


def read_rows(source: Source, *, max_rows: int) -> Rows:
    """Read a CSV file with a header, packed by gzip or not. Raises `Refused` as `FILE:LINE: what; remedy`.

    Recognised are the columns `arrival_s`, or `second` and `requests`, and the first whose name ends in `_utc`; others
    are ignored. Lines without any character are skipped. Memory is bounded by `max_rows`, not by the file.
    """
    with _opened(source) as file:
        reader = csv.reader(_lines(source, file, max_rows), skipinitialspace=True)
        columns = _header(source, next(reader, []))
        first_utc, chunks = None, list[_Chunk]()
        for kept in _row_chunks(source, reader, columns):
            if not chunks and columns.utc is not None:
                first_utc = parse_date(kept[0][1][columns.utc])
            chunks.append(_chunk(source, kept, columns))
    if not chunks:
        raise source.refusal(2, "no rows after the header", "give a trace with at least one request")
    counts = None if columns.count is None else np.concatenate([chunk.counts for chunk in chunks])
    return Rows(
        times_s=np.concatenate([chunk.times_s for chunk in chunks]),
        counts=counts,
        lines=np.concatenate([chunk.lines for chunk in chunks]),
        first_utc=first_utc,
    )


def _opened(source: Source) -> TextIO:
    # Bytes that are not UTF-8 become a mark: harmless in a column that is ignored, and no number in one that is not.
    try:
        with source.path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        if packed:
            return gzip.open(source.path, "rt", encoding="utf-8-sig", errors="replace", newline="")
        if source.path.suffix == ".gz":
            raise source.refusal(1, "not packed by gzip although its name ends in .gz", "pack it, or rename it to .csv")
        return source.path.open(encoding="utf-8-sig", errors="replace", newline="")
    except OSError as error:
        raise Refused(
            f"{source.path}: cannot be read: {error.strerror or error}; name a CSV file or .csv.gz"
        ) from error


def _lines(source: Source, file: TextIO, max_rows: int) -> Iterator[str]:
    for number in count(1):
        try:
            text = file.readline(MAX_LINE_CHARS)
        except (OSError, EOFError, zlib.error) as error:
            raise source.refusal(
                number, f"cannot be read on: {error}", "fetch the file again, it is damaged"
            ) from error
        if not text:
            return
        if len(text) == MAX_LINE_CHARS and text[-1] not in "\r\n":
            raise source.refusal(number, f"line of over {MAX_LINE_CHARS} characters", "give a CSV file of short rows")
        if number > max_rows + 1:
            raise source.refusal(number, f"over {max_rows:,} rows", "cut the file, or add its requests up into bins")
        yield text


def _header(source: Source, cells: Sequence[str]) -> _Columns:
    names = [cell.strip() for cell in cells]
    if not any(names):
        raise source.refusal(1, "no header", f"give a CSV file with the columns {FORMS}")
    utc = next((place for place, name in enumerate(names) if name.endswith("_utc")), None)
    if "arrival_s" in names:
        return _Columns(width=len(names), time=names.index("arrival_s"), count=None, utc=utc)
    if "second" in names and "requests" in names:
        return _Columns(width=len(names), time=names.index("second"), count=names.index("requests"), utc=utc)
    found = ", ".join(names)
    raise source.refusal(1, f"columns are {found if len(found) < 200 else found[:200] + '...'}", f"name them {FORMS}")


def _row_chunks(source: Source, reader: "Reader", columns: _Columns) -> Iterator[list[tuple[int, list[str]]]]:
    """Rows with their lines, never an empty list, each row as wide as the header."""
    while True:
        before = reader.line_num
        try:
            cells_of_rows = list(islice(reader, CHUNK_ROWS))
        except csv.Error as error:
            raise source.refusal(reader.line_num, str(error), "close every quote on its own line") from error
        if not cells_of_rows:
            return
        if reader.line_num - before != len(cells_of_rows):
            what = f"a quote in one of the {len(cells_of_rows)} rows from here on runs over lines"
            raise source.refusal(before + 1, what, "close every quote on its own line")
        kept = [(line, cells) for line, cells in enumerate(cells_of_rows, before + 1) if cells]
        for line, cells in kept:
            if len(cells) != columns.width:
                what = f"{len(cells)} fields where the header has {columns.width}"
                raise source.refusal(line, what, "write every row with the columns of the header")
        if kept:
            yield kept


def _chunk(source: Source, kept: list[tuple[int, list[str]]], columns: _Columns) -> _Chunk:
    times_s = _numbers([cells[columns.time] for _, cells in kept])
    bad = ~((times_s >= 0) & (times_s < MAX_TIME_S))
    counts = np.empty(0)
    if columns.count is not None:
        texts = [cells[columns.count] for _, cells in kept]
        counts = _numbers(texts)
        filled = np.array([bool(text) for text in texts])
        bad |= filled & ~((counts >= 0) & (counts <= MAX_COUNT) & (counts == np.rint(counts)))
    if bad.any():
        line, cells = kept[int(bad.argmax())]
        raise source.refusal(line, *_fault(cells, columns))
    return _Chunk(times_s=times_s, counts=counts, lines=np.array([line for line, _ in kept], dtype=np.int32))


def _numbers(texts: Sequence[str]) -> NDArray[np.float64]:
    """NaN where there is no number."""
    try:
        return np.fromiter(map(float, texts), np.float64, len(texts))
    except ValueError:
        return np.array([_number(text) for text in texts])


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _fault(cells: Sequence[str], columns: _Columns) -> tuple[str, str]:
    """What is wrong with a row that was found to be wrong, and the remedy."""
    time, shown = _number(cells[columns.time]), f"{columns.time_name} is {cells[columns.time]!r}"
    if not np.isfinite(time):
        return f"{shown}, not a finite number", "write seconds from the start of the trace"
    if time < 0:
        return f"{shown}, negative", "count seconds from the start of the trace"
    if time >= MAX_TIME_S:
        return f"{shown}, {MAX_TIME_S:g} or more", "write seconds, not milliseconds"
    assert columns.count is not None
    requests, shown = _number(cells[columns.count]), f"requests is {cells[columns.count]!r}"
    if not np.isfinite(requests):
        return f"{shown}, not a finite number", "write a whole number, or nothing for a bin that was not recorded"
    if requests < 0:
        return f"{shown}, negative", "write how many requests came in the bin, 0 or more"
    if requests > MAX_COUNT:
        return f"{shown}, over {MAX_COUNT:g}", "write how many requests came in the bin"
    return f"{shown}, not a whole number", "write how many requests came in the bin, not a rate"


def parse_date(text: str) -> datetime | None:
    """An ISO 8601 date, in UTC and without a zone (none written means UTC); None for what is no date."""
    try:
        date = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return date if date.tzinfo is None else date.astimezone(UTC).replace(tzinfo=None)
