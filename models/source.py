"""Where a model comes from, as one word of the models file: built in, a class of the user's image, or an ONNX file.

    text_embedder                                    one of `catalog.FACTORIES`
    python:package.module:ClassName                  a class that can be imported where the model is served
    onnx:/models/price.onnx                          a file that is there
    onnx:https://host/price.onnx                     a file to download; `parameters.sha256` says which

A URL may carry a secret, in its user part or its query. `shown` is the source without it, for messages and logs.
"""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

PYTHON, ONNX = "python:", "onnx:"
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_IMPORT = re.compile(r"(?P<module>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):(?P<name>[A-Za-z_]\w*)", re.ASCII)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class SourceError(ValueError):
    """A source that names nothing; the message says how to write one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltIn:
    """A model of this project."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportPath:
    """A class by its module."""

    module: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxFile:
    """An ONNX file: a path, or a URL from which it is downloaded."""

    location: str

    @property
    def is_remote(self) -> bool:
        """It has to be downloaded."""
        return is_url(self.location)


Source = BuiltIn | ImportPath | OnnxFile


def parse(text: str) -> Source:
    """Read a source. Raises `SourceError`."""
    if text.startswith(PYTHON):
        if (match := _IMPORT.fullmatch(text.removeprefix(PYTHON))) is None:
            raise SourceError(f"{text!r} is no import path; write python:package.module:ClassName")
        return ImportPath(module=match["module"], name=match["name"])
    if text.startswith(ONNX):
        location = text.removeprefix(ONNX)
        check_location(location)
        return OnnxFile(location=location)
    if _NAME.fullmatch(text) is None:
        raise SourceError(
            f"{shown(text)!r} is no source; write the name of a built-in model, python:package.module:ClassName, "
            f"onnx:/path/model.onnx or onnx:https://host/model.onnx"
        )
    return BuiltIn(name=text)


def is_url(location: str) -> bool:
    return _SCHEME.match(location) is not None


def check_location(location: str) -> None:
    """Refuse what is neither a path nor an https URL; plain http is for loopback alone. Raises `SourceError`."""
    if not location:
        raise SourceError("'onnx:' names no file; write onnx:/path/model.onnx or onnx:https://host/model.onnx")
    if not is_url(location):
        if not location.startswith("/"):
            raise SourceError(f"'onnx:{location}' depends on where the process stands; write the whole path, from / on")
        return
    try:
        parts = urlsplit(location)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, half an IPv6 address
        parts, has_host = urlsplit("about:"), False
    if not has_host:
        raise SourceError("the URL behind 'onnx:' has no host, or a wrong port; write onnx:https://host/model.onnx")
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise SourceError(f"{shown(ONNX + location)!r} is not https; write onnx:https://host/model.onnx")


def shown(text: str) -> str:
    """The source or URL as a message may repeat it: without user, password, query and fragment."""
    kind = ONNX if text.startswith(ONNX) else ""
    rest = text.removeprefix(kind)
    if "//" not in rest:
        return text
    scheme, _, after = rest.partition("//")
    place = re.split(r"[?#]", after, maxsplit=1)[0]
    host, slash, path = place.partition("/")
    return f"{kind}{scheme}//{host.rpartition('@')[2]}{slash}{path}"
