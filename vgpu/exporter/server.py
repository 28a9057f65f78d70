"""Serves /metrics and /healthz over HTTP."""

from http import HTTPStatus
from http.server import ThreadingHTTPServer
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import MetricsHandler

from vgpu.exporter.sampler import STALE_AFTER_S, Sampler

REQUEST_TIMEOUT_S = 10


def make_server(host: str, port: int, registry: CollectorRegistry, sampler: Sampler) -> ThreadingHTTPServer:
    """Bind, or raise OSError. Healthy means that a sample is fresh; what the sample says does not matter."""

    class Handler(MetricsHandler):
        timeout = REQUEST_TIMEOUT_S

        def do_GET(self) -> None:  # noqa: N802 - the name that http.server looks for
            match urlsplit(self.path).path:
                case "/metrics":
                    super().do_GET()
                case "/healthz":
                    self._answer(*_health(sampler))
                case path:
                    self._answer(HTTPStatus.NOT_FOUND, f"{path} is not here; /metrics and /healthz are")

        def _answer(self, status: HTTPStatus, text: str) -> None:
            body = f"{text}\n".encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    Handler.registry = registry
    return ThreadingHTTPServer((host, port), Handler)


def _health(sampler: Sampler) -> tuple[HTTPStatus, str]:
    age_s = sampler.age_s()
    if age_s is None:
        return HTTPStatus.SERVICE_UNAVAILABLE, "no sample yet"
    if age_s > STALE_AFTER_S:
        return HTTPStatus.SERVICE_UNAVAILABLE, f"the last sample is {age_s:.0f} s old: the driver hangs"
    return HTTPStatus.OK, "ok"
