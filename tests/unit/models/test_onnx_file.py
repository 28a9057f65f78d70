"""ONNX files that the tests write: read from themselves, batched, refused with the remedy."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException

from models import catalog
from models.model import (
    Datatype,
    InputTensor,
    InvalidInput,
    ModelFileDamaged,
    ModelFileMissing,
    ModelMetadata,
    OutputTensor,
    TensorSpec,
)
from models.onnx_file import OnnxModel
from models.onnx_network import Network
from tests.unit.models import networks
from tests.unit.models.networks import save, tensor

COST = {"base_us": 100, "per_item_us": 10}


def loaded(path: Path, **parameters: Any) -> OnnxModel:
    model = OnnxModel(str(path), **{**COST, **parameters})
    model.load()
    return model


def given(datatype: str, shape: Sequence[int], data: Any) -> InputTensor:
    return InputTensor(datatype=datatype, shape=tuple(shape), data=data)


def answer(model: OnnxModel, **tensors: InputTensor) -> list[OutputTensor]:
    return model.tensors_from_results(model.predict(model.items_from_tensors(tensors)))


def test_a_file_says_what_it_takes_and_gives(tmp_path: Path) -> None:
    inputs = [tensor("ids", ["batch", "length"], TensorProto.INT64), tensor("scale", [None, 1])]
    nodes = [
        helper.make_node("Cast", ["ids"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "scale"], ["scaled"]),
    ]
    path = save(tmp_path / "m.onnx", inputs, [tensor("scaled", ["batch", "length"])], *nodes)
    assert loaded(path).metadata == ModelMetadata(
        name="onnx",
        version="1",
        platform="onnx_onnxv1",
        inputs=(
            TensorSpec(name="ids", datatype=Datatype.INT64, shape=(-1, -1)),
            TensorSpec(name="scale", datatype=Datatype.FP32, shape=(-1, 1)),
        ),
        outputs=(TensorSpec(name="scaled", datatype=Datatype.FP32, shape=(-1, -1)),),
    )


NUMERIC = {
    TensorProto.BOOL: ("BOOL", [True, False]),
    TensorProto.UINT8: ("UINT8", [0, 255]),
    TensorProto.UINT16: ("UINT16", [0, 65535]),
    TensorProto.UINT32: ("UINT32", [0, 2**32 - 1]),
    TensorProto.UINT64: ("UINT64", [0, 2**64 - 1]),
    TensorProto.INT8: ("INT8", [-128, 127]),
    TensorProto.INT16: ("INT16", [-(2**15), 2**15 - 1]),
    TensorProto.INT32: ("INT32", [-(2**31), 2**31 - 1]),
    TensorProto.INT64: ("INT64", [-(2**63), 2**63 - 1]),
    TensorProto.FLOAT16: ("FP16", [0.5, -65504]),
    TensorProto.FLOAT: ("FP32", [0.5, -3]),
    TensorProto.DOUBLE: ("FP64", [1e300, 7]),
}


@pytest.mark.parametrize("element", NUMERIC, ids=[name for name, _ in NUMERIC.values()])
def test_every_type_passes_unchanged_from_json_and_from_bytes(element: int, tmp_path: Path) -> None:
    name, values = NUMERIC[element]
    model = loaded(networks.identity(tmp_path / "m.onnx", ["batch", 1], element))
    (from_json,) = answer(model, x=given(name, (2, 1), values))
    assert (from_json.datatype, from_json.shape, from_json.data.ravel().tolist()) == (name, (2, 1), values)
    (from_bytes,) = answer(model, x=given(name, (2, 1), from_json.data.ravel()))
    assert (from_bytes.data.dtype, from_bytes.data.tolist()) == (from_json.data.dtype, from_json.data.tolist())


def test_texts_pass_as_bytes(tmp_path: Path) -> None:
    model = loaded(networks.identity(tmp_path / "m.onnx", ["batch", 2], TensorProto.STRING))
    (output,) = answer(model, x=given("BYTES", (1, 2), ["käse", b"brot"]))
    assert (output.datatype, output.data.tolist()) == ("BYTES", [["käse".encode(), b"brot"]])
    with pytest.raises(InvalidInput, match=r"^x: element 1 is not UTF-8 text: invalid start byte$"):
        model.items_from_tensors({"x": given("BYTES", (1, 2), ["a", b"\xff"])})


def test_a_text_a_row_passes_with_whatever_it_ends_in(tmp_path: Path) -> None:
    model = loaded(networks.identity(tmp_path / "m.onnx", ["batch"], TensorProto.STRING))
    (output,) = answer(model, x=given("BYTES", (3,), ["long text", b"", b"zero\x00"]))
    assert (output.shape, output.data.tolist()) == ((3,), [b"long text", b"", b"zero\x00"])


def test_a_truth_value_from_bytes_is_true_whatever_its_bits_but_none(tmp_path: Path) -> None:
    model = loaded(networks.identity(tmp_path / "m.onnx", ["batch"], TensorProto.BOOL))
    (output,) = answer(model, x=given("BOOL", (3,), np.frombuffer(b"\x00\x01\x02", dtype=np.bool_)))
    assert output.data.tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("element", "data", "said"),
    [
        (TensorProto.INT8, [128], "an element of data is no INT8: -128 to 127"),
        (TensorProto.UINT8, [-1], "an element of data is no UINT8: 0 to 255"),
        (TensorProto.INT64, [2**63], "an element of data is no INT64: -9223372036854775808 to 9223372036854775807"),
        (TensorProto.INT64, [2**64, 0], "an element of data is no INT64: -9223372036854775808 to 9223372036854775807"),
        (TensorProto.INT64, [2**64, 0.5], "an element of data is no INT64"),
        (TensorProto.INT32, [1.5], "an element of data is no INT32"),
        (TensorProto.INT32, ["1"], "an element of data is no INT32"),
        (TensorProto.BOOL, [1], "an element of data is no BOOL"),
        (TensorProto.FLOAT, [True], "an element of data is no FP32"),
        (TensorProto.FLOAT, [None], "an element of data is no FP32"),
        (TensorProto.FLOAT, [[1.0]], None),
        (TensorProto.FLOAT, [1e39], "an element of data is too large for FP32"),
        (TensorProto.FLOAT16, [65520], "an element of data is too large for FP16"),
        (TensorProto.STRING, [1], "row 0 is int; an element of BYTES is a string"),
    ],
)
def test_an_element_that_the_type_cannot_hold_is_refused(
    element: int, data: list[Any], said: str | None, tmp_path: Path
) -> None:
    model = loaded(networks.identity(tmp_path / "m.onnx", ["batch"], element))
    datatype = model.metadata.inputs[0].datatype
    if said is None:  # the protocol has flattened lists before
        assert len(model.items_from_tensors({"x": given(datatype, (1,), data)})) == 1
        return
    with pytest.raises(InvalidInput) as refused:
        model.items_from_tensors({"x": given(datatype, (len(data),), data)})
    assert str(refused.value) == f"x: {said}"


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({}, "x: is missing"),
        (
            {"x": given("FP32", (1, 3), [1, 2, 3]), "z": given("FP32", (1,), [1])},
            "z: is not an input of this model; it takes x",
        ),
        ({"x": given("FP64", (1, 3), [1, 2, 3])}, "x: datatype is FP64; expected FP32"),
        ({"x": given("FP32", (3,), [1, 2, 3])}, "x: shape is [3]; expected [-1, 3], -1 for any length"),
        ({"x": given("FP32", (1, 2), [1, 2])}, "x: shape is [1, 2]; expected [-1, 3], -1 for any length"),
        ({"x": given("FP32", (0, 3), [])}, "x: shape is [0, 3], which holds nothing"),
        ({"x": given("FP32", (2, 3), [1, 2, 3])}, "x: shape [2, 3] does not match 3 elements of data"),
        ({"x": given("FP32", (2**62, 3), [1, 2, 3])}, f"x: shape [{2**62}, 3] does not match 3 elements of data"),
    ],
)  # fmt: skip
def test_tensors_that_do_not_fit_the_file_are_refused(
    tensors: dict[str, InputTensor], said: str, tmp_path: Path
) -> None:
    model = loaded(networks.doubling(tmp_path / "m.onnx"))
    with pytest.raises(InvalidInput) as refused:
        model.items_from_tensors(tensors)
    assert str(refused.value) == said


def test_inputs_must_have_the_same_rows(tmp_path: Path) -> None:
    node = helper.make_node("Add", ["a", "b"], ["y"])
    path = save(tmp_path / "m.onnx", [tensor("a", ["n", 1]), tensor("b", ["n", 1])], [tensor("y", ["n", 1])], node)
    with pytest.raises(InvalidInput, match=r"^b: has 1 rows, a has 2$"):
        loaded(path).items_from_tensors({"a": given("FP32", (2, 1), [1, 2]), "b": given("FP32", (1, 1), [1])})


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of every run of a network."""
    seen: list[int] = []
    run = Network.run

    def counted(self: Network, rows: Sequence[Any]) -> Any:
        seen.append(len(rows))
        return run(self, rows)

    monkeypatch.setattr(Network, "run", counted)
    return seen


def test_rows_of_several_requests_go_through_the_network_together(tmp_path: Path, runs: list[int]) -> None:
    model = loaded(networks.doubling(tmp_path / "m.onnx"))
    one = model.items_from_tensors({"x": given("FP32", (1, 3), [1, 2, 3])})
    two = model.items_from_tensors({"x": given("FP32", (2, 3), [4, 5, 6, 7, 8, 9])})
    runs.clear()
    first, *others = model.predict([*one, *two])
    assert runs == [3]
    assert model.tensors_from_results([first])[0].data.tolist() == [[2, 4, 6]]
    assert model.tensors_from_results(others)[0].data.tolist() == [[8, 10, 12], [14, 16, 18]]
    assert model.engine_cost_ns([*one, *two]) == 130_000


def test_rows_of_open_lengths_go_together_as_far_as_they_agree_and_cost_by_their_size(
    tmp_path: Path, runs: list[int]
) -> None:
    model = loaded(networks.doubling(tmp_path / "m.onnx", ["batch", "length"]), lengths={"length": 2})
    rows = [
        item
        for data in ([1, 2], [1, 2, 3, 4], [5, 6])
        for item in model.items_from_tensors({"x": given("FP32", (1, len(data)), data)})
    ]
    runs.clear()
    assert [result[0].tolist() for result in model.predict(rows)] == [[2, 4], [2, 4, 6, 8], [10, 12]]
    assert runs == [2, 1]
    # Two runs; of rows in example lengths there are four.
    assert model.engine_cost_ns(rows) == 240_000


def test_a_file_for_one_row_takes_rows_one_by_one(tmp_path: Path) -> None:
    model = loaded(networks.doubling(tmp_path / "m.onnx", [1, 3]))
    assert model.metadata.inputs[0].shape == (-1, 3)
    items = model.items_from_tensors({"x": given("FP32", (2, 3), [1, 2, 3, 4, 5, 6])})
    assert model.tensors_from_results(model.predict(items))[0].data.tolist() == [[2, 4, 6], [8, 10, 12]]
    assert model.engine_cost_ns(items) == 220_000


def test_a_row_that_the_network_refuses_fails_alone(tmp_path: Path) -> None:
    model = loaded(networks.lookup(tmp_path / "m.onnx"))
    items = model.items_from_tensors({"id": given("INT64", (3,), [1, 9, 3])})
    first, wrong, last = model.predict(items)
    assert model.tensors_from_results([first, last])[0].data.tolist() == [[1.0, 1.5], [3.0, 3.5]]
    with pytest.raises(InvalidInput, match=r"^inputs: row 1 is not what the network takes: .*out of data bounds"):
        model.tensors_from_results([first, wrong])


def test_a_lack_of_memory_is_no_fault_of_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = loaded(networks.doubling(tmp_path / "m.onnx"))
    items = model.items_from_tensors({"x": given("FP32", (2, 3), [1] * 6)})

    def run(self: Network, rows: Sequence[Any]) -> Any:
        raise RuntimeException("BFCArena: Failed to allocate memory for requested buffer of size 99\nat 0x7f")

    monkeypatch.setattr(Network, "run", run)
    with pytest.raises(MemoryError, match=r"^BFCArena: Failed to allocate memory for requested buffer of size 99$"):
        model.predict(items)


def test_rows_whose_outputs_differ_in_shape_are_to_be_sent_apart(tmp_path: Path) -> None:
    nodes = [helper.make_node("NonZero", ["x"], ["places"]), helper.make_node("Unsqueeze", ["places", "first"], ["y"])]
    first = helper.make_tensor("first", TensorProto.INT64, [1], [0])
    output = tensor("y", None, TensorProto.INT64)
    path = save(tmp_path / "m.onnx", [tensor("x", [1, 3])], [output], *nodes, initializers=[first])
    model = loaded(path)
    assert len(model.metadata.outputs[0].shape) == 3
    items = model.items_from_tensors({"x": given("FP32", (2, 3), [1, 0, 0, 1, 1, 1])})
    with pytest.raises(
        InvalidInput, match=r"^inputs: rows have outputs y of different shapes; send one row a request$"
    ):
        model.tensors_from_results(model.predict(items))


def broken(text: bytes) -> Any:
    def write(path: Path) -> Path:
        path.write_bytes(text)
        return path

    return write


def half(path: Path) -> Path:
    """A file that breaks off within its table."""
    whole = networks.lookup(path).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return path


def scalar(path: Path) -> Path:
    return networks.doubling(path, [])


def mean(path: Path) -> Path:
    node = helper.make_node("ReduceMean", ["x"], ["y"], keepdims=1)
    return save(path, [tensor("x", ["batch", 2])], [tensor("y", [1, 1])], node)


def strange(path: Path) -> Path:
    node = helper.make_node("Dream", ["x"], ["y"], domain="shop.example")
    return save(path, [tensor("x", ["n"])], [tensor("y", ["n"])], node, domains=["shop.example"])


def sequence(path: Path) -> Path:
    node = helper.make_node("SequenceConstruct", ["x"], ["y"])
    output = helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)
    return save(path, [tensor("x", ["n"])], [output], node)


def paired(path: Path) -> Path:
    """Needs both open lengths to multiply."""
    nodes = helper.make_node("Add", ["a", "b"], ["y"])
    inputs = [tensor("a", ["n", "left"]), tensor("b", ["n", "right"])]
    return save(path, inputs, [tensor("y", ["n", "left"])], nodes)


OPEN = r"export it with an open first axis \(torch: dynamic_axes=\{'NAME': \{0: 'batch'\}\}\)"


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (broken(b""), r"cannot be opened: .*; give a whole ONNX file that the runtime knows"),
        (broken(b"no network"), r"cannot be opened: .*; give a whole ONNX file that the runtime knows"),
        (half, r"cannot be opened: .*; give a whole ONNX file that the runtime knows"),
        (strange, r"cannot be opened: .*Dream.*; give a whole ONNX file that the runtime knows"),
        (scalar, rf"has the shape \[\]: no rows come first; {OPEN}"),
        (lambda path: networks.doubling(path, [2, 3]), rf"has the shape \[2, 3\]: no rows come first; {OPEN}"),
        (mean, rf"^output y of .* has the shape \[1, 1\] for 2 rows; {OPEN}"),
        (sequence, r"^output y of .* is a seq\(tensor\(float\)\), which no client can send; .*zipmap"),
    ],
    ids=["empty", "text", "half", "unknown operator", "scalar", "fixed rows", "mean over rows", "sequence"],
)  # fmt: skip
def test_a_file_that_cannot_be_served_is_refused_with_the_remedy(write: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(ModelFileDamaged, match=said) as refused:
        loaded(write(tmp_path / "m.onnx"))
    assert "\n" not in str(refused.value)


def test_open_lengths_that_must_agree_can_be_said(tmp_path: Path) -> None:
    path = paired(tmp_path / "m.onnx")
    with pytest.raises(
        ModelFileDamaged, match=r"does not answer a row of zeros .*; where open lengths .* in parameters.lengths$"
    ):
        loaded(path, lengths={"left": 2, "right": 3})
    assert loaded(path, lengths={"left": 2, "right": 2}).example()["a"].shape == (1, 2)
    with pytest.raises(ModelFileDamaged, match=r"has no length wide; its open lengths are left, right; correct"):
        loaded(path, lengths={"wide": 3})
    with pytest.raises(ModelFileDamaged, match=r"has no length wide; it has no open length; correct"):
        loaded(networks.doubling(tmp_path / "n.onnx"), lengths={"wide": 3})
    assert loaded(networks.doubling(tmp_path / "u.onnx", ["n", None]), lengths={"x.1": 5}).example()["x"].shape == (
        1,
        5,
    )


def test_a_missing_file_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ModelFileMissing) as refused:
        loaded(tmp_path / "m.onnx")
    remedy = "mount it where the model is served, or correct the source"
    assert str(refused.value) == f"{tmp_path}/m.onnx is no file here; {remedy}"


def test_a_checksum_of_a_path_is_kept_where_it_is_given(tmp_path: Path) -> None:
    path = networks.doubling(tmp_path / "m.onnx")
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    assert loaded(path, sha256=right.upper()).metadata.name == "onnx"
    with pytest.raises(ModelFileDamaged) as refused:
        loaded(path, sha256="0" * 64)
    remedy = "correct parameters.sha256, or find out who changed the file"
    assert str(refused.value) == f"{path} has the SHA-256 {right}, expected {'0' * 64}; {remedy}"


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"sha256": "abc"}, "sha256 is 'abc'; write 64 hexadecimal digits, as sha256sum says them"),
        ({"sha256": 5}, "sha256 is 5; write 64 hexadecimal digits, as sha256sum says them"),
        ({"lengths": [3]}, "lengths is [3]; write a mapping of names to lengths of 1 or more"),
        ({"lengths": {"n": 0}}, "lengths is {'n': 0}; write a mapping of names to lengths of 1 or more"),
        ({"framebuffer_mib": -1}, "framebuffer_mib is -1; write a whole number of MiB, 0 or more"),
        ({"base_us": 1}, "base_us and per_item_us belong together; give both, or none to have them measured"),
        ({"base_us": -1, "per_item_us": 1}, "base_us is -1; a cost is a number, 0 or more"),
        ({"colour": "red"}, "onnx:/m.onnx has no parameter colour; it takes sha256, lengths, "
                            "framebuffer_mib, base_us, per_item_us"),
    ],
)  # fmt: skip
def test_a_parameter_that_is_none_is_refused_before_the_file_is_looked_for(parameters: Any, said: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011  # the whole message is compared below
        catalog.create("onnx:/m.onnx", **parameters)
    assert str(refused.value) == said


def test_a_url_needs_a_checksum() -> None:
    with pytest.raises(ValueError, match=r"^parameters.sha256 is missing; a file behind a URL needs it \(sha256sum"):
        catalog.create("onnx:https://host/m.onnx")


def test_a_cost_that_nobody_says_is_measured_once(tmp_path: Path) -> None:
    model = OnnxModel(str(networks.doubling(tmp_path / "m.onnx")))
    model.load()
    items = model.items_from_tensors({"x": given("FP32", (2, 3), [1] * 6)})
    once = model.engine_cost_ns(items)
    assert 0 < model.engine_cost_ns(items[:1]) <= once < 1_000_000_000
    assert model.engine_cost_ns(items) == once


def test_the_framebuffer_is_the_file_and_what_its_largest_batch_holds_unless_it_is_said(tmp_path: Path) -> None:
    path = networks.doubling(tmp_path / "m.onnx", ["batch", 300_000])  # 2.3 MiB in and out, so 3
    assert loaded(path).framebuffer_mib == 1 + 32 * 3
    assert loaded(path, framebuffer_mib=7).framebuffer_mib == 7
