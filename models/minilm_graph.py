"""A BERT sentence encoder as an ONNX graph, wired to weights that stay outside it.

The graph is 23 kB and takes 50 ms to write, so it is built at every start: there is no file to cache, to lock or to
find damaged. Weights are handed over as arrays. Names of weights are those of the packaged state dictionary.
Inputs `input_ids` and `attention_mask` are INT64 [batch, tokens]; output `embedding` is FP32 [batch, hidden], the mean
over the tokens that the mask keeps, scaled to length 1.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from models.onnx_session import Weights

Floats = NDArray[np.float32]

OPSET = 20  # the first with Gelu
IR_VERSION = 9  # the one that came with opset 20
MASKED = -1e9  # added to the scores of padding: exp() of it is exactly 0 in FP32


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderShape:
    """The part of config.json that decides the graph."""

    layers: int
    heads: int
    hidden: int
    layer_norm_epsilon: float

    def __post_init__(self) -> None:
        if self.layers < 1 or self.heads < 1 or self.hidden < 1:
            raise ValueError(f"layers, heads and hidden are {self.layers}, {self.heads}, {self.hidden}; each is >= 1")
        if self.hidden % self.heads:
            raise ValueError(f"hidden is {self.hidden}; it must be a multiple of heads, {self.heads}")


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderGraph:
    """A serialised graph and the arrays its external initializers stand for."""

    network: bytes
    weights: Weights


def build_encoder(read_weight: Callable[[str], Floats], shape: EncoderShape) -> EncoderGraph:
    """Write the graph of an encoder of this `shape`, taking each weight from `read_weight` by name."""
    graph = _Graph(read_weight)
    mask = graph.node("Cast", "attention_mask", to=onnx.TensorProto.FLOAT)
    hidden = _embeddings(graph, shape)
    attention = _Attention(graph, shape, mask)
    for layer in range(shape.layers):
        hidden = _layer(graph, shape, f"encoder.layer.{layer}", attention, hidden)
    _masked_mean(graph, hidden, mask)
    return EncoderGraph(network=graph.serialise(shape.hidden), weights=graph.weights)


def _embeddings(graph: "_Graph", shape: EncoderShape) -> str:
    """Word, position and type embeddings added up: [batch, tokens, hidden]."""
    words = graph.node("Gather", graph.weight("embeddings.word_embeddings.weight"), "input_ids")
    tokens = graph.node("Shape", "input_ids", start=1, end=2)
    table = graph.weight("embeddings.position_embeddings.weight")
    positions = graph.node("Slice", table, graph.numbers(0), tokens, graph.numbers(0))
    # Every token of a lone text is of type 0, the first row of two.
    types = graph.node("Gather", graph.weight("embeddings.token_type_embeddings.weight"), graph.numbers(0))
    placed = graph.node("Add", graph.node("Add", words, positions), types)
    return graph.layer_norm("embeddings.LayerNorm", placed, shape.layer_norm_epsilon)


def _layer(graph: "_Graph", shape: EncoderShape, prefix: str, attention: "_Attention", hidden: str) -> str:
    epsilon = shape.layer_norm_epsilon
    attended = graph.linear(f"{prefix}.attention.output.dense", attention.of(f"{prefix}.attention.self", hidden))
    hidden = graph.layer_norm(f"{prefix}.attention.output.LayerNorm", graph.node("Add", attended, hidden), epsilon)
    widened = graph.node("Gelu", graph.linear(f"{prefix}.intermediate.dense", hidden))
    narrowed = graph.linear(f"{prefix}.output.dense", widened)
    return graph.layer_norm(f"{prefix}.output.LayerNorm", graph.node("Add", narrowed, hidden), epsilon)


class _Attention:
    """softmax(Q K^T / sqrt(d) + padding) V, per head; what all layers share is written once."""

    def __init__(self, graph: "_Graph", shape: EncoderShape, mask: str) -> None:
        head_size = shape.hidden // shape.heads
        self._graph = graph
        self._split = graph.numbers(0, 0, shape.heads, head_size)  # 0 keeps the length: batch, tokens
        self._join = graph.numbers(0, 0, shape.hidden)
        self._scale = graph.number(1 / math.sqrt(head_size))
        padding = graph.node("Sub", graph.number(1.0), graph.node("Unsqueeze", mask, graph.numbers(1, 2)))
        self._padding_scores = graph.node("Mul", padding, graph.number(MASKED))

    def of(self, prefix: str, hidden: str) -> str:
        node = self._graph.node
        query = self._heads(f"{prefix}.query", hidden, [0, 2, 1, 3])
        key_transposed = self._heads(f"{prefix}.key", hidden, [0, 2, 3, 1])
        value = self._heads(f"{prefix}.value", hidden, [0, 2, 1, 3])
        scores = node("Mul", node("MatMul", query, key_transposed), self._scale)
        attention = node("Softmax", node("Add", scores, self._padding_scores), axis=-1)
        mixed = node("Transpose", node("MatMul", attention, value), perm=[0, 2, 1, 3])
        return node("Reshape", mixed, self._join)

    def _heads(self, name: str, hidden: str, order: list[int]) -> str:
        split = self._graph.node("Reshape", self._graph.linear(name, hidden), self._split)
        return self._graph.node("Transpose", split, perm=order)


def _masked_mean(graph: "_Graph", hidden: str, mask: str) -> None:
    kept = graph.node("Unsqueeze", mask, graph.numbers(2))
    total = graph.node("ReduceSum", graph.node("Mul", hidden, kept), graph.numbers(1), keepdims=0)
    count = graph.node("ReduceSum", kept, graph.numbers(1), keepdims=0)
    graph.node("LpNormalization", graph.node("Div", total, count), output="embedding", axis=-1, p=2)


class _Graph:
    """Nodes in order, small constants inside, weights outside; every method returns the name of what it made."""

    def __init__(self, read_weight: Callable[[str], Floats]) -> None:
        self._read_weight = read_weight
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: list[onnx.TensorProto] = []
        self.weights: dict[str, Floats] = {}

    def node(self, operator: str, *inputs: str, output: str = "", **attributes: object) -> str:
        output = output or f"{operator}_{len(self._nodes)}"
        self._nodes.append(onnx.helper.make_node(operator, inputs, [output], **attributes))
        return output

    def number(self, value: float) -> str:
        return self._constant(np.float32(value))

    def numbers(self, *values: int) -> str:
        return self._constant(np.array(values, dtype=np.int64))

    def weight(self, name: str) -> str:
        self.weights[name] = self._read_weight(name)
        outside = onnx.TensorProto(name=name, data_type=onnx.TensorProto.FLOAT, dims=self.weights[name].shape)
        outside.data_location = onnx.TensorProto.EXTERNAL
        outside.external_data.add(key="location", value="memory")
        self._initializers.append(outside)
        return name

    def linear(self, name: str, values: str) -> str:
        # Stored [out, in], wanted [in, out]. The runtime folds this Transpose when it opens the graph, and the process
        # ends up 35 MiB smaller than with the arrays transposed here.
        weight = self.node("Transpose", self.weight(f"{name}.weight"), perm=[1, 0])
        return self.node("Add", self.node("MatMul", values, weight), self.weight(f"{name}.bias"))

    def layer_norm(self, name: str, values: str, epsilon: float) -> str:
        scale, offset = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        return self.node("LayerNormalization", values, scale, offset, axis=-1, epsilon=epsilon)

    def serialise(self, hidden: int) -> bytes:
        tokens = [
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.INT64, ["batch", "tokens"])
            for name in ("input_ids", "attention_mask")
        ]
        embedding = onnx.helper.make_tensor_value_info("embedding", onnx.TensorProto.FLOAT, ["batch", hidden])
        graph = onnx.helper.make_graph(self._nodes, "encoder", tokens, [embedding], self._initializers)
        opsets = [onnx.helper.make_opsetid("", OPSET)]
        serialised: bytes = onnx.helper.make_model(
            graph, opset_imports=opsets, ir_version=IR_VERSION
        ).SerializeToString()
        return serialised

    def _constant(self, value: np.generic | NDArray[np.int64]) -> str:
        name = f"constant_{len(self._initializers)}"
        self._initializers.append(onnx.numpy_helper.from_array(np.asarray(value), name))
        return name
