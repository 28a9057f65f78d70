"""How much of an experiment is run, from the command line; the same options for all."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from autoscaler.embedded import guard
from tests.bench.law.report import Report

CACHE = Path(".run") / "bench" / "law.jsonl"
QUICK_SPAN_S = 1200.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Every experiment reads what it needs of these."""

    seeds: int = 10
    jobs: int = 2
    traces: Path | None = None
    """The folder of traces; without it only shapes are used."""
    out: Path | None = CACHE
    """Rows of finished runs, a JSON line each; a run that is in there is not repeated. None keeps nothing."""
    any_code: bool = False
    """Also take rows that other code has written."""
    span_s: float = 3600.0
    """Of shapes and of made-up load."""
    every: int = 1
    """Of each baseline's grid the first setting and every so-manieth of the others."""
    screen: int = 0
    """The whole grid runs under the first so many seeds, then only settings near the front; 0: the whole under all."""
    hours: float = 6.0
    """Of a trace that is a whole day."""
    loads: tuple[str, ...] = ()
    """Only these; empty: all there are."""
    worlds: tuple[str, ...] = ()

    @property
    def seed_list(self) -> tuple[int, ...]:
        return tuple(range(1, self.seeds + 1))

    def quick(self) -> "Options":
        """Enough to see that it runs, not enough to claim anything."""
        return replace(self, seeds=1, span_s=QUICK_SPAN_S, every=6, screen=0, hours=1.0)

    def asks_for(self, name: str, chosen: tuple[str, ...]) -> bool:
        return not chosen or name in chosen


def parser(prog: str, description: str | None) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog=prog, description=description)
    made.add_argument("--seeds", type=int)
    made.add_argument("--jobs", type=int)
    made.add_argument("--traces", type=Path)
    made.add_argument("--out", type=Path)
    made.add_argument("--any-code", action="store_true", help="take finished runs of other versions of the code too")
    made.add_argument("--span-s", type=float)
    made.add_argument("--every", type=int, help="only every n-th setting of each grid")
    made.add_argument("--screen", type=int, help="seeds for the whole grid; the rest only near the front")
    made.add_argument("--hours", type=float, help="of a trace that is a whole day")
    made.add_argument("--loads", type=lambda text: tuple(text.split(",")))
    made.add_argument("--worlds", type=lambda text: tuple(text.split(",")))
    made.add_argument("--quick", action="store_true")
    return made


def read(given: argparse.Namespace) -> Options:
    """What was given, on top of the quick or the full defaults."""
    options = Options().quick() if given.quick else Options()
    names = ("seeds", "jobs", "traces", "out", "any_code", "span_s", "every", "screen", "hours", "loads", "worlds")
    return replace(options, **{name: value for name in names if (value := getattr(given, name)) not in (None, False)})


def main(name: str, description: str | None, measure: Callable[[Options], Report], argv: Sequence[str] = ()) -> None:
    """Run one experiment as a command and leave with its status."""
    options = read(parser(f"python -m tests.bench.law.{name}", description).parse_args(argv or None))
    sys.exit(guard.run(lambda: measure(options).tell()))
