"""Every refusal a client can meet: one status, one reason word, one sentence that says what to do.

Open Inference Protocol v2 wants `error` to be a string, OpenAI's clients want it to be an object: the same refusal is
rendered in the one or the other form, by the path it came in on.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

LONGEST_QUOTE = 64


class Refusal(StrEnum):
    """Machine-readable reasons."""

    MALFORMED = "malformed"
    INVALID_INPUT = "invalid_input"
    UNKNOWN_MODEL = "unknown_model"
    UNKNOWN_PATH = "unknown_path"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    TOO_LARGE = "too_large"
    QUEUE_FULL = "queue_full"
    NO_CAPACITY = "no_capacity"
    DEVICE_LOST = "device_lost"
    OUT_OF_MEMORY = "out_of_memory"
    DEADLINE_PASSED = "deadline_passed"
    REPLICA_LOST = "replica_lost"
    INTERNAL = "internal"


@dataclass(slots=True, kw_only=True, eq=False)
class ApiError(Exception):
    """A refusal on its way to the client; `field` names the part of the request to correct."""

    status: int
    reason: Refusal
    message: str
    field: str | None = None
    retry_after_s: int | None = None

    def __str__(self) -> str:
        return self.message

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}

    def as_v2(self) -> dict[str, Any]:
        """The project's one error shape; `error` alone is what Open Inference Protocol v2 asks for."""
        body: dict[str, Any] = {"error": self.message, "reason": str(self.reason)}
        if self.field is not None:
            body["field"] = self.field
        if self.retry_after_s is not None:
            body["retry_after_s"] = self.retry_after_s
        return body

    def as_openai(self) -> dict[str, Any]:
        """The same refusal as OpenAI's clients read it."""
        kind = "invalid_request_error" if self.status < 500 and self.status != 429 else "server_error"
        return {"error": {"message": self.message, "type": kind, "param": self.field, "code": str(self.reason)}}


def quoted(value: object) -> str:
    """What a client sent, as a message may repeat it: short, and safe for lists nested a thousand deep."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    text = value if isinstance(value, str) else str(value)
    return repr(text if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]}…")


def malformed(message: str, *, field: str | None = None) -> ApiError:
    return ApiError(status=400, reason=Refusal.MALFORMED, message=message, field=field)


def invalid_input(message: str, *, field: str) -> ApiError:
    return ApiError(status=400, reason=Refusal.INVALID_INPUT, message=message, field=field)


def unknown_model(name: str, known: tuple[str, ...]) -> ApiError:
    message = f"no model named {quoted(name)}; models here are {', '.join(known) or 'none'}"
    return ApiError(status=404, reason=Refusal.UNKNOWN_MODEL, message=message, field="model")


def unknown_path(path: str) -> ApiError:
    message = f"nothing at {quoted(path)}; see /v2 and /v1/models"
    return ApiError(status=404, reason=Refusal.UNKNOWN_PATH, message=message)


def method_not_allowed(method: str, path: str) -> ApiError:
    message = f"{quoted(path)} does not answer {quoted(method)}"
    return ApiError(status=405, reason=Refusal.METHOD_NOT_ALLOWED, message=message)


def too_large(message: str, *, field: str | None = None) -> ApiError:
    return ApiError(status=413, reason=Refusal.TOO_LARGE, message=message, field=field)


def queue_full(queued: int, retry_after_s: int) -> ApiError:
    message = f"{queued} rows are waiting already; retry in {retry_after_s} s"
    return ApiError(status=429, reason=Refusal.QUEUE_FULL, message=message, retry_after_s=retry_after_s)


def deadline_passed(deadline_ms: float) -> ApiError:
    message = f"not answered within the request's {deadline_ms:g} ms"
    return ApiError(status=504, reason=Refusal.DEADLINE_PASSED, message=message)


def device_lost(why: str) -> ApiError:
    message = f"this replica lost its GPU slot ({why}); another is being started"
    return ApiError(status=503, reason=Refusal.DEVICE_LOST, message=message, retry_after_s=5)


def out_of_memory(why: str) -> ApiError:
    return ApiError(status=503, reason=Refusal.OUT_OF_MEMORY, message=why, retry_after_s=1)


def no_capacity(model: str) -> ApiError:
    message = f"no replica of {model} is up; one is being started"
    return ApiError(status=503, reason=Refusal.NO_CAPACITY, message=message, retry_after_s=5)


def stopping() -> ApiError:
    message = "this replica is stopping; send the request again, another one takes it"
    return ApiError(status=503, reason=Refusal.NO_CAPACITY, message=message, retry_after_s=1)


def replica_lost() -> ApiError:
    message = "the replica died while it answered; the request may be sent again"
    return ApiError(status=502, reason=Refusal.REPLICA_LOST, message=message, retry_after_s=5)


def internal() -> ApiError:
    """What a client sees of a defect of ours; the traceback stays in the log."""
    return ApiError(status=500, reason=Refusal.INTERNAL, message="failed to answer; see the server's log")


def from_v2(status: int, document: object) -> ApiError | None:
    """A refusal read back from its v2 shape; None where the document is none of ours."""
    match document:
        case {"error": str(message), "reason": str(reason), **rest} if reason in set(Refusal):
            field, retry_after_s = rest.get("field"), rest.get("retry_after_s")
            return ApiError(
                status=status,
                reason=Refusal(reason),
                message=message,
                field=field if isinstance(field, str) else None,
                retry_after_s=retry_after_s if isinstance(retry_after_s, int) else None,
            )
    return None
