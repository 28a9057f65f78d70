"""Plain requests over the official client's transport, for what its typed calls cannot say or show."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from kubernetes.client.api_client import ApiClient

MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"


def call(
    api: ApiClient, method: str, path: str, body: Any = None, *, content_type: str = "application/json", **query: Any
) -> tuple[int, Any]:
    """Send a request; return the code and the answer's JSON, whatever the code."""
    response = _open(api, method, path, body, content_type, query)
    return response.status, json.loads(response.data)


def _open(api: ApiClient, method: str, path: str, body: Any, content_type: str, query: dict[str, Any]) -> Any:
    request = api.param_serialize(
        method,
        path,
        query_params=[(name.rstrip("_"), value) for name, value in query.items()],
        header_params={"Accept": "application/json", "Content-Type": content_type},
        body=body,
        auth_settings=["BearerToken"],
    )
    return api.call_api(*request, _request_timeout=(5, 10)).response


def ok(answer: tuple[int, Any]) -> Any:
    """Return an answer that must be a success."""
    code, body = answer
    assert code < 300, body
    return body


def refusal(answer: tuple[int, Any]) -> tuple[int, str]:
    """Return code and reason of an answer that must be a refusal."""
    code, body = answer
    assert (body["kind"], body["status"], body["code"]) == ("Status", "Failure", code), body
    return code, body["reason"]


@contextmanager
def watch(api: ApiClient, path: str, **query: Any) -> Iterator[Iterator[Any]]:
    """Open a watch; its events end when the server ends it. A test that waits in vain fails after 10 s."""
    response = _open(api, "GET", path, None, "application/json", {"watch": "true", "timeoutSeconds": 5, **query})
    try:
        yield _events(response)
    finally:
        response.close()


def _events(response: Any) -> Iterator[Any]:
    left = b""
    for chunk in response.stream():
        *whole, left = (left + chunk).split(b"\n")
        yield from (json.loads(line) for line in whole if line)


def told(event: Any) -> tuple[str, str]:
    """Name an event by its kind and object."""
    return event["type"], event["object"]["metadata"]["name"]


def eventually(holds: Callable[[], Any], *, within_s: float = 5.0) -> Any:
    """Wait for something to come true and return it."""
    give_up_s = time.monotonic() + within_s
    while not (found := holds()):
        assert time.monotonic() < give_up_s, "this did not come true in time"
        time.sleep(0.02)
    return found
