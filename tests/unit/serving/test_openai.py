"""OpenAI's embeddings: what is read, what is refused, and what comes back."""

import base64
import json
from typing import Any

import numpy as np
import pytest

from models.model import InputTensor
from serving import openai
from serving.errors import ApiError

VECTORS = [np.array([0.1, -2.5e-8, 3.0], dtype=np.float32), np.array([1 / 3, 0.0, -1.0], dtype=np.float32)]


def parse(**document: Any) -> openai.EmbeddingsRequest:
    return openai.parse_embeddings(document, dimensions=3)


def refusal(**document: Any) -> ApiError:
    with pytest.raises(ApiError) as refused:
        parse(**document)
    assert refused.value.status == 400
    return refused.value


def test_one_text_and_several_are_rows_of_the_embedders_input() -> None:
    assert parse(input="one") == openai.EmbeddingsRequest(("one",), base64=False)
    assert parse(input=["one", "two"]).tensor() == InputTensor(datatype="BYTES", shape=(2,), data=("one", "two"))


def test_what_changes_nothing_is_accepted() -> None:
    assert parse(input="one", dimensions=3, encoding_format="float", user="u", model="m").texts == ("one",)


@pytest.mark.parametrize(
    "tokens", [[1, 2, 3], [[1, 2], [3]], ["text", 7], [], None, {"text": "one"}, 7, True, [None], [["text"]]]
)
def test_token_lists_and_other_inputs_that_are_no_texts_are_refused(tokens: object) -> None:
    refused = refusal(input=tokens)
    assert refused.field == "input"
    assert refused.message.startswith("input: expected a string or a list of strings; token lists are not taken")


def test_a_missing_input_is_refused() -> None:
    assert refusal().field == "input"


@pytest.mark.parametrize("encoding", ["int8", None, 1, ["float"], {}])
def test_an_unknown_encoding_is_refused(encoding: object) -> None:
    assert refusal(input="one", encoding_format=encoding).field == "encoding_format"


@pytest.mark.parametrize("dimensions", [2, 4, "3", [3], True])
def test_other_dimensions_than_the_models_are_refused(dimensions: object) -> None:
    refused = refusal(input="one", dimensions=dimensions)
    assert (refused.field, refused.reason) == ("dimensions", "invalid_input")
    assert refused.message.startswith("dimensions: this model gives 3")


@pytest.mark.parametrize("name", [None, "", 7, ["minilm"], {}])
def test_a_request_must_name_its_model(name: object) -> None:
    with pytest.raises(ApiError) as refused:
        openai.model_name({"model": name})
    assert (refused.value.status, refused.value.field) == (400, "model")
    assert openai.model_name({"model": "minilm"}) == "minilm"


def test_floats_and_base64_say_the_same_numbers() -> None:
    as_floats, as_base64 = (
        json.loads(openai.render_embeddings("minilm", parse(input="x", encoding_format=form), VECTORS, tokens=5))
        for form in ("float", "base64")
    )
    decoded = [np.frombuffer(base64.b64decode(entry["embedding"]), dtype="<f4") for entry in as_base64["data"]]
    read = [np.array(entry["embedding"], dtype=np.float32) for entry in as_floats["data"]]
    for vector, one, other in zip(VECTORS, decoded, read, strict=True):
        assert vector.tobytes() == one.tobytes() == other.tobytes()


def test_the_answer_has_openais_shape_with_vectors_in_the_order_of_the_texts() -> None:
    answer = json.loads(openai.render_embeddings("minilm", parse(input=["a", "b"]), VECTORS, tokens=5))
    assert [(entry["object"], entry["index"]) for entry in answer.pop("data")] == [("embedding", 0), ("embedding", 1)]
    assert answer == {"object": "list", "model": "minilm", "usage": {"prompt_tokens": 5, "total_tokens": 5}}
