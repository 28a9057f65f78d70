"""The catalogue that all threads share, and who waits for the next one.

Rule: a catalogue is replaced whole and gets a number, so a stream sends each change once and never half of one.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from vgpu.deviceplugin.devices import Catalogue


@dataclass(frozen=True, slots=True, kw_only=True)
class Edition:
    """A catalogue and its number."""

    number: int
    catalogue: Catalogue


class Roster:
    """Holds the latest edition."""

    def __init__(self, units_per_device: int) -> None:
        self._changed = threading.Condition()
        self._edition = Edition(number=0, catalogue=Catalogue(cards=(), units_per_device=units_per_device))
        self._watchers = 0
        self._is_closed = False

    @property
    def edition(self) -> Edition:
        """The latest; number 0 is the empty one before the first look at the cards."""
        return self._edition

    @property
    def catalogue(self) -> Catalogue:
        """The latest catalogue."""
        return self._edition.catalogue

    @property
    def watchers(self) -> int:
        """How many streams follow."""
        return self._watchers

    @property
    def is_closed(self) -> bool:
        """Whether nothing is given out any more."""
        return self._is_closed

    def publish(self, catalogue: Catalogue) -> bool:
        """Replace the catalogue; say whether that changes anything."""
        with self._changed:
            if self._edition.number and catalogue == self._edition.catalogue:
                return False
            self._edition = Edition(number=self._edition.number + 1, catalogue=catalogue)
            self._changed.notify_all()
            return True

    def wait_beyond(self, number: int, *, timeout_s: float) -> Edition | None:
        """Wait for an edition after `number`; None when the time is over, or on `wake` or `close`."""
        with self._changed:
            if self._edition.number <= number and not self._is_closed:
                self._changed.wait(timeout_s)
            return self._edition if self._edition.number > number and not self._is_closed else None

    @contextmanager
    def following(self) -> Iterator[None]:
        """Count as a watcher."""
        with self._changed:
            self._watchers += 1
        try:
            yield
        finally:
            with self._changed:
                self._watchers -= 1

    def wake(self) -> None:
        """Make all who wait look up."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """Give nothing out any more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
