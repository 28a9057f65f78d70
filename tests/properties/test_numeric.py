"""Numbers of a request reach a model's network as they were sent, or are refused; never something in between."""

import math
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models import numeric
from models.model import Datatype, InputTensor, InvalidInput, TensorSpec

WHOLE = [name for name in Datatype if "INT" in name]
FLOATS = {Datatype.FP16: 16, Datatype.FP32: 32, Datatype.FP64: 64}
HUGE = st.integers(-(2**70), 2**70) | st.sampled_from([0, 2**31, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63)])


def read(datatype: Datatype, data: list[Any]) -> list[Any] | None:
    """The elements as the network gets them; None where they are refused."""
    tensor = InputTensor(datatype=datatype, shape=(len(data),), data=data)
    try:
        made = numeric.rows(tensor, TensorSpec(name="x", datatype=datatype, shape=(-1,)))
    except InvalidInput:
        return None
    assert made.dtype == numeric.NUMPY_TYPES[datatype]
    return list(made.tolist())


@given(st.sampled_from(WHOLE), st.lists(HUGE | st.integers(-300, 300), min_size=1, max_size=5))
def test_whole_numbers_pass_exactly_when_the_type_holds_all_of_them(datatype: Datatype, data: list[int]) -> None:
    edges = np.iinfo(numeric.NUMPY_TYPES[datatype])
    fits = all(edges.min <= element <= edges.max for element in data)
    assert read(datatype, data) == (data if fits else None)


@given(st.sampled_from(WHOLE), st.lists(st.floats(-100, 100), min_size=1, max_size=3))
def test_a_fraction_is_no_whole_number(datatype: Datatype, data: list[float]) -> None:
    assert read(datatype, data) is None


@given(st.sampled_from(sorted(FLOATS)).flatmap(lambda name: st.tuples(
    st.just(name),
    st.lists(st.floats(width=FLOATS[name], allow_nan=False, allow_infinity=False), min_size=1, max_size=5),
)))  # fmt: skip
def test_floats_of_the_types_own_precision_pass_unchanged(given_: tuple[Datatype, list[float]]) -> None:
    datatype, data = given_
    assert read(datatype, data) == data


@given(st.sampled_from(sorted(FLOATS)), st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_becomes_the_nearest_of_its_type_and_never_infinite(datatype: Datatype, element: float) -> None:
    found = read(datatype, [element])
    with np.errstate(over="ignore"):
        nearest = float(numeric.NUMPY_TYPES[datatype](element))
    assert found == (None if math.isinf(nearest) else [nearest])
