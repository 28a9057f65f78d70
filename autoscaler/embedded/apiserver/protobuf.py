"""Reads the few objects kubectl and Helm send in protobuf only: `create token`, `auth can-i`, the secrets of releases.

The envelope is that of runtime/serializer/protobuf in kubernetes apimachinery: four magic bytes and an `Unknown` with
the kind and the object. Field numbers are those of the generated.proto files of kubernetes/api. Fields the tables do
not name are passed over; answers are always JSON, which these clients read as well.
"""

from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from autoscaler.embedded.apiserver import errors
from autoscaler.embedded.apiserver.resources import Json, Value

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"
_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5
_LONGEST_VARINT = 10  # bytes of 7 bits for 64
_SIGN, _WRAP = 1 << 63, 1 << 64

Leaf = Literal["text", "number", "flag", "bytes"]
Form = Leaf | Mapping[int, "Field"]


@dataclass(frozen=True, slots=True)
class Field:
    """One field: its name in JSON, what it holds, and whether it holds many or is a map from text."""

    name: str
    form: Form = "text"
    holds: Literal["one", "many", "map"] = "one"


def _texts(name: str) -> Field:
    return Field(name, "text", "many")


_META = Field(
    "metadata",
    {
        1: Field("name"),
        2: Field("generateName"),
        3: Field("namespace"),
        5: Field("uid"),
        6: Field("resourceVersion"),
        11: Field("labels", "text", "map"),
        12: Field("annotations", "text", "map"),
        14: _texts("finalizers"),
    },
)
_ASKED = {
    1: Field("namespace"),
    2: Field("verb"),
    3: Field("group"),
    4: Field("version"),
    5: Field("resource"),
    6: Field("subresource"),
    7: Field("name"),
}
_ACCESS = {
    1: Field("resourceAttributes", _ASKED),
    2: Field("nonResourceAttributes", {1: Field("path"), 2: Field("verb")}),
}
_BOUND = {1: Field("kind"), 2: Field("apiVersion"), 3: Field("name"), 4: Field("uid")}
_RULE = {
    1: _texts("verbs"),
    2: _texts("apiGroups"),
    3: _texts("resources"),
    4: _texts("resourceNames"),
    5: _texts("nonResourceURLs"),
}
_RULES = Field("rules", _RULE, "many")
_SUBJECT = {1: Field("kind"), 2: Field("apiGroup"), 3: Field("name"), 4: Field("namespace")}
_BINDING = {
    1: _META,
    2: Field("subjects", _SUBJECT, "many"),
    3: Field("roleRef", {1: Field("apiGroup"), 2: Field("kind"), 3: Field("name")}),
}
_RBAC, _AUTHENTICATION, _AUTHORIZATION = (
    f"{name}.k8s.io/v1" for name in ("rbac.authorization", "authentication", "authorization")
)
_DELETE_OPTIONS = {
    1: Field("gracePeriodSeconds", "number"),
    2: Field("preconditions", {1: Field("uid"), 2: Field("resourceVersion")}),
    3: Field("orphanDependents", "flag"),
    4: Field("propagationPolicy"),
    5: _texts("dryRun"),
}
_MESSAGES: dict[tuple[str, str], Mapping[int, Field]] = {
    ("v1", "DeleteOptions"): _DELETE_OPTIONS,
    ("meta.k8s.io/v1", "DeleteOptions"): _DELETE_OPTIONS,
    ("v1", "Namespace"): {1: _META},
    ("v1", "ServiceAccount"): {1: _META, 4: Field("automountServiceAccountToken", "flag")},
    ("v1", "ConfigMap"): {
        1: _META,
        2: Field("data", "text", "map"),
        3: Field("binaryData", "bytes", "map"),
        4: Field("immutable", "flag"),
    },
    ("v1", "Secret"): {
        1: _META,
        2: Field("data", "bytes", "map"),
        3: Field("type"),
        4: Field("stringData", "text", "map"),
        5: Field("immutable", "flag"),
    },
    (_RBAC, "Role"): {1: _META, 2: _RULES},
    (_RBAC, "ClusterRole"): {1: _META, 2: _RULES},
    (_RBAC, "RoleBinding"): _BINDING,
    (_RBAC, "ClusterRoleBinding"): _BINDING,
    (_AUTHENTICATION, "TokenRequest"): {
        1: _META,
        2: Field(
            "spec",
            {1: _texts("audiences"), 3: Field("boundObjectRef", _BOUND), 4: Field("expirationSeconds", "number")},
        ),
    },
    (_AUTHENTICATION, "SelfSubjectReview"): {1: _META},
    (_AUTHORIZATION, "SelfSubjectAccessReview"): {1: _META, 2: Field("spec", _ACCESS)},
    (_AUTHORIZATION, "SelfSubjectRulesReview"): {1: _META, 2: Field("spec", {1: Field("namespace")})},
}
_ABOUT = {1: Field("apiVersion"), 2: Field("kind")}  # of the envelope, whose second field is the object


def decode(body: bytes) -> Json:
    """Read a request's body as the JSON object it stands for."""
    if not body.startswith(_MAGIC):
        raise errors.bad_request(
            "couldn't decode the body of the request: it does not begin as Kubernetes' protobuf does"
        )
    raw = b""
    about: Json = {}
    for number, value in _fields(body[len(_MAGIC) :]):
        if number == 1 and isinstance(value, bytes):
            about = _message(value, _ABOUT)
        elif number == 2 and isinstance(value, bytes):
            raw = value
    kind = (about.get("apiVersion", ""), about.get("kind", ""))
    if kind not in _MESSAGES:
        raise errors.unsupported_media_type(f"{MEDIA_TYPE} of a {kind[1] or 'nameless kind'}", ("application/json",))
    return about | _message(raw, _MESSAGES[kind])


def _message(raw: bytes, fields: Mapping[int, Field]) -> Json:
    """Read a message. As in JSON, an empty text is the same as none."""
    item: Json = {}
    for number, value in _fields(raw):
        known = fields.get(number)
        if known is None:
            continue
        if known.holds == "map":
            pair = _message(_as_bytes(value), {1: Field("key"), 2: Field("value", known.form)})
            item.setdefault(known.name, {})[pair.get("key", "")] = pair.get("value", "")
        elif known.holds == "many":
            item.setdefault(known.name, []).append(_value(value, known.form))
        elif (read := _value(value, known.form)) != "":
            item[known.name] = read
    return item


def _value(value: int | bytes, form: Form) -> Value:
    if form in ("number", "flag"):
        if not isinstance(value, int):
            raise _broken()
        return bool(value) if form == "flag" else value - _WRAP if value >= _SIGN else value
    raw = _as_bytes(value)
    if isinstance(form, Mapping):
        return _message(raw, form)
    try:
        return b64encode(raw).decode() if form == "bytes" else raw.decode()
    except UnicodeDecodeError as fault:
        raise _broken() from fault


def _as_bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise _broken()
    return value


def _broken() -> errors.ApiError:
    return errors.bad_request("couldn't decode the body of the request: broken protobuf")


def _fields(raw: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Walk over a message's fields: number and raw value."""
    at = 0
    while at < len(raw):
        key, at = _varint(raw, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(raw, at)
            yield key >> 3, value
            continue
        if kind == _BYTES:
            size, at = _varint(raw, at)
        elif kind in (_FIXED_64, _FIXED_32):
            size = 8 if kind == _FIXED_64 else 4
        else:
            raise _broken()
        if at + size > len(raw):
            raise _broken()
        yield key >> 3, raw[at : at + size]
        at += size


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place, byte in enumerate(raw[at : at + _LONGEST_VARINT]):
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value & (_WRAP - 1), at + place + 1
    raise _broken()
