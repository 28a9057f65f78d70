"""The protocol between a replica and the arbiter of its emulated GPU.

One connection is one process. Each message is one JSON object on one line. A request has `id` (chosen by the client)
and `op`; its reply repeats the `id` and holds either the results or `error` (a Refusal) with a `message`. Replies come
when they are due, so those of `run` may overtake each other. The README of this package lists every operation.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

LONGEST_LINE = 4096
LONGEST_DEMAND_NS = 3600 * 10**9


class Operation(StrEnum):
    """What a client may ask."""

    ATTACH = "attach"
    ALLOCATE = "allocate"
    FREE = "free"
    RUN = "run"
    STATUS = "status"
    LOSE = "lose"
    RESTORE = "restore"


class Refusal(StrEnum):
    """Why the arbiter refuses a request."""

    MALFORMED = "malformed"
    UNKNOWN_SLOT = "unknown-slot"
    SLOT_TAKEN = "slot-taken"
    NOT_ATTACHED = "not-attached"
    FRAMEBUFFER_EXHAUSTED = "framebuffer-exhausted"
    DEVICE_LOST = "device-lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request; the fields that its operation does not use are empty."""

    id: int
    operation: Operation
    slot: str = ""
    pid: int = 0
    mib: int = 0
    demand_ns: int = 0


class MalformedMessage(ValueError):
    """A line that is no request; `id` is that of the request where it can be told."""

    def __init__(self, problem: str, request_id: int | None = None) -> None:
        super().__init__(problem)
        self.id = request_id


_ENCODER = json.JSONEncoder(separators=(",", ":"))
_WHOLE_FIELDS = {
    Operation.ATTACH: {"pid": 1 << 31},
    Operation.ALLOCATE: {"mib": 1 << 31},
    Operation.FREE: {"mib": 1 << 31},
    Operation.RUN: {"demand_ns": LONGEST_DEMAND_NS},
}


def parse_request(line: bytes) -> Request:
    """Read one line; MalformedMessage names what is wrong with it."""
    try:
        message = json.loads(line)
    except ValueError as problem:
        raise MalformedMessage(f"the message is not JSON: {problem}") from problem
    if not isinstance(message, dict):
        raise MalformedMessage("the message is not a JSON object")
    request_id = _whole(message, "id", 1 << 63, None)
    operation = message.get("op")
    if operation not in list(Operation):
        raise MalformedMessage(f"op is {operation!r}; it is one of {', '.join(Operation)}", request_id)
    operation = Operation(operation)
    slot = message.get("slot", "")
    if operation is Operation.ATTACH and not (isinstance(slot, str) and slot):
        raise MalformedMessage(f"slot is {slot!r}; it is the slot_id of a slot", request_id)
    wholes = _WHOLE_FIELDS.get(operation, {})
    values = {field: _whole(message, field, most, request_id) for field, most in wholes.items()}
    return Request(id=request_id, operation=operation, slot=slot, **values)


def encode(message: Mapping[str, object]) -> bytes:
    """One message as one line."""
    return _ENCODER.encode(message).encode() + b"\n"


def _whole(message: Mapping[str, object], field: str, most: int, request_id: int | None) -> int:
    value = message.get(field)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise MalformedMessage(f"{field} is {value!r}; it is a whole number from 1 to {most}", request_id)
    return value
