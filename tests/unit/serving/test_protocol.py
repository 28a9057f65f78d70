"""Open Inference Protocol v2: bodies in, bodies out, and what is said of bodies that are none."""

import json
import struct
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton

from models.model import ANY_LENGTH, Datatype, InputTensor, ModelMetadata, OutputTensor, TensorSpec
from serving import protocol
from serving.errors import ApiError

TEXT = {"name": "text", "datatype": "BYTES", "shape": [2], "data": ["one", "two"]}
OUTPUTS = ("label", "score")


def parse(document: object, tail: bytes = b"", header: str | None = None) -> protocol.InferRequest:
    head = document if isinstance(document, bytes) else json.dumps(document).encode()
    if tail and header is None:
        header = str(len(head))
    return protocol.parse_infer(head + tail, header, outputs=OUTPUTS)


def refusal(document: object, tail: bytes = b"", header: str | None = None) -> ApiError:
    with pytest.raises(ApiError) as refused:
        parse(document, tail, header)
    assert refused.value.status == 400
    return refused.value


def request(**changes: Any) -> dict[str, Any]:
    return {"inputs": [TEXT], **changes}


def tensor(**changes: Any) -> dict[str, Any]:
    return {"inputs": [{**TEXT, **changes}]}


def binary(datatype: str, raw: bytes, shape: list[int], **parameters: Any) -> dict[str, Any]:
    size = {"binary_data_size": len(raw), **parameters}
    return {"inputs": [{"name": "x", "datatype": datatype, "shape": shape, "parameters": size}]}


def test_a_plain_request_asks_for_every_output_as_json() -> None:
    assert parse(request()) == protocol.InferRequest(
        id=None,
        tensors={"text": InputTensor(datatype="BYTES", shape=(2,), data=["one", "two"])},
        outputs={},
        binary_by_default=False,
        timeout_ms=None,
    )


def test_a_request_may_name_itself_its_outputs_their_form_and_its_deadline() -> None:
    wishes = [{"name": "score", "parameters": {"binary_data": True}}, {"name": "label"}]
    parameters = {"binary_data_output": True, "timeout": 1500, "somebody_elses": [1]}
    parsed = parse(request(id="r-1", outputs=wishes, parameters=parameters))
    assert (parsed.id, parsed.outputs, parsed.binary_by_default, parsed.timeout_ms) == (
        "r-1",
        {"score": True, "label": False},
        True,
        1.5,
    )


@pytest.mark.parametrize(
    ("shape", "data"),
    [
        ([4], [1, 2, 3, 4]),
        ([2, 2], [1, 2, 3, 4]),
        ([2, 2], [[1, 2], [3, 4]]),
        ([1, 2, 2], [[[1, 2], [3, 4]]]),
    ],
)
def test_elements_may_be_flat_or_nested_as_the_shape_is(shape: list[int], data: list[Any]) -> None:
    parsed = parse(tensor(datatype="INT32", shape=shape, data=data))
    assert parsed.tensors["text"] == InputTensor(datatype="INT32", shape=tuple(shape), data=[1, 2, 3, 4])


def test_an_empty_tensor_is_read_and_left_to_the_model() -> None:
    assert parse(tensor(shape=[0], data=[])).tensors["text"].data == []
    assert parse(tensor(shape=[2, 0], data=[[], []])).tensors["text"].data == []


def test_binary_tensors_follow_in_the_order_of_the_json() -> None:
    numbers, texts = struct.pack("<2h", -1, 256), struct.pack("<I2sI0s", 2, b"\xff\x00", 0, b"")
    document = {
        "inputs": [
            {"name": "n", "datatype": "INT16", "shape": [2], "parameters": {"binary_data_size": len(numbers)}},
            {"name": "j", "datatype": "INT64", "shape": [1], "data": [7]},
            {"name": "t", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": len(texts)}},
        ]
    }
    tensors = parse(document, numbers + texts).tensors
    assert np.asarray(tensors["n"].data).tolist() == [-1, 256]
    assert (tensors["j"].data, tensors["t"].data) == ([7], [b"\xff\x00", b""])


def test_bytes_that_are_no_text_come_as_base64_in_json_and_in_binary() -> None:
    parsed = parse(tensor(data=["/wA=", ""], parameters={"content_type": "base64"}))
    assert parsed.tensors["text"] == InputTensor(datatype="BYTES", shape=(2,), data=[b"\xff\x00", b""])
    raw = struct.pack("<I4s", 4, b"/wA=")
    assert parse(binary("BYTES", raw, [1], content_type="base64"), raw).tensors["x"].data == [b"\xff\x00"]


def test_other_content_types_change_nothing() -> None:
    assert parse(tensor(parameters={"content_type": "str"})).tensors["text"].data == ["one", "two"]


MALFORMED = [
    (b"", "body"),
    (b"{", "body"),
    (b"\xff\xfe", "body"),
    (b'{"inputs": NaN}', "body"),
    (b'"\\ud800"', "body"),
    (b"[" * 2000 + b"]" * 2000, "body"),
    ([], "body"),
    ("inputs", "body"),
    (None, "body"),
    ({}, "inputs"),
    ({"inputs": []}, "inputs"),
    ({"inputs": {"text": TEXT}}, "inputs"),
    ({"inputs": ["text"]}, "inputs[0]"),
    ({"inputs": [TEXT, TEXT]}, "inputs[1].name"),
    (request(parameters=[]), "parameters"),
    (request(parameters=None), "parameters"),
    (request(parameters={"timeout": "soon"}), "parameters.timeout"),
    (request(parameters={"timeout": True}), "parameters.timeout"),
    (request(parameters={"timeout": 0}), "parameters.timeout"),
    (request(parameters={"timeout": -1.5}), "parameters.timeout"),
    (request(parameters={"binary_data_output": "yes"}), "parameters.binary_data_output"),
    (request(id=7), "id"),
    (request(outputs=None), "outputs"),
    (request(outputs={"name": "label"}), "outputs"),
    (request(outputs=["label"]), "outputs[0]"),
    (request(outputs=[{}]), "outputs[0].name"),
    (request(outputs=[{"name": ["label"]}]), "outputs[0].name"),
    (request(outputs=[{"name": "label"}, {"name": "colour"}]), "outputs[1].name"),
    (request(outputs=[{"name": "label"}, {"name": "label"}]), "outputs[1].name"),
    (request(outputs=[{"name": "label", "parameters": 1}]), "outputs[0].parameters"),
    (
        request(outputs=[{"name": "label", "parameters": {"binary_data": 1}}]),
        "outputs[0].parameters.binary_data",
    ),
    (tensor(name=""), "inputs[0].name"),
    (tensor(name=["text"]), "inputs[0].name"),
    (tensor(datatype="STRING"), "inputs[0].datatype"),
    (tensor(datatype=["BYTES"]), "inputs[0].datatype"),
    (tensor(datatype={}), "inputs[0].datatype"),
    (tensor(datatype=None), "inputs[0].datatype"),
    (tensor(shape=2), "inputs[0].shape"),
    (tensor(shape=["2"]), "inputs[0].shape"),
    (tensor(shape=[2.0]), "inputs[0].shape"),
    (tensor(shape=[True]), "inputs[0].shape"),
    (tensor(shape=[-1]), "inputs[0].shape"),
    (tensor(data="one"), "inputs[0].data"),
    (tensor(data=None), "inputs[0].data"),
    (tensor(data=["one", ["two"]]), "inputs[0].data"),
    (tensor(data=[["one"], "two"]), "inputs[0].data"),
    (tensor(parameters="none"), "inputs[0].parameters"),
    (tensor(parameters={"binary_data_size": 4}), "inputs[0].parameters.binary_data_size"),
    (tensor(parameters={"binary_data_size": "4"}), "inputs[0].parameters.binary_data_size"),
    (tensor(parameters={"binary_data_size": True}), "inputs[0].parameters.binary_data_size"),
    (tensor(parameters={"content_type": 64}), "inputs[0].parameters.content_type"),
    (tensor(datatype="FP32", parameters={"content_type": "base64"}), "inputs[0].parameters.content_type"),
    (tensor(data=["YQ==", "a"], parameters={"content_type": "base64"}), "inputs[0].data"),
    (tensor(data=["YQ==", "Y!Q=="], parameters={"content_type": "base64"}), "inputs[0].data"),
    (tensor(data=["YQ==", "é"], parameters={"content_type": "base64"}), "inputs[0].data"),
    (tensor(data=["YQ==", 7], parameters={"content_type": "base64"}), "inputs[0].data"),
    (tensor(data=["YQ==", {}], parameters={"content_type": "base64"}), "inputs[0].data"),
]


@pytest.mark.parametrize(("document", "field"), MALFORMED)
def test_a_malformed_body_is_refused_naming_the_field(document: object, field: str) -> None:
    assert refusal(document).field == field


@pytest.mark.parametrize(
    ("datatype", "raw", "message"),
    [
        ("FP32", b"12345", "5 bytes are no whole number of FP32 elements"),
        ("BYTES", b"\x01\x00", "the last BYTES element's length is cut short"),
        ("BYTES", b"\x09\x00\x00\x00short", "a BYTES element of 9 bytes is cut short"),
        ("BYTES", b"\xff\xff\xff\xff", "a BYTES element of 4294967295 bytes is cut short"),
    ],
)
def test_a_binary_tensor_that_does_not_add_up_is_refused(datatype: str, raw: bytes, message: str) -> None:
    refused = refusal(binary(datatype, raw, [1]), raw)
    assert refused.field == "inputs[0].parameters.binary_data_size"
    assert refused.message == f"{refused.field}: {message}"


@pytest.mark.parametrize("header", ["-1", "1.5", "", "abc", "100000", "²", "9" * 5000])
def test_a_header_length_that_is_none_is_refused(header: str) -> None:
    refused = refusal(request(), header=header)
    assert refused.field == "inference-header-content-length"
    assert len(refused.message) < 200


def test_bytes_behind_the_last_tensor_are_refused() -> None:
    refused = refusal(request(), tail=b"more")
    assert (refused.field, refused.message) == ("inputs", "4 bytes follow the last binary tensor")


NESTED = json.loads("[" * 500 + "]" * 500)
ENDLESS = "x" * 100_000


@pytest.mark.parametrize(
    "document",
    [
        tensor(datatype=NESTED),
        tensor(datatype={"a": {"b": [1] * 1000}}),
        tensor(datatype=ENDLESS),
        tensor(shape=NESTED),
        tensor(data=["a", NESTED]),
        tensor(parameters={"binary_data_size": NESTED}),
        {"inputs": [{**TEXT, "name": ENDLESS}] * 2},
        request(outputs=[{"name": ENDLESS}]),
    ],
)
def test_a_refusal_repeats_little_of_what_was_sent(document: object) -> None:
    assert len(refusal(document).message) < 250


def reply(request_document: dict[str, Any]) -> protocol.Reply:
    outputs = [
        OutputTensor(name="label", datatype=Datatype.BYTES, data=np.array([b"a", b"\xff"], dtype=np.object_)),
        OutputTensor(name="score", datatype=Datatype.FP32, data=np.array([[0.5], [0.25]], dtype=np.float32)),
    ]
    return protocol.render_infer("filetype", "1", parse(request_document), outputs)


def test_every_output_is_answered_as_flat_json_with_the_id_of_the_request() -> None:
    answer = reply(request(id="r-1"))
    assert answer.headers == {"Content-Type": "application/json"}
    assert json.loads(answer.body) == {
        "model_name": "filetype",
        "model_version": "1",
        "id": "r-1",
        "outputs": [
            {"name": "label", "datatype": "BYTES", "shape": [2], "data": ["a", "\ufffd"]},
            {"name": "score", "datatype": "FP32", "shape": [2, 1], "data": [0.5, 0.25]},
        ],
    }


def test_without_an_id_the_answer_has_none() -> None:
    assert "id" not in json.loads(reply(request()).body)


def test_only_the_wanted_outputs_are_answered_in_the_wanted_order_and_form() -> None:
    answer = reply(request(outputs=[{"name": "score"}, {"name": "label", "parameters": {"binary_data": True}}]))
    length = int(answer.headers["inference-header-content-length"])
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert json.loads(answer.body[:length])["outputs"] == [
        {"name": "score", "datatype": "FP32", "shape": [2, 1], "data": [0.5, 0.25]},
        {"name": "label", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": 10}},
    ]
    assert answer.body[length:] == b"\x01\x00\x00\x00a\x01\x00\x00\x00\xff"


def test_a_request_may_want_everything_in_binary() -> None:
    answer = reply(request(parameters={"binary_data_output": True}))
    length = int(answer.headers["inference-header-content-length"])
    sizes = [entry["parameters"]["binary_data_size"] for entry in json.loads(answer.body[:length])["outputs"]]
    assert sizes == [10, 8]
    assert answer.body[length + 10 :] == struct.pack("<2f", 0.5, 0.25)


def test_metadata_are_told_under_the_name_the_model_is_served_by() -> None:
    metadata = ModelMetadata(
        name="text_embedder",
        version="3",
        platform="onnx_onnxv1",
        inputs=(TensorSpec(name="text", datatype=Datatype.BYTES, shape=(ANY_LENGTH,)),),
        outputs=(TensorSpec(name="embedding", datatype=Datatype.FP32, shape=(ANY_LENGTH, 384)),),
    )
    assert protocol.render_metadata("minilm", metadata) == {
        "name": "minilm",
        "versions": ["3"],
        "platform": "onnx_onnxv1",
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1]}],
        "outputs": [{"name": "embedding", "datatype": "FP32", "shape": [-1, 384]}],
    }


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_tritons_own_client_writes_what_we_read_and_reads_what_we_write(binary: bool) -> None:
    texts = triton.InferInput("text", [2], "BYTES")
    texts.set_data_from_numpy(np.array([b"one", b"two"], dtype=np.object_), binary_data=binary)
    wishes = [triton.InferRequestedOutput(name, binary_data=binary) for name in OUTPUTS]
    body, length = triton.InferenceServerClient.generate_request_body(
        [texts], outputs=wishes, request_id="r-1", timeout=1500
    )
    header = None if length is None else str(length)
    parsed = protocol.parse_infer(body if isinstance(body, bytes) else body.encode(), header, outputs=OUTPUTS)
    sent = [row.decode() if isinstance(row, bytes) else row for row in parsed.tensors["text"].data]
    assert (parsed.id, parsed.timeout_ms, sent) == ("r-1", 1.5, ["one", "two"])
    outputs = [
        OutputTensor(name="label", datatype=Datatype.BYTES, data=np.array([b"a", b"b"], dtype=np.object_)),
        OutputTensor(name="score", datatype=Datatype.FP32, data=np.array([0.5, 0.25], dtype=np.float32)),
    ]
    answer = protocol.render_infer("filetype", "1", parsed, outputs)
    written = answer.headers.get(protocol.HEADER_LENGTH)
    result = triton.InferenceServerClient.parse_response_body(
        answer.body, header_length=None if written is None else int(written)
    )
    assert result.as_numpy("score").tolist() == [0.5, 0.25]
    labels = [row if isinstance(row, bytes) else row.encode() for row in result.as_numpy("label")]
    assert labels == [b"a", b"b"]
