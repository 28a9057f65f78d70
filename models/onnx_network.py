"""An opened ONNX file: what it takes and gives, as far as the file says it and one run of it shows.

The first axis of every input and output is the rows of a request. Where the file leaves it open, several rows run
together; where it is fixed at 1, as many exporters leave it, they run one by one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from models.model import ANY_LENGTH, Datatype, ModelFileDamaged, TensorSpec
from models.numeric import NUMPY_TYPES
from models.onnx_session import ERRORS, open_session

Row = tuple[NDArray[Any], ...]
"""One array for each input, or for each output, without the axis of the rows."""

DEFAULT_LENGTH = 8
"""What an open length is taken to be where nobody says: short, and long enough for most networks."""
DATATYPES: Mapping[str, Datatype] = MappingProxyType(
    {
        "tensor(bool)": Datatype.BOOL,
        "tensor(uint8)": Datatype.UINT8,
        "tensor(uint16)": Datatype.UINT16,
        "tensor(uint32)": Datatype.UINT32,
        "tensor(uint64)": Datatype.UINT64,
        "tensor(int8)": Datatype.INT8,
        "tensor(int16)": Datatype.INT16,
        "tensor(int32)": Datatype.INT32,
        "tensor(int64)": Datatype.INT64,
        "tensor(float16)": Datatype.FP16,
        "tensor(float)": Datatype.FP32,
        "tensor(double)": Datatype.FP64,
        "tensor(string)": Datatype.BYTES,
    }
)
OPEN_ROWS = "export it with an open first axis (torch: dynamic_axes={'NAME': {0: 'batch'}})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network that has answered zeros once."""

    session: onnxruntime.InferenceSession
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    is_batched: bool
    example: Row
    """Zeros, in the lengths that open axes were given."""

    def run(self, rows: Sequence[Row]) -> list[Row]:
        """Run rows whose lengths agree: together where the network takes that. Raises one of `ERRORS`."""
        if not self.is_batched and len(rows) > 1:
            return [result for row in rows for result in self.run([row])]
        columns_in = zip(*rows, strict=True)
        feeds = {spec.name: stacked(column, spec) for spec, column in zip(self.inputs, columns_in, strict=True)}
        columns = self.session.run([spec.name for spec in self.outputs], feeds)
        return list(zip(*columns, strict=True))


def stacked(column: Sequence[Any], spec: TensorSpec) -> NDArray[Any]:
    """Rows one above the other; texts as they are, which numpy would cut off at their last NUL."""
    if spec.datatype is Datatype.BYTES:
        return np.stack([np.asarray(each, dtype=np.object_) for each in column])
    return np.stack(column)


def open_network(path: Path, lengths: Mapping[str, int]) -> Network:
    """Open a file and have it answer zeros. Raises `ModelFileDamaged` for one that cannot be served.

    `lengths` says what open axes are in the example, by the axis' name in the file, or INPUT.AXIS where it has none.
    """
    try:
        session = open_session(path, may_use_gpu=True)
    except ERRORS as error:
        raise ModelFileDamaged(
            f"{path} cannot be opened: {first_line(error)}", remedy="give a whole ONNX file that the runtime knows"
        ) from error
    wishes = dict(lengths)
    shapes = [_example_shape(path, node, wishes) for node in session.get_inputs()]
    if unknown := sorted(set(lengths) - {name for _, names in shapes for name in names}):
        known = sorted({name for _, names in shapes for name in names})
        has = f"its open lengths are {', '.join(known)}" if known else "it has no open length"
        raise ModelFileDamaged(
            f"{path} has no length {', '.join(unknown)}", remedy=f"{has}; correct parameters.lengths"
        )
    inputs = tuple(_input(path, node) for node in session.get_inputs())
    network = Network(
        session=session,
        inputs=inputs,
        outputs=tuple(_output(path, node) for node in session.get_outputs()),
        is_batched=not any(node.shape[0] == 1 for node in session.get_inputs()),
        example=tuple(_zeros(spec, shape) for spec, (shape, _) in zip(inputs, shapes, strict=True)),
    )
    columns = _try_out(path, network)
    # The runtime works out most shapes by itself; of some outputs not even the number of axes.
    outputs = tuple(
        spec if len(spec.shape) == column.ndim else replace(spec, shape=(ANY_LENGTH,) * column.ndim)
        for spec, column in zip(network.outputs, columns, strict=True)
    )
    return replace(network, outputs=outputs)


def first_line(error: BaseException) -> str:
    """The runtime's reason, without its lists of nodes and code positions."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def _datatype(path: Path, what: str, node: Any) -> Datatype:  # noqa: ANN401  # the runtime's own untyped record
    if node.type in DATATYPES:
        return DATATYPES[node.type]
    remedy = "export it with plain tensors of the protocol's types"
    if node.type.startswith(("seq", "map")):
        remedy += " (scikit-learn: options={'zipmap': False})"
    raise ModelFileDamaged(f"{what} {node.name} of {path} is a {node.type}, which no client can send", remedy=remedy)


def _input(path: Path, node: Any) -> TensorSpec:  # noqa: ANN401  # the runtime's own untyped record
    datatype = _datatype(path, "input", node)
    if not node.shape or (isinstance(node.shape[0], int) and node.shape[0] != 1):
        raise ModelFileDamaged(
            f"input {node.name} of {path} has the shape {list(node.shape)}: no rows come first", remedy=OPEN_ROWS
        )
    return TensorSpec(name=node.name, datatype=datatype, shape=(ANY_LENGTH, *map(_length, node.shape[1:])))


def _output(path: Path, node: Any) -> TensorSpec:  # noqa: ANN401  # the runtime's own untyped record
    shape = (ANY_LENGTH, *map(_length, node.shape[1:]))
    return TensorSpec(name=node.name, datatype=_datatype(path, "output", node), shape=shape)


def _length(length: int | str | None) -> int:
    return length if isinstance(length, int) and length >= 1 else ANY_LENGTH


def _example_shape(path: Path, node: Any, lengths: Mapping[str, int]) -> tuple[tuple[int, ...], list[str]]:  # noqa: ANN401  # the runtime's own untyped record
    """One row's shape in the example, and the names of its open lengths."""
    shape, names = [], []
    for axis, length in enumerate(node.shape[1:], start=1):
        if _length(length) != ANY_LENGTH:
            shape.append(length)
            continue
        name = length if isinstance(length, str) and length else f"{node.name}.{axis}"
        names.append(name)
        shape.append(lengths.get(name, DEFAULT_LENGTH))
    return tuple(shape), names


def _zeros(spec: TensorSpec, shape: Sequence[int]) -> NDArray[Any]:
    if spec.datatype is Datatype.BYTES:
        return np.full(shape, "", dtype=np.object_)
    return np.zeros(shape, dtype=NUMPY_TYPES[spec.datatype])


def _try_out(path: Path, network: Network) -> list[NDArray[Any]]:
    """Have the network answer its example, once alone and once with company; its outputs."""
    columns: list[NDArray[Any]] = []
    shapes = {spec.name: [1, *zeros.shape] for spec, zeros in zip(network.inputs, network.example, strict=True)}
    for rows in (1, 2) if network.is_batched else (1,):
        said = "2 rows" if rows > 1 else "a row"
        feeds = {
            spec.name: np.stack([zeros] * rows) for spec, zeros in zip(network.inputs, network.example, strict=True)
        }
        try:
            columns = network.session.run([spec.name for spec in network.outputs], feeds)
        except ERRORS as error:
            raise ModelFileDamaged(
                f"{path} does not answer {said} of zeros ({shapes}): {first_line(error)}",
                remedy="where open lengths are too short or disagree, say them in parameters.lengths",
            ) from error
        for spec, column in zip(network.outputs, columns, strict=True):
            if column.ndim == 0 or column.shape[0] != rows:
                raise ModelFileDamaged(
                    f"output {spec.name} of {path} has the shape {list(column.shape)} for {said}", remedy=OPEN_ROWS
                )
    return columns


def row_bytes(network: Network) -> int:
    """Bytes of one row's inputs and outputs, as the example has them."""
    (results,) = network.run([network.example])
    return sum(prod(array.shape) * array.itemsize for array in (*network.example, *map(np.asarray, results)))
