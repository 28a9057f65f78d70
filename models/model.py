"""What every served model offers, and the tensors it speaks in.

A model turns the tensors of one request into items (one item is one row of the request), predicts a batch of items
that may come from several requests, and turns results back into tensors. Names and datatypes are those of Open
Inference Protocol v2. Nothing here or beside it knows who serves the model: no Ray, no Kubernetes, no slots.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

ANY_LENGTH = -1


class Datatype(StrEnum):
    """Element types of Open Inference Protocol v2."""

    BOOL = "BOOL"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    FP16 = "FP16"
    FP32 = "FP32"
    FP64 = "FP64"
    BYTES = "BYTES"


class InvalidInput(ValueError):
    """The client sent a tensor the model cannot take: `field` is the tensor's name, `problem` what is wrong with it."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class ModelFileError(Exception):
    """A model cannot load because of its files; `remedy` says what to do about it."""

    def __init__(self, problem: str, *, remedy: str) -> None:
        super().__init__(f"{problem}; {remedy}")
        self.remedy = remedy


class ModelFileMissing(ModelFileError):
    """A file the model needs is not there."""


class ModelFileDamaged(ModelFileError):
    """A file the model needs is there and cannot be read as what it should be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One input or output of a model; -1 in `shape` stands for any length. The first is: the rows of a request."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        is_open = bool(self.shape) and self.shape[0] == ANY_LENGTH
        if not is_open or any(length < 1 and length != ANY_LENGTH for length in self.shape[1:]):
            raise ValueError(
                f"shape of {self.name} is {list(self.shape)}; it starts with -1, other lengths are >= 1, or -1 for any"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelMetadata:
    """What a client may ask about a model before sending anything to it."""

    name: str
    version: str
    platform: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class InputTensor:
    """One tensor of a request, unchecked: `data` is flat, in row-major order; an element of BYTES is str or bytes."""

    datatype: str
    shape: tuple[int, ...]
    data: Sequence[Any] | NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputTensor:
    """One tensor of an answer; BYTES are an object array of `bytes`."""

    name: str
    datatype: Datatype
    data: NDArray[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape


Item = TypeVar("Item")
Result = TypeVar("Result")


@runtime_checkable
class Model(Protocol[Item, Result]):
    """One served model. `load` comes before everything: what a model is may stand in its file.

    A built-in one knows its `metadata`, `framebuffer_mib` and `example` also without.
    """

    @property
    def metadata(self) -> ModelMetadata:
        """Name, version, platform, inputs and outputs."""

    @property
    def framebuffer_mib(self) -> int:
        """Framebuffer for the weights and for the largest batch the model was created for."""

    def example(self) -> Mapping[str, InputTensor]:
        """Real inputs of one request, for warming up and for trying the model out."""

    def load(self) -> None:
        """Read the weights. Raises `ModelFileMissing` or `ModelFileDamaged`."""

    def warm_up(self) -> None:
        """Predict the example once, so that the first client does not wait for what only happens once."""

    def items_from_tensors(self, tensors: Mapping[str, InputTensor]) -> list[Item]:
        """Check the tensors of one request and cut them into rows. Raises `InvalidInput`."""

    def predict(self, batch: Sequence[Item]) -> list[Result]:
        """One result per item, in order. A batch holds at least one item; its other items never change a result."""

    def tensors_from_results(self, results: Sequence[Result]) -> list[OutputTensor]:
        """The answer to one request, from the results of its rows."""

    def engine_cost_ns(self, batch: Sequence[Item]) -> int:
        """Time the batch needs on the reference engine: a fitted model of its shape, never a measurement of now."""


@runtime_checkable
class Embedder(Model[Item, NDArray[np.float32]], Protocol[Item]):
    """A model whose result is one vector per text."""

    def count_tokens(self, batch: Sequence[Item]) -> int:
        """Tokens the model reads in the whole batch, padding not counted."""
