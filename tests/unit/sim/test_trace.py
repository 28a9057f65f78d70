"""What is read from a trace's file, what is repaired and told, what is refused, and the parts of a trace in time."""

import gzip
import io
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from autoscaler.refusal import Refused
from autoscaler.sim.trace import Trace, read


def written(tmp_path: Path, text: str, name: str = "load.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode())
    return path


def refused(path: Path, **limits: int) -> str:
    with pytest.raises(Refused) as caught:
        read(path, **limits)
    return str(caught.value)


def counts(trace: Trace) -> list[int]:
    assert trace.bins is not None
    return trace.bins.tolist()


def times_s(trace: Trace) -> list[float]:
    assert trace.arrivals_s is not None
    return trace.arrivals_s.tolist()


def binned(bins: list[int], *, bin_s: float = 1.0) -> Trace:
    return Trace(name="load", span_s=len(bins) * bin_s, bins=np.array(bins), bin_s=bin_s)


def test_a_row_a_bin_is_read_with_the_length_of_its_bins(tmp_path: Path) -> None:
    trace = read(written(tmp_path, "second,requests,tokens\n120,3,9\n180,0,x\n240,5,\n"))
    assert (trace.name, trace.span_s, trace.bin_s, trace.start_s) == ("load", 180.0, 60.0, 120.0)
    assert (counts(trace), trace.arrivals_s, trace.repairs, trace.requests) == ([3, 0, 5], None, (), 8)


def test_a_row_a_request_is_read_from_its_full_second_on(tmp_path: Path) -> None:
    trace = read(written(tmp_path, "tokens,arrival_s\n9,2.5\n9,2.5\n9,4.0\n"))
    assert (trace.span_s, trace.start_s, trace.bins, trace.repairs) == (3.0, 2.0, None, ())
    assert (times_s(trace), trace.requests) == ([0.5, 0.5, 2.0], 3)


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r", "\n\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_and_a_byte_order_mark_make_no_difference(tmp_path: Path, ending: str, mark: str) -> None:
    text = ending.join([f"{mark} requests , second", '"7", 0', " 8 ,1", ""])
    assert counts(read(written(tmp_path, text))) == [7, 8]


@pytest.mark.parametrize("name", ["a.csv.gz", "a.gz", "a.csv", "a"])
def test_a_packed_file_is_read_under_any_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(b"second,requests\n0,1\n1,2\n"))
    trace = read(str(path))
    assert (trace.name, counts(trace)) == ("a", [1, 2])


def test_more_rows_than_a_chunk_are_read_whole(tmp_path: Path) -> None:
    rows = "".join(f"{second},{second % 7}\n" for second in range(20_000))
    assert counts(read(written(tmp_path, "second,requests\n" + rows))) == [second % 7 for second in range(20_000)]
    assert refused(written(tmp_path, "second,requests\n" + rows + "20000,x\n")).startswith(
        f"{tmp_path}/load.csv:20002:"
    )


@pytest.mark.parametrize(
    ("rows", "bins", "repairs"),
    [
        ("0,1\n2,3\n1,2\n3,4\n", [1, 2, 3, 4], ("1 row earlier than one before: sorted by time",)),
        (
            "0,1\n1,2\n1,5\n1,0\n2,3\n",
            [1, 7, 3],
            ("2 rows repeated the second of another: their requests were added up",),
        ),
        (
            "0,1\n1,4\n4,10\n5,1\n",
            [1, 4, 6, 8, 10, 1],
            ("2 bins of 6 not recorded: filled in on the line between the neighbours",),
        ),
        (
            "0,1\n1,\n2,6\n",
            [1, 4, 6],
            ("1 bin of 3 not recorded: filled in on the line between the neighbours",),
        ),
        (
            "0,\n1,5\n2,6\n3, \n4,\n",
            [5, 6],
            ("3 rows without requests before the first bin or after the last: left out",),
        ),
        ("0,3\n1,3\n12,3\n", [3] * 13, ("10 bins of 13 not recorded: filled in on the line between the neighbours",)),
    ],
    ids=["unsorted", "repeated", "missing", "empty", "empty ends", "widest gap"],
)
def test_what_can_be_repaired_is_and_is_told(tmp_path: Path, rows: str, bins: list[int], repairs: tuple[str]) -> None:
    trace = read(written(tmp_path, "second,requests\n" + rows))
    assert (counts(trace), trace.bin_s, trace.repairs) == (bins, 1.0, repairs)


def test_all_repairs_of_one_file_are_told(tmp_path: Path) -> None:
    trace = read(written(tmp_path, "second,requests\n0,\n40,2\n30,1\n10,4\n20,\n30,1\n50,9\n"))
    assert (counts(trace), trace.bin_s, trace.start_s) == ([4, 3, 2, 2, 9], 10.0, 10.0)
    assert trace.repairs == (
        "4 rows earlier than one before: sorted by time",
        "1 row repeated the second of another: their requests were added up",
        "1 row without requests before the first bin or after the last: left out",
        "1 bin of 5 not recorded: filled in on the line between the neighbours",
    )


def test_requests_out_of_order_are_sorted_and_told(tmp_path: Path) -> None:
    trace = read(written(tmp_path, "arrival_s\n3\n1\n2\n4\n"))
    assert (times_s(trace), trace.start_s) == ([0.0, 1.0, 2.0, 3.0], 1.0)
    assert trace.repairs == ("2 rows earlier than one before: sorted by time",)


def test_decimal_seconds_are_bins_too(tmp_path: Path) -> None:
    rows = "".join(f"{second / 10},1\n" for second in range(1000))
    trace = read(written(tmp_path, "second,requests\n" + rows))
    assert (len(counts(trace)), trace.bin_s, trace.repairs) == (1000, 0.1, ())


COUNT = "write how many requests came in the bin"
START = "of the trace"


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("", 1, "no header; give a CSV file with the columns `second,requests` (a row a bin) or `arrival_s` (a row"),
        ("\n0,1\n", 1, "no header"),
        ("second,rps\n0,1\n", 1, "columns are second, rps; name them `second,requests` (a row a bin) or `arrival_s`"),
        ("second;requests\n0;1\n", 1, "columns are second;requests; name them"),
        ("0,1\n1,2\n", 1, "columns are 0, 1; name them"),
        ("x" * 300 + "\n", 1, "columns are " + "x" * 200 + "...; name them"),
        ("second,requests\n", 2, "no rows after the header; give a trace with at least one request"),
        ("arrival_s\n\n\n", 2, "no rows after the header"),
        ("second,requests\n0,1\n", 2, "only one second, so the bin's length is unknown; give at least two bins"),
        ("second,requests\n0,1\n0,1\n", 2, "only one second"),
        ("second,requests\n0,\n1,\n", 2, "requests is empty in every row; write how many"),
        (
            "second,requests\n0,1\n1,two\n",
            3,
            "requests is 'two', not a finite number; write a whole number, or nothing",
        ),
        ("second,requests\n0,1\n1,nan\n", 3, "requests is 'nan', not a finite number"),
        ("second,requests\n0,1\n1,inf\n", 3, "requests is 'inf', not a finite number"),
        ("second,requests\n0,1\n1,-1\n", 3, f"requests is '-1', negative; {COUNT}, 0 or more"),
        ("second,requests\n0,1\n\n1,1.5\n", 4, f"requests is '1.5', not a whole number; {COUNT}, not a rate"),
        ("second,requests\n0,1\n1,1e11\n", 3, f"requests is '1e11', over 1e+10; {COUNT}"),
        ("second,requests\n,1\n1,2\n", 2, f"second is '', not a finite number; write seconds from the start {START}"),
        ("second,requests\n0,1\n-1,2\n", 3, f"second is '-1', negative; count seconds from the start {START}"),
        ("second,requests\n0,1\nnan,2\n", 3, "second is 'nan', not a finite number"),
        ("second,requests\n0,1\n1700000000000,2\n", 3, "second is '1700000000000', 1e+11 or more; write seconds, not"),
        ("arrival_s\n0\ninf\n", 3, "arrival_s is 'inf', not a finite number"),
        ("arrival_s\n0\n12:30\n", 3, "arrival_s is '12:30', not a finite number"),
        ("arrival_s\n-0.5\n", 2, "arrival_s is '-0.5', negative"),
        ("second,requests\n0,1\n1,1,000\n", 3, "3 fields where the header has 2; write every row with the columns"),
        ("second,requests\n0,1\n1\n", 3, "1 fields where the header has 2"),
        (
            'second,requests\n0,1\n"1\n",2\n',
            2,
            "a quote in one of the 2 rows from here on runs over lines; close every",
        ),
        ("second,requests\n0,1\n1,1\n2,1\n2.5,1\n", 5, "second 2.5 is between the bins of 1 s that begin at 0; write"),
        (
            "second,requests\n0,1\n1,1\n2,1\n14,1\n",
            5,
            "11 bins of 1 s before this row are missing, at most 10 are fill",
        ),
        ("second,requests\n0,1\n14,1\n1,1\n2,1\n", 3, "11 bins of 1 s before this row are missing"),
        ("second,requests\n0,1\n1e-7,1\n", 2, "bins of less than a microsecond; give a row a request: `arrival_s`"),
        ("arrival_s\n" + "0" * 20_000 + "\n", 2, "line of over 16384 characters; give a CSV file of short rows"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_line(tmp_path: Path, text: str, line: int, what: str) -> None:
    path = written(tmp_path, text)
    assert refused(path).startswith(f"{path}:{line}: {what}")


def test_every_refusal_names_a_remedy(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    assert refused(path) == f"{path}: cannot be read: No such file or directory; name a CSV file or .csv.gz"
    assert refused(tmp_path) == f"{tmp_path}: cannot be read: Is a directory; name a CSV file or .csv.gz"
    path.write_text("second,requests\n0,1\n1,1\n")
    packing = "not packed by gzip although its name ends in .gz; pack it, or rename it to .csv"
    assert refused(path) == f"{path}:1: {packing}"


def test_a_damaged_packed_file_is_refused_at_the_line_where_it_breaks(tmp_path: Path) -> None:
    packed = gzip.compress("".join(["arrival_s\n", *(f"{time}\n" for time in range(100_000))]).encode())
    path = tmp_path / "a.gz"
    path.write_bytes(packed[: len(packed) // 2])
    assert refused(path).endswith(": cannot be read on: Compressed file ended before the end-of-stream marker was "
                                  "reached; fetch the file again, it is damaged")  # fmt: skip
    assert int(refused(path).split(":")[1]) > 10_000
    path.write_bytes(packed[:100] + bytes(100) + packed[200:])
    assert refused(path).endswith("; fetch the file again, it is damaged")


def test_bytes_that_are_no_text_are_refused_only_where_a_number_belongs(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"arrival_s,note\n0,\xff\n\xff,note\n")
    assert refused(path).startswith(f"{path}:3: arrival_s is '\ufffd', not a finite number")


def test_too_many_rows_or_bins_are_refused_before_they_fill_the_memory(tmp_path: Path) -> None:
    path = written(tmp_path, "arrival_s\n1\n2\n3\n")
    assert read(path, max_rows=3).requests == 3
    assert refused(path, max_rows=2) == f"{path}:4: over 2 rows; cut the file, or add its requests up into bins"
    path = written(tmp_path, "second,requests\n0,1\n1,1\n9,1\n")
    assert len(counts(read(path, max_rows=10))) == 10
    remedy = "cut the file, or add its requests up into longer bins"
    assert refused(path, max_rows=9) == f"{path}:4: over 9 bins of 1 s; {remedy}"
    endless = io.BytesIO()
    with gzip.open(endless, "wb") as file:
        file.write(b"arrival_s\n" + b"\n" * 1_000_000)
    path.write_bytes(endless.getvalue())
    assert refused(path, max_rows=1000).startswith(f"{path}:1002: over 1,000 rows")


def test_a_date_in_the_file_is_the_date_of_the_first_bin(tmp_path: Path) -> None:
    rows = "second,requests,minute_utc\n660,,1998-06-10T00:11\n600,1,1998-06-10T00:10\n720,3,ignored\n540,,\n"
    trace = read(written(tmp_path, rows))
    assert (counts(trace), trace.start_s, trace.begins_utc) == ([1, 2, 3], 600.0, datetime(1998, 6, 10, 0, 10))
    assert trace.cut(60.0).begins_utc == datetime(1998, 6, 10, 0, 11)
    zoned = "arrival_s,at_utc\n0.5,2026-01-01T02:00:00.5+02:00\n"
    assert read(written(tmp_path, zoned)).begins_utc == datetime(2026, 1, 1)
    assert read(written(tmp_path, "arrival_s,at_utc\n0.5,yesterday\n")).begins_utc is None


@pytest.mark.parametrize(
    ("bounds", "bins", "start_s"),
    [
        ((0.0, None), [0, 1, 2, 3, 4, 5], 100.0),
        ((60.0, 180.0), [1, 2], 160.0),
        ((61.0, 180.5), [2, 3], 220.0),
        ((300.0, 360.0), [5], 400.0),
    ],
)
def test_a_part_has_the_bins_that_begin_in_it(
    bounds: tuple[float, float | None], bins: list[int], start_s: float
) -> None:
    trace = Trace(name="load", span_s=360.0, bins=np.arange(6), bin_s=60.0, start_s=100.0, repairs=("1 row sorted",))
    part = trace.cut(*bounds)
    assert (counts(part), part.bin_s, part.span_s, part.start_s) == (bins, 60.0, len(bins) * 60.0, start_s)
    assert (part.name, part.repairs) == ("load", ("1 row sorted",))


def test_adjoining_parts_lose_and_share_nothing() -> None:
    tenths = binned(list(range(1000)), bin_s=0.1)
    edges_s = [0.0, 0.1, 0.3, 0.7, 33.3, 50.049, 99.9, 100.0]
    parts = [tenths.cut(from_s, to_s) for from_s, to_s in pairwise(edges_s)]
    assert [len(counts(part)) for part in parts] == [1, 2, 4, 326, 168, 498, 1]
    assert [count for part in parts for count in counts(part)] == list(range(1000))
    exact = Trace(name="load", span_s=4.0, arrivals_s=np.array([0.0, 0.9, 1.0, 1.5, 3.9]))
    parts = [exact.cut(0.0, 1.0), exact.cut(1.0, 2.0), exact.cut(2.0, 3.0), exact.cut(3.0)]
    assert [(times_s(part), part.start_s, part.span_s) for part in parts] == [
        ([0.0, 0.9], 0.0, 1.0),
        ([0.0, 0.5], 1.0, 1.0),
        ([], 2.0, 1.0),
        ([pytest.approx(0.9)], 3.0, 1.0),
    ]


def test_an_arrival_just_before_the_end_of_a_part_stays_inside_it() -> None:
    # Both differences lie half way between two numbers and are rounded to the same, even one.
    to_s, from_s = 1.0 - 2.0**-53, 2.0**-54
    part = Trace(name="load", span_s=4.0, arrivals_s=np.array([1.0 - 2.0**-52])).cut(from_s, to_s)
    assert times_s(part) == [float(np.nextafter(part.span_s, 0.0))]


@pytest.mark.parametrize(
    "bounds", [(-1.0, 10.0), (10.0, 10.0), (20.0, 10.0), (0.0, 120.5), (120.0, None), (float("nan"), 5.0)]
)
def test_a_part_outside_the_trace_is_refused(bounds: tuple[float, float | None]) -> None:
    with pytest.raises(Refused, match=r"^trace load: cannot cut from .*; choose a part of 0 s to 120 s that begins"):
        binned([1, 2], bin_s=60.0).cut(*bounds)


def test_a_part_in_which_no_bin_begins_is_refused() -> None:
    with pytest.raises(
        Refused, match=r"^trace load: no bin begins from 61 s to 90 s; choose a part of at least one bin"
    ):
        binned([1, 2], bin_s=60.0).cut(61.0, 90.0)


def test_training_and_test_follow_each_other_in_time() -> None:
    training, test = binned([1, 2, 3, 4, 5]).halves()
    assert (counts(training), counts(test), test.start_s) == ([1, 2, 3], [4, 5], 3.0)
    training, test = binned([1, 2, 3, 4, 5]).halves(training_ratio=0.2)
    assert (counts(training), counts(test)) == ([1], [2, 3, 4, 5])
    with pytest.raises(Refused, match=r"no bin begins from 0.5 s to 1 s"):
        binned([1]).halves()


@pytest.mark.parametrize(
    ("text", "offset_s"),
    [
        ("90", 90.0),
        ("1.5s", 1.5),
        ("30m", 1800.0),
        (" 12h", 43_200.0),
        ("2d", 172_800.0),
        ("1998-06-10", 5400.0),
        ("1998-06-10T01:00", 9000.0),
        ("1998-06-10T01:00+01:00", 5400.0),
    ],
)
def test_a_time_is_a_number_with_a_unit_or_a_date(text: str, offset_s: float) -> None:
    trace = Trace(name="load", span_s=1e6, bins=np.ones(1, np.int64), begins_utc=datetime(1998, 6, 9, 22, 30))
    assert trace.offset_s(text) == offset_s


def test_a_time_that_is_none_or_outside_is_refused() -> None:
    trace = Trace(name="load", span_s=3600.0, bins=np.ones(1, np.int64), begins_utc=datetime(1998, 6, 9))
    with pytest.raises(
        Refused, match=r"^'-5' is no time; write seconds, or a number with s, m, h or d such as 12h, or"
    ):
        trace.offset_s("-5")
    with pytest.raises(
        Refused, match=r"^trace load runs 1998-06-09 00:00:00 to 1998-06-09 01:00:00 UTC; choose a date"
    ):
        trace.offset_s("1998-06-10")
    with pytest.raises(
        Refused, match=r"^trace load does not say its date, so '1998-06-10' is unknown in it; write 12h"
    ):
        binned([1]).offset_s("1998-06-10")


def test_a_trace_is_bins_or_arrivals_and_cannot_be_written_to() -> None:
    with pytest.raises(ValueError, match="one of them"):
        Trace(name="load", span_s=1.0)
    with pytest.raises(ValueError, match="one of them"):
        Trace(name="load", span_s=1.0, bins=np.ones(1, np.int64), arrivals_s=np.zeros(1))
    own = np.array([1, 2])
    trace = Trace(name="load", span_s=2.0, bins=own)
    assert trace.bins is not None
    with pytest.raises(ValueError, match="read-only"):
        trace.bins[0] = 5
    own[0] = 7  # the caller's array is not locked
