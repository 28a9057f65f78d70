"""Write everything generated below helm/, or with --check say what is out of date and exit 1.

python -m helm.generate [--check]
"""

import argparse
import importlib
import importlib.util
import sys
from pathlib import Path

CHART = Path(__file__).parent.parent
# Each has `files() -> dict[str, str]`: path below helm/ -> text.
PARTS = ("schema", "readme", "dashboards", "rules")


def files() -> dict[str, str]:
    """Every generated file of the chart: path below helm/ -> text."""
    found: dict[str, str] = {}
    for part in PARTS:
        name = f"helm.generate.{part}"
        if importlib.util.find_spec(name) is not None:
            found |= importlib.import_module(name).files()
    return found


def out_of_date(wanted: dict[str, str], chart: Path = CHART) -> list[str]:
    """Files whose text is not the generated one, and files that nothing generates any more."""
    changed = [path for path, text in wanted.items() if _text(chart / path) != text]
    folders = {Path(path).parent for path in wanted} - {Path()}
    left = [
        str(path.relative_to(chart))
        for folder in folders
        for path in (chart / folder).glob("*")
        if path.is_file() and str(path.relative_to(chart)) not in wanted
    ]
    return sorted(changed + left)


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m helm.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a file is out of date")
    check = parser.parse_args().check
    wanted = files()
    stale = out_of_date(wanted)
    for path in stale:
        if not check and path in wanted:
            (CHART / path).parent.mkdir(parents=True, exist_ok=True)
            (CHART / path).write_text(wanted[path], encoding="utf-8")
        sys.stderr.write(f"helm/{path}: {_outcome(path in wanted, check)}\n")
    return 1 if check and stale else 0


def _outcome(generated: bool, check: bool) -> str:
    if not generated:
        return "nothing generates this file; remove it"
    return "out of date; run make helm" if check else "written"


if __name__ == "__main__":
    sys.exit(main())
