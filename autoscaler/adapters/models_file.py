"""The models file, followed while the autoscaler runs: taken when it can be, refused as a whole when it cannot.

A mounted ConfigMap changes as one: kubelet points a symlink to another folder. A file that is written in place may be
read half written, and half a YAML file may well be a valid one with fewer models. So changed content is taken at once
where the path leads to another file by its symlinks, and otherwise when two readings in a row are the same. A read of
some kilobytes every few seconds costs nothing, and unlike a time stamp it cannot miss a change.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from autoscaler import config
from autoscaler.core.spec import FleetSpec
from autoscaler.ports import Change, ModelsFileSeen

log = logging.getLogger(__name__)

Check = Callable[[FleetSpec], Sequence[str]]
"""What else speaks against a specification, beside its own faults: one line for each."""


class ModelsFile:
    """One models file on a disk."""

    def __init__(self, path: Path, *, check: Check = lambda spec: ()) -> None:
        """Read the file for the first time. Raises `config.ConfigError` with everything that is wrong with it.

        `check` is for later readings only: at the start its caller has more to say.
        """
        self._path = path
        self._check = check
        self._target = path.resolve()
        try:
            self._content = self._written = path.read_bytes()
        except OSError as error:
            raise config.ConfigError(f"{path}: {error.strerror}; give a readable models file") from error
        self._refused_content: bytes | None = None
        self._file = config.read(path, self._content)
        self._seen = ModelsFileSeen(spec=self._file.spec, about=self._file.about)

    @property
    def spec(self) -> FleetSpec:
        """What is followed."""
        return self._seen.spec

    def read(self) -> ModelsFileSeen:
        """What to follow now. What is wrong with the present file is told by each reading until the file changes."""
        self._seen = replace(self._seen, change=None, reworked=frozenset())
        try:
            content, target = self._path.read_bytes(), self._path.resolve()
        except OSError as error:
            why = f"{self._path}: {error.strerror}; make it readable again: what it said last is followed until then"
            return self._refuse([why], None)
        settled = target != self._target or content == self._written
        self._target, self._written = target, content
        if content == self._content:
            self._restore()
        elif settled and content != self._refused_content:
            self._take(content)
        return self._seen

    def _take(self, content: bytes) -> None:
        """Follow this content from now on, or say why not."""
        try:
            file = config.read(self._path, content)
        except config.ConfigError as error:
            self._refuse(str(error).splitlines(), content)
            return
        if problems := [f"{self._path}: {line}" for line in self._check(file.spec)]:
            self._refuse(problems, content)
            return
        reworked = frozenset(name for name, work in file.work.items() if self._file.work.get(name, work) != work)
        log.info("%s has changed and is followed: %s", self._path, ", ".join(model.name for model in file.spec.models))
        self._file, self._content, self._refused_content = file, content, None
        self._seen = ModelsFileSeen(spec=file.spec, about=file.about, change=Change.APPLIED, reworked=reworked)

    def _refuse(self, problems: Sequence[str], content: bytes | None) -> ModelsFileSeen:
        """Keep what is followed, and say what is wrong; once in the log, and as a change, for each new content (None:
        it could not be read)."""
        told = tuple(problems)
        if told != self._seen.problems or content != self._refused_content:
            for line in told:
                log.warning("models file refused: %s", line)
            self._seen = replace(self._seen, problems=told, change=Change.REFUSED)
        self._refused_content = content
        return self._seen

    def _restore(self) -> None:
        """The file says again what is followed."""
        if self._seen.problems:
            log.info("%s is again as it was when it was last followed", self._path)
            self._seen, self._refused_content = replace(self._seen, problems=()), None
