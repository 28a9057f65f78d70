"""What kind of file some bytes are, by Magika: bytes in; label, score and MIME type out.

Network, label table and thresholds are those of the package magika, used through its own class: reading features and
deciding when a score is too low for its label are its rules, not ours. Only the session is ours, because the package
offers no way to limit its threads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import magika
import numpy as np
import onnxruntime

from models import tensors as tensor_rows
from models.cost import Cost, cost_file, read_cost
from models.model import (
    ANY_LENGTH,
    Datatype,
    InputTensor,
    ModelFileMissing,
    ModelMetadata,
    OutputTensor,
    TensorSpec,
)
from models.onnx_session import open_session

KIND = "file_type"
REMEDY = "install it again with: pip install --force-reinstall magika"

CONTENT = TensorSpec(name="content", datatype=Datatype.BYTES, shape=(ANY_LENGTH,))
LABEL = TensorSpec(name="label", datatype=Datatype.BYTES, shape=(ANY_LENGTH,))
SCORE = TensorSpec(name="score", datatype=Datatype.FP32, shape=(ANY_LENGTH,))
MIME_TYPE = TensorSpec(name="mime_type", datatype=Datatype.BYTES, shape=(ANY_LENGTH,))

EXAMPLES = (
    b'#!/bin/sh\nset -eu\nfor file in "$@"; do\n  wc -l "$file"\ndone\n',
    b'{"slot": "node-1/0", "units": 500, "framebuffer_mib": 8192, "busy": [0.25, 0.5, 1.0]}\n',
    b"import sys\n\n\ndef main(path: str) -> int:\n    with open(path) as lines:\n        return len(list(lines))\n",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileKind:
    """A label such as `python`, how sure the network is of it (0 to 1), and the label's MIME type."""

    label: str
    score: float
    mime_type: str


class FileType:
    """A `Model` whose item is the content of one file."""

    def __init__(self, *, folder: Path | str | None = None, largest_batch: int = 32) -> None:
        if largest_batch < 1:
            raise ValueError(f"largest_batch is {largest_batch}; a batch holds at least 1 item")
        self._folder = Path(folder) if folder else None
        self._largest_batch = largest_batch
        self._magika: _SingleThreadMagika

    @property
    def metadata(self) -> ModelMetadata:
        outputs = (LABEL, SCORE, MIME_TYPE)
        return ModelMetadata(name=KIND, version="1", platform="onnx_onnxv1", inputs=(CONTENT,), outputs=outputs)

    @property
    def framebuffer_mib(self) -> int:
        return self._cost.framebuffer_mib(items=self._largest_batch)

    @property
    def weights_file(self) -> Path:
        """The network's file; known once loaded."""
        return self._magika.network_file

    def example(self) -> Mapping[str, InputTensor]:
        return {CONTENT.name: InputTensor(datatype=Datatype.BYTES, shape=(len(EXAMPLES),), data=EXAMPLES)}

    def load(self) -> None:
        try:
            self._magika = _SingleThreadMagika(model_dir=self._folder)
        except (magika.MagikaError, FileNotFoundError) as error:
            raise ModelFileMissing(str(error), remedy=REMEDY) from error

    def warm_up(self) -> None:
        self.predict(self.items_from_tensors(self.example()))

    def items_from_tensors(self, tensors: Mapping[str, InputTensor]) -> list[bytes]:
        return tensor_rows.bytes_rows(tensor_rows.only_input(tensors, CONTENT), CONTENT)

    def predict(self, batch: Sequence[bytes]) -> list[FileKind]:
        """One kind per content. They go through the network one by one: measured, a batch was no cheaper per file."""
        return [self._identify(content) for content in batch]

    def tensors_from_results(self, results: Sequence[FileKind]) -> list[OutputTensor]:
        scores = np.array([result.score for result in results], dtype=np.float32)
        return [
            tensor_rows.bytes_tensor(LABEL, (result.label.encode() for result in results)),
            OutputTensor(name=SCORE.name, datatype=SCORE.datatype, data=scores),
            tensor_rows.bytes_tensor(MIME_TYPE, (result.mime_type.encode() for result in results)),
        ]

    def engine_cost_ns(self, batch: Sequence[bytes]) -> int:
        return self._cost.engine_ns(items=len(batch))

    @cached_property
    def _cost(self) -> Cost:
        return read_cost(cost_file(KIND))

    def _identify(self, content: bytes) -> FileKind:
        found = self._magika.identify_bytes(content)
        return FileKind(label=str(found.output.label), score=float(found.score), mime_type=str(found.output.mime_type))


class _SingleThreadMagika(magika.Magika):  # type: ignore[misc]  # read as untyped, see mypy overrides
    """Magika with our session; tests/unit/models/test_file_type.py fails if the package renames the method."""

    def _init_onnx_session(self) -> onnxruntime.InferenceSession:
        return open_session(self.network_file)

    @property
    def network_file(self) -> Path:
        return Path(self._model_path)
