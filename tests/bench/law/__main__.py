"""`python -m tests.bench.law --quick | --full`: every simulated experiment, and the tables of the README anew.

`--only e2,e6` runs some of them. The live one, e10_live, runs only where it is named: it starts a whole system.
"""

import argparse
import importlib
import json
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autoscaler.embedded import guard
from tests.bench.law.options import parser, read
from tests.bench.law.report import Report

NAMES = ("e1", "e2", "e3", "e4", "e6", "e7", "e8", "e10", "e11", "e13")
LIVE = "e10_live"
README = Path(__file__).parent.parent / "README.md"
OPENING = """# Benchmarks

`python -m tests.bench` measures a live system; `python -m tests.bench.law` proves the control law in the simulator.
Nothing here is a test: timing passes and fails nowhere.

## The control law

Simulated, never measured on GPUs. Pass marks were written down before the runs; what failed says FAIL.

    python -m tests.bench.law --full --traces FOLDER --screen 2     all, resumed where it was interrupted
    python -m tests.bench.law.e4 --seeds 3                          one of them; --help says more

"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run what was asked for; 1 where a mark was missed."""
    commands = parser("python -m tests.bench.law", __doc__)
    size = commands.add_mutually_exclusive_group()
    size.add_argument("--full", action="store_true", help="what the claims rest on; the default")
    commands.add_argument("--only", type=lambda text: tuple(text.split(",")), default=NAMES)
    commands.add_argument("--readme", type=Path, default=README)
    given = commands.parse_args(argv)
    if given.quick and given.full:
        commands.error("--quick or --full, not both")
    documents = [_run(name, given) for name in given.only]
    sys.stdout.write(json.dumps(documents, indent=2, allow_nan=False) + "\n")
    return 0 if all(document["passed"] for document in documents) else 1


def _run(name: str, given: argparse.Namespace) -> dict[str, Any]:
    if name not in (*NAMES, LIVE):
        raise SystemExit(f"no experiment {name!r}; choose from {', '.join((*NAMES, LIVE))}")
    began_s = time.monotonic()
    print(f"{name} …", file=sys.stderr)
    report: Report = importlib.import_module(f"tests.bench.law.{name}").measure(read(given))
    write(given.readme, name, report, is_quick=given.quick)
    lines = [f"{name}: {time.monotonic() - began_s:.0f} s", *(f"  {mark.line()}" for mark in report.marks)]
    print("\n".join(lines), file=sys.stderr)
    return report.document()


def write(path: Path, name: str, report: Report, *, is_quick: bool) -> None:
    """Put the experiment's part into the README, in the place of its last one; all else stays."""
    text = path.read_text() if path.exists() else OPENING
    warning = "\n\nA quick run: it shows that it runs, and no more." if is_quick else ""
    part = f"<!-- {name}: written by tests.bench.law -->\n{report.markdown()}{warning}\n<!-- end of {name} -->"
    old = re.compile(rf"<!-- {name}: .*?<!-- end of {name} -->", re.DOTALL)
    text = old.sub(lambda _: part, text) if old.search(text) else text.rstrip("\n") + "\n\n" + part + "\n"
    path.write_text(text)


if __name__ == "__main__":
    sys.exit(guard.run(main))
