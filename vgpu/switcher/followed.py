"""The switcher's file, followed while it runs: taken when it can be, refused as a whole when it cannot.

A mounted ConfigMap changes as one: kubelet points a symlink to another folder. A file that is written in place may be
read half written, so changed content counts once the path leads elsewhere or two readings in a row are the same.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from vgpu.switcher import config
from vgpu.switcher.config import Config, ConfigError

log = logging.getLogger(__name__)

Check = Callable[[Config], Sequence[str]]
"""What else speaks against a file at this moment, beside its own faults: one line for each."""


class Followed:
    """One file on a disk. `problems` are those of its present content, where that was refused."""

    def __init__(self, path: Path, *, interval_s: float) -> None:
        """Read it for the first time. Raises `ConfigError` with everything that is wrong with it."""
        self._path, self._interval_s = path, interval_s
        self._target = path.resolve()
        self.config = config.load(path, interval_s=interval_s)
        self.problems: tuple[str, ...] = ()
        self._content = self._written = path.read_bytes()
        self._refused: bytes | None = None

    def read(self, check: Check) -> Config:
        """What to follow now. A refused content is checked again with each reading, for `check` may speak otherwise."""
        try:
            content, target = self._path.read_bytes(), self._path.resolve()
        except OSError as error:
            self._refuse([f"{self._path}: {error.strerror}; make it readable: what it said last is followed"], None)
            return self.config
        settled = target != self._target or content == self._written
        self._target, self._written = target, content
        if content == self._content:
            self.problems, self._refused = (), None
        elif settled:
            self._take(content, check)
        return self.config

    def _take(self, content: bytes, check: Check) -> None:
        try:
            read = config.read(self._path, content, interval_s=self._interval_s)
        except ConfigError as error:
            self._refuse(str(error).splitlines(), content)
            return
        if against := check(read):
            self._refuse([f"{self._path}: {line}" for line in against], content)
            return
        log.info("%s has changed and is followed", self._path)
        self.config, self._content, self.problems, self._refused = read, content, (), None

    def _refuse(self, problems: Sequence[str], content: bytes | None) -> None:
        """Keep what is followed; say why once for each content and reason."""
        if tuple(problems) != self.problems or content != self._refused:
            for line in problems:
                log.warning("file refused: %s", line)
        self.problems, self._refused = tuple(problems), content
