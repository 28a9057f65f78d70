"""Runs of many candidates, each written down as it ends, so that an interrupted experiment goes on where it was."""

import json
import multiprocessing
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

import autoscaler
from autoscaler.sim.compare import OURS, Candidate, Row, Study, measure

ROOT = Path(autoscaler.__file__).parent
SAY_EVERY_S = 15.0
# What writes a result down changes none of them.
OUTSIDE = ("compare.py", "frontier.py", "report.py", "picture.py", "replay.py", "journal_reader.py", "world_file.py")

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One candidate under one seed in one study."""

    study: str
    """Its label in this experiment."""
    candidate: Candidate
    seed: int


def digest(*parts: str) -> str:
    return blake2b("\n".join(parts).encode(), digest_size=8).hexdigest()


def code(*folders: str) -> str:
    """What the results of these parts of the package depend on."""
    files = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py")) if path.name not in OUTSIDE]
    return digest(*(path.read_text() for path in files))


def study_digest(study: Study) -> str:
    """The same for studies whose runs give the same rows."""
    demand = study.demand
    trace = demand.trace(1)
    load = f"{demand.name} {demand.span_s} {demand.from_text} {demand.to_text} {trace.start_s} {trace.span_s}"
    times = f"{study.span_s} {study.counted_from_s} {study.trained_from_s}"
    return digest(repr(study.world), load, times, repr(sorted(study.scales.items())))


@dataclass
class Ledger:
    """Rows by (study, candidate, seed, code), kept in a file of JSON lines."""

    path: Path | None
    any_code: bool = False
    _rows: dict[tuple[str, str, int, str], Row] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._codes = {True: code("core", "sim"), False: code("sim")}
        for line in _lines(self.path):
            written = "any" if self.any_code else line["code"]
            self._rows[line["study"], line["candidate"], line["seed"], written] = Row(**line["row"])

    def row(self, study: str, run: Run) -> Row | None:
        return self._rows.get(self._key(study, run))

    def add(self, study: str, run: Run, row: Row) -> None:
        self._rows[self._key(study, run)] = row
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = {
            "study": study,
            "label": run.study,
            "candidate": run.candidate.name,
            "seed": run.seed,
            "code": self._codes[run.candidate.policy == OURS],
            "row": asdict(row),
        }
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def _key(self, study: str, run: Run) -> tuple[str, str, int, str]:
        written = "any" if self.any_code else self._codes[run.candidate.policy == OURS]
        return study, run.candidate.name, run.seed, written


def _lines(path: Path | None) -> Iterator[Mapping[str, Any]]:
    if path is None or not path.exists():
        return
    for text in path.read_text().splitlines():
        try:
            yield json.loads(text)
        except json.JSONDecodeError:  # the last line of a run that was cut off
            print(f"{path}: left out a line that is no JSON", file=sys.stderr)


def carry_out(studies: Mapping[str, Study], runs: Iterable[Run], ledger: Ledger, *, jobs: int) -> dict[Run, Row]:
    """Every run's row: from the ledger where it is there, else simulated now, `jobs` at a time."""
    marks = {label: study_digest(study) for label, study in studies.items()}
    rows: dict[Run, Row] = {}
    left = []
    for run in runs:
        known = ledger.row(marks[run.study], run)
        if known is None:
            left.append(run)
        else:
            rows[run] = known

    def ended(place: int, row: Row) -> None:
        run = left[place]
        rows[run] = row
        ledger.add(marks[run.study], run, row)

    tasks = [(studies[run.study], run.candidate, run.seed) for run in left]
    for place, row in at_once(_measure, tasks, jobs=jobs):
        ended(place, row)
    return rows


def _measure(task: tuple[Study, Candidate, int]) -> Row:
    return measure(*task)[0]


def at_once(work: Callable[[_Task], _Result], tasks: Sequence[_Task], *, jobs: int) -> Iterator[tuple[int, _Result]]:
    """(place, result) of each task as it ends; how far it is goes to standard error now and then."""
    began_s = said_s = time.monotonic()
    for count, (place, result) in enumerate(_ended(work, tasks, jobs), start=1):
        yield place, result
        now_s = time.monotonic()
        if now_s - said_s >= SAY_EVERY_S:
            said_s = now_s
            rest_s = (now_s - began_s) / count * (len(tasks) - count)
            print(f"  {count} of {len(tasks)} runs, about {rest_s / 60:.1f} min left", file=sys.stderr)


def _ended(work: Callable[[_Task], _Result], tasks: Sequence[_Task], jobs: int) -> Iterator[tuple[int, _Result]]:
    if jobs == 1 or len(tasks) < 2:
        yield from ((place, work(task)) for place, task in enumerate(tasks))
        return
    pool = ProcessPoolExecutor(
        max_workers=min(jobs, len(tasks)), mp_context=multiprocessing.get_context("spawn"), initializer=_ignore_ctrl_c
    )
    try:
        places = {pool.submit(work, task): place for place, task in enumerate(tasks)}
        for future in as_completed(places):
            yield places[future], future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def in_order(work: Callable[[_Task], _Result], tasks: Sequence[_Task], *, jobs: int) -> list[_Result]:
    """Results in the order of the tasks."""
    ended = dict(at_once(work, tasks, jobs=jobs))
    return [ended[place] for place in range(len(tasks))]


def _ignore_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
