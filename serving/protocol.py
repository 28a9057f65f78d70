"""Open Inference Protocol v2 over HTTP: request bodies in, response bodies out, JSON and binary tensors.

The Content-Type is not looked at: real clients post without one. Binary tensors follow the protocol's extension: the
JSON part's length stands in `Inference-Header-Content-Length`, tensor bytes follow in the order of the JSON, little
endian, BYTES elements with a four-byte length before each. Bytes that are no text travel in JSON as base64, announced
by the input's parameter `content_type`, as MLServer has it; the protocol itself leaves this open.
"""

import base64
import struct
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from models.model import Datatype, InputTensor, ModelMetadata, OutputTensor, TensorSpec
from models.numeric import NUMPY_TYPES
from serving import bodies, errors

HEADER_LENGTH = "inference-header-content-length"


@dataclass(frozen=True, slots=True, kw_only=True)
class InferRequest:
    """One parsed request; `outputs` maps each wanted output to whether it is wanted in binary. Empty means all."""

    id: str | None
    tensors: Mapping[str, InputTensor]
    outputs: Mapping[str, bool]
    binary_by_default: bool
    timeout_ms: float | None


@dataclass(frozen=True, slots=True)
class Reply:
    """A response body and the headers that describe it."""

    body: bytes
    headers: Mapping[str, str]


def parse_infer(body: bytes, header_length: str | None, *, outputs: Collection[str]) -> InferRequest:
    """Read one infer request to a model with these outputs. Raises `ApiError` 400 naming the field."""
    head, tail = _split(body, header_length)
    document = parse_object(head)
    parameters = _object(document.get("parameters", {}), "parameters")
    inputs = document.get("inputs")
    if not isinstance(inputs, list) or not inputs:
        raise errors.malformed("inputs: expected a list with at least one tensor", field="inputs")
    tensors: dict[str, InputTensor] = {}
    for index, entry in enumerate(inputs):
        name, tensor, tail = _input(_object(entry, f"inputs[{index}]"), f"inputs[{index}]", tail)
        if name in tensors:
            message = f"inputs[{index}].name: {errors.quoted(name)} is given twice"
            raise errors.malformed(message, field=f"inputs[{index}].name")
        tensors[name] = tensor
    if len(tail):
        raise errors.malformed(f"{len(tail)} bytes follow the last binary tensor", field="inputs")
    request_id = document.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise errors.malformed("id: expected a string", field="id")
    return InferRequest(
        id=request_id,
        tensors=tensors,
        outputs=_outputs(document.get("outputs", []), outputs),
        binary_by_default=_flag(parameters, "binary_data_output", "parameters"),
        timeout_ms=_timeout_ms(parameters.get("timeout")),
    )


def parse_object(body: bytes) -> dict[str, Any]:
    """A JSON object. Raises `ApiError` 400."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise errors.malformed(f"body is not JSON: {error}", field="body") from None
    return _object(document, "body")


def render_infer(name: str, version: str, request: InferRequest, outputs: Sequence[OutputTensor]) -> Reply:
    """The response to one infer request."""
    known = {output.name: output for output in outputs}
    wanted = request.outputs or dict.fromkeys(known, request.binary_by_default)
    entries: list[dict[str, Any]] = []
    tail: list[bytes] = []
    for wish, binary in wanted.items():
        output = known[wish]
        entry: dict[str, Any] = {"name": wish, "datatype": str(output.datatype), "shape": list(output.shape)}
        if binary:
            raw = _to_binary(output)
            entry["parameters"] = {"binary_data_size": len(raw)}
            tail.append(raw)
        else:
            entry["data"] = _to_json(output)
        entries.append(entry)
    document: dict[str, Any] = {"model_name": name, "model_version": version, "outputs": entries}
    if request.id is not None:
        document["id"] = request.id
    head = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    if not tail:
        return Reply(head, {"Content-Type": "application/json"})
    headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(head))}
    return Reply(b"".join((head, *tail)), headers)


def render_metadata(name: str, metadata: ModelMetadata) -> dict[str, Any]:
    """What `GET /v2/models/<name>` answers; a model is served under the name of its configuration."""

    def specs(tensors: Sequence[TensorSpec]) -> list[dict[str, Any]]:
        return [{"name": t.name, "datatype": str(t.datatype), "shape": list(t.shape)} for t in tensors]

    return {
        "name": name,
        "versions": [metadata.version],
        "platform": metadata.platform,
        "inputs": specs(metadata.inputs),
        "outputs": specs(metadata.outputs),
    }


def _split(body: bytes, header_length: str | None) -> tuple[bytes, memoryview]:
    if header_length is None:
        return body, memoryview(b"")
    length = bodies.count(header_length)
    if length is None or length > len(body):
        given = errors.quoted(header_length)
        message = f"{HEADER_LENGTH}: {given} is not a length within the {len(body)} bytes of the body"
        raise errors.malformed(message, field=HEADER_LENGTH)
    return body[:length], memoryview(body)[length:]


def _object(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise errors.malformed(f"{where}: expected an object", field=where)
    return value


def _flag(parameters: Mapping[str, Any], name: str, where: str) -> bool:
    value = parameters.get(name, False)
    if not isinstance(value, bool):
        raise errors.malformed(f"{where}.{name}: expected true or false", field=f"{where}.{name}")
    return value


def _input(entry: dict[str, Any], where: str, tail: memoryview) -> tuple[str, InputTensor, memoryview]:
    name, datatype, shape = entry.get("name"), entry.get("datatype"), entry.get("shape")
    if not isinstance(name, str) or not name:
        raise errors.malformed(f"{where}.name: expected a string", field=f"{where}.name")
    if not isinstance(datatype, str) or datatype not in set(Datatype):
        message = f"{where}.datatype: {errors.quoted(datatype)} is none of {', '.join(Datatype)}"
        raise errors.malformed(message, field=f"{where}.datatype")
    if not isinstance(shape, list) or not all(type(length) is int and length >= 0 for length in shape):
        raise errors.malformed(f"{where}.shape: expected a list of lengths", field=f"{where}.shape")
    parameters = _object(entry.get("parameters", {}), f"{where}.parameters")
    size = parameters.get("binary_data_size")
    if size is None:
        data: Sequence[Any] | NDArray[Any] = _from_json(entry, where)
    else:
        if type(size) is not int or not 0 <= size <= len(tail):
            field = f"{where}.parameters.binary_data_size"
            message = f"{field}: {errors.quoted(size)}; {len(tail)} bytes are left in the body"
            raise errors.malformed(message, field=field)
        data, tail = _from_binary(tail[:size], datatype, where), tail[size:]
    if _is_encoded(parameters, datatype, where):
        data = _decoded(data, where)
    return name, InputTensor(datatype=datatype, shape=tuple(shape), data=data), tail


def _is_encoded(parameters: Mapping[str, Any], datatype: str, where: str) -> bool:
    """Other content types of MLServer say how a model should read the tensor; our models know."""
    content_type = parameters.get("content_type", "")
    field = f"{where}.parameters.content_type"
    if not isinstance(content_type, str):
        raise errors.malformed(f"{field}: expected a string", field=field)
    if content_type == "base64" and datatype != Datatype.BYTES:
        raise errors.malformed(f"{field}: base64 belongs to {Datatype.BYTES}, this is {datatype}", field=field)
    return content_type == "base64"


def _from_json(entry: dict[str, Any], where: str) -> list[Any]:
    """Row-major elements; the protocol lets a client nest them as the shape does or send them flat."""
    data = entry.get("data")
    if not isinstance(data, list):
        raise errors.malformed(f"{where}.data: expected a list", field=f"{where}.data")
    while any(isinstance(row, list) for row in data):
        if not all(isinstance(row, list) for row in data):
            raise errors.malformed(f"{where}.data: lists and elements are mixed", field=f"{where}.data")
        data = [element for row in data for element in row]
    return data


def _decoded(elements: Sequence[Any] | NDArray[Any], where: str) -> list[bytes]:
    field = f"{where}.data"
    decoded: list[bytes] = []
    for index, element in enumerate(elements):
        try:
            decoded.append(base64.b64decode(element, validate=True))
        except (TypeError, ValueError):  # no string; no base64
            raise errors.malformed(f"{field}: element {index} is not base64", field=field) from None
    return decoded


def _from_binary(raw: memoryview, datatype: str, where: str) -> Sequence[Any] | NDArray[Any]:
    field = f"{where}.parameters.binary_data_size"
    if datatype != Datatype.BYTES:
        dtype = np.dtype(NUMPY_TYPES[datatype]).newbyteorder("<")
        if len(raw) % dtype.itemsize:
            message = f"{field}: {len(raw)} bytes are no whole number of {datatype} elements"
            raise errors.malformed(message, field=field)
        return np.frombuffer(raw, dtype=dtype)
    elements: list[bytes] = []
    offset = 0
    while offset < len(raw):
        if offset + 4 > len(raw):
            raise errors.malformed(f"{field}: the last BYTES element's length is cut short", field=field)
        (length,) = struct.unpack_from("<I", raw, offset)
        offset += 4
        if offset + length > len(raw):
            raise errors.malformed(f"{field}: a BYTES element of {length} bytes is cut short", field=field)
        elements.append(bytes(raw[offset : offset + length]))
        offset += length
    return elements


def _outputs(value: object, known: Collection[str]) -> dict[str, bool]:
    if not isinstance(value, list):
        raise errors.malformed("outputs: expected a list", field="outputs")
    wanted: dict[str, bool] = {}
    for index, entry in enumerate(value):
        where = f"outputs[{index}]"
        entry = _object(entry, where)
        name = entry.get("name")
        if not isinstance(name, str):
            raise errors.malformed(f"{where}.name: expected a string", field=f"{where}.name")
        if name not in known:
            message = f"{where}.name: the model has no output {errors.quoted(name)}; it has {', '.join(known)}"
            raise errors.invalid_input(message, field=f"{where}.name")
        if name in wanted:
            raise errors.malformed(f"{where}.name: {name} is given twice", field=f"{where}.name")
        parameters = _object(entry.get("parameters", {}), f"{where}.parameters")
        wanted[name] = _flag(parameters, "binary_data", f"{where}.parameters")
    return wanted


def _timeout_ms(value: object) -> float | None:
    """Triton's request parameter `timeout`, in microseconds."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise errors.malformed("parameters.timeout: expected microseconds above 0", field="parameters.timeout")
    return value / 1000


def _to_json(output: OutputTensor) -> Any:  # noqa: ANN401  # what the serialiser takes: an array or a list of strings
    flat = output.data.reshape(-1)
    if output.datatype == Datatype.BYTES:
        return [element.decode("utf-8", "replace") for element in flat]
    return np.ascontiguousarray(flat)


def _to_binary(output: OutputTensor) -> bytes:
    if output.datatype == Datatype.BYTES:
        return b"".join(struct.pack("<I", len(element)) + element for element in output.data.reshape(-1))
    dtype = np.dtype(NUMPY_TYPES[output.datatype]).newbyteorder("<")
    return np.ascontiguousarray(output.data, dtype=dtype).tobytes()
