"""The journal: one JSON line per tick, with everything the decision was made from."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from autoscaler.core.decision import as_json_value
from autoscaler.ports import Tick

FORMAT = 1
# An hour of two-second ticks over six slots is about 12 MB; one older file is kept.
MOST_BYTES = 64 << 20


class Journal:
    """Appends ticks to a file; a full one becomes FILE.1."""

    def __init__(self, path: Path, *, most_bytes: int = MOST_BYTES) -> None:
        self._path = path
        self._most_bytes = most_bytes
        self._file: IO[str] = path.open("a", encoding="utf-8")

    def record(self, tick: Tick) -> None:
        """Append one tick."""
        line = {"format": FORMAT, "wall": datetime.now(UTC).isoformat(), "tick": as_json_value(tick)}
        self._file.write(json.dumps(line, separators=(",", ":")) + "\n")
        self._file.flush()
        if self._file.tell() > self._most_bytes:
            self._file.close()
            self._path.replace(self._path.with_name(self._path.name + ".1"))
            self._file = self._path.open("a", encoding="utf-8")

    def close(self) -> None:
        """Close the file."""
        self._file.close()
