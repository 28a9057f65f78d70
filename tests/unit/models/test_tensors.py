from typing import Any

import numpy as np
import pytest

from models.model import Datatype, InputTensor, InvalidInput, TensorSpec
from models.tensors import bytes_rows, bytes_tensor, only_input, text_rows

TEXT = TensorSpec(name="text", datatype=Datatype.BYTES, shape=(-1,))


def tensor(*rows: Any, datatype: str = "BYTES", shape: tuple[int, ...] | None = None) -> InputTensor:
    return InputTensor(datatype=datatype, shape=(len(rows),) if shape is None else shape, data=rows)


@pytest.mark.parametrize(
    ("sent", "problem"),
    [
        (tensor(1.0, datatype="FP32"), "datatype is FP32; expected BYTES"),
        (tensor("a", shape=()), "shape is []; expected one length, the number of rows"),
        (tensor("a", "b", shape=(2, 1)), "shape is [2, 1]; expected one length, the number of rows"),
        (tensor("a", "b", shape=(3,)), "shape [3] does not match 2 elements of data"),
        (tensor(), "has no rows"),
        (tensor("a", 7), "row 1 is int; an element of BYTES is a string"),
        (tensor("a", None), "row 1 is NoneType; an element of BYTES is a string"),
        (tensor(["a"]), "row 0 is list; an element of BYTES is a string"),
        (tensor("a", "half \ud83d"), "row 1 is not Unicode text: surrogates not allowed"),
        (tensor("a", b"\xff\xfe"), "row 1 is not UTF-8 text: invalid start byte"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_text_tensor_is_refused_with_its_name_and_row(sent: InputTensor, problem: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        text_rows(sent, TEXT)
    assert (refused.value.field, refused.value.problem) == ("text", problem)


def test_rows_may_come_as_strings_bytes_or_an_array_of_either() -> None:
    assert text_rows(tensor("naïve", "naïve".encode()), TEXT) == ["naïve", "naïve"]
    array = np.array(["a", b"b"], dtype=np.object_)
    assert text_rows(InputTensor(datatype="BYTES", shape=(2,), data=array), TEXT) == ["a", "b"]


def test_bytes_that_are_not_text_are_fine_where_no_text_is_asked_for() -> None:
    assert bytes_rows(tensor(b"\xff\x00\xfe", ""), TEXT) == [b"\xff\x00\xfe", b""]


def test_a_missing_tensor_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"^text: is missing$"):
        only_input({}, TEXT)


def test_an_unknown_tensor_is_named_together_with_the_known_one() -> None:
    with pytest.raises(InvalidInput, match=r"^image: is not an input of this model; it takes text$"):
        only_input({"text": tensor("a"), "image": tensor("b")}, TEXT)


def test_a_bytes_output_keeps_trailing_zeros_and_its_shape() -> None:
    output = bytes_tensor(TEXT, [b"a\x00", b""])
    assert (output.name, output.datatype, output.shape, output.data.tolist()) == (
        "text",
        "BYTES",
        (2,),
        [b"a\x00", b""],
    )
