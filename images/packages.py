"""images/NAME/packages.txt: which packages each image installs; requirements.lock says which version, by hash.

    python -m images.packages [--check]

An image takes the extras of pyproject.toml that its process needs, and what those need in turn, as the packages that
are installed say: nothing is resolved and nothing is asked of anybody, so the same lock gives the same files.
"""

import argparse
import sys
import tomllib
from collections.abc import Container, Iterable, Mapping
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from images.locked import LockError, entries

ROOT = Path(__file__).parent.parent
EXTRAS = {
    "serving": ("serving", "models"),
    "autoscaler": ("autoscaler",),
    "extender": ("extender",),
    "deviceplugin": ("deviceplugin",),
    "exporter": ("exporter",),
    "switcher": ("switcher",),
}
_HEAD = "# Made by `python -m images.packages` from the extras {extras} of pyproject.toml.\n"


def files() -> dict[str, str]:
    """Every list of packages: path below images/ -> text."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    locked = entries((ROOT / "requirements.lock").read_text(encoding="utf-8")).keys()
    return {f"{image}/packages.txt": _file(project, locked, extras) for image, extras in EXTRAS.items()}


def closure(wanted: Iterable[str], locked: Container[str], left_out: Container[str]) -> set[str]:
    """Names of the requirements and of all that they need. Raises `LockError` for what the lock has not."""
    found: set[str] = set()
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [Requirement(text) for text in wanted]
    while waiting:
        requirement = waiting.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if (name, extras) in seen or name in left_out:
            continue
        seen.add((name, extras))
        if name not in locked:
            raise LockError(f"{name} is needed and not in requirements.lock; run make lock")
        found.add(name)
        for text in metadata.requires(name) or ():
            needed = Requirement(text)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
                waiting.append(needed)
    return found


def _file(
    project: Mapping[str, dict[str, dict[str, list[str]]]], locked: Container[str], extras: tuple[str, ...]
) -> str:
    optional = project["project"]["optional-dependencies"]
    left_out = {canonicalize_name(Requirement(text).name) for text in project["tool"]["uv"]["override-dependencies"]}
    wanted = [text for extra in extras for text in optional[extra]]
    lines = [f"{name}\n" for name in sorted(closure(wanted, locked, left_out))]
    return _HEAD.format(extras=" and ".join(extras)) + "".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m images.packages", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a file is out of date")
    check = parser.parse_args().check
    stale = []
    for path, text in files().items():
        at = Path(__file__).parent / path
        if at.is_file() and at.read_text(encoding="utf-8") == text:
            continue
        stale.append(path)
        if not check:
            at.parent.mkdir(exist_ok=True)
            at.write_text(text, encoding="utf-8")
        sys.stderr.write(f"images/{path}: {'out of date; run make helm' if check else 'written'}\n")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
