from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from models.cost import MEASURED, Cost, read_cost
from models.model import ModelFileDamaged, ModelFileMissing

COST = Cost(
    base_us=2000,
    per_item_us=100,
    per_token_us=10,
    per_token_pair_us=0.5,
    weights_mib=87,
    activation_mib_per_item=9,
)
FILES = sorted(MEASURED.glob("*.yaml"))

lengths = st.integers(min_value=0, max_value=512)
counts = st.integers(min_value=1, max_value=64)


def test_engine_time_adds_up_by_the_formula() -> None:
    # 2000 + 3 * (100 + 20 * 10 + 400 * 0.5) = 3500 us
    assert COST.engine_ns(items=3, tokens=20) == 3_500_000


def test_framebuffer_holds_weights_and_every_item() -> None:
    assert COST.framebuffer_mib(items=32) == 87 + 32 * 9


@given(items=counts, more_items=counts, tokens=lengths, more_tokens=lengths)
def test_a_larger_batch_never_costs_less(items: int, more_items: int, tokens: int, more_tokens: int) -> None:
    smaller = COST.engine_ns(items=items, tokens=tokens)
    assert smaller <= COST.engine_ns(items=items + more_items, tokens=tokens)
    assert smaller <= COST.engine_ns(items=items, tokens=tokens + more_tokens)


@given(items=counts, more_items=counts, tokens=lengths)
def test_one_batch_never_costs_more_than_the_same_items_in_two(items: int, more_items: int, tokens: int) -> None:
    together = COST.engine_ns(items=items + more_items, tokens=tokens)
    assert together <= COST.engine_ns(items=items, tokens=tokens) + COST.engine_ns(items=more_items, tokens=tokens)


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "2", None, True], ids=repr)
def test_a_cost_that_is_no_amount_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match=r"base_us is .*; a cost is a number, 0 or more"):
        Cost(base_us=value, per_item_us=0, weights_mib=1, activation_mib_per_item=0)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_measured_file_agrees_with_its_own_measurements(path: Path) -> None:
    cost = read_cost(path)
    report = yaml.safe_load(path.read_text())
    errors = [
        abs(cost.engine_ns(items=seen["items"], tokens=seen["tokens"]) / 1000 / seen["median_us"] - 1)
        for seen in report["measured"]
    ]
    assert max(errors) == pytest.approx(report["fit"]["worst_error_ratio"], abs=0.001)
    assert sorted(errors)[len(errors) // 2] < 0.1
    assert set(report["provenance"]) == {"date", "cpu", "python", "onnxruntime", "command", "method"}


def test_both_real_models_are_measured() -> None:
    assert [path.stem for path in FILES] == ["file_type", "text_embedder"]


def test_a_missing_cost_file_is_named_with_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(ModelFileMissing, match=r"ocr\.yaml is missing; measure it with: python -m models\.measure ocr"):
        read_cost(tmp_path / "ocr.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "cost: [",
        "",
        "fit: {}",
        "cost: 7",
        "cost: {base_us: 1}",
        "cost: {base_us: -1, per_item_us: 0, weights_mib: 1, activation_mib_per_item: 0}",
        "cost: {base_us: 1, per_item_us: 0, weights_mib: 1, activation_mib_per_item: 0, per_pixel_us: 1}",
    ],
)
def test_a_damaged_cost_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "ocr.yaml").write_text(text)
    with pytest.raises(ModelFileDamaged, match=r"(?s)ocr\.yaml cannot be read: .*; measure it with"):
        read_cost(tmp_path / "ocr.yaml")
