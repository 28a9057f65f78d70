"""Elements of a request's tensor, as JSON or bytes carried them -> an array of the model's own type, or a refusal.

JSON knows numbers and truth values, no types: a number that the type cannot hold is refused, never rounded into it, but
for the digits of a float.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.model import ANY_LENGTH, Datatype, InputTensor, InvalidInput, TensorSpec
from models.tensors import bytes_of

NUMPY_TYPES: Mapping[str, type[Any]] = MappingProxyType(
    {
        Datatype.BOOL: np.bool_,
        Datatype.UINT8: np.uint8,
        Datatype.UINT16: np.uint16,
        Datatype.UINT32: np.uint32,
        Datatype.UINT64: np.uint64,
        Datatype.INT8: np.int8,
        Datatype.INT16: np.int16,
        Datatype.INT32: np.int32,
        Datatype.INT64: np.int64,
        Datatype.FP16: np.float16,
        Datatype.FP32: np.float32,
        Datatype.FP64: np.float64,
    }
)


def rows(tensor: InputTensor, spec: TensorSpec) -> NDArray[Any]:
    """The tensor in its shape, of the spec's type; BYTES as an array of `str`. Raises `InvalidInput`."""
    if tensor.datatype != spec.datatype:
        raise InvalidInput(spec.name, f"datatype is {tensor.datatype}; expected {spec.datatype}")
    wanted = zip(tensor.shape, spec.shape, strict=False)
    if len(tensor.shape) != len(spec.shape) or any(ANY_LENGTH != each != length for length, each in wanted):
        raise InvalidInput(spec.name, f"shape is {list(tensor.shape)}; expected {list(spec.shape)}, -1 for any length")
    if 0 in tensor.shape:
        raise InvalidInput(spec.name, f"shape is {list(tensor.shape)}, which holds nothing")
    if len(tensor.data) != np.prod(tensor.shape, dtype=object):
        raise InvalidInput(spec.name, f"shape {list(tensor.shape)} does not match {len(tensor.data)} elements of data")
    if spec.datatype is Datatype.BYTES:
        return _texts(tensor, spec.name).reshape(tensor.shape)
    return _numbers(tensor.data, spec).reshape(tensor.shape)


def _texts(tensor: InputTensor, name: str) -> NDArray[Any]:
    texts = np.empty(len(tensor.data), dtype=np.object_)
    for index, element in enumerate(tensor.data):
        try:
            texts[index] = bytes_of(element, name, index).decode()
        except UnicodeDecodeError as error:
            raise InvalidInput(name, f"element {index} is not UTF-8 text: {error.reason}") from error
    return texts


def _numbers(data: Any, spec: TensorSpec) -> NDArray[Any]:  # noqa: ANN401  # a list of whatever JSON holds, or an array
    wanted = np.dtype(NUMPY_TYPES[spec.datatype])
    if isinstance(data, np.ndarray):
        # From bytes, of the right type already; a truth value is a byte, and any but 0 is true.
        return data.view(np.uint8) != 0 if wanted.kind == "b" else data.astype(wanted, copy=False)
    try:
        given = np.array(data)
    except (ValueError, OverflowError):  # lists among numbers; an integer of more than 64 bits
        given = np.array([], dtype=np.object_)
    is_whole = wanted.kind in "iu"
    if is_whole and given.dtype.kind in "fO" and all(type(element) is int for element in data):
        given = np.array(data, dtype=np.object_)  # no type of numpy holds both small and huge ones
    elif given.dtype.kind not in {"b": "b", "i": "iu", "u": "iu", "f": "iuf"}[wanted.kind]:
        raise InvalidInput(spec.name, f"an element of data is no {spec.datatype}")
    if is_whole:
        edges = np.iinfo(wanted)
        if int(given.min()) < edges.min or int(given.max()) > edges.max:
            raise InvalidInput(spec.name, f"an element of data is no {spec.datatype}: {edges.min} to {edges.max}")
        return given.astype(wanted)
    if wanted.kind == "b":
        return given
    with np.errstate(over="ignore"):
        made = given.astype(wanted)
    if not np.isfinite(made).all():
        raise InvalidInput(spec.name, f"an element of data is too large for {spec.datatype}")
    return made
