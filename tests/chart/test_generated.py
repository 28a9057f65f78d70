"""What is generated below helm/ is what its sources say, and a value without a description does not pass."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from autoscaler.core.spec import GuardrailSettings, PolicySettings, SpecError
from helm.generate import __main__ as generate
from helm.generate.bounds import number_bounds
from helm.generate.docstrings import field_docstrings
from helm.generate.particulars import PARTICULARS
from helm.generate.readme import replaced
from helm.generate.values import VALUES, Parameter, ValuesError, parameters


def test_nothing_generated_is_out_of_date() -> None:
    assert generate.out_of_date(generate.files()) == [], "run make helm"


def test_a_changed_and_a_forgotten_file_are_found(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "old.yaml").write_text("")
    (tmp_path / "rules" / "good.yaml").write_text("a: 1\n")
    (tmp_path / "README.md").write_text("before")
    wanted = {"rules/good.yaml": "a: 1\n", "README.md": "after", "new.json": "{}"}
    assert generate.out_of_date(wanted, tmp_path) == ["README.md", "new.json", "rules/old.yaml"]


def test_every_value_is_documented() -> None:
    assert len(parameters(VALUES.read_text())) > 100


def test_particulars_are_of_values_that_are_there() -> None:
    assert PARTICULARS.keys() - {parameter.path for parameter in parameters(VALUES.read_text())} == set()


GOOD = """
## @section First
## @param one [integer, nullable] How many
one: null
holder:
  ## @param holder.kind [enum: a|b] Which
  kind: a
  # A comment of no account.
  ## @param holder.any [object] Whatever
  any: {x: 1, y: {z: 2}}
"""


def test_comments_and_values_are_read_together() -> None:
    about = {"section": "First", "type": None, "nullable": False, "choices": ()}
    assert parameters(GOOD) == (
        Parameter(path="one", description="How many", default=None, **{**about, "type": "integer", "nullable": True}),
        Parameter(path="holder.kind", description="Which", default="a", **{**about, "choices": ("a", "b")}),
        Parameter(
            path="holder.any", description="Whatever", default={"x": 1, "y": {"z": 2}}, **{**about, "type": "object"}
        ),
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\n", "a: not documented"),
        ("## @param a What\na: {b: 1}\n", "a.b: not documented"),
        ("## @param a What\n", "a: documented and not there"),
        ("## @param a.b What\na: 1\n", "a.b: documented and not there"),
        ("## @param a What\n## @param a Again\na: 1\n", "line 2: a is documented twice"),
        ("## @param a [text] What\na: 1\n", "a: 'text' is no modifier"),
        ("## @parm a What\na: 1\n", "line 1: '## @parm a What'"),
        ("## @param a\na: 1\n", "line 1: '## @param a'"),
    ],
)
def test_comments_that_disagree_are_refused(text: str, said: str) -> None:
    with pytest.raises(ValuesError) as caught:
        parameters(text)
    assert said in str(caught.value)


def test_a_table_replaces_what_stands_between_its_markers() -> None:
    text = "# T\n<!-- x: generated -->\nold\n<!-- /x -->\nend\n"
    made = replaced(text, "x", "new\n")
    assert made == "# T\n<!-- x: generated -->\n\nnew\n\n<!-- /x -->\nend\n"
    assert replaced(made, "x", "new\n") == made
    with pytest.raises(ValueError, match="write <!-- y: generated --> and <!-- /y --> once each"):
        replaced(text, "y", "new")


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Numbers with every form of bound."""

    count: int = 3
    """How
    many."""
    least: float = 0.3
    most: float = 5.0
    """The most."""

    def __post_init__(self) -> None:
        if not (2 <= self.count < 7 and 0.25 < self.least <= self.most and self.most <= 12.5):
            raise SpecError(("out of bounds",))


@dataclass(frozen=True, kw_only=True)
class Never:
    """No number will do."""

    count: int = 0

    def __post_init__(self) -> None:
        raise SpecError(("out of bounds",))


def test_bounds_are_found_by_asking() -> None:
    assert number_bounds(Sample, "count", {}) == {"minimum": 2, "maximum": 6}
    assert number_bounds(Sample, "least", {}) == {"exclusiveMinimum": 0.25, "maximum": 12.5}
    assert number_bounds(Sample, "most", {"least": 0.5}) == {"exclusiveMinimum": 0.25, "maximum": 12.5}
    with pytest.raises(ValueError, match=r"Never\.count: none of"):
        number_bounds(Never, "count", {})


def test_bounds_of_the_specification() -> None:
    assert number_bounds(PolicySettings, "recent_s", {}) == {"exclusiveMinimum": 0}
    assert number_bounds(PolicySettings, "tolerance_ratio", {}) == {"minimum": 0, "exclusiveMaximum": 1}
    assert number_bounds(GuardrailSettings, "step_down_part", {}) == {"minimum": 1}


def test_docstrings_below_fields_are_read() -> None:
    assert field_docstrings(Sample) == {"count": "How many.", "most": "The most."}
