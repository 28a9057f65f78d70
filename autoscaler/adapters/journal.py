"""The journal: one JSON line per tick, with everything the decision was made from.

Where the specification is given, each run and each file begins with a line that holds it: then the journal alone is
enough to decide every tick again. `autoscaler.sim.journal_reader` reads it back.
"""

import json
import logging
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


class Journal:
    """Appends ticks to a file; a full one becomes FILE.1. A disk that is full costs lines and not the autoscaler."""

    def __init__(self, path: Path, *, spec: FleetSpec | None = None, most_bytes: int = MOST_BYTES) -> None:
        """Open the file. Raises `OSError` where it cannot be written."""
        self._path = path
        self._spec = spec
        self._most_bytes = most_bytes
        self._file: IO[str] = path.open("a", encoding="utf-8")
        self._headed = spec is None

    def record(self, tick: Tick) -> None:
        """Append one tick."""
        try:
            self._append(_line(tick=tick))
        except OSError as error:
            log.warning("journal %s: %s", self._path, error)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _append(self, line: str) -> None:
        if self._file.tell() and self._file.tell() + len(line) > self._most_bytes:
            self._path.replace(self._path.with_name(self._path.name + ".1"))
            full, self._file = self._file, self._path.open("a", encoding="utf-8")
            full.close()
            self._headed = self._spec is None
        if not self._headed:
            self._file.write(_line(spec=self._spec))
            self._headed = True
        self._file.write(line)
        self._file.flush()


def _line(**record: object) -> str:
    line = {"format": FORMAT, "wall": datetime.now(UTC).isoformat(), **{k: as_json_value(v) for k, v in record.items()}}
    return json.dumps(line, separators=(",", ":")) + "\n"
