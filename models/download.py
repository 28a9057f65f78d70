"""Downloads a model file once per machine and hands out only what has the digest that was asked for.

A file lies in the cache under its SHA-256 and comes there by a rename, whole or not at all, so several replicas may
want it at once. It is read through before each use: a cache can be damaged. Secrets of a URL appear in no message and
in no log.
"""

import contextlib
import hashlib
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from models.model import ModelFileDamaged, ModelFileError, ModelFileMissing
from models.source import SourceError, check_location, shown

CACHE_ENV = "VGPU_MODEL_CACHE"
MOST_REDIRECTS = 5
PART = ".part"
# These say the URL, or the headers of a redirect.
TALKATIVE = ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.proxy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a download may take."""

    most_bytes: int = 2 << 30
    """An ONNX file is one protobuf message, which cannot be larger."""
    connect_s: float = 10.0
    silence_s: float = 30.0
    """Longest time without a byte."""
    total_s: float = 900.0


DEFAULT_LIMITS = Limits()


def cache_folder(environment: Mapping[str, str]) -> Path:
    """$VGPU_MODEL_CACHE, or vgpu-serve/models in the user's cache folder."""
    if given := environment.get(CACHE_ENV):
        return Path(given)
    caches = environment.get("XDG_CACHE_HOME") or str(Path(environment.get("HOME") or "/tmp") / ".cache")
    return Path(caches) / "vgpu-serve" / "models"


def fetch(url: str, *, sha256: str, folder: Path, limits: Limits = DEFAULT_LIMITS) -> Path:
    """The file of this digest, from the cache or else from the URL. Raises `ModelFileMissing` or `ModelFileDamaged`."""
    kept = folder / f"{sha256}.onnx"
    if kept.is_file() and digest(kept) == sha256:
        return kept
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _clear(folder, older_than_s=limits.total_s)
        handle, name = tempfile.mkstemp(dir=folder, prefix=f".{sha256[:12]}-", suffix=PART)
    except OSError as error:
        remedy = f"set {CACHE_ENV} to a folder that can be written"
        raise ModelFileMissing(f"the cache {folder} cannot be written: {error.strerror}", remedy=remedy) from error
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            found = _download(url, file.write, limits)
            os.fsync(file.fileno())
        if found != sha256:
            raise ModelFileDamaged(
                f"{shown(url)} has the SHA-256 {found}, expected {sha256}",
                remedy="correct parameters.sha256, or find out who changed the file",
            )
        part.replace(kept)
    except OSError as error:
        remedy = f"make room, or set {CACHE_ENV} to another folder"
        raise ModelFileMissing(f"{shown(url)} cannot be kept in {folder}: {error.strerror}", remedy=remedy) from error
    finally:
        part.unlink(missing_ok=True)
    return kept


def _clear(folder: Path, *, older_than_s: float) -> None:
    """Remove what downloads left behind that were killed; nobody writes to a part that is older than the limit."""
    for part in folder.glob(f".*{PART}"):
        with contextlib.suppress(OSError):  # another one was faster
            if time.time() - part.stat().st_mtime > older_than_s:
                part.unlink()


def digest(path: Path) -> str:
    """SHA-256 of a file, in lower-case hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(url: str, write: Callable[[bytes], object], limits: Limits) -> str:
    """Write what the URL has; its digest."""
    seen, written, deadline_s = hashlib.sha256(), 0, time.monotonic() + limits.total_s
    timeout = httpx.Timeout(limits.silence_s, connect=limits.connect_s)
    try:
        # Unpacked, a small answer could become a large one.
        headers = {"Accept-Encoding": "identity"}
        with _unlogged(), httpx.Client(timeout=timeout, headers=headers) as client, _opened(client, url) as answer:
            announced = answer.headers.get("content-length", "")
            if announced.isdecimal() and int(announced) > limits.most_bytes:
                raise _failed(url, f"announces {announced} bytes, more than {limits.most_bytes}")
            for chunk in answer.iter_raw():
                written += len(chunk)
                if written > limits.most_bytes:
                    raise _failed(url, f"has more than {limits.most_bytes} bytes")
                if time.monotonic() > deadline_s:
                    raise _failed(url, f"was not there after {limits.total_s:g} s, {written} bytes were")
                seen.update(chunk)
                write(chunk)
    except httpx.TimeoutException as error:
        raise _failed(url, f"fell silent after {written} bytes ({type(error).__name__})") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        # Its own words may repeat the URL.
        raise _failed(url, f"broke off after {written} bytes ({type(error).__name__})") from None
    return seen.hexdigest()


@contextlib.contextmanager
def _opened(client: httpx.Client, url: str) -> Iterator[httpx.Response]:
    """The answer behind at most a few redirects, each of which must lead to https as the URL itself does."""
    asked = client.build_request("GET", url)
    for _ in range(MOST_REDIRECTS + 1):
        answer = client.send(asked, stream=True)
        try:
            if answer.next_request is None:
                if answer.status_code != httpx.codes.OK:
                    raise _failed(url, f"answered {answer.status_code}")
                yield answer
                return
            asked = followed(asked, answer.next_request)
        finally:
            answer.close()
    raise _failed(url, f"redirects more than {MOST_REDIRECTS} times")


def followed(asked: httpx.Request, following: httpx.Request) -> httpx.Request:
    """The next request, where a redirect may lead there. Raises `ModelFileMissing`."""
    here, there = shown(str(asked.url)), str(following.url)
    try:
        check_location(there)
    except SourceError:
        raise _failed(here, f"redirects to {shown(there)}, which is not https") from None
    if asked.url.scheme == "https" != following.url.scheme:
        raise _failed(here, f"redirects to {shown(there)}, which is not https")
    return following


def _failed(url: str, what: str) -> ModelFileError:
    return ModelFileMissing(
        f"{shown(url)} {what}", remedy="check the URL and the server; it is asked again at the next start"
    )


@contextlib.contextmanager
def _unlogged() -> Iterator[None]:
    """Keep httpx from logging the URLs of what this thread asks for: it has no way to shorten them."""
    here = threading.get_ident()

    def is_anothers(record: logging.LogRecord) -> bool:
        return record.thread != here

    logs = [logging.getLogger(name) for name in TALKATIVE]
    for log in logs:
        log.addFilter(is_anothers)
    try:
        yield
    finally:
        for log in logs:
            log.removeFilter(is_anothers)
