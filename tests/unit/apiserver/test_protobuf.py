"""What kubectl posts in protobuf only, read as the JSON it stands for."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.embedded.apiserver import protobuf
from autoscaler.embedded.apiserver.errors import ApiError


def _varint(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def _field(number: int, value: Any) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    raw = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(raw)) + raw


def _body(version: str, kind: str, raw: bytes) -> bytes:
    return b"k8s\x00" + _field(1, _field(1, version) + _field(2, kind)) + _field(2, raw) + _field(4, "")


def test_a_token_request() -> None:
    spec = _field(1, "a") + _field(1, "b") + _field(4, 1200)
    body = _body("authentication.k8s.io/v1", "TokenRequest", _field(1, _field(1, "")) + _field(2, spec))
    assert protobuf.decode(body) == {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "metadata": {},
        "spec": {"audiences": ["a", "b"], "expirationSeconds": 1200},
    }


def test_a_secret_with_bytes_maps_and_unknown_fields() -> None:
    about = (
        _field(1, "s")
        + _field(11, _field(1, "tier") + _field(2, "gold"))
        + _field(99, "later")
        + _varint(98 << 3 | 1)
        + bytes(8)
    )
    raw = _field(1, about) + _field(2, _field(1, "k") + _field(2, b"\xff\x00")) + _field(5, 1)
    assert protobuf.decode(_body("v1", "Secret", raw)) == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s", "labels": {"tier": "gold"}},
        "data": {"k": "/wA="},
        "immutable": True,
    }


def test_the_options_of_a_deletion() -> None:
    raw = _field(1, 0) + _field(2, _field(1, "u")) + _field(4, "Background") + _field(5, "All")
    assert protobuf.decode(_body("v1", "DeleteOptions", raw)) == {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "gracePeriodSeconds": 0,
        "preconditions": {"uid": "u"},
        "propagationPolicy": "Background",
        "dryRun": ["All"],
    }


def test_a_negative_number() -> None:
    raw = _field(2, _field(4, 2**64 - 5))
    body = protobuf.decode(_body("authentication.k8s.io/v1", "TokenRequest", raw))
    assert body["spec"] == {"expirationSeconds": -5}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", 400),
        (b'{"kind": "Pod"}', 400),
        (b"k8s\x00\xff", 400),
        (b"k8s\x00" + _field(1, b"")[:-1] + b"\x09", 400),
        (_body("v1", "Pod", b""), 415),
        (_body("v1", "Secret", _field(1, 7)), 400),
        (_body("v1", "Secret", _field(3, b"\xff")), 400),
        (_body("v1", "ServiceAccount", _field(4, b"x")), 400),
    ],
)
def test_what_cannot_be_read_is_refused(body: bytes, code: int) -> None:
    with pytest.raises(ApiError) as refusal:
        protobuf.decode(body)
    assert refusal.value.code == code


@given(st.binary(max_size=60), st.sampled_from(["Secret", "Role", "TokenRequest"]))
def test_any_bytes_are_read_or_refused(raw: bytes, kind: str) -> None:
    version = {"Secret": "v1", "Role": "rbac.authorization.k8s.io/v1"}.get(kind, "authentication.k8s.io/v1")
    for body in (b"k8s\x00" + raw, _body(version, kind, raw)):
        assert _code(body) in (200, 400, 415)


def _code(body: bytes) -> int:
    try:
        protobuf.decode(body)
    except ApiError as refusal:
        return refusal.code
    return 200
