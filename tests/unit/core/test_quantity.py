"""Kubernetes quantities, exactly."""

from fractions import Fraction

import pytest

from vgpu.core import quantity

READ = {
    "500": Fraction(500), "500m": Fraction(1, 2), "1.5": Fraction(3, 2), ".5k": Fraction(500), "2Gi": Fraction(2 << 30),
    "1e3": Fraction(1000), "1E3": Fraction(1000), "1E": Fraction(10**18), "12e-1": Fraction(6, 5), "-3": Fraction(-3),
    "7u": Fraction(7, 10**6), "0.1Ki": Fraction(1024, 10),
}  # fmt: skip


@pytest.mark.parametrize(("text", "amount"), READ.items(), ids=READ)
def test_a_quantity_is_read_exactly(text: str, amount: Fraction) -> None:
    assert quantity.parse_quantity(text) == amount


@pytest.mark.parametrize("text", ["", "half", "1 000", "0x10", "1kk", "--1", "1e9999", "9" * 65, None])
def test_what_is_none_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="is no quantity; write a number such as 500, 500m or 2Gi"):
        quantity.parse_quantity(text)


def test_requests_are_rounded_up() -> None:
    assert (quantity.parse_up("1.1"), quantity.parse_milli_up("1.0001"), quantity.parse_milli_up("2")) == (
        2,
        1001,
        2000,
    )
