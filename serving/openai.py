"""OpenAI's `/v1/embeddings` in front of an embedder: texts in, vectors out, as floats or base64."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from models.model import Datatype, InputTensor
from serving import errors


@dataclass(frozen=True, slots=True)
class EmbeddingsRequest:
    """One parsed request: its texts and the wanted encoding."""

    texts: tuple[str, ...]
    base64: bool

    def tensor(self) -> InputTensor:
        """The texts as the embedder's one input."""
        return InputTensor(datatype=Datatype.BYTES, shape=(len(self.texts),), data=self.texts)


def model_name(document: Mapping[str, Any]) -> str:
    """The model a request names. Raises `ApiError` 400."""
    name = document.get("model")
    if not isinstance(name, str) or not name:
        raise errors.malformed("model: expected a string", field="model")
    return name


def parse_embeddings(document: Mapping[str, Any], *, dimensions: int) -> EmbeddingsRequest:
    """Read one request for vectors of `dimensions` numbers. Raises `ApiError` 400 naming the field."""
    given = document.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        message = "input: expected a string or a list of strings; token lists are not taken, since the tokens are ours"
        raise errors.malformed(message, field="input")
    encoding = document.get("encoding_format", "float")
    if encoding not in ("float", "base64"):
        raise errors.malformed("encoding_format: expected float or base64", field="encoding_format")
    wanted = document.get("dimensions")
    if wanted is not None and wanted != dimensions:
        message = f"dimensions: this model gives {dimensions}, and shortening its vectors would not keep their meaning"
        raise errors.invalid_input(message, field="dimensions")
    return EmbeddingsRequest(texts=tuple(texts), base64=encoding == "base64")


def render_embeddings(
    model: str, request: EmbeddingsRequest, vectors: Sequence[NDArray[np.float32]], *, tokens: int
) -> bytes:
    """The response body; vectors in the order of the texts."""
    data = [
        {"object": "embedding", "index": index, "embedding": _encode(vector, request.base64)}
        for index, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    document = {"object": "list", "data": data, "model": model, "usage": usage}
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def _encode(vector: NDArray[np.float32], as_base64: bool) -> str | NDArray[np.float32]:
    little = np.ascontiguousarray(vector, dtype="<f4")
    return base64.b64encode(little.tobytes()).decode() if as_base64 else little
