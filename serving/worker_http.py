"""The worker's own HTTP server, beside its model's: `GET /metrics` for everyone, `POST /drain` for the autoscaler."""

import json
import socket
import threading
from collections.abc import Callable, Iterable
from http import HTTPStatus
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

from serving.drain import Drain, DrainRefused

Environment = dict[str, Any]
StartResponse = Callable[..., Any]


class WorkerServer(ThreadingMixIn, WSGIServer):
    """Answers in threads of their own, which end with the process."""

    daemon_threads = True

    def __init__(self, host: str, port: int, registry: CollectorRegistry, drain: Drain) -> None:
        """Listen. Raises `OSError` where the address is taken."""
        self.address_family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        super().__init__((host, port), _Silent)
        self._metrics = make_wsgi_app(registry)
        self._drain = drain
        self.set_app(self._answer)

    def start(self) -> None:
        """Answer from now on; `shutdown` and `server_close` end it."""
        threading.Thread(target=self.serve_forever, name="worker-http", daemon=True).start()

    def _answer(self, environment: Environment, start: StartResponse) -> Iterable[bytes]:
        if environment["PATH_INFO"] != "/drain":
            text: Iterable[bytes] = self._metrics(environment, start)
            return text
        status, document = self._drained(environment)
        headers = [("Content-Type", "application/json")]
        if status is HTTPStatus.METHOD_NOT_ALLOWED:
            headers.append(("Allow", "POST"))
        start(f"{status.value} {status.phrase}", headers)
        return [json.dumps(document).encode()]

    def _drained(self, environment: Environment) -> tuple[HTTPStatus, dict[str, object]]:
        if environment["REQUEST_METHOD"] != "POST":
            return HTTPStatus.METHOD_NOT_ALLOWED, {"error": "POST drains this worker"}
        authorization = environment.get("HTTP_AUTHORIZATION", "")
        if not self._drain.allows(authorization):
            status = HTTPStatus.FORBIDDEN if authorization else HTTPStatus.UNAUTHORIZED
            return status, {"error": "send Ray's token: Authorization: Bearer TOKEN"}
        try:
            self._drain.drain()
        except DrainRefused as error:
            return HTTPStatus.SERVICE_UNAVAILABLE, {"error": str(error)}
        return HTTPStatus.OK, {"draining": True}


class _Silent(WSGIRequestHandler):
    """A scrape every few seconds is no news."""

    def log_message(self, format: str, *arguments: object) -> None:
        return
