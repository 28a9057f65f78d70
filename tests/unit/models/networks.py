"""Small ONNX files, written by the test that needs them."""

from collections.abc import Sequence
from pathlib import Path

import onnx
from onnx import TensorProto, helper

Axes = Sequence[int | str | None] | None
OPSET, IR_VERSION = 17, 9


def tensor(name: str, axes: Axes, element: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, element, axes)


def save(
    path: Path,
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    *nodes: onnx.NodeProto,
    initializers: Sequence[onnx.TensorProto] = (),
    domains: Sequence[str] = (),
) -> Path:
    """Write a network of these nodes."""
    graph = helper.make_graph(list(nodes), "test", list(inputs), list(outputs), list(initializers))
    imports = [helper.make_opsetid("", OPSET), *(helper.make_opsetid(domain, 1) for domain in domains)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=IR_VERSION), path)
    return path


def doubling(path: Path, axes: Axes = ("batch", 3), element: int = TensorProto.FLOAT) -> Path:
    """x + x -> y, of any shape."""
    node = helper.make_node("Add", ["x", "x"], ["y"])
    return save(path, [tensor("x", axes, element)], [tensor("y", axes, element)], node)


def identity(path: Path, axes: Axes, element: int) -> Path:
    node = helper.make_node("Identity", ["x"], ["y"])
    return save(path, [tensor("x", axes, element)], [tensor("y", axes, element)], node)


def lookup(path: Path) -> Path:
    """Rows of a table of four by their number: a number that is not there makes the runtime refuse the run."""
    table = helper.make_tensor("table", TensorProto.FLOAT, [4, 2], [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5])
    node = helper.make_node("Gather", ["table", "id"], ["row"])
    ids = tensor("id", ["batch"], TensorProto.INT64)
    return save(path, [ids], [tensor("row", ["batch", 2])], node, initializers=[table])
