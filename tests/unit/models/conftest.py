"""The real models, loaded once for all tests here; none of them keeps anything between predictions."""

from collections.abc import Callable

import pytest

from models.file_type import FileType
from models.model import InputTensor
from models.text_embedder import TextEmbedder, TokenIds


@pytest.fixture(scope="session")
def embedder() -> TextEmbedder:
    model = TextEmbedder()
    model.load()
    return model


@pytest.fixture(scope="session")
def file_type() -> FileType:
    model = FileType()
    model.load()
    return model


@pytest.fixture(scope="session")
def tokenise(embedder: TextEmbedder) -> Callable[..., list[TokenIds]]:
    def items_of(*texts: str) -> list[TokenIds]:
        return embedder.items_from_tensors({"text": InputTensor(datatype="BYTES", shape=(len(texts),), data=texts)})

    return items_of
