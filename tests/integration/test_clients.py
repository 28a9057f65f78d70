"""Real clients get right answers, and every refusal of the table comes in one shape, through the real ingress."""

import json
import threading
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import tritonclient.http as triton
from numpy.typing import NDArray

from models.model import InputTensor
from models.text_embedder import TextEmbedder
from tests.integration.system import System

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]

TEXTS = ["The cat sits outside", "A man is playing guitar", "The new movie is awesome"]


@pytest.fixture(scope="module")
def expected() -> NDArray[np.float32]:
    """Vectors computed here, without any server."""
    model = TextEmbedder()
    model.load()
    items = model.items_from_tensors({"text": InputTensor(datatype="BYTES", shape=(3,), data=TEXTS)})
    return np.stack(model.predict(items))


def infer(system: System, body: Any, model: str = "minilm", **options: Any) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.post(f"{system.url}/v2/models/{model}/infer", content=content, timeout=60, **options)


def text_body(*texts: str) -> dict[str, Any]:
    return {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": list(texts)}]}


@pytest.mark.parametrize("binary", [True, False], ids=["binary tensors", "JSON"])
def test_tritonclient_gets_the_vectors_the_model_gives(
    system: System, expected: NDArray[np.float32], binary: bool
) -> None:
    client = triton.InferenceServerClient(system.host)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("minilm")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    assert client.get_model_metadata("minilm") == {
        "name": "minilm",
        "versions": ["1"],
        "platform": "onnx_onnxv1",
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1]}],
        "outputs": [{"name": "embedding", "datatype": "FP32", "shape": [-1, 384]}],
    }
    tensor = triton.InferInput("text", [3], "BYTES")
    tensor.set_data_from_numpy(np.array(TEXTS, dtype=np.object_), binary_data=binary)
    wanted = triton.InferRequestedOutput("embedding", binary_data=binary)
    answer = client.infer("minilm", [tensor], outputs=[wanted], request_id="q-1")
    assert answer.get_response()["id"] == "q-1"
    assert answer.get_response()["model_name"] == "minilm"
    np.testing.assert_allclose(answer.as_numpy("embedding"), expected, atol=1e-5)


def test_tritonclient_names_the_type_of_a_file(system: System) -> None:
    content = Path(__file__).read_bytes()
    tensor = triton.InferInput("content", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([content], dtype=np.object_))
    answer = triton.InferenceServerClient(system.host).infer("filetype", [tensor])
    assert answer.as_numpy("label").tolist() == [b"python"]
    assert answer.as_numpy("mime_type").tolist() == [b"text/x-python"]


@pytest.mark.parametrize("base", ["/v1", "/v2/models/minilm/v1"], ids=["by the gateway", "straight to the model"])
@pytest.mark.parametrize("encoding", ["base64", "float"])
def test_openai_gets_the_vectors_the_model_gives(
    system: System, expected: NDArray[np.float32], base: str, encoding: Any
) -> None:
    client = openai.OpenAI(base_url=system.url + base, api_key="none")
    answer = client.embeddings.create(model="minilm", input=TEXTS, encoding_format=encoding)
    assert [entry.index for entry in answer.data] == [0, 1, 2]
    assert answer.usage.total_tokens == answer.usage.prompt_tokens > len(TEXTS)
    vectors = [
        np.frombuffer(__import__("base64").b64decode(entry.embedding), dtype="<f4")
        if isinstance(entry.embedding, str)
        else np.array(entry.embedding, dtype=np.float32)
        for entry in answer.data
    ]
    np.testing.assert_allclose(np.stack(vectors), expected, atol=1e-5)


def test_openai_lists_the_models_and_refuses_others(system: System) -> None:
    client = openai.OpenAI(base_url=system.url + "/v1", api_key="none")
    assert [model.id for model in client.models.list()] == ["minilm", "filetype", "narrow"]
    with pytest.raises(openai.NotFoundError, match="no model named 'other'"):
        client.embeddings.create(model="other", input="x")


BAD = [
    ("/v2/models/other/infer", b"{}", {}, 404, "unknown_model", "model"),
    ("/v2/models/minilm/nothing", b"{}", {}, 404, "unknown_path", None),
    ("/nothing", b"{}", {}, 404, "unknown_path", None),
    ("/v2/models/minilm/infer", b"{", {}, 400, "malformed", "body"),
    ("/v2/models/minilm/infer", b"[]", {}, 400, "malformed", "body"),
    ("/v2/models/minilm/infer", b"{}", {}, 400, "malformed", "inputs"),
    (
        "/v2/models/minilm/infer",
        b'{"inputs":[{"name":"text","datatype":"TEXT","shape":[1],"data":["x"]}]}',
        {}, 400, "malformed", "inputs[0].datatype",
    ),
    (
        "/v2/models/minilm/infer",
        b'{"inputs":[{"name":"text","datatype":"FP32","shape":[1],"data":[1.5]}]}',
        {}, 400, "invalid_input", "text",
    ),
    (
        "/v2/models/minilm/infer",
        b'{"inputs":[{"name":"words","datatype":"BYTES","shape":[1],"data":["x"]}]}',
        {}, 400, "invalid_input", "words",
    ),
    ("/v2/models/minilm/infer", b"x" * ((1 << 20) + 1), {}, 413, "too_large", None),
    (
        "/v2/models/minilm/infer",
        json.dumps(text_body("x")).encode(),
        {"x-request-timeout-ms": "soon"}, 400, "malformed", "x-request-timeout-ms",
    ),
    (
        "/v2/models/narrow/infer",
        json.dumps(text_body("x")).encode(),
        {"x-request-timeout-ms": "5"}, 504, "deadline_passed", None,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "headers", "status", "reason", "field"), BAD)
def test_a_refusal_says_what_and_where_in_one_shape(
    system: System, path: str, body: bytes, headers: dict[str, str], status: int, reason: str, field: str | None
) -> None:
    answer = httpx.post(system.url + path, content=body, headers=headers, timeout=30)
    document = answer.json()
    assert (answer.status_code, document["reason"], document.get("field")) == (status, reason, field)
    assert isinstance(document["error"], str)
    assert "Traceback" not in answer.text


def test_a_full_queue_answers_429_with_retry_after(system: System) -> None:
    answers: list[httpx.Response] = []
    senders = [
        threading.Thread(target=lambda: answers.append(infer(system, text_body("x"), "narrow"))) for _ in range(12)
    ]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    assert {answer.status_code for answer in answers} == {200, 429}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert {answer.json()["reason"] for answer in refused} == {"queue_full"}


def test_a_request_id_comes_back(system: System) -> None:
    answer = infer(system, text_body("x"), headers={"x-request-id": "abc-1"})
    assert answer.headers["x-request-id"] == "abc-1"


def test_a_worker_says_what_it_does(system: System) -> None:
    infer(system, text_body("x"))
    pods = json.loads(system.kubectl("get", "pods", "-o", "json"))["items"]
    texts = [httpx.get(f"http://{pod['status']['podIP']}:9105/metrics", timeout=5).text for pod in pods]
    minilm = next(text for text in texts if 'model="minilm"' in text)
    assert 'device_kind="emulated"' in minilm
    assert 'vgpu_serve_request_duration_seconds_bucket{le="0.4",model="minilm"}' in minilm
    assert 'vgpu_serve_requests_total{code="200",model="minilm"}' in minilm
