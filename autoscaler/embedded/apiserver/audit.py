"""What was asked, by whom, and how it was answered: the newest requests, for tests and for whoever looks for a rule.

Written in the server's thread and read from any, hence the lock.
"""

import threading
from collections import deque
from dataclasses import asdict, dataclass

from autoscaler.embedded.apiserver.attributes import Attributes
from autoscaler.embedded.apiserver.resources import Json

KEPT = 10_000  # requests; a fleet of 20 pods makes about 10 a second


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One request, once it was answered; a watch once it was opened. `path` is set for what is no kind of object."""

    user: str
    verb: str
    group: str
    resource: str
    subresource: str
    namespace: str
    name: str
    path: str
    code: int


class Audit:
    """The newest records, oldest first."""

    def __init__(self, kept: int = KEPT) -> None:
        self._lock = threading.Lock()
        self._records: deque[Record] = deque(maxlen=kept)

    def add(self, user: str, asked: Attributes, code: int) -> None:
        """Keep one request."""
        record = Record(
            user=user,
            verb=asked.verb,
            group=asked.group,
            resource=asked.resource,
            subresource=asked.subresource,
            namespace=asked.namespace,
            name=asked.name,
            path="" if asked.resource else asked.path,
            code=code,
        )
        with self._lock:
            self._records.append(record)

    def records(self, user: str = "") -> tuple[Record, ...]:
        """List what was asked, by one user if one is named."""
        with self._lock:
            found = tuple(self._records)
        return tuple(record for record in found if user in ("", record.user))

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._records.clear()

    def as_json(self) -> Json:
        """Render for a client."""
        return {"kind": "AuditRecordList", "items": [asdict(record) for record in self.records()]}
