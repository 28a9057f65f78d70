"""The one door to Kubernetes: the connection, every failure of it as one of three, and watches.

Of the official client only its configuration and its HTTP transport are used, not its typed models: those refuse an
object that lacks a required field, and 200 pods take 51 ms to list with them and 10 ms without. Importing the client
costs 0.4 s whichever part is asked for. The transport's own retries are off: who asked decides whether to ask again.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Self

import urllib3
import yaml
from kubernetes import config
from kubernetes.client.api_client import ApiClient
from kubernetes.client.configuration import Configuration
from kubernetes.client.exceptions import ApiException

from vgpu.adapters.kube_errors import Conflict, Expired, NotFound, TooManyRequests, Unavailable
from vgpu.adapters.kube_verbs import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    EVENTS,
    JSON,
    LEASES,
    NODES,
    PODS,
    RAYCLUSTERS,
    Event,
    Json,
    Kind,
    Request,
    Selection,
    Subject,
    Verbs,
)
from vgpu.adapters.kube_watch import Backoff, Reflector, Surroundings, WatchEvent

__all__ = [
    "CONFIG_MAPS",
    "DEPLOYMENTS",
    "EVENTS",
    "LEASES",
    "NODES",
    "PODS",
    "RAYCLUSTERS",
    "Conflict",
    "Event",
    "Expired",
    "Kind",
    "Kube",
    "NotFound",
    "Request",
    "Selection",
    "Subject",
    "TooManyRequests",
    "Unavailable",
    "connect",
]

WATCH_S = 300  # asked of the server; then a new watch goes on where the last ended
SILENCE_S = 90.0  # bookmarks come about every minute: a watch silent for longer hangs on a dead connection
_LONGEST_REASON = 300  # characters of an answer that is not a Status


def connect(kubeconfig: Path | None = None, *, context: str | None = None, timeout_s: float = 10.0) -> "Kube":
    """Prepare to talk to a cluster: by a kubeconfig, or, without one, as a pod of the cluster.

    Raise Unavailable where the configuration cannot be used; the server itself is not asked yet.
    """
    settings = Configuration()
    try:
        if kubeconfig is None:
            config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]  # has no types
        else:
            config.load_kube_config(  # type: ignore[no-untyped-call]  # has no types
                str(kubeconfig), context=context, client_configuration=settings
            )
    except (config.ConfigException, OSError, yaml.YAMLError) as fault:
        raise Unavailable(f"kubeconfig {kubeconfig or 'of the pod'}", str(fault)) from fault
    settings.retries = False
    return Kube(ApiClient(settings), timeout_s=timeout_s)


class Kube(Verbs):
    """A cluster's API. Safe for several threads."""

    def __init__(self, client: ApiClient, *, timeout_s: float) -> None:
        self._client = client
        self._timeout_s = timeout_s

    def close(self) -> None:
        """Close idle connections."""
        self._client.close()  # type: ignore[no-untyped-call]  # has no types

    def watch(
        self, selection: Selection, *, backoff: Backoff | None = None, surroundings: Surroundings | None = None
    ) -> Reflector:
        """Follow a selection: iterate over the reflector's `deltas()`; its `stop()` ends that."""
        return Reflector(_Watched(kube=self, selection=selection), backoff=backoff, surroundings=surroundings)

    def open_watch(self, selection: Selection, version: str) -> "WatchStream":
        """Open one watch from a version on; raise Expired or Unavailable."""
        query = {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(WATCH_S)}
        query |= selection.query() | {"resourceVersion": version}
        request = Request("GET", selection.kind.path(selection.namespace), query=query)
        response = self._open(request, silence_s=SILENCE_S)
        try:
            _check(request, response)
        except NotFound as fault:  # the kind itself is not served
            raise Unavailable(fault.what, fault.why) from fault
        return WatchStream(request, response)

    def send(self, request: Request) -> Json:
        """Send one request and read its answer."""
        response = self._open(request, silence_s=self._timeout_s)
        _check(request, response)
        with _transport_faults(request):
            answer: Json = json.loads(response.data)
        return answer

    def _open(self, request: Request, *, silence_s: float) -> urllib3.HTTPResponse:
        """Send a request and return once the head of its answer is here."""
        headers = {"Accept": JSON} | ({} if request.body is None else {"Content-Type": request.content_type})
        with _transport_faults(request):
            prepared = self._client.param_serialize(
                request.method,
                request.path,
                query_params=list(request.query.items()),
                header_params=headers,
                body=request.body,
                auth_settings=["BearerToken"],
            )
            answer = self._client.call_api(*prepared, _request_timeout=(self._timeout_s, silence_s))
        response: urllib3.HTTPResponse = answer.response
        return response


@contextmanager
def _transport_faults(request: Request) -> Iterator[None]:
    """Turn whatever goes wrong on the way, or in reading the answer, into Unavailable."""
    try:
        yield
    except (urllib3.exceptions.HTTPError, OSError, ApiException, ValueError) as fault:
        raise Unavailable(_named(request), f"{type(fault).__name__}: {fault}") from fault


def _named(request: Request) -> str:
    return f"{request.method} {request.path}"


def _check(request: Request, response: urllib3.HTTPResponse) -> None:
    """Raise for an answer that is not a success."""
    if response.status < HTTPStatus.BAD_REQUEST:
        return
    with _transport_faults(request):
        text = response.data.decode("utf-8", errors="replace")
    why = f"{response.status} {_reason(text)}"
    raise _FAILURES.get(response.status, Unavailable)(_named(request), why)


_FAILURES: dict[int, type[Unavailable | Conflict | NotFound]] = {
    HTTPStatus.NOT_FOUND: NotFound,
    HTTPStatus.CONFLICT: Conflict,
    HTTPStatus.GONE: Expired,
    HTTPStatus.TOO_MANY_REQUESTS: TooManyRequests,
}


def _reason(text: str) -> str:
    """Read why from a Status, or from what something in between answered."""
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text[:_LONGEST_REASON]


class WatchStream:
    """An open watch: iterate over its events, once; close it by leaving its context."""

    def __init__(self, request: Request, response: urllib3.HTTPResponse) -> None:
        self._request = request
        self._response = response

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        self._response.close()

    def __iter__(self) -> Iterator[WatchEvent]:
        with _transport_faults(self._request):
            for line in _lines(self._response):
                event = json.loads(line)
                kind, item = event["type"], event["object"]
                if kind == "ERROR":
                    raise _ended(self._request, item)
                yield WatchEvent(kind=kind, item=item)

    def interrupt(self) -> None:
        """End the watch from another thread: its reader sees the connection close."""
        with suppress(ValueError, RuntimeError, OSError):  # it has ended by itself
            self._response.shutdown()


def _ended(request: Request, status: Json) -> Unavailable:
    failure = Expired if status.get("code") == HTTPStatus.GONE else Unavailable
    return failure(_named(request), f"{status.get('code')} {status.get('message')}")


def _lines(response: urllib3.HTTPResponse) -> Iterator[bytes]:
    left = b""
    for chunk in response.stream():
        *whole, left = (left + chunk).split(b"\n")
        yield from filter(None, whole)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Watched:
    """A selection as a reflector sees it."""

    kube: Kube
    selection: Selection

    def list(self) -> tuple[Sequence[Json], str]:
        try:
            return self.kube.list_selection(self.selection)
        except (Conflict, NotFound) as fault:  # the kind, or the page asked for, is not there
            raise Unavailable(fault.what, fault.why) from fault

    def open(self, version: str) -> WatchStream:
        return self.kube.open_watch(self.selection, version)
