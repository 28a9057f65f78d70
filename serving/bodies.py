"""What replica and gateway share of HTTP: request bodies read up to a bound, and every failure in one shape.

Rule: a client never meets a traceback, nor a body that was read without limit.
"""

import logging
from collections.abc import Awaitable, Mapping

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from serving import errors

CLIENT_GONE = 499  # the customary code, for logs and metrics: nobody is left to read it
LONGEST_NUMBER = 18  # digits that a header's count of bytes may have

log = logging.getLogger("ray.serve")


async def read(request: Request, *, most_bytes: int) -> bytes:
    """The whole request body. Raises `ApiError` 413 at the first byte too many, or before it where it is announced."""
    announced = count(request.headers.get("content-length", "0"))
    if announced is not None and announced > most_bytes:
        raise errors.too_large(f"the body has {announced} bytes; at most {most_bytes}")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most_bytes:
            raise errors.too_large(f"the body has more than {most_bytes} bytes")
    return bytes(body)


def count(header: str) -> int | None:
    """A header's number of bytes, or None where it is none."""
    return int(header) if header.isdecimal() and len(header) <= LONGEST_NUMBER else None


def json_response(document: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(orjson.dumps(document), status, {"Content-Type": "application/json", **(headers or {})})


async def answer(answering: Awaitable[Response], *, as_openai: bool) -> Response:
    """The response, or the failure in the shape of the path; only a cancellation passes through."""
    try:
        return await answering
    except errors.ApiError as refusal:
        error = refusal
    except ClientDisconnect:
        return Response(b"", CLIENT_GONE)
    except Exception:  # an HTTP handler is an entry point: the client gets our shape, the log the traceback
        log.exception("a request could not be answered")
        error = errors.internal()
    return json_response(error.as_openai() if as_openai else error.as_v2(), error.status, error.headers)
