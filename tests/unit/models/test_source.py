import pytest

from models import source
from models.source import BuiltIn, ImportPath, OnnxFile, SourceError

DIGEST = "a" * 64


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("text_embedder", BuiltIn(name="text_embedder")),
        ("python:shop.prices:Price", ImportPath(module="shop.prices", name="Price")),
        ("python:prices:Price2", ImportPath(module="prices", name="Price2")),
        ("onnx:/models/a model.onnx", OnnxFile(location="/models/a model.onnx")),
        ("onnx:https://host:8443/a.onnx?v=1", OnnxFile(location="https://host:8443/a.onnx?v=1")),
        ("onnx:http://127.0.0.1:80/a.onnx", OnnxFile(location="http://127.0.0.1:80/a.onnx")),
        ("onnx:http://[::1]:80/a.onnx", OnnxFile(location="http://[::1]:80/a.onnx")),
    ],
)
def test_a_source_is_read(text: str, expected: source.Source) -> None:
    assert source.parse(text) == expected


def test_only_a_url_is_remote() -> None:
    assert [OnnxFile(location=each).is_remote for each in ("https://host/a.onnx", "/a.onnx", "/https://a.onnx")] == [
        True, False, False,
    ]  # fmt: skip


HOST = "the URL behind 'onnx:' has no host, or a wrong port; write onnx:https://host/model.onnx"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("python:shop.prices", "'python:shop.prices' is no import path; write python:package.module:ClassName"),
        ("python:shop prices:P", "'python:shop prices:P' is no import path; write python:package.module:ClassName"),
        ("python:.prices:P", "'python:.prices:P' is no import path; write python:package.module:ClassName"),
        ("python:a:B.c", "'python:a:B.c' is no import path; write python:package.module:ClassName"),
        ("onnx:", "'onnx:' names no file; write onnx:/path/model.onnx or onnx:https://host/model.onnx"),
        ("onnx:a.onnx", "'onnx:a.onnx' depends on where the process stands; write the whole path, from / on"),
        ("onnx:https:///a.onnx", HOST),
        ("onnx:https://host:port/a.onnx?key=secret", HOST),
        ("onnx:https://user:secret@[::1/a.onnx", HOST),
        ("onnx:file:///etc/passwd", HOST),
        ("onnx:http://u:p@host/a.onnx?k", "'onnx:http://host/a.onnx' is not https; write onnx:https://host/model.onnx"),
        ("onnx:s3://bucket/a.onnx", "'onnx:s3://bucket/a.onnx' is not https; write onnx:https://host/model.onnx"),
    ],
)
def test_what_names_nothing_is_refused_with_what_to_write(text: str, said: str) -> None:
    with pytest.raises(SourceError) as refused:
        source.parse(text)
    assert str(refused.value) == said


@pytest.mark.parametrize("text", ["", "Text", "https://user:secret@host/a.onnx?key=secret", "a b", "docker://x"])
def test_what_is_no_source_is_refused_without_its_secrets(text: str) -> None:
    with pytest.raises(SourceError, match=r"is no source; write the name of a built-in model, python:") as refused:
        source.parse(text)
    assert "secret" not in str(refused.value)


def test_a_source_is_shown_without_user_and_query() -> None:
    assert source.shown("onnx:https://user:p@ss@host:1/a/b.onnx?sig=1#part") == "onnx:https://host:1/a/b.onnx"
    assert source.shown("https://host?sig=/x@y") == "https://host"
    assert source.shown("https://user@host") == "https://host"
    for plain in ("onnx:/models/a?b.onnx", "text_embedder", "python:shop.prices:Price"):
        assert source.shown(plain) == plain
