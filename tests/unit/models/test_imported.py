"""Classes of a user's package as models: found by name, refused in one line where they are none."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from models import catalog, trial
from models.catalog import CatalogError
from models.model import Model, ModelFileMissing
from models.strangers import LONGEST_REASON, ModelDefect, told

PRICES = '''
from models.synthetic import Synthetic

class Price(Synthetic):
    """A user's model with a parameter of its own."""

    def __init__(self, *, city: str, factor: float = 1) -> None:
        if factor < 0:
            raise ValueError("factor is below 0")
        super().__init__(base_us=100 * factor, per_item_us=0)
        self.city = city

class Any(Synthetic):
    def __init__(self, **parameters):
        super().__init__(**parameters)

class Nothing:
    pass

class Odd(Synthetic):
    predict = None
    load = 5
    def example(self, more): ...
    @staticmethod
    def items_from_tensors(tensors): ...
    @classmethod
    def warm_up(cls): ...

tax = 0.2
'''


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package `shop` that can be imported, with the module `prices`."""
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "prices.py").write_text(PRICES)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
        del sys.modules[name]


def refusal(source: str, **parameters: object) -> str:
    with pytest.raises((ModelDefect, CatalogError)) as refused:
        catalog.create(source, **parameters)
    return str(refused.value)


@pytest.mark.usefixtures("shop")
def test_a_class_is_made_with_its_parameters() -> None:
    model = catalog.create("python:shop.prices:Price", city="Bern", factor=2)
    assert isinstance(model, Model)
    trial.load_and_ask(model)
    assert model.engine_cost_ns(["a"]) == 200_000
    assert catalog.create("python:shop.prices:Any", base_us=7, per_item_us=0).engine_cost_ns(["a"]) == 7000


@pytest.mark.usefixtures("shop")
def test_parameters_are_held_against_the_class_own() -> None:
    name = "python:shop.prices:Price"
    assert refusal(name, city="Bern", colour="red") == f"{name} has no parameter colour; it takes city, factor"
    assert refusal(name) == f"{name} needs city; give it under parameters"
    said = refusal(name, city="Bern", factor=-1)
    assert said == f"{name} cannot be made: ValueError: factor is below 0 (prices.py:9)"


REMEDY = "install it in the serving image, or put its folder on PYTHONPATH"


def test_what_cannot_be_imported_says_why_and_where(shop: Path) -> None:
    (shop / "broken.py").write_text("x = 1\ny = x / 0\n")
    (shop / "unfinished.py").write_text("def f(:\n")
    (shop / "leaving.py").write_text("import sys\nsys.exit(3)\n")
    assert [refusal(f"python:shop.{name}:Price") for name in ("absent", "broken", "unfinished", "leaving")] == [
        f"python:shop.absent:Price cannot be imported: ModuleNotFoundError: No module named 'shop.absent'; {REMEDY}",
        "python:shop.broken:Price cannot be imported: ZeroDivisionError: division by zero (broken.py:2); " + REMEDY,
        "python:shop.unfinished:Price cannot be imported: SyntaxError: invalid syntax (unfinished.py, line 1) "
        f"(unfinished.py:1); {REMEDY}",
        f"python:shop.leaving:Price cannot be imported: SystemExit: 3 (leaving.py:2); {REMEDY}",
    ]


@pytest.mark.usefixtures("shop")
def test_what_is_no_model_is_refused_before_anything_of_it_is_called() -> None:
    assert [refusal(f"python:shop.prices:{name}") for name in ("price", "tax", "Nothing", "Odd")] == [
        "python:shop.prices:price: shop.prices has no price; its classes are Synthetic, Price, Any, Nothing, Odd",
        "python:shop.prices:tax is a float; name a class",
        "python:shop.prices:Nothing is no model: example() is missing; load() is missing; warm_up() is missing; "
        "items_from_tensors() is missing; predict() is missing; tensors_from_results() is missing; "
        "engine_cost_ns() is missing. models/README.md says what a model has",
        "python:shop.prices:Odd is no model: example() takes 0 arguments beside self; load is no method; "
        "predict() is missing. models/README.md says what a model has",
    ]
    assert refusal("python:shop:Price") == "python:shop:Price: shop has no Price; it has no class"


BODIES = {
    "def load(self): raise KeyError('weights')": "load(): KeyError: 'weights' (odd.py:5)",
    "metadata = None": "Odd is no model: metadata missing. models/README.md says what a model has",
    "metadata = 5": "metadata is a int; make it a models.model.ModelMetadata",
    "framebuffer_mib = 1.5": "framebuffer_mib is 1.5; make it a whole number of MiB, 0 or more",
    "def example(self): return {}":
        "example() has the inputs {}; metadata promises {'text': <Datatype.BYTES: 'BYTES'>}",
    "def items_from_tensors(self, tensors): raise InvalidInput('text', 'too loud')":
        "items_from_tensors(example()): text: too loud",
    "def predict(self, batch): return []": "predict() gives 0 results for 1 items",
    "def predict(self, batch): return batch[9]": "predict(): IndexError: list index out of range (odd.py:5)",
    "def tensors_from_results(self, results): return []":
        "tensors_from_results() gives nothing; metadata promises echo BYTES of 1 axes",
    "def engine_cost_ns(self, batch): return 0.5":
        "engine_cost_ns() gives 0.5; make it whole nanoseconds, 0 or more",
}  # fmt: skip


@pytest.mark.parametrize("body", BODIES)
def test_a_model_that_does_not_answer_its_own_example_is_refused(body: str, shop: Path) -> None:
    imports = "from models.model import InvalidInput\nfrom models.synthetic import Synthetic\n"
    (shop / "odd.py").write_text(f"{imports}\nclass Odd(Synthetic):\n    {body}\n")
    with pytest.raises(ModelDefect) as refused:
        trial.load_and_ask(catalog.create("python:shop.odd:Odd"))
    assert str(refused.value) == BODIES[body]


def test_our_own_words_about_files_pass_unchanged() -> None:
    def load() -> None:
        raise ModelFileMissing("a.bin is missing", remedy="fetch it")

    with pytest.raises(ModelFileMissing, match=r"^a.bin is missing; fetch it$"):
        told("load()", load)


def test_a_long_story_is_cut_and_put_in_one_line() -> None:
    def fail() -> None:
        raise RuntimeError("first\nsecond " + "x" * 1000)

    with pytest.raises(ModelDefect) as refused:
        told("load()", fail)
    said = str(refused.value)
    assert said.startswith("load(): RuntimeError: first second xxx")
    assert len(said) < LONGEST_REASON + 80
    assert "\n" not in said
