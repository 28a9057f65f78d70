from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from models.cost import Cost, read_cost
from models.measure import ITEMS, TOKENS, Shape, Subject, error_ratios, fit_cost, measure, measure_times
from models.synthetic import Synthetic

GRID = [Shape(items=items, tokens=tokens) for items in ITEMS for tokens in TOKENS]
terms = st.floats(min_value=0, max_value=5000)


def medians_of(cost: Cost, shapes: Sequence[Shape]) -> dict[Shape, float]:
    return {shape: cost.engine_ns(items=shape.items, tokens=shape.tokens) / 1000 for shape in shapes}


@given(base_us=st.floats(min_value=1, max_value=5000), per_item_us=terms, per_token_us=terms, per_token_pair_us=terms)
def test_a_fit_explains_measurements_that_follow_the_formula(
    base_us: float, per_item_us: float, per_token_us: float, per_token_pair_us: float
) -> None:
    true = Cost(
        base_us=base_us,
        per_item_us=per_item_us,
        per_token_us=per_token_us,
        per_token_pair_us=per_token_pair_us,
        weights_mib=1,
        activation_mib_per_item=1,
    )
    medians_us = medians_of(true, GRID)
    fitted = fit_cost(medians_us, weights_mib=1, activation_mib_per_item=1)
    assert max(error_ratios(fitted, medians_us)) < 0.01


def test_a_fit_finds_the_terms_back() -> None:
    true = Cost(
        base_us=1900,
        per_item_us=130,
        per_token_us=270,
        per_token_pair_us=0.4,
        weights_mib=87,
        activation_mib_per_item=9,
    )
    fitted = fit_cost(medians_of(true, GRID), weights_mib=87, activation_mib_per_item=9)
    assert fitted.base_us == pytest.approx(1900, rel=1e-3)
    assert fitted.per_item_us == pytest.approx(130, rel=1e-2)
    assert fitted.per_token_us == pytest.approx(270, rel=1e-3)
    assert fitted.per_token_pair_us == pytest.approx(0.4, rel=1e-2)


def test_a_term_that_would_be_negative_is_left_out() -> None:
    # Ten items cost more than ten times one: least squares would put the base below zero.
    medians_us = {Shape(items=1, tokens=0): 100.0, Shape(items=10, tokens=0): 1100.0}
    fitted = fit_cost(medians_us, weights_mib=1, activation_mib_per_item=1)
    assert fitted.base_us == 0
    assert 100 < fitted.per_item_us < 110


def test_every_shape_is_visited_once_a_round() -> None:
    visited: list[Shape] = []

    def batch_of(shape: Shape) -> list[str]:
        visited.append(shape)
        return ["a"] * shape.items

    shapes = (Shape(items=1, tokens=0), Shape(items=2, tokens=0))
    subject = Subject(model=Synthetic(), weights_file=Path("none"), batch_of=batch_of, shapes=shapes)
    medians_us = measure_times(subject, rounds=3)
    assert Counter(visited) == dict.fromkeys(shapes, 3)
    assert set(medians_us) == set(shapes)
    assert min(medians_us.values()) > 0


def test_what_is_measured_can_be_read_back(tmp_path: Path) -> None:
    report = measure("file_type", rounds=1)
    path = tmp_path / "file_type.yaml"
    path.write_text(yaml.safe_dump(report))
    cost = read_cost(path)
    assert cost.weights_mib == 4  # 3,163,737 bytes of network
    assert cost.engine_ns(items=1) > 0
