"""Serves a node process' /metrics and what probes ask, over HTTP."""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import MetricsHandler

REQUEST_TIMEOUT_S = 10

Check = Callable[[], str]
"""Says what is wrong, or nothing."""


def make_server(host: str, port: int, registry: CollectorRegistry, checks: Mapping[str, Check]) -> ThreadingHTTPServer:
    """Bind, or raise OSError. `checks` are by path."""

    class Handler(MetricsHandler):
        timeout = REQUEST_TIMEOUT_S

        def do_GET(self) -> None:  # noqa: N802 - the name that http.server looks for
            path = urlsplit(self.path).path
            if path == "/metrics":
                super().do_GET()
            elif path in checks:
                wrong = checks[path]()
                self._answer(HTTPStatus.SERVICE_UNAVAILABLE if wrong else HTTPStatus.OK, wrong or "ok")
            else:
                here = ("/metrics", *checks)
                named = " and ".join(here) if len(here) == 2 else ", ".join(here)
                self._answer(HTTPStatus.NOT_FOUND, f"{path} is not here; {named} are")

        def _answer(self, status: HTTPStatus, text: str) -> None:
            body = f"{text}\n".encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    Handler.registry = registry
    return ThreadingHTTPServer((host, port), Handler)
