"""Downloads from a server of this test: only what has the digest is kept, and no secret is told."""

import contextlib
import hashlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from models import catalog, download, trial
from models.download import Limits
from models.model import ModelFileDamaged, ModelFileError, ModelFileMissing
from tests.unit.models import networks

Answer = Callable[[BaseHTTPRequestHandler], None]
FILE = b"weights" * 1000
DIGEST = hashlib.sha256(FILE).hexdigest()
SECRETS = ("word", "sig=", "key")
UNTOLD = -1


class Server:
    """A web server on loopback whose one answer is set by the test."""

    def __init__(self, answer: Answer) -> None:
        self.asked: list[tuple[str, str]] = []
        self.answer = answer
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # the name that http.server calls
                outer.asked.append((self.path, self.headers.get("Authorization", "")))
                with contextlib.suppress(ConnectionError):
                    outer.answer(self)

            def log_message(self, format: str, *arguments: object) -> None:
                return

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, name="files").start()

    @property
    def url(self) -> str:
        """With a secret wherever a URL may have one."""
        return f"http://user:password@{self.address}/model.onnx?sig=1&key=2"

    @property
    def shown(self) -> str:
        return f"http://{self.address}/model.onnx"

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()


def gives(content: bytes = FILE, *, length: int | None = None, status: int = 200, **headers: str) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        if length != UNTOLD:
            request.send_header("Content-Length", str(len(content) if length is None else length))
        request.end_headers()
        request.wfile.write(content)

    return answer


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server(gives())
    yield running
    running.close()


def fetched(server: Server, folder: Path, *, sha256: str = DIGEST, limits: Limits = download.DEFAULT_LIMITS) -> Path:
    return download.fetch(server.url, sha256=sha256, folder=folder, limits=limits)


def refusal(server: Server, folder: Path, limits: Limits = download.DEFAULT_LIMITS) -> str:
    """Why a download fails, which leaves nothing behind and tells no secret."""
    with pytest.raises(ModelFileError) as refused:
        fetched(server, folder, limits=limits)
    assert not any(secret in str(refused.value) for secret in SECRETS)
    assert not list(folder.iterdir())
    return str(refused.value)


def test_a_file_is_downloaded_once_with_the_users_password_and_kept_by_its_digest(
    server: Server, tmp_path: Path
) -> None:
    first, second = fetched(server, tmp_path / "cache"), fetched(server, tmp_path / "cache")
    assert first == second == tmp_path / "cache" / f"{DIGEST}.onnx"
    assert first.read_bytes() == FILE
    assert server.asked == [("/model.onnx?sig=1&key=2", "Basic dXNlcjpwYXNzd29yZA==")]
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [first.name]


def test_what_killed_downloads_left_behind_goes_and_what_others_write_stays(server: Server, tmp_path: Path) -> None:
    dead, written = tmp_path / ".0123-dead.part", tmp_path / ".0123-written.part"
    for part in (dead, written):
        part.write_bytes(b"half")
    os.utime(dead, (time.time() - 901,) * 2)
    kept = fetched(server, tmp_path)
    assert set(tmp_path.iterdir()) == {kept, written}


def test_a_damaged_cache_is_not_used(server: Server, tmp_path: Path) -> None:
    fetched(server, tmp_path).write_bytes(FILE[:-1])
    assert fetched(server, tmp_path).read_bytes() == FILE
    assert len(server.asked) == 2


def test_another_file_than_the_one_asked_for_is_refused(server: Server, tmp_path: Path) -> None:
    server.answer = gives(b"something else")
    found = hashlib.sha256(b"something else").hexdigest()
    said = refusal(server, tmp_path)
    remedy = "correct parameters.sha256, or find out who changed the file"
    assert said == f"{server.shown} has the SHA-256 {found}, expected {DIGEST}; {remedy}"


REMEDY = "check the URL and the server; it is asked again at the next start"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (gives(length=len(FILE) + 1), f"broke off after {len(FILE)} bytes (RemoteProtocolError)"),
        (gives(status=404), "answered 404"),
        (gives(status=304), "answered 304"),
        (gives(length=10_001), "announces 10001 bytes, more than 10000"),
        (gives(FILE * 2, length=UNTOLD), "has more than 10000 bytes"),
    ],
    ids=["truncated", "missing", "no file", "announced too large", "too large"],
)
def test_what_does_not_come_whole_is_refused(answer: Answer, why: str, server: Server, tmp_path: Path) -> None:
    server.answer = answer
    assert refusal(server, tmp_path, Limits(most_bytes=10_000)) == f"{server.shown} {why}; {REMEDY}"


def test_a_server_that_falls_silent_is_given_up(server: Server, tmp_path: Path) -> None:
    patience = threading.Event()

    def answer(request: BaseHTTPRequestHandler) -> None:
        gives(FILE[:100], length=len(FILE))(request)
        request.wfile.flush()
        patience.wait(20)

    server.answer = answer
    said = refusal(server, tmp_path, Limits(silence_s=0.3))
    patience.set()
    assert said == f"{server.shown} fell silent after 100 bytes (ReadTimeout); {REMEDY}"


def test_a_download_that_takes_too_long_is_given_up(server: Server, tmp_path: Path) -> None:
    assert refusal(server, tmp_path, Limits(total_s=0)).startswith(f"{server.shown} was not there after 0 s, ")


def test_a_server_that_is_not_there_is_named(server: Server, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ModelFileMissing) as refused:
            download.fetch(f"http://user:word@{address}/m?sig=1", sha256=DIGEST, folder=tmp_path)
    assert str(refused.value) == f"http://{address}/m broke off after 0 bytes (ConnectError); {REMEDY}"


def test_a_redirect_is_followed_and_the_password_stays_with_its_host(server: Server, tmp_path: Path) -> None:
    other = Server(gives())
    server.answer = gives(b"", status=302, Location=f"http://{other.address}/there?sig=2")
    try:
        assert fetched(server, tmp_path).read_bytes() == FILE
        assert other.asked == [("/there?sig=2", "")]
    finally:
        other.close()


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("http://files.example/there?sig=2", "http://files.example/there"),
        ("ftp://user:word@files.example/there", "ftp://files.example/there"),
    ],
)
def test_a_redirect_to_an_open_line_is_refused(target: str, shown: str, server: Server, tmp_path: Path) -> None:
    server.answer = gives(b"", status=302, Location=target)
    said = refusal(server, tmp_path)
    assert said.startswith(f"{server.shown} ")
    assert shown in said or "UnsupportedProtocol" in said


def test_an_https_server_may_not_send_to_loopback() -> None:

    asked = httpx.Request("GET", "https://files.example/a?sig=1")
    with pytest.raises(ModelFileMissing) as refused:
        download.followed(asked, httpx.Request("GET", "http://127.0.0.1/b?sig=2"))
    expected = "https://files.example/a redirects to http://127.0.0.1/b, which is not https"
    assert str(refused.value) == f"{expected}; {REMEDY}"


def test_redirects_in_a_circle_end(server: Server, tmp_path: Path) -> None:
    server.answer = gives(b"", status=302, Location=server.url)
    assert refusal(server, tmp_path) == f"{server.shown} redirects more than 5 times; {REMEDY}"
    assert len(server.asked) == 6


def test_a_cache_that_cannot_be_written_says_how_to_move_it(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelFileMissing) as refused:
        fetched(server, tmp_path / "file" / "cache")
    remedy = "set VGPU_MODEL_CACHE to a folder that can be written"
    assert str(refused.value) == f"the cache {tmp_path}/file/cache cannot be written: Not a directory; {remedy}"


def test_no_log_tells_a_secret_and_others_logs_go_on(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="httpx")  # our own programs make it quieter
    fetched(server, tmp_path)
    assert not any(secret in caplog.text for secret in SECRETS)
    logging.getLogger("httpx").info("still heard")
    assert "still heard" in caplog.text


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"VGPU_MODEL_CACHE": "/cache", "XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/cache"),
        ({"XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x/vgpu-serve/models"),
        ({"HOME": "/h"}, "/h/.cache/vgpu-serve/models"),
        ({}, "/tmp/.cache/vgpu-serve/models"),
    ],
)
def test_the_cache_is_where_the_environment_says(environment: dict[str, str], folder: str) -> None:
    assert download.cache_folder(environment) == Path(folder)


def test_a_network_behind_a_url_is_served_from_the_cache(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = networks.doubling(tmp_path / "m.onnx").read_bytes()
    server.answer = gives(content)
    monkeypatch.setenv("VGPU_MODEL_CACHE", str(tmp_path / "cache"))
    model = catalog.create(f"onnx:{server.url}", sha256=hashlib.sha256(content).hexdigest())
    assert server.asked == []
    trial.load_and_ask(model)
    assert [spec.name for spec in model.metadata.inputs] == ["x"]
    with pytest.raises(ModelFileDamaged, match="expected 00"):
        catalog.create(f"onnx:{server.url}", sha256="0" * 64).load()
