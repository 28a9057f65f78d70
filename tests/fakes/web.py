"""A real HTTP server on loopback that answers what a test says, also badly: late, half, or nonsense."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Asked:
    """One request that came in."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """What is sent back. `length` lies about the body's; `held` waits before the body, `drips` between its bytes."""

    body: bytes = b""
    status: int = 200
    content_type: str = "application/json"
    length: int | None = None
    held: threading.Event | None = None
    drips: threading.Event | None = None


@dataclass
class Web:
    """The server's answers, by path without its query, and what was asked."""

    routes: dict[str, Answer | Callable[[Asked], Answer]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    url: str = ""

    def answer(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        route = self.routes.get(asked.path.partition("?")[0], Answer(status=404))
        return route if isinstance(route, Answer) else route(asked)


def as_json(document: object, status: int = 200) -> Answer:
    """Answer with a document."""
    return Answer(json.dumps(document).encode(), status)


@contextmanager
def serve(routes: Mapping[str, Answer | Callable[[Asked], Answer]] | None = None) -> Iterator[Web]:
    """Serve until the block ends."""
    web = Web(dict(routes or {}))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = web.answer(Asked(self.command, self.path, dict(self.headers.items()), body))
            if answer.held is not None:
                answer.held.wait(10)
            try:
                self._send(answer)
            except (BrokenPipeError, ConnectionResetError):
                return  # the client gave up, as it should

        do_POST = do_PUT = do_GET  # noqa: N815  # http.server finds its methods by these names

        def _send(self, answer: Answer) -> None:
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.content_type)
            self.send_header("Content-Length", str(len(answer.body) if answer.length is None else answer.length))
            self.end_headers()
            if answer.drips is None:
                self.wfile.write(answer.body)
                return
            for byte in answer.body:
                self.wfile.write(bytes([byte]))
                if answer.drips.wait(0.05):
                    return

        def log_message(self, format: str, *arguments: object) -> None:
            return

    class Server(ThreadingHTTPServer):
        request_queue_size = 128  # with its own 5, the sixth of several connections at once waits for a second

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    web.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
