"""Reading and writing the BYTES tensors that text and file models share.

Every refusal names the tensor and, where there is one, the row: a client must be able to correct the request from it.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from models.model import Datatype, InputTensor, InvalidInput, OutputTensor, TensorSpec


def only_input(tensors: Mapping[str, InputTensor], spec: TensorSpec) -> InputTensor:
    """The one tensor a single-input model takes. Raises `InvalidInput` where it is missing or has company."""
    for name in tensors:
        if name != spec.name:
            raise InvalidInput(name, f"is not an input of this model; it takes {spec.name}")
    if spec.name not in tensors:
        raise InvalidInput(spec.name, "is missing")
    return tensors[spec.name]


def bytes_rows(tensor: InputTensor, spec: TensorSpec) -> list[bytes]:
    """Rows of a BYTES tensor of shape [rows]; a str counts as its UTF-8 bytes. Raises `InvalidInput`."""
    if tensor.datatype != spec.datatype:
        raise InvalidInput(spec.name, f"datatype is {tensor.datatype}; expected {spec.datatype}")
    if len(tensor.shape) != 1:
        raise InvalidInput(spec.name, f"shape is {list(tensor.shape)}; expected one length, the number of rows")
    if len(tensor.data) != tensor.shape[0]:
        raise InvalidInput(spec.name, f"shape {list(tensor.shape)} does not match {len(tensor.data)} elements of data")
    if len(tensor.data) == 0:
        raise InvalidInput(spec.name, "has no rows")
    return [bytes_of(element, spec.name, row) for row, element in enumerate(tensor.data)]


def text_rows(tensor: InputTensor, spec: TensorSpec) -> list[str]:
    """Rows of a BYTES tensor that must be UTF-8 text. Raises `InvalidInput`."""
    texts = []
    for row, content in enumerate(bytes_rows(tensor, spec)):
        try:
            texts.append(content.decode())
        except UnicodeDecodeError as error:
            raise InvalidInput(spec.name, f"row {row} is not UTF-8 text: {error.reason}") from error
    return texts


def bytes_tensor(spec: TensorSpec, rows: Iterable[bytes]) -> OutputTensor:
    """A BYTES output of shape [rows]."""
    return OutputTensor(name=spec.name, datatype=Datatype.BYTES, data=np.array(list(rows), dtype=np.object_))


def bytes_of(element: object, name: str, row: int) -> bytes:
    """One element of a BYTES tensor; a str counts as its UTF-8 bytes. Raises `InvalidInput`."""
    if isinstance(element, bytes):
        return element
    if not isinstance(element, str):
        raise InvalidInput(name, f"row {row} is {type(element).__name__}; an element of BYTES is a string")
    try:
        return element.encode()
    except UnicodeEncodeError as error:  # JSON may carry half of a surrogate pair
        raise InvalidInput(name, f"row {row} is not Unicode text: {error.reason}") from error
