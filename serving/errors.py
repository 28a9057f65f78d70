"""Every refusal a client can meet: one status, one reason word, one sentence that says what to do.

Open Inference Protocol v2 wants `error` to be a string, OpenAI's clients want it to be an object: the same refusal is
rendered in the one or the other form, by the path it came in on.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Refusal(StrEnum):
    """Machine-readable reasons; the same words label the refused requests in the metrics."""

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


@dataclass(slots=True, kw_only=True)
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


def malformed(message: str, *, field: str | None = None) -> ApiError:
    return ApiError(status=400, reason=Refusal.MALFORMED, message=message, field=field)


def invalid_input(message: str, *, field: str) -> ApiError:
    return ApiError(status=400, reason=Refusal.INVALID_INPUT, message=message, field=field)


def unknown_model(name: str, known: tuple[str, ...]) -> ApiError:
    message = f"no model named {name!r}; models here are {', '.join(known) or 'none'}"
    return ApiError(status=404, reason=Refusal.UNKNOWN_MODEL, message=message, field="model")


def unknown_path(path: str) -> ApiError:
    return ApiError(status=404, reason=Refusal.UNKNOWN_PATH, message=f"nothing at {path}; see /v2 and /v1/models")


def method_not_allowed(method: str, path: str) -> ApiError:
    return ApiError(status=405, reason=Refusal.METHOD_NOT_ALLOWED, message=f"{path} does not answer {method}")


def too_large(message: str, *, field: str | None = None) -> ApiError:
    return ApiError(status=413, reason=Refusal.TOO_LARGE, message=message, field=field)


def queue_full(queued: int, retry_after_s: int) -> ApiError:
    message = f"{queued} rows are waiting already; retry in {retry_after_s} s"
    return ApiError(status=429, reason=Refusal.QUEUE_FULL, message=message, retry_after_s=retry_after_s)


def deadline_passed(deadline_ms: float) -> ApiError:
    message = f"not answered within the request's {deadline_ms:g} ms"
    return ApiError(status=504, reason=Refusal.DEADLINE_PASSED, message=message)


def device_lost(why: str) -> ApiError:
    return ApiError(
        status=503, reason=Refusal.DEVICE_LOST, message=f"this replica lost its GPU slot ({why})", retry_after_s=5
    )


def out_of_memory(why: str) -> ApiError:
    return ApiError(status=503, reason=Refusal.OUT_OF_MEMORY, message=why, retry_after_s=1)


def no_capacity(model: str) -> ApiError:
    message = f"no replica of {model} is up; one is being started"
    return ApiError(status=503, reason=Refusal.NO_CAPACITY, message=message, retry_after_s=5)


def internal() -> ApiError:
    """What a client sees of a defect of ours; the traceback stays in the replica's log."""
    return ApiError(status=500, reason=Refusal.INTERNAL, message="the replica failed to answer; see its log")
