"""No body makes the protocol fail other than by a refusal, and no tensor is changed on its way."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from models.model import Datatype, OutputTensor
from serving import openai, protocol
from serving.errors import ApiError

NUMERIC = sorted(set(Datatype) - {Datatype.BYTES})
WORDS = [
    "inputs", "outputs", "parameters", "name", "datatype", "shape", "data", "id", "timeout", "binary_data_size",
    "binary_data_output", "binary_data", "content_type", "base64", "BYTES", "FP32", "BOOL", "text", "echo",
]  # fmt: skip
words = st.sampled_from(WORDS) | st.text(max_size=4)
scalars = st.none() | st.booleans() | st.integers(-3, 9) | st.integers() | st.floats() | words
documents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=5), max_leaves=25
)


@st.composite
def nearly_right(draw: st.DrawFn) -> dict[str, Any]:
    """A request in which one part may be anything."""
    entry: dict[str, Any] = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["one"], "parameters": {}}
    document: dict[str, Any] = {"id": "r", "inputs": [entry], "outputs": [{"name": "echo"}], "parameters": {}}
    target = draw(st.sampled_from([document, entry, entry["parameters"], document["parameters"]]))
    target[draw(words)] = draw(documents)
    return document


def refusal(read: Callable[[], object]) -> ApiError | None:
    """The refusal, if it came to one; any other exception is a defect."""
    try:
        read()
    except ApiError as refused:
        return refused
    return None


@given(documents | nearly_right(), st.binary(max_size=12), st.none() | st.integers(-2, 400) | st.text(max_size=3))
def test_any_json_is_read_or_refused_with_400(document: object, tail: bytes, header: int | str | None) -> None:
    head = json.dumps(document).encode()
    length = str(len(head) + header) if isinstance(header, int) else header
    refused = refusal(lambda: protocol.parse_infer(head + tail, length, outputs=["echo"]))
    if refused is not None:
        assert refused.status == 400
        assert refused.field
        json.dumps(refused.as_v2())


@given(st.binary(max_size=200), st.none() | st.just("7"))
def test_any_bytes_are_read_or_refused(body: bytes, header: str | None) -> None:
    refusal(lambda: protocol.parse_infer(body, header, outputs=["echo"]))


@given(st.dictionaries(st.sampled_from(["model", "input", "encoding_format", "dimensions"]), documents))
def test_any_embeddings_request_is_read_or_refused_with_400(document: dict[str, Any]) -> None:
    for read in (openai.model_name, lambda given: openai.parse_embeddings(given, dimensions=3)):
        refused = refusal(partial(read, document))
        if refused is not None:
            assert refused.status == 400
            assert refused.field in ("model", "input", "encoding_format", "dimensions")


@given(st.sampled_from(NUMERIC).flatmap(lambda kind: st.tuples(st.just(kind), numbers(kind))))
def test_a_numeric_tensor_comes_back_from_binary_as_it_went(given_tensor: tuple[Datatype, np.ndarray]) -> None:
    datatype, values = given_tensor
    raw, data = binary_round_trip(OutputTensor(name="x", datatype=datatype, data=values))
    assert np.asarray(data).tobytes() == raw == values.tobytes()


@given(st.lists(st.binary(max_size=9), max_size=6))
def test_bytes_come_back_from_binary_as_they_went(rows: list[bytes]) -> None:
    _, data = binary_round_trip(
        OutputTensor(name="x", datatype=Datatype.BYTES, data=np.array([*rows, None], dtype=np.object_)[:-1])
    )
    assert list(data) == rows


@given(st.sampled_from(NUMERIC).flatmap(lambda kind: st.tuples(st.just(kind), numbers(kind, finite=True))))
def test_a_numeric_tensor_comes_back_from_json_as_it_went(given_tensor: tuple[Datatype, np.ndarray]) -> None:
    datatype, values = given_tensor
    entry = render(OutputTensor(name="x", datatype=datatype, data=values), binary=False)[0]
    body = json.dumps({"inputs": [entry]}).encode()
    parsed = protocol.parse_infer(body, None, outputs=[]).tensors["x"]
    assert parsed.shape == values.shape
    assert np.array(parsed.data, dtype=values.dtype).tobytes() == values.tobytes()


def numbers(datatype: Datatype, *, finite: bool = False) -> st.SearchStrategy[np.ndarray]:
    dtype = np.dtype(protocol.NUMPY_TYPES[datatype])
    special = {"allow_nan": False, "allow_infinity": False} if finite and dtype.kind == "f" else {}
    shapes = arrays.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=3)
    return arrays.arrays(dtype, shapes, elements=arrays.from_dtype(dtype, **special))


def render(output: OutputTensor, *, binary: bool) -> tuple[dict[str, Any], bytes]:
    """The output's JSON entry and the bytes behind the JSON."""
    request = protocol.InferRequest(id=None, tensors={}, outputs={}, binary_by_default=binary, timeout_ms=None)
    reply = protocol.render_infer("m", "1", request, [output])
    length = int(reply.headers.get(protocol.HEADER_LENGTH, len(reply.body)))
    return json.loads(reply.body[:length])["outputs"][0], reply.body[length:]


def binary_round_trip(output: OutputTensor) -> tuple[bytes, Any]:
    """Render an output in binary and send it back as an input: its bytes, and what was read."""
    entry, raw = render(output, binary=True)
    head = json.dumps({"inputs": [entry]}).encode()
    parsed = protocol.parse_infer(head + raw, str(len(head)), outputs=[]).tensors["x"]
    assert (parsed.shape, parsed.datatype) == (output.shape, output.datatype)
    return raw, parsed.data
