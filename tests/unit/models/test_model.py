import pytest

from models.model import Datatype, InvalidInput, ModelFileMissing, TensorSpec


@pytest.mark.parametrize("shape", [(), (3,), (-1, 0), (-1, -2)], ids=str)
def test_a_tensor_has_rows_first_and_lengths_after(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"shape of vector is .*; it starts with -1, other lengths are >= 1"):
        TensorSpec(name="vector", datatype=Datatype.FP32, shape=shape)


def test_invalid_input_carries_the_field_apart_from_the_problem() -> None:
    error = InvalidInput("text", "is missing")
    assert (error.field, error.problem, str(error)) == ("text", "is missing", "text: is missing")


def test_a_file_error_says_what_to_do() -> None:
    assert str(ModelFileMissing("a.bin is missing", remedy="fetch it")) == "a.bin is missing; fetch it"
