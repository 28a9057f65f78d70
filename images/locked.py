"""The entries of a lock file for a list of packages, with their hashes: what pip installs into an image.

    python locked.py requirements.lock packages.txt > requirements.txt

It runs while an image is built, where there is nothing but Python itself.
"""

import re
import sys
from collections.abc import Iterable
from pathlib import Path

_ENTRY = re.compile(r"^(?P<name>[a-z0-9._-]+)(?:\[[^\]]*\])?==\S+.*?(?=^\S|\Z)", re.MULTILINE | re.DOTALL)


class LockError(ValueError):
    """The lock has no entry for a package."""


def entries(lock: str) -> dict[str, str]:
    """Name -> its lines of the lock, without comments."""
    text = "\n".join(line for line in lock.splitlines() if not line.lstrip().startswith("#")) + "\n"
    return {match["name"]: match.group().rstrip() for match in _ENTRY.finditer(text)}


def selected(lock: str, names: Iterable[str]) -> str:
    """The entries of these packages. Raises `LockError`."""
    found = entries(lock)
    lacking = sorted(set(names) - found.keys())
    if lacking:
        raise LockError(f"requirements.lock has no {', '.join(lacking)}; run make lock, then make helm")
    return "".join(f"{found[name]}\n" for name in sorted(names))


def names_in(packages: str) -> list[str]:
    """The names of a packages.txt."""
    return [line for line in packages.splitlines() if line and not line.startswith("#")]


if __name__ == "__main__":
    lock_path, packages_path = map(Path, sys.argv[1:])
    sys.stdout.write(
        selected(lock_path.read_text(encoding="utf-8"), names_in(packages_path.read_text(encoding="utf-8")))
    )
