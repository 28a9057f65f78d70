"""The ways in which the Kubernetes API says no, as the rest of the system knows them.

`Conflict` and `NotFound` are answers about an object: the caller's picture of it is old. Everything else, from a lost
connection to a missing permission, is `Unavailable`: the caller holds and tries again later.
"""


class Unavailable(Exception):
    """The API could not be used for something, and why."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what}: {why}")
        self.what = what
        self.why = why


class Expired(Unavailable):
    """The version to go on from is no longer kept; list again."""


class TooManyRequests(Unavailable):
    """Not now: a disruption budget, or the server's own limits."""


class Conflict(Exception):
    """The object is not as the caller thought: changed since, already bound, or already there."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what}: {why}")
        self.what = what
        self.why = why


class NotFound(Exception):
    """There is no such object."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what}: {why}")
        self.what = what
        self.why = why
