"""The journal: one JSON line per tick, with everything the decision was made from.

A line with the specification comes first in each run and in each file, and wherever it changes: so the journal alone is
enough to decide every tick again. `autoscaler.sim.journal_reader` reads it back.
"""

import json
import logging
from collections.abc import Collection
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from autoscaler.core.plain import as_json_value
from autoscaler.core.spec import FleetSpec
from autoscaler.ports import Tick

log = logging.getLogger(__name__)

FORMAT = 1
# An hour of two-second ticks over six slots is about 12 MB; one older file is kept.
MOST_BYTES = 64 << 20


# What every tick shares with the one before is in the specification's line.
_SHARED = ("spec", "models_file")


class Journal:
    """Appends ticks to a file; a full one becomes FILE.1. A disk that is full costs lines and not the autoscaler."""

    def __init__(self, path: Path, *, most_bytes: int = MOST_BYTES) -> None:
        """Open the file. Raises `OSError` where it cannot be written."""
        self._path = path
        self._most_bytes = most_bytes
        self._file: IO[str] = path.open("a", encoding="utf-8")
        self._told: FleetSpec | None = None
        """The specification that the ticks at the end of the file were decided by."""

    def record(self, tick: Tick) -> None:
        """Append one tick, behind the specification where that is another one."""
        told = {part.name: getattr(tick, part.name) for part in fields(tick) if part.name not in _SHARED}
        try:
            self._append(_line(tick=told), tick.spec, tick.models_file.reworked)
        except OSError as error:
            log.warning("journal %s: %s", self._path, error)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _append(self, line: str, spec: FleetSpec, reworked: Collection[str]) -> None:
        if self._file.tell() and self._file.tell() + len(line) > self._most_bytes:
            self._path.replace(self._path.with_name(self._path.name + ".1"))
            full, self._file = self._file, self._path.open("a", encoding="utf-8")
            full.close()
            self._told = None
        if reworked or spec != self._told:
            self._file.write(_line(spec=spec, **({"reworked": sorted(reworked)} if reworked else {})))
            self._told = spec
        self._file.write(line)
        self._file.flush()


def _line(**record: object) -> str:
    line = {"format": FORMAT, "wall": datetime.now(UTC).isoformat(), **{k: as_json_value(v) for k, v in record.items()}}
    return json.dumps(line, separators=(",", ":")) + "\n"
