"""The experiments that take seconds, with one seed: they run, and hold their marks."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from autoscaler.sim.simulation import Timeline
from tests.bench.law import __main__ as benches
from tests.bench.law import e2, e6, e7, e13
from tests.bench.law.direct import recovered_s, stepped
from tests.bench.law.options import Options
from tests.bench.law.report import Mark, Report, Table

ONE = Options(seeds=1, jobs=1, out=None)


# Marks that the law misses today. They are demanded all the same: this list may only become shorter.
MISSED: dict[str, set[str]] = {
    "E2": set(),
    "E6": set(),
    "E7": set(),
    # The second came with a mark of its own, on changes an hour.
    "E13": {"crowded, 60 requests/s", "others, 40 requests/s"},
}


@pytest.mark.parametrize("measure", [e2.measure, e6.measure, e7.measure, e13.measure], ids=["E2", "E6", "E7", "E13"])
def test_an_experiment_holds_its_marks(measure: Callable[[Options], Report]) -> None:
    report = measure(ONE)
    missed = [mark for mark in report.marks if not mark.passed]
    assert {mark.demanded.split(":")[0] for mark in missed} == MISSED[report.name], [mark.line() for mark in missed]


def timeline(*attained: float) -> Timeline:
    """Windows of 10 s in which one request a second came."""
    size = len(attained)
    flat = np.ones(size)
    return Timeline(
        time_s=np.arange(size) * 10.0,
        offered_per_s=flat,
        attainment_ratio=np.array(attained),
        p95_ms=flat,
        replicas=flat,
        slots=flat,
        wanted=flat,
    )


@pytest.mark.parametrize(
    ("attained", "expected_s"),
    [
        ((1.0, 1.0, 1.0, 1.0), 0.0),
        ((1.0, 0.5, 0.5, 1.0, 1.0), 30.0),
        ((1.0, 0.5, 1.0, 0.5, 1.0, 1.0), 40.0),
        ((1.0, 0.5, 1.0, 0.5), 40.0),
    ],
    ids=["never missed", "missed once", "missed twice", "never recovered"],
)
def test_recovery_is_two_good_windows_in_a_row(attained: tuple[float, ...], expected_s: float) -> None:
    assert recovered_s(timeline(*attained), 0.0, 10.0 * len(attained), windows=2) == expected_s


def test_stepped_load_has_its_rates() -> None:
    times = stepped([(0.0, 10.0), (100.0, 50.0)], 200.0, seed=1)
    assert (np.diff(times) >= 0).all()
    counts = np.histogram(times, bins=[0, 100, 200])[0].tolist()
    assert counts == pytest.approx([1000, 5000], rel=0.1)
    assert np.array_equal(times, stepped([(0.0, 10.0), (100.0, 50.0)], 200.0, seed=1))


def report(found: str) -> Report:
    return Report(
        name="E0",
        title="nothing",
        setup="Nobody.",
        tables=(Table(headings=("what", "how"), rows=(("a", 0.5),)),),
        marks=(Mark(demanded="it holds", found=found, passed=False),),
    )


def test_the_readme_keeps_what_others_wrote(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text("# Ours\n\nProse.\n")
    benches.write(path, "e0", report("first"), is_quick=False)
    benches.write(path, "e0", report("second"), is_quick=False)
    assert path.read_text() == (
        "# Ours\n\nProse.\n\n"
        "<!-- e0: written by tests.bench.law -->\n### E0: nothing\n\nNobody.\n\n"
        "| what | how |\n|---|---:|\n| a | 0.5 |\n\n- FAIL: it holds: second\n<!-- end of e0 -->\n"
    )
