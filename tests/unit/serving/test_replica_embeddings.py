"""A replica whose model embeds: OpenAI's embeddings beside Open Inference Protocol v2."""

import base64
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from starlette.requests import Request

from models import catalog, synthetic
from models.model import ANY_LENGTH, Datatype, ModelMetadata, OutputTensor, TensorSpec
from serving.replica import Replica
from tests.unit.serving.build import EmulatedGpu, answered, infer, play, request

PATH = "/v2/models/echo/v1/embeddings"


class Lengths(synthetic.Synthetic):
    """Embeds a text as the number of its letters, its words, and one."""

    @property
    def metadata(self) -> ModelMetadata:
        vector = TensorSpec(name="vector", datatype=Datatype.FP32, shape=(ANY_LENGTH, 3))
        return ModelMetadata(name="lengths", version="1", platform="test", inputs=(synthetic.TEXT,), outputs=(vector,))

    def predict(self, batch: Sequence[str]) -> list[NDArray[np.float32]]:  # type: ignore[override]  # vectors, no texts
        return [np.array([len(text), self.count_tokens([text]), 1], dtype=np.float32) for text in batch]

    def tensors_from_results(self, results: Sequence[Any]) -> list[OutputTensor]:
        return [OutputTensor(name="vector", datatype=Datatype.FP32, data=np.stack(results))]

    def count_tokens(self, batch: Sequence[str]) -> int:
        return sum(len(text.split()) for text in batch)


@pytest.fixture(autouse=True)
def lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "FACTORIES", {"synthetic": Lengths})


def embed(path: str = PATH, **document: Any) -> Request:
    return request("POST", path, json.dumps({"model": "echo", **document}).encode())


def ask(gpu: EmulatedGpu, *requests: Request, **changes: Any) -> list[tuple[int, Any]]:
    async def script(replica: Replica) -> list[tuple[int, Any]]:
        return [answered(await replica(one)) for one in requests]

    answers: list[tuple[int, Any]] = play(gpu, script, **changes)
    return answers


def test_texts_are_embedded_in_their_order_and_their_tokens_counted(gpu: EmulatedGpu) -> None:
    ((status, body),) = ask(gpu, embed(input=["one two", "three"]))
    assert (status, body) == (
        200,
        {
            "object": "list",
            "model": "echo",
            "data": [
                {"object": "embedding", "index": 0, "embedding": [7.0, 2.0, 1.0]},
                {"object": "embedding", "index": 1, "embedding": [5.0, 1.0, 1.0]},
            ],
            "usage": {"prompt_tokens": 3, "total_tokens": 3},
        },
    )


def test_both_protocols_give_the_same_vector(gpu: EmulatedGpu) -> None:
    v2, v1 = ask(gpu, infer("one two"), embed(input="one two", encoding_format="base64"))
    vector = np.frombuffer(base64.b64decode(v1[1]["data"][0]["embedding"]), dtype="<f4")
    assert v2[1]["outputs"][0]["data"] == vector.tolist() == [7.0, 2.0, 1.0]


def test_refusals_have_the_shape_of_the_path_they_came_in_on(gpu: EmulatedGpu) -> None:
    unread = [request("POST", path, b"{") for path in (PATH, "/v2/models/echo/infer")]
    given = [*unread, request("GET", PATH), embed(input="one", dimensions=2), embed(input=["a"] * 3)]
    as_v1, as_v2, wrong, dimensions, many = ask(gpu, *given, serving={"max_queue": 2})
    assert (as_v1[0], as_v1[1]["error"]["param"], as_v1[1]["error"]["code"]) == (400, "body", "malformed")
    assert (as_v2[0], as_v2[1]["field"], as_v2[1]["reason"]) == (400, "body", "malformed")
    assert [(status, body["error"]["code"]) for status, body in (wrong, dimensions, many)] == [
        (405, "method_not_allowed"),
        (400, "invalid_input"),
        (413, "too_large"),
    ]


def test_embeddings_are_demand_as_inference_is(gpu: EmulatedGpu) -> None:
    async def script(replica: Replica) -> dict[str, float]:
        for one in (embed(input="one"), embed(input=[1]), request("GET", PATH)):
            await replica(one)
        return gpu.counted()

    assert play(gpu, script) == {"200": 1, "400": 1}
