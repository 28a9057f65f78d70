"""The last changes, in order: what watches stream from and what old lists are rebuilt from.

Every write takes the next version and leaves exactly one event, so versions in here have no gaps and an event's place
follows from its version. Only the newest `limit` events are certain to be kept; asking for older ones is `Expired`.
"""

from dataclasses import dataclass

from autoscaler.embedded.apiserver import errors
from autoscaler.embedded.apiserver.resources import Json, Resource


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One write: the object before it (None: created) and after it (None: removed)."""

    version: int
    resource: Resource
    before: Json | None
    after: Json | None

    @property
    def either(self) -> Json:
        """The object in one of its two states, for what both share: its name and namespace."""
        found = self.after or self.before
        assert found is not None
        return found

    @property
    def farewell(self) -> Json | None:
        """The state before, at this event's version: what a watch shows of an object that leaves its sight."""
        if self.before is None:
            return None
        return self.before | {"metadata": self.before["metadata"] | {"resourceVersion": str(self.version)}}


class History:
    """The newest events, addressed by version."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._events: list[Event] = []
        self.version = 0

    def append(self, resource: Resource, before: Json | None, after: Json | None) -> None:
        """Record a write under the next version."""
        self.version += 1
        self._events.append(Event(version=self.version, resource=resource, before=before, after=after))
        if len(self._events) >= 2 * self._limit:  # trimmed in halves, so that appending stays cheap
            del self._events[: -self._limit]

    def after(self, version: int) -> list[Event]:
        """List the events later than a version; raise Expired where some of them are gone."""
        missing = self.version - version
        if missing <= 0:
            return []
        if missing > len(self._events):
            oldest = self.version - len(self._events)
            raise errors.expired(f"too old resource version: {version} ({oldest})")
        return self._events[-missing:]
