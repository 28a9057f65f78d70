"""Faults a test asks for: refused requests, slow answers and dropped watches. A server does none of this by itself.

Set from the test's thread and read in the server's, hence the lock.
"""

import threading
from collections import Counter
from dataclasses import dataclass

from autoscaler.embedded.apiserver.errors import ApiError

_REASONS = {
    401: "Unauthorized",
    403: "Forbidden",
    409: "Conflict",
    410: "Expired",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}
ANY = "*"


@dataclass(slots=True, kw_only=True)
class _Rule:
    """What happens to the next `left` requests of a verb on a kind."""

    verb: str
    plural: str
    left: int
    code: int = 0  # 0: answer as usual
    delay_s: float = 0.0
    retry_after_s: int | None = None

    def applies(self, verb: str, plural: str) -> bool:
        return self.left > 0 and self.verb in (ANY, verb) and self.plural in (ANY, plural)


class Faults:
    """The faults in force, and a count of the requests seen by verb and kind."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[_Rule] = []
        self._watch_events_left: int | None = None
        self.seen: Counter[tuple[str, str]] = Counter()

    def refuse(
        self, code: int, *, times: int = 1, verb: str = ANY, plural: str = ANY, retry_after_s: int | None = None
    ) -> None:
        """Answer the next requests with an error code."""
        with self._lock:
            rule = _Rule(verb=verb, plural=plural, left=times, code=code, retry_after_s=retry_after_s)
            self._rules.append(rule)

    def delay(self, delay_s: float, *, times: int = 1, verb: str = ANY, plural: str = ANY) -> None:
        """Answer the next requests late."""
        with self._lock:
            self._rules.append(_Rule(verb=verb, plural=plural, left=times, delay_s=delay_s))

    def drop_watches(self, after_events: int | None) -> None:
        """Cut every watch connection after so many events, with no proper end; None stops that."""
        with self._lock:
            self._watch_events_left = after_events

    def clear(self) -> None:
        """Go back to a server without faults and forget the counts."""
        with self._lock:
            self._rules.clear()
            self._watch_events_left = None
            self.seen.clear()

    def watch_limit(self) -> int | None:
        """Say after how many events a watch is cut."""
        with self._lock:
            return self._watch_events_left

    def take(self, verb: str, plural: str) -> tuple[float, ApiError | None]:
        """Count a request and say how late to answer it and with which refusal, if any."""
        with self._lock:
            self.seen[verb, plural] += 1
            delay_s, refusal = 0.0, None
            for rule in self._rules:
                if not rule.applies(verb, plural) or (rule.code and refusal):
                    continue
                rule.left -= 1
                delay_s += rule.delay_s
                if rule.code:
                    message = f"fault injected into {verb} {plural}"
                    reason = _REASONS.get(rule.code, "InternalError")
                    refusal = ApiError(rule.code, reason, message, retry_after_s=rule.retry_after_s)
            return delay_s, refusal
