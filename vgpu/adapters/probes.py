"""Serves a node process' /metrics and what probes ask, over HTTP."""

import json
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import MetricsHandler

REQUEST_TIMEOUT_S = 10

Check = Callable[[], str]
"""Says what is wrong, or nothing."""

Page = Callable[[Mapping[str, str]], tuple[HTTPStatus, Any]]
"""Answers a query with a status and a document."""


def make_server(
    host: str,
    port: int,
    registry: CollectorRegistry,
    checks: Mapping[str, Check],
    pages: Mapping[str, Page] | None = None,
) -> ThreadingHTTPServer:
    """Bind, or raise OSError. `checks` and `pages` are by path."""
    documents = pages or {}

    class Handler(MetricsHandler):
        timeout = REQUEST_TIMEOUT_S

        def do_GET(self) -> None:  # noqa: N802 - the name that http.server looks for
            asked = urlsplit(self.path)
            path = asked.path
            if path == "/metrics":
                super().do_GET()
            elif path in checks:
                wrong = checks[path]()
                self._answer(HTTPStatus.SERVICE_UNAVAILABLE if wrong else HTTPStatus.OK, wrong or "ok")
            elif path in documents:
                status, document = documents[path](dict(parse_qsl(asked.query)))
                self._answer(status, json.dumps(document), "application/json")
            else:
                here = ("/metrics", *checks, *documents)
                named = " and ".join(here) if len(here) == 2 else ", ".join(here)
                self._answer(HTTPStatus.NOT_FOUND, f"{path} is not here; {named} are")

        def _answer(self, status: HTTPStatus, text: str, kind: str = "text/plain; charset=utf-8") -> None:
            body = f"{text}\n".encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    Handler.registry = registry
    return ThreadingHTTPServer((host, port), Handler)
